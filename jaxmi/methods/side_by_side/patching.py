"""Activation patching: a base input is run with activations of a source input.

After Vig et al., "Investigating gender bias in language models using causal mediation analysis"
(2020), and Meng et al., "Locating and editing factual associations in GPT" (2022).

`patching_site` patches the whole site, `patching_probe` its part along a linear probe's direction.

- Is it computed? The share of strict pairs, held out, that get the label that the variable's
  exchange gives. Patching the whole site gives the source's label, and so no strict pair.
- Which neurons? Each neuron alone is patched on strict pairs: the mean change of the logit
  difference towards that label.
- Which explanation? The mean share over its variables at the neurons.
"""

import numpy as np
from jaxtyping import Float

from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import (
    ComputedQuestion,
    NeuronsQuestion,
    Question,
    Score,
)
from jaxmi.methods.side_by_side.common import (
    JUDGED,
    answered,
    halves,
    judged_pairs,
    share,
)
from jaxmi.methods.side_by_side.probe import fit_probe


def patching_site(network: NetworkView, question: Question) -> Score:
    """Return the share of strict pairs right when the whole site is patched."""
    return answered(network, question, _whole_site, _of_neurons)


def _of_neurons(network: NetworkView, question: NeuronsQuestion) -> Float[np.ndarray, "neuron"]:
    pairs = question.strict(JUDGED, np.random.default_rng(question.seed))
    change = network.contributions[pairs.sources] - network.contributions[pairs.bases]
    return (change * np.where(pairs.labels, 1, -1)[:, None]).mean(axis=0)


def patching_probe(network: NetworkView, question: Question) -> Score:
    """Return the share of strict pairs right when a probe's direction is patched."""
    return answered(network, question, _direction, None)


def _whole_site(network: NetworkView, question: ComputedQuestion) -> float:
    _, judge = halves(len(question.own), question.seed)
    pairs, here = judged_pairs(question, judge), network.activations[question.site]
    logits = network.resume(question.site, pairs.bases, here[pairs.sources])
    return share((logits > 0) == pairs.labels)


def _direction(network: NetworkView, question: ComputedQuestion) -> float:
    here = network.activations[question.site]
    learn, judge = halves(len(here), question.seed)
    direction = fit_probe(network, question.site, question, learn).direction
    pairs = judged_pairs(question, judge)
    own, places = here[pairs.bases], here @ direction
    change = places[pairs.sources] - places[pairs.bases]
    logits = network.resume(question.site, pairs.bases, own + change[:, None] * direction)
    return share((logits > 0) == pairs.labels)
