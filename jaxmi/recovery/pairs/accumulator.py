"""Finds the accumulator behind a table: weights, offset and guards that give its labels.

An accumulator adds a weight where a boundary's side is met, adds residues less an offset, and
labels by z >= 0. A term may be guarded: it counts only where z, so far, is below or above a bound.

The accumulator of a labelling program: what it adds, where, and under which guard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Guard(NamedTuple):
    """A bound on z so far: `z < bound`, or `z > bound`."""

    below: bool
    bound: int

    def holds(self, z: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        """Says where z meets it."""
        return z < self.bound if self.below else z > self.bound


class Term(NamedTuple):
    """Adds a weight where a boundary's side is met, and the guard."""

    feature: int
    """Which boundary, counted from 0."""

    before: bool
    """On which side of it."""

    weight: int | float
    guard: Guard | None


@dataclass(frozen=True)
class Accumulator:
    """z = residues - offset, then the terms in turn; the label is z >= 0."""

    offset: int
    terms: tuple[Term, ...]
    """Those without a guard first."""


WEIGHTS = (1, 2, 3, 4, 2.5, 5.5, 5, 6)
"""What a term may add or take away, the usual ones first."""

FEWER_WEIGHTS, FEWEST_WEIGHTS = (1, 2, 3, 4), (1, 2, 4)
"""Where there are four terms without guards, or more; refitting can still change them."""

OFFSETS = 24
"""The offset lies within plus or minus this."""

BOUNDS = tuple(range(-6, 7))
"""What a guard may compare z with."""

MAX_GUARDED = 2
MAX_PLANS = 14
"""How many choices of guarded terms are tried at first; there are up to 51."""

KEPT = 60
"""Partial accumulators that are kept before guarded terms are tried."""

_HALVES = 2  # z is kept doubled, so that 2.5 is whole
_REACH = 2 * 80  # doubled z stays within plus or minus this


def make_table(
    bits: Sequence[Bool[np.ndarray, "n"]],
    residues: Int[np.ndarray, "n"],
    signed: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "sides sums"]:
    """Sums the answers' worth by sides and residues.

    Args:
      bits: Of each boundary, which pairs lie before it.
      residues: Of each pair, the sum of its residues.
      signed: Each answer's worth, positive if it is 1.

    Returns:
      Row: its bit i says if boundary i's pairs lie before it. Column: the residues' sum.
    """
    side = sum((b.astype(np.int64) << i for i, b in enumerate(bits)), np.zeros(len(signed), int))
    width = int(residues.max()) + 1
    shape = (2 ** len(bits), width)
    return np.bincount(side * width + residues, signed, shape[0] * width).reshape(shape)


def find_accumulators(
    worth: Float[np.ndarray, "sides sums"], top: int = 3, plans: int = MAX_PLANS
) -> list[Accumulator]:
    """Finds the accumulators that give a table's labels best.

    All weights of the terms without guards are tried together; then guarded terms are added one by
    one to the best, on those rows of the table that only they change. What cannot get better than
    the best so far is left out.

    Args:
      worth: By sides and residues, as `make_table` sums it.
      top: How many to return.
      plans: How many choices of guarded terms are tried, those first that may still get best.

    Returns:
      The best of the `top` best ways to choose the guarded terms, the best first.
    """
    count = int(np.log2(len(worth)))
    everything = np.abs(worth).sum()
    starts = []
    for guarded in range(min(MAX_GUARDED, count) + 1):
        for chosen in combinations(range(count), guarded):
            for sides in product((True, False), repeat=guarded):
                start = _unguarded(worth, chosen, sides)
                reach = everything - start.bound_loss
                starts.append((reach - 4.0 * guarded, start))
    starts.sort(key=lambda one: -one[0])
    found: list[tuple[float, Accumulator]] = []
    for reach, start in starts[:plans]:
        if len(found) >= top and reach <= sorted(v for v, _ in found)[-top]:
            break
        for order in permutations(range(len(start.chosen))):
            found.append(_with_guards(worth, start, order))
    found.sort(key=lambda one: -one[0])
    return [accumulator for _, accumulator in found[:top]]


def unguarded_value(worth: Float[np.ndarray, "sides sums"]) -> float:
    """Says how well the best accumulator without guards gives a table's labels: a quick look."""
    return float(np.abs(worth).sum()) - _unguarded(worth, (), ()).bound_loss


class _Start(NamedTuple):
    """The best accumulators without their guarded terms."""

    chosen: tuple[int, ...]
    sides: tuple[bool, ...]
    weights: Float[np.ndarray, "kept terms"]
    offsets: Float[np.ndarray, "kept"]
    values: Float[np.ndarray, "kept"]
    bound_loss: float


def _prior(weights: Float[np.ndarray, "_ terms"]) -> Float[np.ndarray, "_"]:
    """What weights cost in nats: a table of equally good ones is decided by what is usual."""
    usual = np.isin(np.abs(weights), (1, 2, 3, 4))
    half = np.isin(np.abs(weights), (2.5, 5.5))
    return np.where(usual, 0.0, np.where(half, 0.5, 1.5)).sum(axis=1)


def _unguarded(
    worth: Float[np.ndarray, "sides sums"], chosen: tuple[int, ...], sides: tuple[bool, ...]
) -> _Start:
    count = int(np.log2(len(worth)))
    free = [i for i in range(count) if i not in chosen]
    rows = _rows(count, free, dict(zip(chosen, [not side for side in sides], strict=True)))
    values = _by_shift(worth[rows])  # (patterns, shifts)
    steps = WEIGHTS if len(free) <= 3 else FEWER_WEIGHTS if len(free) == 4 else FEWEST_WEIGHTS
    signed = np.array([*steps, *(-w for w in steps)], np.float64)
    grids = np.meshgrid(*[signed] * len(free), indexing="ij") if free else []
    weights = np.stack([g.reshape(-1) for g in grids], axis=1) if free else np.zeros((1, 0))
    offsets = np.arange(-OFFSETS, OFFSETS + 1)
    total = np.zeros((len(weights), len(offsets)))
    for pattern in range(2 ** len(free)):
        inside = [i for i in range(len(free)) if pattern >> i & 1]
        shift = _HALVES * (weights[:, inside].sum(axis=1)[:, None] - offsets)
        total += values[pattern][np.clip(shift.astype(int), -_REACH, _REACH) + _REACH]
    merit = total - _prior(weights)[:, None] - 0.05 * np.abs(offsets)
    kept = np.argpartition(-merit.reshape(-1), min(KEPT, merit.size - 1))[:KEPT]
    which, at = np.unravel_index(kept, merit.shape)
    best = float(merit.max())
    loss = np.abs(worth[rows]).sum() - best
    return _Start(chosen, sides, weights[which], offsets[at].astype(float), total[which, at], loss)


def _by_shift(worth: Float[np.ndarray, "rows sums"]) -> Float[np.ndarray, "rows shifts"]:
    """The worth of the labels `sum + shift >= 0`, for each shift (doubled)."""
    sums = _HALVES * np.arange(worth.shape[1])
    shifts = np.arange(-_REACH, _REACH + 1)
    return worth @ np.where(sums[:, None] + shifts[None] >= 0, 1.0, -1.0)


def _rows(count: int, free: list[int], fixed: dict[int, bool]) -> Int[np.ndarray, "rows"]:
    """The table's rows where some boundaries' sides are fixed, in the order of the free ones."""
    base = sum(1 << i for i, side in fixed.items() if side)
    return np.array(
        [
            base + sum(1 << f for j, f in enumerate(free) if pattern >> j & 1)
            for pattern in range(2 ** len(free))
        ]
    )


def _with_guards(
    worth: Float[np.ndarray, "sides sums"], start: _Start, order: tuple[int, ...]
) -> tuple[float, Accumulator]:
    """Adds guarded terms in an order, each the best for every partial accumulator."""
    count = int(np.log2(len(worth)))
    free = [i for i in range(count) if i not in start.chosen]
    best = int((start.values - _prior(start.weights)).argmax())
    if not order:
        value = float(start.values[best] - _prior(start.weights)[best])
        return value, _accumulator(free, start, best, [])
    kept = len(start.offsets)
    total = start.values - _prior(start.weights)
    patterns = [[i for i in range(len(free)) if p >> i & 1] for p in range(2 ** len(free))]
    base = np.stack([start.weights[:, inside].sum(axis=1) for inside in patterns], axis=1)
    sums = np.arange(worth.shape[1])
    z = (base - start.offsets[:, None])[:, :, None] + sums  # (kept, patterns, sums)
    states = [(z, {start.chosen[i]: not start.sides[i] for i in order})]
    terms: list[list[Term]] = [[] for _ in range(kept)]
    for i in order:
        feature, side = start.chosen[i], start.sides[i]
        z = np.concatenate([state for state, _ in states], axis=1)
        rows = np.concatenate([_rows(count, free, {**fixed, feature: side}) for _, fixed in states])
        gains, options = _guard_options(z, worth[rows])
        pick = gains.argmax(axis=1)
        total = total + gains[np.arange(kept), pick] - 4.0
        added = [options[k] for k in pick]
        for row, (weight, guard) in enumerate(added):
            terms[row].append(Term(feature, side, weight, guard))
        states += [(_after(state, added), {**fixed, feature: side}) for state, fixed in states]
    best = int(total.argmax())
    return float(total[best]), _accumulator(free, start, best, terms[best])


def _guard_options(
    z: Float[np.ndarray, "kept rows sums"], worth: Float[np.ndarray, "rows sums"]
) -> tuple[Float[np.ndarray, "kept options"], list[tuple[int | float, Guard]]]:
    """What each guarded weight gains on its own rows."""
    z, worth = z.astype(np.float32), worth.astype(np.float32)
    plain = np.where(z >= 0, worth, -worth)
    gains, options = [], []
    guards = [Guard(below, bound) for below in (True, False) for bound in BOUNDS]
    met = [guard.holds(z) for guard in guards]
    for weight in (*WEIGHTS, *(-w for w in WEIGHTS)):
        moved = np.where(z + weight >= 0, worth, -worth)
        usual = float(_prior(np.array([[float(weight)]]))[0])
        for guard, where in zip(guards, met, strict=True):
            value = np.where(where, moved, plain).sum(axis=(1, 2))
            gains.append(value - usual - 0.02 * abs(guard.bound))
            options.append((weight, guard))
    return np.stack(gains, axis=1), options


def _after(
    z: Float[np.ndarray, "kept rows sums"], added: Sequence[tuple[int | float, Guard]]
) -> Float[np.ndarray, "kept rows sums"]:
    """What z is where a guarded weight was added, of each partial accumulator its own."""
    moved = [one + weight * guard.holds(one) for one, (weight, guard) in zip(z, added, strict=True)]
    return np.stack(moved)


def _accumulator(free: list[int], start: _Start, best: int, guarded: list[Term]) -> Accumulator:
    plain = [
        Term(feature, True, _whole(weight), None)
        for feature, weight in zip(free, start.weights[best], strict=True)
    ]
    return Accumulator(int(start.offsets[best]), (*plain, *guarded))


def _whole(number: float) -> int | float:
    return int(number) if number == int(number) else float(number)
