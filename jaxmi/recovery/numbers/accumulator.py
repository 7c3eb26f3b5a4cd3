"""The accumulator behind a table: weights, an offset and guards that give its labels.

The accumulator of a labelling program sums residues less an offset into z, then adds the weight of
each term where an input lies on the term's side of a boundary, and labels by z >= 0. A term may
have a guard: then it applies only where z, so far, is below or above a bound.

`find_accumulators` searches on a table with one row per combination of boundary sides and one
column per sum of residues. A cell holds the summed log-odds of its labels; the value of labels on a
table is the sum of the cells labelled 1 less that of the cells labelled 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Guard(NamedTuple):
    """A bound on z so far: `z < bound` or `z > bound`."""

    below: bool
    bound: int

    def holds(self, z: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        """Return where z is on the guard's side of the bound."""
        return z < self.bound if self.below else z > self.bound


class Term(NamedTuple):
    """Adds a weight on one side of a boundary, where the guard holds."""

    feature: int
    """Index of the boundary."""

    before: bool
    """True if the term applies to the inputs before the boundary."""

    weight: int | float
    guard: Guard | None


@dataclass(frozen=True)
class Accumulator:
    """z = residues - offset, then the terms in order; the label is z >= 0."""

    offset: int

    terms: tuple[Term, ...]
    """The terms, those without a guard first."""


def both_signs(weights: Iterable[int | float]) -> tuple[int | float, ...]:
    """Return the weights, then their negatives."""
    weights = tuple(weights)
    return *weights, *(-weight for weight in weights)


WEIGHTS = both_signs((1, 2, 3, 4, 2.5, 5.5, 5, 6))
"""Weights that a term may have."""

FOUR_TERM_WEIGHTS, MANY_TERM_WEIGHTS = both_signs((1, 2, 3, 4)), both_signs((1, 2, 4))
"""Weights tried where four terms, or more, have no guard. Refitting can still change them."""

MAX_OFFSET = 24
"""Largest absolute value of the offset."""

BOUNDS = tuple(range(-6, 7))
"""Values that a guard may compare z with."""

GUARDS = tuple(Guard(below, bound) for below in (True, False) for bound in BOUNDS)

MAX_GUARDED = 2
"""Largest number of terms with a guard."""

MAX_PLANS = 14
"""Number of plans tried at first; there are up to 51. A plan says which terms have a guard."""

BEAM = 60
"""Number of partial accumulators kept before guarded terms are added."""

GUARDED_TERM_NATS = 4.0
"""Cost of a guarded term in nats."""

OFFSET_NATS, BOUND_NATS = 0.05, 0.02
"""Cost of an offset and of a guard's bound in nats, for each unit of their absolute values."""

_SCALE = 2  # z is scaled so that a weight of 2.5 becomes a whole number
_MAX_SHIFT = _SCALE * 80  # bound on the scaled z


def make_table(
    sides: Sequence[Bool[np.ndarray, "n"]],
    residues: Int[np.ndarray, "n"],
    log_odds: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "sides sums"]:
    """Sum log-odds by boundary sides and residues.

    Args:
      sides: For each boundary, the inputs that lie before it.
      residues: Sum of each input's residues.
      log_odds: Log-odds that each label is 1.

    Returns:
      Row: bit i is set if the inputs lie before boundary i. Column: the sum of residues.
    """
    n = len(log_odds)
    rows = sum((side.astype(np.int64) << i for i, side in enumerate(sides)), np.zeros(n, int))
    width = int(residues.max()) + 1
    shape = (2 ** len(sides), width)
    return np.bincount(rows * width + residues, log_odds, shape[0] * width).reshape(shape)


def find_accumulators(
    table: Float[np.ndarray, "sides sums"], top: int = 3, max_plans: int = MAX_PLANS
) -> list[Accumulator]:
    """Return the accumulators whose labels have the largest values on a table.

    For each plan all weights of the terms without a guard are tried together. Then guarded terms
    are added one by one to the best of these, on the rows that only they change. Plans that cannot
    exceed the best value so far are skipped.

    Args:
      table: Log-odds by sides and residues, as `make_table` returns.
      top: Number of accumulators to return.
      max_plans: Number of plans to try, those with the largest upper bound first.

    Returns:
      The best accumulators, one per plan and order of guarded terms, the best first.
    """
    count = _boundary_count(table)
    total = np.abs(table).sum()
    bounded: list[tuple[float, _Partials]] = []
    for guarded_count in range(min(MAX_GUARDED, count) + 1):
        for guarded in combinations(range(count), guarded_count):
            for sides in product((True, False), repeat=guarded_count):
                partials = _find_partials(table, guarded, sides)
                bound = total - partials.loss - GUARDED_TERM_NATS * guarded_count
                bounded.append((bound, partials))
    bounded.sort(key=lambda plan: -plan[0])
    scored: list[tuple[float, Accumulator]] = []
    for bound, partials in bounded[:max_plans]:
        if len(scored) >= top and bound <= sorted(value for value, _ in scored)[-top]:
            break
        for order in permutations(range(len(partials.guarded))):
            scored.append(_add_guarded_terms(table, partials, order))
    scored.sort(key=lambda candidate: -candidate[0])
    return [accumulator for _, accumulator in scored[:top]]


def unguarded_value(table: Float[np.ndarray, "sides sums"]) -> float:
    """Return the value of the best accumulator without guards, less its cost under the prior."""
    return float(np.abs(table).sum()) - _find_partials(table, (), ()).loss


class _Partials(NamedTuple):
    """The best accumulators for a plan, without their guarded terms."""

    guarded: tuple[int, ...]
    """The boundaries whose terms have a guard."""

    sides: tuple[bool, ...]
    """The side of each of these boundaries that its term applies to."""

    weights: Float[np.ndarray, "beam terms"]
    """Weights of the terms without a guard; each applies before its boundary."""

    offsets: Float[np.ndarray, "beam"]
    values: Float[np.ndarray, "beam"]

    loss: float
    """Largest possible value on the rows that no guarded term changes, less that of the best of
    these, its cost included."""

    @property
    def merits(self) -> Float[np.ndarray, "beam"]:
        """Values less the weights' costs."""
        return self.values - _weight_nats(self.weights)

    def complete(self, index: int, free: list[int], guarded_terms: list[Term]) -> Accumulator:
        """Return a partial accumulator with its guarded terms.

        Args:
          index: Its index among the partial accumulators.
          free: The boundaries whose terms have no guard.
          guarded_terms: The terms to add.
        """
        terms = [
            Term(feature, True, _plain_number(weight), None)
            for feature, weight in zip(free, self.weights[index], strict=True)
        ]
        return Accumulator(int(self.offsets[index]), (*terms, *guarded_terms))


def _find_partials(
    table: Float[np.ndarray, "sides sums"], guarded: tuple[int, ...], sides: tuple[bool, ...]
) -> _Partials:
    """Try all weights and offsets on the rows where no guarded term applies."""
    count = _boundary_count(table)
    free = [i for i in range(count) if i not in guarded]
    rows = _rows(count, free, dict(zip(guarded, [not side for side in sides], strict=True)))
    values = _values_by_shift(table[rows])
    weights = _weight_combinations(len(free))
    offsets = np.arange(-MAX_OFFSET, MAX_OFFSET + 1)
    total = np.zeros((len(weights), len(offsets)))
    for pattern, inside in enumerate(_subsets(len(free))):
        shift = _SCALE * (weights[:, inside].sum(axis=1)[:, None] - offsets)
        shift = np.clip(shift.astype(int), -_MAX_SHIFT, _MAX_SHIFT)
        total += values[pattern][shift + _MAX_SHIFT]
    merit = total - _weight_nats(weights)[:, None] - OFFSET_NATS * np.abs(offsets)
    best = np.argpartition(-merit.reshape(-1), min(BEAM, merit.size - 1))[:BEAM]
    i, j = np.unravel_index(best, merit.shape)
    loss = np.abs(table[rows]).sum() - float(merit.max())
    return _Partials(guarded, sides, weights[i], offsets[j].astype(float), total[i, j], loss)


@lru_cache
def _weight_combinations(count: int) -> Float[np.ndarray, "combinations terms"]:
    """Return all combinations of the weights that are tried for so many terms without a guard."""
    many = FOUR_TERM_WEIGHTS if count == 4 else MANY_TERM_WEIGHTS
    options = WEIGHTS if count <= 3 else many
    return np.array(list(product(options, repeat=count)), np.float64)


def _values_by_shift(table: Float[np.ndarray, "rows sums"]) -> Float[np.ndarray, "rows shifts"]:
    """Return the value of the labels `sum + shift >= 0` for each scaled shift."""
    sums = _SCALE * np.arange(table.shape[1])
    shifts = np.arange(-_MAX_SHIFT, _MAX_SHIFT + 1)
    return table @ np.where(sums[:, None] + shifts[None] >= 0, 1.0, -1.0)


def _add_guarded_terms(
    table: Float[np.ndarray, "sides sums"], partials: _Partials, order: tuple[int, ...]
) -> tuple[float, Accumulator]:
    """Add guarded terms in an order, to each partial accumulator the best weight and guard."""
    count = _boundary_count(table)
    free = [i for i in range(count) if i not in partials.guarded]
    total = partials.merits
    inner_sums = [partials.weights[:, inside].sum(axis=1) for inside in _subsets(len(free))]
    base = np.stack(inner_sums, axis=1) - partials.offsets[:, None]
    z = base[:, :, None] + np.arange(table.shape[1])  # (beam, patterns, sums)
    states = [(z, {partials.guarded[i]: not partials.sides[i] for i in order})]
    terms: list[list[Term]] = [[] for _ in total]
    for i in order:
        feature, side = partials.guarded[i], partials.sides[i]
        z = np.concatenate([state for state, _ in states], axis=1)
        rows = np.concatenate([_rows(count, free, {**fixed, feature: side}) for _, fixed in states])
        gains, options = _guarded_gains(z, table[rows])
        best = gains.argmax(axis=1)
        total = total + gains[np.arange(len(total)), best] - GUARDED_TERM_NATS
        choices = [options[k] for k in best]
        for row, (weight, guard) in enumerate(choices):
            terms[row].append(Term(feature, side, weight, guard))
        states += [(_add_each(state, choices), {**fixed, feature: side}) for state, fixed in states]
    winner = int(total.argmax())
    return float(total[winner]), partials.complete(winner, free, terms[winner])


def _guarded_gains(
    z: Float[np.ndarray, "beam rows sums"], table: Float[np.ndarray, "rows sums"]
) -> tuple[Float[np.ndarray, "beam options"], list[tuple[int | float, Guard]]]:
    """Return the value of each weight and guard on a guarded term's rows, less their costs."""
    z, table = z.astype(np.float32), table.astype(np.float32)
    without = np.where(z >= 0, table, -table)
    gains, options = [], []
    masks = [guard.holds(z) for guard in GUARDS]
    for weight in WEIGHTS:
        with_term = np.where(z + weight >= 0, table, -table)
        nats = float(_weight_nats(np.array([[float(weight)]]))[0])
        for guard, mask in zip(GUARDS, masks, strict=True):
            value = np.where(mask, with_term, without).sum(axis=(1, 2))
            gains.append(value - nats - BOUND_NATS * abs(guard.bound))
            options.append((weight, guard))
    return np.stack(gains, axis=1), options


def _add_each(
    z: Float[np.ndarray, "beam rows sums"], choices: Sequence[tuple[int | float, Guard]]
) -> Float[np.ndarray, "beam rows sums"]:
    """Add to each partial accumulator's z its own guarded weight."""
    return np.stack(
        [own + weight * guard.holds(own) for own, (weight, guard) in zip(z, choices, strict=True)]
    )


def _weight_nats(weights: Float[np.ndarray, "_ terms"]) -> Float[np.ndarray, "_"]:
    """Return the cost of weights in nats; it decides between weights with equal values."""
    is_small = np.isin(np.abs(weights), (1, 2, 3, 4))
    is_half = np.isin(np.abs(weights), (2.5, 5.5))
    return np.where(is_small, 0.0, np.where(is_half, 0.5, 1.5)).sum(axis=1)


def _boundary_count(table: Float[np.ndarray, "sides sums"]) -> int:
    return int(np.log2(len(table)))


def _subsets(count: int) -> list[list[int]]:
    """Return the indices whose bits are set in each number of so many bits."""
    return [[i for i in range(count) if number >> i & 1] for number in range(2**count)]


def _rows(count: int, free: list[int], fixed: dict[int, bool]) -> Int[np.ndarray, "rows"]:
    """Return the table's rows with some boundaries' sides fixed, in the order of `_subsets(free)`.

    Args:
      count: Number of boundaries.
      free: The boundaries whose sides vary.
      fixed: Boundary -> its side; boundaries in neither argument have side 0.
    """
    base = sum(1 << i for i, side in fixed.items() if side)
    return np.array([base + sum(1 << free[j] for j in inside) for inside in _subsets(len(free))])


def _plain_number(number: float) -> int | float:
    return int(number) if number == int(number) else float(number)
