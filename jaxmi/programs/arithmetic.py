"""Python's arithmetic on arrays: every element is what Python's scalars give, bit for bit.

Values are int64 below 2**53, float64, or anything else as Python's own numbers in an object array:
larger integers, and arrays of both kinds. The first two go through NumPy where it does exactly what
Python does; the rest, and all powers, go element by element through Python itself.
"""

import operator
from collections.abc import Callable
from math import ceil, floor, sqrt
from typing import Any, NamedTuple

import numpy as np

EXACT = 2**53
"""Integers up to here are floats, too, so that mixed arithmetic does not round them."""

MAX_BITS = 1024
"""Integers from 2**1024, which no float reaches, are an OverflowError: a limit of the language."""


class Computed(NamedTuple):
    """An operation's results, and where there is none."""

    values: np.ndarray
    errors: np.ndarray | None = None
    """An exception where Python would raise it, None elsewhere, (...) objects; None: nowhere."""


def is_error(values: np.ndarray) -> np.ndarray:
    """Returns where an array of objects has an exception."""
    test = np.frompyfunc(lambda value: isinstance(value, Exception), 1, 1)
    return np.asarray(test(values), bool)


def compact(values: np.ndarray) -> np.ndarray:
    """Stores Python's numbers as int64 or float64, if all are of one kind and fit."""
    if values.dtype != object:
        return values
    numbers = values.reshape(-1).tolist()
    kinds = set(map(type, numbers))
    if kinds == {float}:
        return values.astype(np.float64)
    if kinds <= {int, bool} and max(map(abs, numbers)) <= EXACT:
        return values.astype(np.int64)
    return values


def merge(where: np.ndarray, values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Takes values where a mask says so, and others elsewhere, each as the kind it is."""
    if where.all():
        return values
    if values.dtype == others.dtype or {values.dtype.kind, others.dtype.kind} == {"b", "i"}:
        return np.where(where, values, others)  # truth values are whole numbers
    return np.where(where, values.astype(object), others.astype(object))


def binary(symbol: str, a: np.ndarray, b: np.ndarray) -> Computed:
    """Applies `+ - * / // % **`."""
    a, b = _numbers(a), _numbers(b)
    if symbol == "**":
        square = a.dtype.kind == b.dtype.kind == "i" and b.size == 1 and b.item() == 2
        return binary("*", a, a) if square else _each(_power, a, b)
    if object in (a.dtype, b.dtype):
        return _each(_SCALAR[symbol], a, b)
    whole = a.dtype.kind == b.dtype.kind == "i"
    if symbol in ("/", "//", "%"):
        if symbol != "/" and not whole:
            return _each(_SCALAR[symbol], a, b)
        zero = b == 0
        errors = None
        if zero.any():
            message = "division by zero" if symbol == "/" else "integer division or modulo by zero"
            if symbol == "/" and not whole:
                message = "float division by zero"
            errors = _errors(zero, ZeroDivisionError(message))
            b = np.where(zero, b.dtype.type(1), b)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return Computed(_VECTOR[symbol](a, b), errors)
    if whole:
        if symbol == "*" and _largest(a) * _largest(b) > EXACT:
            return _each(_SCALAR[symbol], a, b)
        result = _VECTOR[symbol](a, b)
        return Computed(result) if _largest(result) <= EXACT else _each(_SCALAR[symbol], a, b)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return Computed(_VECTOR[symbol](a.astype(np.float64), b.astype(np.float64)))


def compare(symbol: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Applies `< <= > >= == !=`; returns truth values."""
    with np.errstate(invalid="ignore"):  # Python's comparison of objects with nan sets the flag
        return np.asarray(_COMPARISONS[symbol](_numbers(a), _numbers(b)), bool)


def truth(values: np.ndarray) -> np.ndarray:
    """Returns where Python takes values for true."""
    return values.astype(bool)


def negative(values: np.ndarray) -> np.ndarray:
    """Applies unary minus."""
    return -_numbers(values)


def function(name: str, arguments: list[np.ndarray]) -> Computed:
    """Applies one of `language.FUNCTIONS`."""
    first = _numbers(arguments[0])
    if name in ("min", "max"):
        before = "<" if name == "min" else ">"
        for other in arguments[1:]:
            shape = np.broadcast_shapes(first.shape, other.shape)
            better = np.broadcast_to(compare(before, other, first), shape)
            first = merge(better, np.broadcast_to(_numbers(other), shape), first)
        return Computed(first)
    if name == "abs":
        return Computed(abs(first))
    if name == "sqrt":
        if first.dtype == object or (first < 0).any():
            return _each(sqrt, first)
        return Computed(np.sqrt(first.astype(np.float64)))
    if first.dtype.kind == "i":  # int, floor and ceil leave whole numbers as they are
        return Computed(first)
    if first.dtype == object or not (np.abs(first) <= EXACT).all():  # not a number, too
        return _each(_ROUND[name], first)
    return Computed(_ROUND_ALL[name](first).astype(np.int64))


_SCALAR: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_VECTOR: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "//": np.floor_divide,
    "%": np.remainder,
}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_ROUND: dict[str, Callable[[Any], int]] = {"int": int, "floor": floor, "ceil": ceil}
_ROUND_ALL = {"int": np.trunc, "floor": np.floor, "ceil": np.ceil}


def _numbers(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int64) if values.dtype == bool else values


def _largest(values: np.ndarray) -> int:
    return max(int(values.max()), -int(values.min()))


def _power(a: int | float, b: int | float) -> int | float:
    whole = isinstance(a, int) and isinstance(b, int) and b > 0
    # Before it is computed: 9 ** 9 ** 9 would keep us busy for years.
    if whole and abs(a) > 1 and (int(a).bit_length() - 1) * b >= MAX_BITS:
        raise _too_large()
    if whole and abs(a) <= 1:
        return a if b % 2 else abs(a)  # at once, for a b of a thousand bits, too
    result = a**b
    if isinstance(result, complex):
        raise ValueError("the power is a complex number")
    return result


def _too_large() -> OverflowError:
    return OverflowError(f"a whole number reaches 2**{MAX_BITS}")


def _each(scalar: Callable[..., Any], *arguments: np.ndarray) -> Computed:
    """Applies a function of Python's numbers element by element."""
    shape = np.broadcast_shapes(*(values.shape for values in arguments))
    columns = [np.broadcast_to(values, shape).reshape(-1).tolist() for values in arguments]
    results: list[Any] = []
    errors = None
    for numbers in zip(*columns, strict=True):
        try:
            result = scalar(*numbers)
            if isinstance(result, int) and result.bit_length() > MAX_BITS:
                raise _too_large()
        except (ArithmeticError, ValueError) as error:
            result = 0
            errors = np.full(shape, None, object) if errors is None else errors
            errors.flat[len(results)] = error.with_traceback(None)  # its frames hold all arrays
        results.append(result)
    return Computed(compact(np.array(results, object).reshape(shape)), errors)


def _errors(where: np.ndarray, error: Exception) -> np.ndarray:
    errors = np.full(where.shape, None, object)
    errors[where] = error
    return errors
