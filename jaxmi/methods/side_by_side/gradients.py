"""Integrated gradients: the gradient along a path from base to source, times what changes.

After Sundararajan et al., "Axiomatic attribution for deep networks" (2017), as in EAP-IG: Hanna,
Pezzelle and Belinkov, "Have faith in faithfulness" (2024).

- Is it computed? The site's activations go from the base's to the source's in `STEPS` steps; the
  attribution of the part along a linear probe's direction is added to the base's logit difference.
  The share of strict pairs, held out, that so get the label that the variable's exchange gives.
- Which neurons? The stream before the MLP goes from base to source, of pairs of different labels
  and values of the variable. The mean of the neuron's attribution towards the source's label.
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
from jaxmi.planted.key import NEURONS

STEPS = 8
"""Points on a path: EAP-IG takes five."""

DRAWN = 8 * JUDGED
"""Pairs that are drawn to find some of different labels and values."""


def integrated_gradients(network: NetworkView, question: Question) -> Score:
    """Return the share of strict pairs right by attribution, or each neuron's attribution."""
    return answered(network, question, _share, _of_neurons)


def _of_neurons(network: NetworkView, question: NeuronsQuestion) -> Float[np.ndarray, "neuron"]:
    bases, sources = np.random.default_rng(question.seed).integers(
        len(question.own), size=(2, DRAWN)
    )
    differ = network.labels[bases] != network.labels[sources]
    differ &= question.values[bases] != question.values[sources]
    bases, sources = bases[differ][:JUDGED], sources[differ][:JUDGED]
    # The logits are linear in the neurons: the gradient is the same all along the path.
    change = network.contributions[sources] - network.contributions[bases]
    return (change * np.where(network.labels[sources], 1, -1)[:, None]).mean(axis=0)


def _share(network: NetworkView, question: ComputedQuestion) -> float:
    here = network.activations[question.site]
    learn, judge = halves(len(here), question.seed)
    direction = fit_probe(network, question.site, question, learn).direction
    pairs = judged_pairs(question, judge)
    own, change = here[pairs.bases], here[pairs.sources] - here[pairs.bases]
    gradient = np.mean(
        [
            _gradient(network, question.site, own + (step + 0.5) / STEPS * change)
            for step in range(STEPS)
        ],
        axis=0,
    )
    attribution = (gradient @ direction) * (change @ direction)
    return share((network.difference[pairs.bases] + attribution > 0) == pairs.labels)


def _gradient(
    network: NetworkView, site: str, values: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "m d"]:
    if site == NEURONS:
        return np.broadcast_to(network.mlp.weights, values.shape)
    return network.mlp.gradient(network.mlp.neurons(values))
