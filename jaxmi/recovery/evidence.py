"""The input and output of a search: evidence about a network, and candidate programs.

A search sees predictions and how reliable they are, never a true label. It returns candidate
programs with their costs. All costs are in nats: a program costs its description length under a
prior, and each prediction that it contradicts costs the log-odds of that prediction being right.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs import language as lang


@dataclass(frozen=True, eq=False)
class Candidate:
    """A program that a network may have been trained on."""

    program: lang.Program

    labels: Bool[np.ndarray, "n"]
    """The program's labels, in domain order."""

    cost: int | float
    """The program's description length plus the cost of the predictions that it contradicts, in
    nats. Less is better."""


@dataclass(frozen=True, eq=False)
class Findings:
    """The result of a search."""

    candidates: tuple[Candidate, ...]
    """Candidate programs, the cheapest first."""

    scored: int
    """Number of features, thresholds or conditions that the search scored."""

    free_agreement: float | None = None
    """Agreement with the network of the best form with free linear conditions, the baseline that a
    true program exceeds. None if the search fits no free conditions."""


MARGIN_GROUPS = 6
"""Number of margin groups in each split: the half of the inputs with the largest margins, the next
quarter, and so on; the last two groups have equal sizes."""

PRIOR_ERRORS = 0.5
PRIOR_INPUTS = 25
"""Pseudo-counts: no group gets zero error."""

DISCOUNT = 0.5
"""Likelihood discount: errors are spatially correlated, in rows along boundaries."""

LEAST_COST = 0.05
"""Lower bound in nats on the cost of a contradicted prediction."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """A network's predictions on a whole domain, grouped by reliability."""

    labels: Bool[np.ndarray, "n"]
    """The network's predicted labels, in domain order."""

    groups: Int[np.ndarray, "n"]
    """Group of each input. Inputs in a group share a split and have similar logit margins, so their
    predictions are taken to be equally reliable."""

    confident: Bool[np.ndarray, "n"]
    """The half of the inputs in each split with the largest margins; all inputs if the logits are
    unknown."""

    @property
    def margins_known(self) -> bool:
        """Return True if the network's logits are known, not only its labels."""
        return not self.confident.all()

    def contradiction_rate(self, labels: Bool[np.ndarray, "n"]) -> float:
        """Return the share of the confident predictions that labels contradict.

        A network errs where its margins are small. Where they are large, a contradiction counts
        against the program.
        """
        return float((labels != self.labels)[self.confident].mean())

    def costs(self, wrong: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Return the cost of contradicting each prediction, in nats.

        Args:
          wrong: Predictions taken to be wrong for now. The share of them in a group estimates the
            error rate of the group's other predictions.
        """
        counts = np.bincount(self.groups) + PRIOR_INPUTS
        rate = (np.bincount(self.groups, wrong) + PRIOR_ERRORS) / counts
        return np.maximum(DISCOUNT * np.log(1 / rate - 1), LEAST_COST)[self.groups]

    def log_odds(self, wrong: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Return the log-odds that each label is 1: `costs`, negative where the prediction is 0.

        Args:
          wrong: As for `costs`.
        """
        costs = self.costs(wrong)
        return np.where(self.labels, costs, -costs)


def gather_evidence(
    labels: Bool[np.ndarray, "n"],
    margins: Float[np.ndarray, "n"] | None = None,
    splits: Int[np.ndarray, "n"] | None = None,
) -> Evidence:
    """Group a network's predictions by reliability.

    Args:
      labels: The network's predicted labels.
      margins: The difference between its two logits, of either sign; None if only labels are known.
      splits: Each input's split as a number. A network errs less often on inputs that it was
        trained on.
    """
    groups = np.zeros(len(labels), int) if splits is None else splits.astype(int)
    confident = np.ones(len(labels), bool)
    if margins is not None:
        ranks = _margin_ranks(np.abs(margins), groups)
        confident = ranks == MARGIN_GROUPS - 1
        groups = groups * MARGIN_GROUPS + ranks
    return Evidence(labels, np.unique(groups, return_inverse=True)[1].reshape(-1), confident)


def _margin_ranks(
    margins: Float[np.ndarray, "n"], splits: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "n"]:
    """Return each input's margin group within its split, 0 for the smallest margins.

    Group sizes halve towards small margins, where nearly all errors are.
    """
    quantiles = np.empty(len(margins))
    for split in np.unique(splits):
        rows = np.flatnonzero(splits == split)
        order = np.argsort(margins[rows], kind="stable")
        quantiles[rows[order]] = np.arange(len(rows)) / len(rows)
    return np.searchsorted(2.0 ** -np.arange(MARGIN_GROUPS - 1, 0, -1), quantiles, side="right")
