"""Patching along read-in weights: what the neurons read that a probe finds the variable in.

A composition of the methods beside it, for variables in directions of low variance, which a probe
of the residual stream mixes with others. A linear probe at the neurons weighs each; those of a
weight of at least `LEAST_WEIGHT` of the largest, in units of their standard deviations, are the
group.

- Is it computed? Before the MLP the directions that the group reads are patched, but for those that
  it reads less than `LEAST_READ` as strongly; at the neurons the probe's direction. The share of
  strict pairs, held out, that get the label that the variable's exchange gives.
- Which neurons? The magnitude of the probe's weight: as the probe.
- Which explanation? The mean share over its variables at the neurons.
"""

import numpy as np
from jaxtyping import Float

from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import ComputedQuestion, NeuronsQuestion, Question, Score
from jaxmi.methods.side_by_side.common import halves, judged_pairs, share
from jaxmi.methods.side_by_side.patching import patching_probe
from jaxmi.methods.side_by_side.probe import fit_probe, probe
from jaxmi.planted.key import BEFORE_MLP, NEURONS

LEAST_WEIGHT, LEAST_READ = 0.1, 0.1
"""Of 0.02, 0.05 and 0.1, and of 0.1 and 0.3, chosen on six of the choosing seeds."""


def read_in(network: NetworkView, question: Question) -> Score:
    """Return the share of strict pairs right when what a probe's neurons read is patched."""
    if isinstance(question, ComputedQuestion) and question.site == BEFORE_MLP:
        return _share(network, question)
    if isinstance(question, NeuronsQuestion):
        return probe(network, question)
    return patching_probe(network, question)


def _share(network: NetworkView, question: ComputedQuestion) -> float:
    neurons, stream = network.activations[NEURONS], network.activations[BEFORE_MLP]
    learn, judge = halves(len(stream), question.seed)
    weights = fit_probe(network, NEURONS, question, learn).weights
    weight = np.abs(weights) * neurons[learn].std(axis=0)
    basis = _read(network.mlp.w_in[:, weight >= LEAST_WEIGHT * weight.max()])
    pairs = judged_pairs(question, judge)
    change = stream[pairs.sources] - stream[pairs.bases]
    values = stream[pairs.bases] + change @ basis.T @ basis
    return share((network.resume(BEFORE_MLP, pairs.bases, values) > 0) == pairs.labels)


def _read(weights: Float[np.ndarray, "d_model k"]) -> Float[np.ndarray, "r d_model"]:
    """Return orthonormal directions that neurons read, but for those that they hardly read."""
    unit = weights / np.maximum(np.linalg.norm(weights, axis=0), 1e-12)
    directions, sizes, _ = np.linalg.svd(unit, full_matrices=False)
    return directions[:, sizes >= LEAST_READ * sizes[0]].T
