"""Two periodic features at once: scored for all pairs, by matrix products.

Features of pairs, judged with a free label for each combination of their values.

No accumulator is needed for this: whatever program made the labels, if it looks at nothing but
these features, each combination has one label.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.recovery.pairs import accelerator
from jaxmi.recovery.pairs.boundaries import Axis, Family

BOUNDARY_NATS = 11.0
"""What a boundary costs: which family, a threshold of two digits, a weight."""

WAVE_NATS = 10.0
"""What a periodic feature costs."""

CELL_NATS = 0.35
"""What a free label costs: an accumulator of few numbers decides them all, so less than a bit."""


class Boundary(NamedTuple):
    """The pairs up to a place in a family's order."""

    family: Family
    end: int
    """The last place before the boundary."""

    @property
    def before(self) -> Bool[np.ndarray, "n"]:
        """Says which pairs lie before it."""
        return self.family.rank <= self.end


@dataclass(frozen=True)
class Periodic:
    """One of an axis's features; without an index, its values as they are: a label for each."""

    axis: Axis
    index: int | None

    @property
    def values(self) -> Int[np.ndarray, "n"]:
        """Returns each pair's residue, or its value."""
        if self.index is None:
            return self.axis.values
        return self.axis.residues[self.index][self.axis.values]

    @property
    def count(self) -> int:
        """Says how many values there are."""
        return self.axis.count if self.index is None else self.axis.waves[self.index].modulus


@dataclass(frozen=True)
class Features:
    """What a program might look at."""

    boundaries: tuple[Boundary, ...] = ()
    periodic: tuple[Periodic, ...] = ()

    def groups(self, n: int) -> Int[np.ndarray, "n"]:
        """Numbers each pair by the values of all features."""
        groups = np.zeros(n, np.int64)
        for feature in self.periodic:
            groups = groups * feature.count + feature.values
        for boundary in self.boundaries:
            groups = groups * 2 + boundary.before
        return groups

    @property
    def nats(self) -> float:
        """What the features cost, without their labels."""
        return BOUNDARY_NATS * len(self.boundaries) + WAVE_NATS * len(self.periodic)

    def without(self, feature: Boundary | Periodic) -> "Features":
        """Leaves one out."""
        if isinstance(feature, Boundary):
            return replace(self, boundaries=tuple(b for b in self.boundaries if b is not feature))
        return replace(self, periodic=tuple(w for w in self.periodic if w is not feature))

    def __iter__(self) -> Iterator[Boundary | Periodic]:
        """Yields all features."""
        yield from self.boundaries
        yield from self.periodic


def table_cost(features: Features, signed: Float[np.ndarray, "n"]) -> float:
    """Says what the answers cost given features: contradicted answers, labels, features; in nats.

    Args:
      features: Which.
      signed: Each answer's worth, positive if it is 1.
    """
    groups = _dense(features.groups(len(signed)))
    margin = np.abs(np.bincount(groups, signed)).sum()
    wrong = (np.abs(signed).sum() - margin) / 2
    return float(wrong + CELL_NATS * (groups.max() + 1) + features.nats)


def best_boundaries(
    groups: Int[np.ndarray, "n"], signed: Float[np.ndarray, "n"], families: tuple[Family, ...]
) -> list[tuple[float, Boundary]]:
    """Finds the best boundary of each family, given groups of pairs that it would divide.

    One sweep in a family's order tells the gain of all its thresholds.

    Returns:
      For each family the margin that its best boundary adds, and the boundary; best first.
    """
    groups = _dense(groups)
    sweep = accelerator.sweep_families if accelerator.is_there() else sweep_families
    margins, ends = sweep(groups, signed, families)
    found = [
        (float(margin), Boundary(family, int(end)))
        for margin, family, end in zip(margins, families, ends, strict=True)
    ]
    return sorted(found, key=lambda one: -one[0])


def sweep_families(
    groups: Int[np.ndarray, "n"], signed: Float[np.ndarray, "n"], families: Sequence[Family]
) -> tuple[Float[np.ndarray, "families"], Int[np.ndarray, "families"]]:
    """Goes through each family's order once.

    Args:
      groups: What its boundaries would divide, numbered from 0 without gaps.
      signed: Each answer's worth, positive if it is 1.
      families: Of boundaries.

    Returns:
      The most margin that one of its boundaries adds, and the last place before that boundary.
    """
    groups = groups.astype(np.int16)
    total = np.bincount(groups, signed)
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    margins, ends = np.zeros(len(families)), np.zeros(len(families), np.int64)
    for i, family in enumerate(families):
        in_order = groups[family.order]
        places = np.argsort(in_order, kind="stable")  # by group, in it by score
        sorted_groups = in_order[places]
        sums = np.cumsum(signed[family.order[places]])
        before = sums - np.append(0.0, sums)[starts][sorted_groups]
        margin = np.abs(before) + np.abs(total[sorted_groups] - before)
        gain = np.diff(margin, prepend=0.0)
        gain[starts] = margin[starts] - np.abs(total)
        in_turn = np.empty_like(gain)
        in_turn[places] = gain
        added = np.where(family.ends, np.cumsum(in_turn), 0.0)
        ends[i] = added.argmax()
        margins[i] = added[ends[i]]
    return margins, ends


def best_periodic(
    groups: Int[np.ndarray, "n"], signed: Float[np.ndarray, "n"], axis: Axis
) -> Float[np.ndarray, "waves"]:
    """Says what margin each feature of an axis leaves, less what its labels cost (two nats each).

    Args:
      groups: Which it would divide.
      signed: Each answer's worth, positive if it is 1.
      axis: Whose features are tried, all by one matrix product.
    """
    groups = _dense(groups)
    width = int(groups.max()) + 1
    table = np.bincount(axis.values * width + groups, signed, axis.count * width)
    table = table.reshape(axis.count, width).astype(np.float32)
    if accelerator.is_there():
        one = np.ones((1, 1), np.float32)
        sums = accelerator.absolute_products(axis.members, table.T[:, :, None], one)[:, 0]
    else:
        sums = np.abs(axis.members @ table).sum(axis=1)
    per_row = sums - 2 * CELL_NATS * width
    return np.add.reduceat(per_row, axis.rows)


def _dense(groups: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Numbers groups from 0 without gaps."""
    used = np.zeros(int(groups.max()) + 1, np.int64)
    used[groups] = 1
    return (np.cumsum(used) - 1)[groups]


def best_pairs(
    groups: Int[np.ndarray, "n"],
    signed: Float[np.ndarray, "n"],
    axes: tuple[Axis, ...],
    top: int,
) -> list[tuple[Periodic, Periodic]]:
    """Finds pairs of periodic features that, with groups, tell most of the answers.

    Args:
      groups: Which the features would divide, numbered from 0; few.
      signed: Each answer's worth, positive if it is 1.
      axes: Whose features are tried, each with each.
      top: How many pairs; at most one for each two axes.

    Returns:
      The pairs, the best first.
    """
    found = []
    for one, other in combinations_with_replacement(axes, 2):
        margins = _margins(groups, signed, one, other)
        i, j = np.unravel_index(int(margins.argmax()), margins.shape)
        pair = Periodic(one, int(i)), Periodic(other, int(j))
        found.append((float(margins[i, j]), pair))
    found.sort(key=lambda scored: -scored[0])
    return [pair for _, pair in found[:top]]


def _margins(
    groups: Int[np.ndarray, "n"], signed: Float[np.ndarray, "n"], one: Axis, other: Axis
) -> Float[np.ndarray, "waves others"]:
    """The margin that each pair of features leaves, less what its labels cost."""
    cells = one.values * other.count + other.values
    width = int(groups.max()) + 1
    shape = (width, one.count, other.count)
    table = np.bincount(groups * (one.count * other.count) + cells, signed, int(np.prod(shape)))
    tables = table.reshape(shape).astype(np.float32)
    if accelerator.is_there():
        total = accelerator.absolute_products(one.members, tables, other.members)
    else:
        total = np.zeros((len(one.members), len(other.members)), np.float32)
        for each in tables:
            total += np.abs(one.members @ each @ other.members.T)
    total = total - 2 * CELL_NATS * width
    return np.add.reduceat(np.add.reduceat(total, one.rows, axis=0), other.rows, axis=1)
