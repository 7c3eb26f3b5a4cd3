"""Distributed alignment search: a subspace is learned whose exchange acts as the variable's.

After Geiger et al., "Finding alignments between interpretable causal variables and distributed
neural representations" (2024), by `jaxmi.mechanism.interchange`: four dimensions before the MLP,
one direction of the neurons, the best of four starts. `alignment` starts at random, as published;
`alignment_sets` also looks for a set of neurons, and starts from what these read, as
`jaxmi explain --variables` does (docs/variables.md).

- Is it computed? The share of strict pairs, held out, that get the label that the variable's
  exchange gives.
- Which neurons? The magnitude of a neuron's weight in the direction that is learned at the neurons,
  times the standard deviation of its activation.
- Which explanation? The mean share over its variables at the neurons.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from jaxmi.mechanism.interchange import KINDS, TO_LEARN, Neurons, Site, sites_of
from jaxmi.methods.network import SITES, NetworkView
from jaxmi.methods.questions import (
    Asked,
    ComputedQuestion,
    NeuronsQuestion,
    Question,
    Score,
)
from jaxmi.methods.side_by_side.common import answered, halves, judged_pairs, share
from jaxmi.planted.key import NEURONS


def alignment(network: NetworkView, question: Question) -> Score:
    """Return the share of strict pairs right in the learned subspace, or neurons' weights."""
    return _answer(network, question, sets=False)


def alignment_sets(network: NetworkView, question: Question) -> Score:
    """Return the same with sets of neurons."""
    return _answer(network, question, sets=True)


def _answer(network: NetworkView, question: Question, sets: bool) -> Score:
    def right(network: NetworkView, question: ComputedQuestion) -> float:
        site = _site(network, question.site, sets)
        learn, judge = halves(len(question.own), question.seed)
        basis = _learned(site, question, learn, question.seed)
        if basis is None:
            return 0.0
        pairs = judged_pairs(question, judge)
        return share((site.difference(basis, pairs) > 0) == pairs.labels)

    def weights(network: NetworkView, question: NeuronsQuestion) -> Float[np.ndarray, "neuron"]:
        site = _site(network, NEURONS, sets)
        assert isinstance(site, Neurons)
        basis = _learned(site, question, np.arange(len(question.own)), question.seed)
        if basis is None:
            return np.zeros(len(question.candidates))
        return np.abs(basis[:, 0]) * site.neurons.std(axis=0)

    return answered(network, question, right, weights)


def _site(network: NetworkView, name: str, sets: bool) -> Site:
    site = sites_of(network.source)[SITES.index(name)]
    return site if sets else replace(site, sets=None)


def _learned(site: Site, asked: Asked, rows: Int[np.ndarray, "k"], seed: int) -> np.ndarray | None:
    """Return the basis that is learned on some inputs; None if they have no strict pairs."""
    rng = np.random.default_rng(seed)
    pairs = asked.pairs(TO_LEARN, rng, rows)
    if not pairs.counts[KINDS.index("strict")]:
        return None
    # In all always the same number: one compilation.
    (basis,) = site.learn([pairs.evened(len(KINDS) * TO_LEARN, rng)], seed)
    return basis
