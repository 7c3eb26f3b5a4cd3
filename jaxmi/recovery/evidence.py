"""What a solver knows of a network: its answers and how sure they are, never a true label.

Programs that may be a network's, and what each costs.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs import language as lang


@dataclass(frozen=True, eq=False)
class Candidate:
    """A program that may be the one that a network was trained on."""

    program: lang.Program

    labels: Bool[np.ndarray, "n"]
    """Its own, in domain order."""

    cost: int | float
    """In nats, less is better: of the program under the prior, and of the answers that it
    contradicts."""


MARGIN_GROUPS = 6
"""Inputs are grouped by the network's margin, in each split: the half with the largest, the next
quarter, and so on; the last two are of one size."""

PRIOR_ERRORS = 0.5
PRIOR_INPUTS = 25
"""Added to what is counted in each group, so that no group is beyond doubt."""

DISCOUNT = 0.5
"""What a wrong answer counts, of what it would if mistakes were independent: they come in rows
along boundaries."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """A network's answers on a whole domain."""

    labels: Bool[np.ndarray, "n"]
    """The network's, in domain order."""

    groups: Int[np.ndarray, "n"]
    """Inputs of one group are trusted alike: one split and about one margin between the logits."""

    sure: Bool[np.ndarray, "n"]
    """The half of the inputs, of each split, at which the network is surest; all, if its logits are
    not known."""

    @property
    def margins_known(self) -> bool:
        """Says if the network's logits are known, not only its labels."""
        return not self.sure.all()

    def unexplained(self, labels: Bool[np.ndarray, "n"]) -> float:
        """Returns the share of the surest answers that labels contradict.

        A network's mistakes are where its margins are small. Elsewhere, it is a program that is
        mistaken.
        """
        return float((labels != self.labels)[self.sure].mean())

    def worth(self, wrong: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Says what it costs to contradict each answer, in nats.

        Args:
          wrong: Which answers are held to be mistakes for now; the share of them in a group tells
            how far its other answers are to be trusted.
        """
        of = np.bincount(self.groups) + PRIOR_INPUTS
        rate = (np.bincount(self.groups, wrong) + PRIOR_ERRORS) / of
        return np.maximum(DISCOUNT * np.log(1 / rate - 1), 0.05)[self.groups]


def gather_evidence(
    labels: Bool[np.ndarray, "n"],
    margins: Float[np.ndarray, "n"] | None = None,
    splits: Int[np.ndarray, "n"] | None = None,
) -> Evidence:
    """Groups a network's answers by how far they may be trusted.

    Args:
      labels: The network's.
      margins: The difference between its two logits, either sign; None if only labels are known.
      splits: Each input's split as a number: a network is right more often where it was trained.
    """
    groups = np.zeros(len(labels), int) if splits is None else splits.astype(int)
    sure = np.ones(len(labels), bool)
    if margins is not None:
        ranked = _ranked(np.abs(margins), groups)
        sure = ranked == MARGIN_GROUPS - 1
        groups = groups * MARGIN_GROUPS + ranked
    return Evidence(labels, np.unique(groups, return_inverse=True)[1].reshape(-1), sure)


def _ranked(sizes: Float[np.ndarray, "n"], groups: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Ranks each input in its group by size, in steps: half, a quarter ... and the least ones.

    Nearly all mistakes have small margins.
    """
    places = np.empty(len(sizes))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        places[rows[np.argsort(sizes[rows], kind="stable")]] = np.arange(len(rows)) / len(rows)
    return np.searchsorted(2.0 ** -np.arange(MARGIN_GROUPS - 1, 0, -1), places, side="right")
