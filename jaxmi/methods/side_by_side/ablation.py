"""Ablation attribution: what a part adds is what is lost when its mean takes its place.

After Wang et al., "Interpretability in the wild" (2022), and Nanda's notes on mean ablation.

- Is it computed? The part along a linear probe's direction is replaced by its mean; the change of
  the logit difference is what the variable adds. The share of strict pairs, held out, that get the
  label that the variable's exchange gives, if that is exchanged.
- Which neurons? The standard deviation, between the variable's values, of the change that the
  neuron's ablation makes.
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
    answered,
    between_values,
    halves,
    judged_pairs,
    share_of_additive,
)
from jaxmi.methods.side_by_side.probe import fit_probe


def ablation(network: NetworkView, question: Question) -> Score:
    """Return the share of strict pairs right by ablation's effects, or each neuron's effect."""
    return answered(network, question, _share, _of_neurons)


def _of_neurons(network: NetworkView, question: NeuronsQuestion) -> Float[np.ndarray, "neuron"]:
    return np.sqrt(between_values(network.contributions, question)[1])


def _share(network: NetworkView, question: ComputedQuestion) -> float:
    here = network.activations[question.site]
    learn, judge = halves(len(here), question.seed)
    direction = fit_probe(network, question.site, question, learn).direction
    places = here @ direction
    ablated = here - (places - places.mean())[:, None] * direction
    effect = network.difference - network.resume(question.site, np.arange(len(here)), ablated)
    return share_of_additive(network, judged_pairs(question, judge), effect)
