"""What several methods need: means over an explanation's variables, the share of pairs right."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.mechanism.interchange import Pairs
from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import Asked, ComputedQuestion, ExplanationQuestion
from jaxmi.planted.key import NEURONS

JUDGED = 1_000
"""Most strict pairs that a method judges on."""


def mean_over_variables(
    method: Callable[[NetworkView, ComputedQuestion], float],
    network: NetworkView,
    question: ExplanationQuestion,
) -> float:
    """Return the mean score of an explanation's variables, each asked about at the neurons."""
    return float(np.mean([method(network, part) for part in question.parts(NEURONS)]))


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
