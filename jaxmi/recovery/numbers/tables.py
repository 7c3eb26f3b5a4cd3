"""Features of numbers, scored with a free label for each combination of their values.

A table has one cell per combination of feature values and sums the log-odds of the labels in it. No
accumulator is needed: a program that depends on these features alone gives all inputs in a cell the
same label. The margin of a table is the sum of its cells' absolute values.

Functions here take the groups that features so far divide the inputs into, and score every
candidate feature that would divide them further.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.recovery.numbers import accelerator
from jaxmi.recovery.numbers.boundaries import Axis, Family

BOUNDARY_NATS = 11.0
"""Cost of a boundary in nats: its family, a threshold of two digits, a weight."""

WAVE_NATS = 10.0
"""Cost of a periodic feature in nats."""

CELL_NATS = 0.35
"""Cost of a cell's free label in nats. It is less than a bit because an accumulator with few
numbers determines the labels of all cells."""


class Boundary(NamedTuple):
    """A boundary between the inputs before it in a family's order and the rest."""

    family: Family

    end: int
    """The last position before the boundary."""

    @property
    def before(self) -> Bool[np.ndarray, "n"]:
        """True for the inputs before the boundary."""
        return self.family.rank <= self.end


@dataclass(frozen=True)
class Periodic:
    """A periodic feature of an axis, or the axis's values themselves if it has no index."""

    axis: Axis
    index: int | None

    @property
    def values(self) -> Int[np.ndarray, "n"]:
        """Each input's residue, or its value along the axis."""
        if self.index is None:
            return self.axis.values
        return self.axis.residues[self.index][self.axis.values]

    @property
    def count(self) -> int:
        """Number of different values."""
        return self.axis.count if self.index is None else self.axis.waves[self.index].modulus


@dataclass(frozen=True)
class Features:
    """The features that a program depends on."""

    boundaries: tuple[Boundary, ...] = ()
    periodic: tuple[Periodic, ...] = ()

    def groups(self, n: int) -> Int[np.ndarray, "n"]:
        """Return a number for each of n inputs, the same where all feature values are."""
        groups = np.zeros(n, np.int64)
        for feature in self.periodic:
            groups = groups * feature.count + feature.values
        for boundary in self.boundaries:
            groups = groups * 2 + boundary.before
        return groups

    @property
    def nats(self) -> float:
        """Cost of the features in nats, without the labels of their cells."""
        return BOUNDARY_NATS * len(self.boundaries) + WAVE_NATS * len(self.periodic)

    def without(self, feature: Boundary | Periodic) -> "Features":
        """Return the other features."""
        if isinstance(feature, Boundary):
            return replace(self, boundaries=tuple(b for b in self.boundaries if b is not feature))
        return replace(self, periodic=tuple(w for w in self.periodic if w is not feature))

    def __iter__(self) -> Iterator[Boundary | Periodic]:
        """Yield the boundaries, then the periodic features."""
        yield from self.boundaries
        yield from self.periodic


def table_cost(features: Features, log_odds: Float[np.ndarray, "n"]) -> float:
    """Return the cost of contradicted predictions, cell labels and features, in nats.

    Args:
      features: The features whose table has the best label in each cell.
      log_odds: Log-odds that each label is 1.
    """
    groups = _renumber(features.groups(len(log_odds)))
    margin = np.abs(np.bincount(groups, log_odds)).sum()
    contradicted = (np.abs(log_odds).sum() - margin) / 2
    return float(contradicted + CELL_NATS * (groups.max() + 1) + features.nats)


class ScoredBoundary(NamedTuple):
    """A boundary and the margin that it adds."""

    gain: float
    boundary: Boundary


def best_boundaries(
    groups: Int[np.ndarray, "n"], log_odds: Float[np.ndarray, "n"], families: tuple[Family, ...]
) -> list[ScoredBoundary]:
    """Return the best boundary of each family, the best first.

    Args:
      groups: The groups that a boundary would divide.
      log_odds: Log-odds that each label is 1.
      families: The families to score; one sweep in a family's order scores all its thresholds.
    """
    groups = _renumber(groups)
    sweep = accelerator.sweep_families if accelerator.is_present() else sweep_families
    gains, ends = sweep(groups, log_odds, families)
    scored = [
        ScoredBoundary(float(gain), Boundary(family, int(end)))
        for gain, family, end in zip(gains, families, ends, strict=True)
    ]
    return sorted(scored, key=lambda candidate: -candidate.gain)


def sweep_families(
    groups: Int[np.ndarray, "n"], log_odds: Float[np.ndarray, "n"], families: Sequence[Family]
) -> tuple[Float[np.ndarray, "families"], Int[np.ndarray, "families"]]:
    """Sweep each family's order once for its best boundary.

    Args:
      groups: The groups that a boundary would divide, numbered from 0 without gaps.
      log_odds: Log-odds that each label is 1.
      families: The families to sweep.

    Returns:
      The largest margin that a boundary of each family adds, and the last position before it.
    """
    # NumPy sorts 16 bits fastest.
    groups = groups.astype(np.uint16 if groups.max() < 2**16 else np.int64)
    total = np.bincount(groups, log_odds)
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    gains, ends = np.zeros(len(families)), np.zeros(len(families), np.int64)
    for i, family in enumerate(families):
        ordered_groups = groups[family.order]
        positions = np.argsort(ordered_groups, kind="stable")  # by group, within it by score
        sorted_groups = ordered_groups[positions]
        sums = np.cumsum(log_odds[family.order[positions]])
        before = sums - np.append(0.0, sums)[starts][sorted_groups]
        margin = np.abs(before) + np.abs(total[sorted_groups] - before)
        step = np.diff(margin, prepend=0.0)
        step[starts] = margin[starts] - np.abs(total)
        steps = np.empty_like(step)
        steps[positions] = step
        gain = np.where(family.ends, np.cumsum(steps), 0.0)
        ends[i] = gain.argmax()
        gains[i] = gain[ends[i]]
    return gains, ends


def best_periodic(
    groups: Int[np.ndarray, "n"], log_odds: Float[np.ndarray, "n"], axis: Axis
) -> Float[np.ndarray, "waves"]:
    """Return the margin of each feature of an axis, less twice the cost of its cells.

    Args:
      groups: The groups that a feature would divide.
      log_odds: Log-odds that each label is 1.
      axis: The axis; one matrix product scores all its features.
    """
    groups = _renumber(groups)
    width = int(groups.max()) + 1
    table = np.bincount(axis.values * width + groups, log_odds, axis.count * width)
    table = table.reshape(axis.count, width).astype(np.float32)
    if accelerator.is_present():
        identity = np.ones((1, 1), np.float32)
        sums = accelerator.absolute_products(axis.members, table.T[:, :, None], identity)[:, 0]
    else:
        sums = np.abs(axis.members @ table).sum(axis=1)
    return np.add.reduceat(sums - 2 * CELL_NATS * width, axis.rows)


def best_pairs(
    groups: Int[np.ndarray, "n"],
    log_odds: Float[np.ndarray, "n"],
    axes: tuple[Axis, ...],
    top: int,
) -> list[tuple[Periodic, Periodic]]:
    """Return the pairs of periodic features that leave the largest margins, the best first.

    Args:
      groups: The groups that the features would divide, numbered from 0; few.
      log_odds: Log-odds that each label is 1.
      axes: The axes to combine, each with each and with itself.
      top: Number of pairs to return; at most one per combination of axes.
    """
    scored = []
    for first, second in combinations_with_replacement(axes, 2):
        margins = _pair_margins(groups, log_odds, first, second)
        i, j = np.unravel_index(int(margins.argmax()), margins.shape)
        scored.append((float(margins[i, j]), (Periodic(first, int(i)), Periodic(second, int(j)))))
    scored.sort(key=lambda candidate: -candidate[0])
    return [pair for _, pair in scored[:top]]


def _pair_margins(
    groups: Int[np.ndarray, "n"], log_odds: Float[np.ndarray, "n"], first: Axis, second: Axis
) -> Float[np.ndarray, "waves others"]:
    """Return the margin of each pair of features, less twice the cost of its cells."""
    cells = first.values * second.count + second.values
    width = int(groups.max()) + 1
    shape = (width, first.count, second.count)
    sums = np.bincount(groups * (first.count * second.count) + cells, log_odds, int(np.prod(shape)))
    tables = sums.reshape(shape).astype(np.float32)
    if accelerator.is_present():
        margins = accelerator.absolute_products(first.members, tables, second.members)
    else:
        margins = np.zeros((len(first.members), len(second.members)), np.float32)
        for table in tables:
            margins += np.abs(first.members @ table @ second.members.T)
    margins = margins - 2 * CELL_NATS * width
    return np.add.reduceat(np.add.reduceat(margins, first.rows, axis=0), second.rows, axis=1)


def _renumber(groups: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Renumber groups from 0 without gaps."""
    used = np.zeros(int(groups.max()) + 1, np.int64)
    used[groups] = 1
    return (np.cumsum(used) - 1)[groups]
