"""Helpers of several methods: answers by kind of question, the share of pairs right."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.mechanism.interchange import Pairs
from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import (
    Asked,
    ComputedQuestion,
    ExplanationQuestion,
    NeuronsQuestion,
    Question,
    Score,
)
from jaxmi.planted.key import NEURONS

JUDGED = 1_000
"""Most strict pairs that a method judges on."""


def answered(
    network: NetworkView,
    question: Question,
    computed: Callable[[NetworkView, ComputedQuestion], float],
    neurons: Callable[[NetworkView, NeuronsQuestion], Float[np.ndarray, "neuron"]] | None,
) -> Score:
    """Return a method's answer to a question of any kind.

    Args:
      network: The network.
      question: The question.
      computed: Answers whether a variable is computed at a site. Of an explanation it is the mean
        over its variables, each asked about at the neurons.
      neurons: Answers which neurons carry a variable; None if the method does not say.
    """
    if isinstance(question, ExplanationQuestion):
        return float(np.mean([computed(network, part) for part in question.parts(NEURONS)]))
    if isinstance(question, ComputedQuestion):
        return computed(network, question)
    assert isinstance(question, NeuronsQuestion)
    return None if neurons is None else neurons(network, question)


def halves(n: int, seed: int) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "m"]]:
    """Divide n inputs at random: to learn on, and to judge on."""
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def judged_pairs(question: ComputedQuestion, judge: Int[np.ndarray, "m"]) -> Pairs:
    """Draw the strict pairs that a question is judged on."""
    return question.strict(JUDGED, np.random.default_rng([question.seed, 1]), judge)


def share(right: Bool[np.ndarray, "m"]) -> float:
    """Return the share that is right; 0 of none."""
    return float(right.mean()) if len(right) else 0.0


def share_of_additive(network: NetworkView, pairs: Pairs, effect: Float[np.ndarray, "n"]) -> float:
    """Return the share of pairs that get their label if an effect on the logits is exchanged.

    Args:
      network: The network.
      pairs: Bases, sources, and the label that the variable's exchange gives.
      effect: What the variable adds to the logit difference of each input.
    """
    change = effect[pairs.sources] - effect[pairs.bases]
    return share((network.difference[pairs.bases] + change > 0) == pairs.labels)


def between_values(
    numbers: Float[np.ndarray, "n d"], asked: Asked
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d"]]:
    """Return the variance of numbers, and the part of it that is between a variable's values."""
    centred = numbers - numbers.mean(axis=0)
    n_values = len(asked.variable.counterfactual)
    counts = np.bincount(asked.values, minlength=n_values)
    sums = np.stack([np.bincount(asked.values, column, n_values) for column in centred.T], axis=1)
    between = (sums**2 / np.maximum(counts, 1)[:, None]).sum(axis=0) / len(numbers)
    return centred.var(axis=0), between
