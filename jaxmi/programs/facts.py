"""What is certain of an expression's value on every input, without evaluating it.

The parser needs it where Python computes more than the language's nearest form does: `a & b`
computes both sides, `a and b` only the first where that decides. They agree if the second side
cannot fail.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import ceil, frexp, inf

from jaxmi.programs import language as lang

MAX_BITS = 1000
"""Bounds above this are given up: whole numbers and floats end at 2**1024."""


@dataclass(frozen=True)
class Facts:
    """What holds for a value on every input; the defaults hold for any value."""

    bits: int | float = inf
    """The magnitude is below 2**bits; `inf` also allows an infinite value or not a number."""

    whole: bool = False
    """It is one of Python's whole numbers or truth values."""

    truth: bool = False
    """It is a truth value."""

    nonnegative: bool = False

    divides: bool = False
    """The magnitude is at least 2**-64, so that it can be divided by."""

    fails: bool = False
    """Computing it may raise an error."""


INPUT = Facts(bits=32, whole=True, nonnegative=True)
"""What holds for x and y."""

MODULUS = replace(INPUT, divides=True)
"""What holds for p."""

Known = Mapping[str, Facts]


def facts(node: lang.Expression, known: Known) -> Facts:
    """Return what is certain of an expression's value.

    Args:
      node: An expression of numbers.
      known: Name -> what is certain of its value.
    """
    match node:
        case lang.Number(value=value):
            return Facts(
                bits=value.bit_length() if isinstance(value, int) else max(frexp(value)[1], 0),
                whole=isinstance(value, int),
                truth=isinstance(value, bool),
                nonnegative=True,
                divides=value >= 2.0**-64,
            )
        case lang.Name(name=name):
            return known.get(name, Facts(fails=True))
        case lang.Unary(operator="not", operand=operand):
            return _truth(facts(operand, known).fails)
        case lang.Unary(operand=operand):
            value = facts(operand, known)
            return replace(value, truth=False, nonnegative=False)
        case lang.Compare(first=first, rest=rest):
            parts = (first, *(part for _, part in rest))
            return _truth(any(facts(part, known).fails for part in parts))
        case lang.Connected(operands=operands):
            return reduce(join, (facts(operand, known) for operand in operands))
        case lang.Choice(condition=condition, then=then, otherwise=otherwise):
            value = join(facts(then, known), facts(otherwise, known))
            return replace(value, fails=value.fails or facts(condition, known).fails)
        case lang.Binary(operator="**", left=left, right=right):
            return _bounded(_power(facts(left, known), right))
        case lang.Binary(operator=operator, left=left, right=right):
            return _bounded(_binary(operator, facts(left, known), facts(right, known)))
        case lang.Item(elements=elements, index=index):
            value, place = reduce(join, (facts(e, known) for e in elements)), facts(index, known)
            within = place.whole and 2**place.bits <= len(elements)
            return replace(value, fails=value.fails or place.fails or not within)
        case lang.Call(function=name) if name in lang.IMAGE_FUNCTIONS:
            return Facts(
                bits=64,
                whole=name in ("l1", "linf", "dot"),
                nonnegative=True,
                fails=name == "cosine",  # of a black image
            )
        case lang.Call(function=name, arguments=arguments):
            return _bounded(_function(name, [facts(argument, known) for argument in arguments]))


def join(a: Facts, b: Facts) -> Facts:
    """Return what is certain of a value that is one of two."""
    return Facts(
        bits=max(a.bits, b.bits),
        whole=a.whole and b.whole,
        truth=a.truth and b.truth,
        nonnegative=a.nonnegative and b.nonnegative,
        divides=a.divides and b.divides,
        fails=a.fails or b.fails,
    )


def _truth(fails: bool) -> Facts:
    return Facts(bits=1, whole=True, truth=True, nonnegative=True, fails=fails)


def _bounded(value: Facts) -> Facts:
    """Return the facts; a result that may leave the range of numbers is taken to fail."""
    if value.bits <= MAX_BITS:
        return value
    return replace(value, bits=inf, fails=True)


def _binary(operator: lang.BinaryOperator, a: Facts, b: Facts) -> Facts:
    """Return what is certain of a result of `+ - * / // %`."""
    whole, both = a.whole and b.whole, a.nonnegative and b.nonnegative
    fails = a.fails or b.fails
    match operator:
        case "+" | "-":
            return Facts(
                max(a.bits, b.bits) + 1, whole, False, both and operator == "+", fails=fails
            )
        case "*":
            return Facts(a.bits + b.bits, whole, False, both, fails=fails)
    fails = fails or not b.divides
    if operator == "%":
        return Facts(b.bits + 1, whole, False, b.nonnegative, fails=fails or a.bits == inf)
    bits = a.bits + 65 if b.divides else inf
    return Facts(bits, whole and operator == "//", False, both, fails=fails)


def _power(base: Facts, exponent: lang.Expression) -> Facts:
    match exponent:
        case lang.Number(value=value) if value <= 64 and (
            base.nonnegative or isinstance(value, int)
        ):
            return Facts(
                bits=max(base.bits, 1) * max(ceil(value), 1) + 1,
                whole=base.whole and isinstance(value, int),
                nonnegative=base.nonnegative,
                fails=base.fails,
            )
    return Facts(fails=True)


def _function(name: str, arguments: list[Facts]) -> Facts:
    first, fails = arguments[0], any(argument.fails for argument in arguments)
    match name:
        case "pow":
            _, exponent, modulus = arguments
            fails = fails or not all(argument.whole for argument in arguments)
            fails = fails or not (exponent.nonnegative and modulus.divides)
            return Facts(modulus.bits, True, False, modulus.nonnegative, fails=fails)
        case "fmod":
            fails = fails or first.bits == inf or not arguments[1].divides
            return Facts(first.bits, nonnegative=first.nonnegative, fails=fails)
        case "round" if len(arguments) == 2:
            fails = fails or not arguments[1].whole
            return Facts(first.bits + 1, first.whole, nonnegative=first.nonnegative, fails=fails)
        case "min" | "max":
            return reduce(join, arguments)
        case "where":
            value = join(*arguments[1:])
            return replace(value, fails=value.fails or first.fails)
        case "abs":
            return replace(first, truth=False, nonnegative=True)
        case "float":
            return replace(first, whole=False, truth=False)
        case "sqrt":
            return Facts(first.bits, nonnegative=True, fails=first.fails or not first.nonnegative)
        case "isqrt":
            fails = first.fails or not (first.whole and first.nonnegative)
            return Facts(first.bits, whole=True, nonnegative=True, fails=fails)
    return Facts(first.bits + 1, whole=True, nonnegative=first.nonnegative, fails=first.fails)
