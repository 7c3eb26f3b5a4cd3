"""Patching along read-in weights: what the neurons read that a probe finds the variable in.

A composition of the methods beside it, for variables in directions of low variance, which a probe
of the residual stream mixes with others. A linear probe at the neurons weighs each; those of a
weight of at least `LEAST_WEIGHT` of the largest, in units of their standard deviations, are the
group.

- Is it computed? At the neurons the group is patched; at the residual stream before the MLP the
  directions that the group reads, but for those that it reads `LEAST_READ` as strongly. The share
  of strict pairs, held out, that get the label that the variable's exchange gives.
- Which neurons? The magnitude of the probe's weight: as the probe.
- Which explanation? The mean share over its variables at the neurons.
"""

import numpy as np
from jaxtyping import Float

from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import (
    ComputedQuestion,
    ExplanationQuestion,
    Question,
    Score,
)
from jaxmi.methods.side_by_side.common import halves, judged_pairs, mean_over_variables, share
from jaxmi.methods.side_by_side.probe import fit_probe, probe
from jaxmi.planted.key import NEURONS

LEAST_WEIGHT = 0.05
LEAST_READ = 0.1


def read_in(network: NetworkView, question: Question) -> Score:
    """Return the share of strict pairs right when the group, or what it reads, is patched."""
    if isinstance(question, ExplanationQuestion):
        return mean_over_variables(_share, network, question)
    if isinstance(question, ComputedQuestion):
        return _share(network, question)
    return probe(network, question)


def _share(network: NetworkView, question: ComputedQuestion) -> float:
    neurons, here = network.activations[NEURONS], network.activations[question.site]
    learn, judge = halves(len(here), question.seed)
    weight = np.abs(fit_probe(network, NEURONS, question, learn).weights) * neurons[learn].std(
        axis=0
    )
    group = weight >= LEAST_WEIGHT * weight.max()
    pairs = judged_pairs(question, judge)
    own, change = here[pairs.bases], here[pairs.sources] - here[pairs.bases]
    if question.site == NEURONS:
        values = own + change * group
    else:
        basis = _read(network.mlp.w_in[:, group])
        values = own + change @ basis.T @ basis
    return share((network.resume(question.site, pairs.bases, values) > 0) == pairs.labels)


def _read(weights: Float[np.ndarray, "d_model k"]) -> Float[np.ndarray, "r d_model"]:
    """Return orthonormal directions that neurons read, but for those that they hardly read."""
    unit = weights / np.maximum(np.linalg.norm(weights, axis=0), 1e-12)
    directions, sizes, _ = np.linalg.svd(unit, full_matrices=False)
    return directions[:, sizes >= LEAST_READ * sizes[0]].T
