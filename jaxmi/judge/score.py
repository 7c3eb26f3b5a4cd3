"""How well submitted labels agree: with the truth, with a network, and with its mistakes.

Where two labellings differ, in words: connected regions of pairs, or digits.

What submissions to a challenge are judged by: its labels, as far as known, and a network's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Int, Integer

from jaxmi import notebook
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError


class Region(NamedTuple):
    """Inputs on which two labellings differ."""

    name: str
    """Where it is."""
    differing: int
    """How many inputs differ there."""
    label1: int
    """To how many of them the submission gives label 1."""


def pair_regions(
    differs: Bool[np.ndarray, "p p"], submitted: Int[np.ndarray, "p p"]
) -> list[Region]:
    """Finds regions of pairs that hang together, neighbours by a corner included, largest first.

    Args:
      differs: Where the labellings differ, row = x.
      submitted: The submission's labels.
    """
    numbered = np.empty(differs.shape, np.int32)
    scipy.ndimage.label(differs, structure=np.ones((3, 3)), output=numbered)
    found = []
    for i, (xs, ys) in enumerate(scipy.ndimage.find_objects(numbered), start=1):
        inside = numbered[xs, ys] == i
        ones = int((submitted[xs, ys][inside] == 1).sum())
        found.append(Region(f"{_span('x', xs)}, {_span('y', ys)}", int(inside.sum()), ones))
    return sorted(found, key=lambda region: -region.differing)


def digit_regions(
    differs: Bool[np.ndarray, "n"],
    submitted: Int[np.ndarray, "n"],
    digits: Integer[np.ndarray, "n"],
) -> list[Region]:
    """Sorts the images that differ by the digit that they show, most first."""
    found = []
    for digit in np.unique(digits[differs]):
        inside = differs & (digits == digit)
        name = f"images of a {digit} ({int((digits == digit).sum()):,} of them)"
        found.append(Region(name, int(inside.sum()), int((submitted[inside] == 1).sum())))
    return sorted(found, key=lambda region: -region.differing)


def _span(name: str, positions: slice) -> str:
    first, last = positions.start, positions.stop - 1
    return f"{name} = {first}" if first == last else f"{name} = {first}..{last}"


Labels = Int[np.ndarray, "_"]


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        """Return the verdict."""
        return f"Score({self.verdict!r})"

    def _repr_html_(self) -> str:
        shares = {key: v for key, v in self.figures().items() if isinstance(v, float)}
        return notebook.table(self.verdict, shares)

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


@dataclass(frozen=True, eq=False)
class Reference:
    """A challenge as a judge sees it."""

    challenge: Challenge
    """Its inputs and splits; of a sealed challenge, its labels are another program's."""

    truth: Int[np.ndarray, "n"] | None
    """The true labels; None while the challenge is sealed."""

    network: Int[np.ndarray, "n"] | None
    """The labels of the network that is judged; None if none is."""

    stated: Mapping[str, int] = field(default_factory=dict)
    """Of a sealed challenge: as in `Score`."""

    def score(self, submitted: Int[np.ndarray, "m"], rows: slice = slice(None)) -> Score:
        """Judges labels of the whole domain, or of some rows.

        Raises:
          InputError: as `Score`.
        """
        everything = np.arange(len(self.challenge.inputs))
        chosen = everything[rows]
        splits = {
            name: np.flatnonzero(np.isin(chosen, of)) if len(chosen) < len(everything) else of
            for name, of in self.challenge.splits.items()
        }
        whole = {name: len(splits[name]) == len(of) for name, of in self.challenge.splits.items()}
        whole["domain"] = len(chosen) == len(everything)
        return Score(
            submitted,
            None if self.truth is None else self.truth[rows],
            None if self.network is None else self.network[rows],
            splits,
            {name: count for name, count in self.stated.items() if whole[name]},
        )

    def differences(self, score: Score, rows: slice = slice(None)) -> dict[str, list[Region]]:
        """Says where submitted labels differ: from the "truth", and from the "network"."""
        found = {}
        for name, others in (("truth", score.truth), ("network", score.network)):
            if others is None:
                continue
            differs = score.submitted != others
            as_table, digits = self.challenge.as_table, self.challenge.digits
            if self.challenge.grid is not None:
                found[name] = pair_regions(as_table(differs), as_table(score.submitted))
            elif digits is not None:
                found[name] = digit_regions(differs, score.submitted, digits[rows])
        return found
