"""Bounds on a skeleton's values over a range of constants: a proof that float64 is exact.

In a compiled program every value is a float64. It equals Python's value as long as whole numbers
stay below 2**53, no operation overflows or fails, and no value but 0 is smaller than 2**-1022 (XLA
flushes subnormal numbers to 0). For the last condition, bounds track the *grain* of a value: a
power of two that divides it. Rounding to a float never makes the grain finer.
"""

from collections.abc import Sequence
from functools import partial, reduce
from math import frexp, inf, sqrt
from typing import Literal, NamedTuple, cast

import numpy as np
from jaxtyping import Float

from jaxmi.programs import language as lang
from jaxmi.programs.arithmetic import EXACT
from jaxmi.programs.compiled.flow import RefusedError, interpret
from jaxmi.programs.compiled.skeleton import Skeleton

SMALLEST = -1022
"""Exponent of the smallest float that is not subnormal."""


class Bounds(NamedTuple):
    """Bounds that hold for a value on every input and for all constants."""

    low: int | float
    high: int | float
    grain: int = 0
    """Every value is a multiple of 2**grain; at most 0."""
    kind: Literal["int", "float", "mixed"] = "int"
    """The type that Python would give; truth values are int."""

    @property
    def largest(self) -> int | float:
        """Return the largest magnitude."""
        return max(-self.low, self.high)


def _bounds_of(values: np.ndarray) -> Bounds:
    """Return the bounds of constants or of a table.

    Raises:
      RefusedError: if a value is none that float64 holds exactly.
    """
    kind = {"O": "mixed", "f": "float"}.get(values.dtype.kind, "int")
    floats = values.astype(np.float64)
    return _checked(float(floats.min()), float(floats.max()), _grain(floats), kind)


def why_not_exact(
    skeleton: Skeleton,
    constants: Float[np.ndarray, "programs constants"],
    tables: Sequence[np.ndarray],
) -> str | None:
    """Return why the compiled labels of some programs might not be exact, or None.

    Args:
      skeleton: The programs' skeleton.
      constants: The programs' constants, (programs, constants).
      tables: Each table's values.

    Returns:
      A line and a reason; None if the labels are exact for all programs.
    """
    try:
        for expression, table in zip(skeleton.tables, tables, strict=True):
            if table.dtype == object and not _fit(table):
                raise RefusedError("a whole number reaches 2**53", expression.position.line)
        leaves = {f"table#{i}": table for i, table in enumerate(tables)}
        for i, kind in enumerate(skeleton.kinds):
            leaves[f"{kind.__name__}#{i}"] = constants[:, i].astype(kind)
        result = interpret(skeleton, _BoundsAlgebra(leaves))
    except RefusedError as refused:
        return str(refused)
    if result.low < 0 or result.high > 1 or result.grain < 0:
        return f"it may return something else than 0 or 1, from {result.low:g} to {result.high:g}"
    return None


class _BoundsAlgebra:
    """The algebra of bounds."""

    def __init__(self, leaves: dict[str, np.ndarray]) -> None:
        self._leaves = leaves

    def leaf(self, name: str) -> Bounds:
        return _bounds_of(self._leaves[name])

    def constant(self, value: bool) -> Bounds:
        return Bounds(value, value)

    def truth(self, value: Bounds) -> Bounds:
        return Bounds(0, 1)

    def negation(self, truth: Bounds) -> Bounds:
        return Bounds(0, 1)

    def conjunction(self, truth: Bounds, other: Bounds) -> Bounds:
        return Bounds(0, 1)

    def choose(self, truth: Bounds, then: Bounds, otherwise: Bounds) -> Bounds:
        kind = then.kind if then.kind == otherwise.kind else "mixed"
        low, high = min(then.low, otherwise.low), max(then.high, otherwise.high)
        return _checked(low, high, min(then.grain, otherwise.grain), kind)

    def compare(self, symbol: lang.Comparison, a: Bounds, b: Bounds) -> Bounds:
        return Bounds(0, 1)

    def negative(self, value: Bounds) -> Bounds:
        return value._replace(low=-value.high, high=-value.low)

    def binary(self, symbol: lang.BinaryOperator, a: Bounds, b: Bounds) -> Bounds:
        kind = "float" if "float" in (a.kind, b.kind) else a.kind if a.kind == b.kind else "mixed"
        grain = min(a.grain, b.grain)
        if symbol == "+":
            return _checked(a.low + b.low, a.high + b.high, grain, kind)
        if symbol == "-":
            return _checked(a.low - b.high, a.high - b.low, grain, kind)
        if symbol == "*":
            corners = [i * j for i in a[:2] for j in b[:2]]
            return _checked(min(corners), max(corners), a.grain + b.grain, kind)
        if b.low <= 0 <= b.high:
            raise RefusedError(f"{symbol} by something from {b.low:g} to {b.high:g}, perhaps 0")
        corners = [i / j for i in a[:2] for j in b[:2]]
        if symbol == "/":
            return _checked(
                min(corners), max(corners), a.grain - _exponent(b.largest) - 52, "float"
            )
        # In units of 2**grain both are whole numbers below 2**53. So their quotient is rounded to a
        # whole number only where it is one, and the remainder is exact.
        if a.largest + b.largest >= EXACT * 2.0**grain:
            raise RefusedError(f"{symbol} of numbers with more than 53 binary digits")
        if symbol == "//":
            return _checked(np.floor(min(corners)), np.floor(max(corners)), 0, kind)
        low, high = (0, b.high - 2.0**grain) if b.low > 0 else (b.low + 2.0**grain, 0)
        if b.low > 0 and a.low >= 0:
            high = min(high, a.high)
        return _checked(low, high, grain, kind)

    def _remainder(self, a: Bounds, b: Bounds) -> Bounds:
        if b.low <= 0 <= b.high:
            raise RefusedError(f"fmod by something from {b.low:g} to {b.high:g}, perhaps 0")
        grain = min(a.grain, b.grain)
        if a.largest + b.largest >= EXACT * 2.0**grain:  # as for %
            raise RefusedError("fmod of numbers with more than 53 binary digits")
        return _checked(min(a.low, 0), max(a.high, 0), grain, "float")

    def item(self, elements: list[Bounds], index: Bounds) -> Bounds:
        n = len(elements)
        if index.kind != "int" or index.low < -n or index.high >= n:
            raise RefusedError(f"an index from {index.low:g} to {index.high:g} of {n} elements")
        return reduce(partial(self.choose, index), elements)

    def power(self, value: Bounds, exponent: int) -> Bounds:
        if value.kind != "int":
            raise RefusedError("** of a float that is not in a table")
        low, high = value.low**exponent, value.high**exponent
        if exponent % 2 == 0:
            low, high = (0 if value.low <= 0 <= value.high else min(low, high)), max(low, high)
        return _checked(low, high, 0, "int")

    def function(self, name: str, arguments: list[Bounds]) -> Bounds:
        first = arguments[0]
        if name in ("min", "max"):
            pick = min if name == "min" else max
            for other in arguments[1:]:
                joined = self.choose(first, first, other)
                low, high = pick(first.low, other.low), pick(first.high, other.high)
                first = joined._replace(low=low, high=high)
            return first
        if name == "pow" or (name == "round" and len(arguments) == 2):
            raise RefusedError(f"{name} of {len(arguments)} numbers that is not in a table")
        if name == "fmod":
            return self._remainder(first, arguments[1])
        if name == "abs":
            low = 0 if first.low <= 0 <= first.high else min(abs(first.low), abs(first.high))
            return first._replace(low=low, high=first.largest)
        if name == "sqrt":
            if first.low < 0:
                raise RefusedError(f"sqrt of something from {first.low:g} on, perhaps negative")
            return _checked(sqrt(first.low), sqrt(first.high), first.grain // 2 - 52, "float")
        if name == "where":
            return self.choose(first, *arguments[1:])
        if name == "float":
            return first._replace(kind="float")
        if name == "isqrt":
            if first.kind != "int" or first.low < 0 or first.high >= 2**52:
                raise RefusedError(f"isqrt of something from {first.low:g} to {first.high:g}")
            return _checked(np.floor(sqrt(first.low)), np.floor(sqrt(first.high)), 0, "int")
        rounded = {"int": np.trunc, "floor": np.floor, "ceil": np.ceil, "round": np.rint}[name]
        return _checked(float(rounded(first.low)), float(rounded(first.high)), 0, "int")


def _fit(values: np.ndarray) -> bool:
    """Return whether float64 holds all of an array of Python's numbers, int and float."""
    return not any(isinstance(v, int) and abs(v) >= EXACT for v in values.flat)


def _checked(low: int | float, high: int | float, grain: int, kind: str) -> Bounds:
    """Return bounds, or refuse values that float64 does not hold exactly."""
    bounds = Bounds(float(low), float(high), min(grain, 0), cast(Literal["int"], kind))
    if not bounds.largest < inf:
        raise RefusedError("a float may overflow")
    if kind != "float" and bounds.largest >= EXACT:
        raise RefusedError(f"a whole number may reach 2**53: up to {bounds.largest:g}")
    if bounds.grain < SMALLEST:
        raise RefusedError(f"a float may be smaller than 2**{SMALLEST}")
    return bounds


def _exponent(value: int | float) -> int:
    """Return the n with 2**(n - 1) <= value < 2**n."""
    return frexp(value)[1]


def _grain(values: np.ndarray) -> int:
    """Return the largest n <= 0 for which 2**n divides all values."""
    mantissas, exponents = np.frexp(values[np.isfinite(values) & (values != 0)])
    if not len(mantissas):
        return 0
    digits = np.abs(mantissas * 2.0**53).astype(np.int64)
    lowest = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    return min(0, int((exponents - 53 + lowest).min()))
