"""How well submitted labels agree: with the truth, with a network, and with its mistakes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from jaxmi.errors import InputError

Labels = Int[np.ndarray, "_"]


@dataclass(frozen=True, eq=False)
class Score:
    """Submitted labels beside those they are judged by. Shares are in 0..1, None where unknown."""

    submitted: Labels
    """The submission's label of each input."""

    truth: Labels | None
    """The labelling program's; None while a challenge is sealed."""

    network: Labels | None
    """The network's; None if no network is judged."""

    splits: Mapping[str, Int[np.ndarray, "_"]]
    """Split name -> its rows."""

    stated: float | None = None
    """Share of the domain on which the network of a sealed challenge is said to be right."""

    def __post_init__(self) -> None:
        """Checks that there is something to judge by.

        Raises:
          InputError: if there is not, or the labels are of another domain.
        """
        if self.truth is None and self.network is None:
            raise InputError("neither the true labels nor a network's are known")
        for other in (self.truth, self.network):
            if other is not None and other.shape != self.submitted.shape:
                raise InputError(f"{len(self.submitted)} labels submitted, expected {len(other)}")

    @property
    def agreement_truth(self) -> float | None:
        """Share of all inputs with the true label."""
        return _agreement(self.submitted, self.truth)

    @property
    def agreement_network(self) -> float | None:
        """Share of all inputs with the network's label."""
        return _agreement(self.submitted, self.network)

    @property
    def network_truth(self) -> float | None:
        """Share of all inputs to which the network gives the true label, or is said to."""
        return self.stated if self.truth is None else _agreement(self.network, self.truth)

    @cached_property
    def mistakes(self) -> Int[np.ndarray, "_"] | None:
        """Rows to which the network gives a wrong label."""
        if self.truth is None or self.network is None:
            return None
        return np.flatnonzero(self.network != self.truth)

    @property
    def agreement_mistakes(self) -> float | None:
        """Share of the network's mistakes that the submission makes too."""
        if self.mistakes is None or self.network is None or not len(self.mistakes):
            return None
        return _agreement(self.submitted[self.mistakes], self.network[self.mistakes])

    def figures(self) -> dict[str, int | float | None]:
        """Returns every figure by name; of each split, the agreement with the true labels."""
        truth = self.truth
        return {
            "agreement_truth": self.agreement_truth,
            **{
                f"agreement_{name}": None
                if truth is None
                else _agreement(self.submitted[rows], truth[rows])
                for name, rows in self.splits.items()
            },
            "agreement_network": self.agreement_network,
            "network_truth": self.network_truth,
            "network_mistakes": None if self.mistakes is None else len(self.mistakes),
            "agreement_mistakes": self.agreement_mistakes,
            "label1_share": float((self.submitted == 1).mean()),
        }

    @property
    def verdict(self) -> str:
        """What this says of the submission, in a line."""
        n = len(self.submitted)
        if self.truth is None:
            return _sealed_verdict(self.agreement_network, self.stated)
        wrong = int((self.submitted != self.truth).sum())
        if not wrong:
            return f"Every label is the true one: all {n:,}."
        verdict = f"Not the labelling function: {wrong:,} of {n:,} labels are wrong"
        if self.network is None:
            return f"{verdict}."
        theirs = int((self.network != self.truth).sum())
        verdict += f", {theirs:,} of the network's are."
        if (self.submitted != self.network).sum() < theirs:
            verdict += " It is closer to the network than the labelling function is."
        return verdict


def _sealed_verdict(close: float | None, stated: float | None) -> str:
    """While the true labels are unknown, what agreement with the network says of a program.

    The true program agrees with the network on exactly the stated share of the domain.
    """
    if close is None or stated is None:
        return "Nothing is known to judge it by."
    if close == stated:
        return f"It gives {close:.2%} of the network's labels, as the sealed program does exactly."
    than = "more" if close > stated else "fewer"
    return (
        f"Not the sealed program itself: it gives {close:.2%} of the network's labels, {than} than "
        f"that one's {stated:.2%}."
    )


def _agreement(labels: Labels | None, others: Labels | None) -> float | None:
    if labels is None or others is None or not len(labels):
        return None
    return float((labels == others).mean())
