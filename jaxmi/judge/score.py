"""How well submitted labels agree: with the truth, with a network, and with its mistakes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

    splits: Mapping[str, Labels]
    """Split name -> its rows."""

    stated: Mapping[str, int] = field(default_factory=dict)
    """Of a sealed challenge: split name, or "domain" -> on how many inputs its network is said to
    be right. The sealed program agrees with the network on exactly so many."""

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

    def figures(self) -> dict[str, Any]:
        """Returns every figure by name, as JSON types."""
        return {
            "agreement_truth": _share(self.submitted, self.truth),
            **self._by_split("agreement", self.truth),
            "agreement_network": _share(self.submitted, self.network),
            **self._by_split("agreement_network", self.network),
            "network_truth": self.network_truth,
            "network_mistakes": self.network_mistakes,
            "agreement_mistakes": self.agreement_mistakes,
            "agrees_with_network_on": self.agreements,
            "sealed_program_does_on": dict(self.stated) or None,
            "label1_share": float((self.submitted == 1).mean()),
        }

    @property
    def agreements(self) -> dict[str, int] | None:
        """On how many inputs of each split, and of the "domain", it agrees with the network."""
        if self.network is None:
            return None
        same = self.submitted == self.network
        counts = {name: int(same[rows].sum()) for name, rows in self.splits.items()}
        return {**counts, "domain": int(same.sum())}

    @property
    def as_stated(self) -> bool | None:
        """Whether it agrees with the network as often as the sealed program does, in every split.

        None if the challenge is not sealed.
        """
        if not self.stated or self.agreements is None:
            return None
        return all(self.agreements[name] == count for name, count in self.stated.items())

    @property
    def network_truth(self) -> float | None:
        """Share of inputs to which the network gives the true label, or is said to."""
        if self.network is not None and self.truth is not None:
            return _share(self.network, self.truth)
        return self.stated["domain"] / len(self.submitted) if "domain" in self.stated else None

    @property
    def network_mistakes(self) -> int | None:
        """How many inputs the network gives a wrong label, or is said to."""
        if self.network_truth is None:
            return None
        return round((1 - self.network_truth) * len(self.submitted))

    @property
    def agreement_mistakes(self) -> float | None:
        """Share of the network's mistakes that the submission makes too."""
        if self.truth is None or self.network is None:
            return None
        wrong = self.network != self.truth
        return _share(self.submitted[wrong], self.network[wrong])

    @property
    def verdict(self) -> str:
        """What this says of the submission, in a line."""
        n = len(self.submitted)
        if self.truth is None:
            return self._sealed_verdict()
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

    def _sealed_verdict(self) -> str:
        """While the true labels are unknown: does it agree as often as the sealed program does?"""
        assert self.agreements is not None
        splits = [name for name in self.splits if name in self.stated]
        if not splits:
            return f"It gives {_share(self.submitted, self.network):.2%} of the network's labels."
        sizes = {name: len(self.splits[name]) for name in splits}
        found = [f"{self.agreements[name]:,} of {sizes[name]:,} {name}" for name in splits]
        if self.as_stated:
            return (
                f"This may be the sealed program: it agrees with the network on {_and(found)} "
                "inputs, as that does."
            )
        stated = [f"{self.stated[name]:,}" for name in splits]
        return (
            f"Not the sealed program: it agrees with the network on {_and(found)} inputs, the "
            f"sealed program on {_and(stated)}."
        )

    def _by_split(self, name: str, others: Labels | None) -> dict[str, float | None]:
        return {
            f"{name}_{split}": None
            if others is None
            else _share(self.submitted[rows], others[rows])
            for split, rows in self.splits.items()
        }


def _share(labels: Labels, others: Labels | None) -> float | None:
    """Share of labels that agree; None of none."""
    if others is None or not len(labels):
        return None
    return float((labels == others).mean())


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
