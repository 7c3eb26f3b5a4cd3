"""Python's arithmetic on arrays: every element is what Python's scalars give, bit for bit.

Arrays are int64 with magnitudes up to 2**53, float64, or Python's own numbers in an object array:
larger integers, or integers and floats together. The first two are computed by NumPy where it gives
exactly what Python gives. Object arrays and powers are computed element by element by Python.
"""

import operator
from collections.abc import Callable
from functools import partial
from math import ceil, floor, fmod, isqrt, sqrt
from typing import Any, NamedTuple

import numpy as np

EXACT = 2**53
"""Largest magnitude up to which float64 holds every integer, so that mixing types rounds none."""

MAX_BITS = 1024
"""Integers must stay below 2**1024, which no float reaches: a limit of the language."""


class Result(NamedTuple):
    """An operation's values, and the elements on which it fails."""

    values: np.ndarray
    errors: np.ndarray | None = None
    """None if no element fails; else objects in the shape of `values`, an exception where Python
    raises it and None elsewhere."""


def is_error(values: np.ndarray) -> np.ndarray:
    """Return where an array of objects holds an exception."""
    test = np.frompyfunc(lambda value: isinstance(value, Exception), 1, 1)
    return np.asarray(test(values), bool)


def compact(values: np.ndarray) -> np.ndarray:
    """Return Python's numbers as int64 or float64 if all are of one type and fit."""
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
    """Return `values` where a mask holds and `others` elsewhere; every element keeps its type."""
    if where.all():
        return values
    if values.dtype == others.dtype or {values.dtype.kind, others.dtype.kind} == {"b", "i"}:
        return np.where(where, values, others)  # Python's truth values are integers
    return np.where(where, values.astype(object), others.astype(object))


def binary(symbol: str, a: np.ndarray, b: np.ndarray) -> Result:
    """Apply `+ - * / // % **`."""
    a, b = _numbers(a), _numbers(b)
    if symbol == "**":
        square = a.dtype.kind == b.dtype.kind == "i" and b.size == 1 and b.item() == 2
        return binary("*", a, a) if square else _each(_power, a, b)
    if object in (a.dtype, b.dtype):
        return _each(_SCALAR[symbol], a, b)
    integers = a.dtype.kind == b.dtype.kind == "i"
    if symbol in ("/", "//", "%"):
        if symbol != "/" and not integers:
            return _each(_SCALAR[symbol], a, b)
        zero = b == 0
        errors = None
        if zero.any():
            message = "division by zero" if symbol == "/" else "integer division or modulo by zero"
            if symbol == "/" and not integers:
                message = "float division by zero"
            errors = _errors(zero, ZeroDivisionError(message))
            b = np.where(zero, b.dtype.type(1), b)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return Result(_VECTOR[symbol](a, b), errors)
    if integers:
        if symbol == "*" and _largest(a) * _largest(b) > EXACT:
            return _each(_SCALAR[symbol], a, b)
        result = _VECTOR[symbol](a, b)
        return Result(result) if _largest(result) <= EXACT else _each(_SCALAR[symbol], a, b)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return Result(_VECTOR[symbol](a.astype(np.float64), b.astype(np.float64)))


def compare(symbol: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Apply `< <= > >= == !=`; return truth values."""
    with np.errstate(invalid="ignore"):  # comparing object arrays with nan sets the flag
        return np.asarray(_COMPARISONS[symbol](_numbers(a), _numbers(b)), bool)


def truth(values: np.ndarray) -> np.ndarray:
    """Return which values Python takes as true."""
    return values.astype(bool)


def negative(values: np.ndarray) -> np.ndarray:
    """Apply unary minus."""
    return -_numbers(values)


def function(name: str, arguments: list[np.ndarray]) -> Result:
    """Apply one of `language.FUNCTIONS`."""
    first = _numbers(arguments[0])
    if name == "where":
        shape = np.broadcast_shapes(*(values.shape for values in arguments))
        chosen, otherwise = (np.broadcast_to(values, shape) for values in arguments[1:])
        return Result(merge(np.broadcast_to(truth(first), shape), chosen, otherwise))
    if name in ("min", "max"):
        before = "<" if name == "min" else ">"
        for other in arguments[1:]:
            shape = np.broadcast_shapes(first.shape, other.shape)
            better = np.broadcast_to(compare(before, other, first), shape)
            first = merge(better, np.broadcast_to(_numbers(other), shape), first)
        return Result(first)
    if name in ("pow", "fmod") or len(arguments) == 2:
        return _each({"pow": _modular_power, "fmod": fmod, "round": _rounded}[name], *arguments)
    if name == "abs":
        return Result(abs(first))
    if name == "sqrt":
        if first.dtype == object or (first < 0).any():
            return _each(sqrt, first)
        return Result(np.sqrt(first.astype(np.float64)))
    if name == "float":
        return _each(float, first) if first.dtype == object else Result(first.astype(np.float64))
    if name == "isqrt":
        # Rounded to 53 digits, the root of k * k - 1 is below k for k up to 2**26.
        if first.dtype.kind != "i" or first.min() < 0 or first.max() >= 2**52:
            return _each(_isqrt, first)
        return Result(np.floor(np.sqrt(first.astype(np.float64))).astype(np.int64))
    if first.dtype.kind == "i":  # int, floor, ceil and round of an integer
        return Result(first)
    if first.dtype == object or not (np.abs(first) <= EXACT).all():  # nan is not <= EXACT either
        return _each(_ROUND[name], first)
    return Result(_ROUND_ALL[name](first).astype(np.int64))


def item(elements: list[np.ndarray], index: np.ndarray) -> Result:
    """Return for each input one of one or more elements, as a tuple's index does."""
    places = _each(partial(_place, len(elements)), index)
    if all(values.size == 1 for values in elements):
        table = np.array([values.item() for values in elements], object)
        return Result(compact(table[places.values]), places.errors)
    shape = np.broadcast_shapes(places.values.shape, *(values.shape for values in elements))
    result, *others = (np.broadcast_to(values, shape) for values in elements)
    for i, values in enumerate(others, 1):
        result = merge(np.broadcast_to(places.values == i, shape), values, result)
    return Result(result, places.errors)


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
_ROUND: dict[str, Callable[[Any], int]] = {
    "int": int,
    "floor": floor,
    "ceil": ceil,
    "round": round,
}
_ROUND_ALL = {"int": np.trunc, "floor": np.floor, "ceil": np.ceil, "round": np.rint}


def _numbers(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int64) if values.dtype == bool else values


def _largest(values: np.ndarray) -> int:
    return max(int(values.max()), -int(values.min()))


def _power(a: int | float, b: int | float) -> int | float:
    integers = isinstance(a, int) and isinstance(b, int) and b > 0
    # Refuse before computing: 9 ** 9 ** 9 would take years.
    if integers and abs(a) > 1 and (int(a).bit_length() - 1) * b >= MAX_BITS:
        raise _too_large()
    if integers and abs(a) <= 1:
        return a if b % 2 else abs(a)  # Python would multiply as often as b has bits
    result = a**b
    if isinstance(result, complex):
        raise ValueError("the power is a complex number")
    return result


def _modular_power(a: int | float, b: int | float, modulus: int | float) -> int:
    if not (isinstance(a, int) and isinstance(b, int) and isinstance(modulus, int)):
        raise TypeError("pow of three numbers takes whole ones")
    return pow(a, b, modulus)


def _rounded(a: int | float, digits: int | float) -> int | float:
    if not isinstance(digits, int):
        raise TypeError("round takes a whole number of decimals")
    # No number has as many digits before its point; Python would compute 10 ** -digits.
    return a * 0 if isinstance(a, int) and digits < -MAX_BITS else round(a, digits)


def _place(n: int, index: int | float) -> int:
    """Return where an index of n elements points."""
    if not isinstance(index, int):
        raise TypeError("an index is a whole number, not a float")
    if not -n <= index < n:
        raise IndexError(f"the index {index} of {n} elements is out of range")
    return index % n


def _isqrt(a: int | float) -> int:
    if isinstance(a, float):
        raise TypeError("isqrt takes a whole number, not a float; write isqrt(int(...))")
    return isqrt(a)


def _too_large() -> OverflowError:
    return OverflowError(f"a whole number reaches 2**{MAX_BITS}")


def _each(scalar: Callable[..., Any], *arguments: np.ndarray) -> Result:
    """Apply a function of Python's numbers element by element."""
    shape = np.broadcast_shapes(*(values.shape for values in arguments))
    columns = [np.broadcast_to(values, shape).reshape(-1).tolist() for values in arguments]
    results: list[Any] = []
    errors = None
    for numbers in zip(*columns, strict=True):
        try:
            result = scalar(*numbers)
            if isinstance(result, int) and result.bit_length() > MAX_BITS:
                raise _too_large()
        except (ArithmeticError, LookupError, ValueError, TypeError) as error:
            result = 0
            errors = np.full(shape, None, object) if errors is None else errors
            # Without the traceback, whose frames would keep all arrays alive.
            errors.flat[len(results)] = error.with_traceback(None)
        results.append(result)
    return Result(compact(np.array(results, object).reshape(shape)), errors)


def _errors(where: np.ndarray, error: Exception) -> np.ndarray:
    errors = np.full(where.shape, None, object)
    errors[where] = error
    return errors
