"""Scores of submitted labels: agreement with the truth and a network, and where they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Int, Integer

from jaxmi import notebook
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError

Labels = Int[np.ndarray, "_"]
"""One label per input."""


@dataclass(frozen=True, eq=False, repr=False)
class Score:
    """Submitted labels, the true ones and a network's. Shares are in 0..1, None if unknown."""

    submitted: Labels
    """The submission's label of each input."""

    truth: Labels | None
    """The labelling program's; None while a challenge is sealed."""

    network: Labels | None
    """The network's; None if the submission is not compared with one."""

    splits: Mapping[str, Labels]
    """Split name -> its rows."""

    stated: Mapping[str, int] = field(default_factory=dict)
    """For a sealed challenge: split name, or "domain" -> the stated number of inputs that its
    network labels correctly, which is also the agreement of the sealed program with the network."""

    def __post_init__(self) -> None:
        """Check that there is something to compare with.

        Raises:
          InputError: if there is not, or the numbers of labels differ.
        """
        if self.truth is None and self.network is None:
            raise InputError("neither the true labels nor a network's are known")
        for other in (self.truth, self.network):
            if other is not None and other.shape != self.submitted.shape:
                raise InputError(f"{len(self.submitted)} labels submitted, expected {len(other)}")

    def metrics(self) -> dict[str, Any]:
        """Return every metric by name, as JSON types."""
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
        """Number of inputs with the network's label, in each split and in the "domain"."""
        if self.network is None:
            return None
        same = self.submitted == self.network
        counts = {name: int(same[rows].sum()) for name, rows in self.splits.items()}
        return {**counts, "domain": int(same.sum())}

    @property
    def as_stated(self) -> bool | None:
        """Whether it agrees with the network as often as the sealed program, in every split.

        None if the challenge is not sealed.
        """
        if not self.stated or self.agreements is None:
            return None
        return all(self.agreements[name] == count for name, count in self.stated.items())

    @property
    def network_truth(self) -> float | None:
        """Share of inputs that the network labels correctly, as counted or as stated."""
        if self.network is not None and self.truth is not None:
            return _share(self.network, self.truth)
        return self.stated["domain"] / len(self.submitted) if "domain" in self.stated else None

    @property
    def network_mistakes(self) -> int | None:
        """Number of inputs that the network labels wrongly, as counted or as stated."""
        if self.network_truth is None:
            return None
        return round((1 - self.network_truth) * len(self.submitted))

    @property
    def agreement_mistakes(self) -> float | None:
        """Share of the network's mistakes that the submission makes, too."""
        if self.truth is None or self.network is None:
            return None
        wrong = self.network != self.truth
        return _share(self.submitted[wrong], self.network[wrong])

    @property
    def verdict(self) -> str:
        """The conclusion about the submission, in a line."""
        n = len(self.submitted)
        if self.truth is None:
            return self._sealed_verdict()
        wrong = int((self.submitted != self.truth).sum())
        if not wrong:
            return f"Every label is correct: all {n:,}."
        verdict = f"Not the labelling function: {wrong:,} of {n:,} labels are wrong"
        if self.network is None:
            return f"{verdict}."
        network_wrong = int((self.network != self.truth).sum())
        verdict += f"; the network has {network_wrong:,} wrong."
        if (self.submitted != self.network).sum() < network_wrong:
            verdict += " It is closer to the network than the labelling function is."
        return verdict

    def __repr__(self) -> str:
        """Return the verdict."""
        return f"Score({self.verdict!r})"

    def _repr_html_(self) -> str:
        shares = {key: v for key, v in self.metrics().items() if isinstance(v, float)}
        return notebook.table(self.verdict, shares)

    def _sealed_verdict(self) -> str:
        """Return the conclusion while the true labels are unknown."""
        assert self.agreements is not None
        splits = [name for name in self.splits if name in self.stated]
        if not splits:
            share = _share(self.submitted, self.network)
            return f"It agrees with the network on {share:.2%} of the inputs."
        sizes = {name: len(self.splits[name]) for name in splits}
        counts = _join([f"{self.agreements[name]:,} of {sizes[name]:,} {name}" for name in splits])
        if self.as_stated:
            return (
                f"This may be the sealed program: it agrees with the network on {counts} inputs, "
                "the same numbers as the sealed program."
            )
        stated = _join([f"{self.stated[name]:,}" for name in splits])
        return (
            f"Not the sealed program: it agrees with the network on {counts} inputs; the sealed "
            f"program agrees on {stated}."
        )

    def _by_split(self, name: str, others: Labels | None) -> dict[str, float | None]:
        return {
            f"{name}_{split}": None
            if others is None
            else _share(self.submitted[rows], others[rows])
            for split, rows in self.splits.items()
        }


def _share(labels: Labels, others: Labels | None) -> float | None:
    """Return the share of labels that agree; None if there are no labels to compare."""
    if others is None or not len(labels):
        return None
    return float((labels == others).mean())


def _join(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


class Region(NamedTuple):
    """Inputs on which two labellings differ."""

    name: str
    """Where the region is, in words."""
    differing: int
    """Number of inputs that differ there."""
    label1: int
    """Number of these to which the submission gives label 1."""


def grid_regions(
    differs: Bool[np.ndarray, "..."],
    submitted: Int[np.ndarray, "..."],
    axes: Sequence[str] = ("x", "y"),
) -> list[Region]:
    """Return the connected regions of pairs or triples that differ, largest first.

    Pairs are connected to their eight neighbours, triples to their 26.

    Args:
      differs: Where the labellings differ, one axis per operand, row = x.
      submitted: The submission's labels.
      axes: The operands' names.
    """
    region_of = np.empty(differs.shape, np.int32)
    scipy.ndimage.label(differs, structure=np.ones((3,) * differs.ndim), output=region_of)
    regions = []
    for i, box in enumerate(scipy.ndimage.find_objects(region_of), start=1):
        inside = region_of[box] == i
        label1 = int((submitted[box][inside] == 1).sum())
        name = ", ".join(_interval(axis, side) for axis, side in zip(axes, box, strict=True))
        regions.append(Region(name, int(inside.sum()), label1))
    return sorted(regions, key=lambda region: -region.differing)


def digit_regions(
    differs: Bool[np.ndarray, "n"],
    submitted: Int[np.ndarray, "n"],
    digits: Integer[np.ndarray, "n"],
) -> list[Region]:
    """Return the images that differ, grouped by the digit that they show, most first."""
    regions = []
    for digit in np.unique(digits[differs]):
        inside = differs & (digits == digit)
        name = f"images of a {digit} ({int((digits == digit).sum()):,} of them)"
        regions.append(Region(name, int(inside.sum()), int((submitted[inside] == 1).sum())))
    return sorted(regions, key=lambda region: -region.differing)


def _interval(name: str, positions: slice) -> str:
    first, last = positions.start, positions.stop - 1
    return f"{name} = {first}" if first == last else f"{name} = {first}..{last}"


@dataclass(frozen=True, eq=False)
class Reference:
    """What submissions to a challenge are compared with."""

    challenge: Challenge
    """Its inputs and splits. While it is sealed, its labels are those of another program."""

    truth: Int[np.ndarray, "n"] | None
    """The true labels; None while the challenge is sealed."""

    network: Int[np.ndarray, "n"] | None
    """A network's labels; None to compare with none."""

    stated: Mapping[str, int] = field(default_factory=dict)
    """For a sealed challenge: as in `Score`."""

    def score(self, submitted: Int[np.ndarray, "m"], rows: slice = slice(None)) -> Score:
        """Score labels of the whole domain, or of some rows.

        Raises:
          InputError: as `Score`.
        """
        everything = np.arange(len(self.challenge.inputs))
        chosen = everything[rows]
        is_all = len(chosen) == len(everything)
        splits = {
            name: split if is_all else np.flatnonzero(np.isin(chosen, split))
            for name, split in self.challenge.splits.items()
        }
        complete = {name: len(splits[name]) == len(s) for name, s in self.challenge.splits.items()}
        complete["domain"] = is_all
        return Score(
            submitted,
            None if self.truth is None else self.truth[rows],
            None if self.network is None else self.network[rows],
            splits,
            {name: count for name, count in self.stated.items() if complete[name]},
        )

    def differences(self, score: Score, rows: slice = slice(None)) -> dict[str, list[Region]]:
        """Return where submitted labels differ: from the "truth", and from the "network".

        Args:
          score: The score of the labels.
          rows: Which of the domain's inputs they label.
        """
        challenge, regions = self.challenge, {}
        for name, others in (("truth", score.truth), ("network", score.network)):
            if others is None:
                continue
            differs = score.submitted != others
            if challenge.grid is not None:
                tables = challenge.as_table(differs), challenge.as_table(score.submitted)
                regions[name] = grid_regions(*tables, challenge.axes)
            elif challenge.digits is not None:
                regions[name] = digit_regions(differs, score.submitted, challenge.digits[rows])
        return regions
