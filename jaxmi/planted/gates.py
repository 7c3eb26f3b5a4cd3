"""Conditions on the sum so far, and conditions joined by `and`, `or`, `not`, as steps.

A step is 1 where some conditions hold, some do not, and the sum so far is at least, or at most, a
number; else 0. It is one threshold of a weighted sum, and so two neurons. A test is a sum of steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.planted.accumulation import MAX_SUMS, SUM_SO_FAR, Summand, holds_for
from jaxmi.programs import language as lang
from jaxmi.programs.evaluate import EvaluationError

UNITS = tuple(2.0**-k for k in range(7))
"""Sums are compared if they are multiples of one of these: float32 then holds them exactly."""

MAX_CONDITIONS = 8
"""Most conditions that a test may join: all combinations of their truth values are gone through."""


@dataclass(frozen=True)
class SumRange:
    """The values that a sum can have if each of its parts can have any of its own."""

    low: int | float
    high: int | float
    unit: int | float | None
    """All values differ from `low` by multiples of it; None if there is no such unit."""

    def values(self) -> Float[np.ndarray, "sum"] | None:
        """Return all values, ascending; None if they have no unit, or are more than `MAX_SUMS`."""
        if self.unit is None or (self.high - self.low) / self.unit >= MAX_SUMS:
            return None
        return np.arange(round((self.high - self.low) / self.unit) + 1) * self.unit + self.low

    def plus(self, weight: int | float, values: Float[np.ndarray, "..."]) -> "SumRange":
        """Return the range with another part in the sum, a weight times values."""
        parts = weight * np.unique(values)
        if not np.isfinite(parts).all():
            return SumRange(self.low, self.high, None)
        units = [] if self.unit is None else [unit for unit in UNITS if unit <= self.unit]
        unit = next((unit for unit in units if (parts % unit == 0).all()), None)
        return SumRange(self.low + float(parts.min()), self.high + float(parts.max()), unit)


@dataclass(frozen=True, eq=False)
class Step:
    """Holds where conditions have stated truth values and the sum so far is beyond a place."""

    literals: Mapping[lang.Expression, bool]
    direction: int
    """1: the sum is at least `place`; -1: at most; 0: whatever it is."""
    place: int | float
    weight: int
    """1 or -1: its weight in the test."""


@dataclass(frozen=True, eq=False)
class Gate:
    """A test as a sum of steps."""

    steps: Sequence[Step]
    const: int
    """Added to the sum of steps."""
    conditions: Mapping[lang.Expression, Bool[np.ndarray, "p p"]]
    """The conditions that it joins, and where they hold."""
    comparisons: Mapping[lang.Expression, Bool[np.ndarray, "sum"]]
    """The tests of the sum so far in it, and for which sums they hold."""
    sums: Float[np.ndarray, "sum"]
    """The values of the sum so far, ascending."""
    unit: int | float
    """The difference between two of them."""

    @property
    def reads_sum(self) -> bool:
        """Whether it depends on the sum so far."""
        return any(step.direction for step in self.steps)


def gate_of(summand: Summand, so_far: SumRange, p: int) -> Gate | None:
    """Return a summand's condition as steps; None if it is none, or not of this form.

    Args:
      summand: Part of a sum.
      so_far: The range of the sum before its statement.
      p: The number of values of each operand.
    """
    if summand.leaves is None or not summand.is_condition:
        return None
    conditions = {
        leaf: held for leaf, held in summand.leaves.items() if isinstance(held, np.ndarray)
    }
    compared = [leaf for leaf, held in summand.leaves.items() if isinstance(held, str)]
    assert all(summand.leaves[leaf] == SUM_SO_FAR for leaf in compared)
    if len(conditions) > MAX_CONDITIONS:
        return None
    sums, unit = np.zeros(1), 1.0
    comparisons: dict[lang.Expression, np.ndarray] = {}
    if compared:
        values = so_far.values()
        if values is None or so_far.unit is None:
            return None
        sums, unit = values, so_far.unit
        try:
            comparisons = {leaf: holds_for(leaf, sums, p) for leaf in compared}
        except EvaluationError:  # of a sum that no input has
            return None
    shape = (2,) * len(conditions) + (len(sums),)
    table = np.zeros(shape, bool)
    for truths in product((False, True), repeat=len(conditions)):
        known = {**dict(zip(conditions, truths, strict=True)), **comparisons}
        table[tuple(map(int, truths))] = _is_taken(summand.tests, known, len(sums))
    const, steps = _steps(table, {}, list(conditions), sums)
    return Gate(steps, const, conditions, comparisons, sums, unit)


def _is_taken(
    tests: Sequence[lang.Expression],
    known: Mapping[lang.Expression, bool | np.ndarray],
    n_sums: int,
) -> Bool[np.ndarray, "sum"]:
    """Return for which sums the last of some tests holds, and none before it."""
    taken, earlier = np.zeros(n_sums, bool), np.zeros(n_sums, bool)
    for test in tests:
        taken = _truth(test, known) & ~earlier
        earlier = earlier | taken
    return taken


def _truth(test: lang.Expression, known: Mapping[lang.Expression, bool | np.ndarray]) -> np.ndarray:
    match test:
        case lang.Connected(connective=connective, operands=operands):
            join = np.logical_and if connective == "and" else np.logical_or
            first, *others = (_truth(operand, known) for operand in operands)
            for other in others:
                first = join(first, other)
            return first
        case lang.Unary(operator="not", operand=operand):
            return ~_truth(operand, known)
    return np.atleast_1d(known[test])


def _steps(
    table: Bool[np.ndarray, "..."],
    literals: dict[lang.Expression, bool],
    conditions: list[lang.Expression],
    sums: Float[np.ndarray, "sum"],
) -> tuple[int, list[Step]]:
    """Return a constant and steps whose sum is a table of truth values.

    The conditions' truth values are told apart one by one, as long as the table depends on them.
    """
    if conditions and (table != table[(slice(0, 1),) * len(conditions)]).any():
        if (table[0] == table[1]).all():
            return _steps(table[0], literals, conditions[1:], sums)
        halves = [
            _steps(table[int(truth)], {**literals, conditions[0]: truth}, conditions[1:], sums)
            for truth in (False, True)
        ]
        return sum(const for const, _ in halves), [step for _, steps in halves for step in steps]
    along = table[(0,) * len(conditions)]
    return min((_from_below(along, literals, sums), _from_above(along, literals, sums)), key=_cost)


def _cost(found: tuple[int, list[Step]]) -> int:
    return len(found[1])


def _from_below(
    along: Bool[np.ndarray, "sum"],
    literals: dict[lang.Expression, bool],
    sums: Float[np.ndarray, "sum"],
) -> tuple[int, list[Step]]:
    changes = np.flatnonzero(along[1:] != along[:-1]) + 1
    steps = [Step(literals, 1, float(sums[i]), 1 if along[i] else -1) for i in changes]
    return _with_start(bool(along[0]), literals, steps)


def _from_above(
    along: Bool[np.ndarray, "sum"],
    literals: dict[lang.Expression, bool],
    sums: Float[np.ndarray, "sum"],
) -> tuple[int, list[Step]]:
    changes = np.flatnonzero(along[1:] != along[:-1])
    steps = [Step(literals, -1, float(sums[i]), 1 if along[i] else -1) for i in changes]
    return _with_start(bool(along[-1]), literals, steps)


def _with_start(
    start: bool, literals: dict[lang.Expression, bool], steps: list[Step]
) -> tuple[int, list[Step]]:
    if not start:
        return 0, steps
    return (0, [Step(literals, 0, 0.0, 1), *steps]) if literals else (1, steps)
