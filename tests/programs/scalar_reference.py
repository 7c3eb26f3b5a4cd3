"""Programs run by Python itself, input by input: what evaluation over a whole domain must give.

Only tests run programs so, and only their own.
"""

import ast
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxmi.programs import language as lang
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import EvaluationError, evaluate
from jaxmi.programs.parse import parse

LIMIT = 2**1024
"""The language's own: whole numbers stay below it."""


class Failure(NamedTuple):
    """What Python raises on the first input on which it raises anything."""

    position: int
    """Of the input, in domain order."""
    error: str
    """The exception's name; "" for a program that ends without return."""
    line: int
    """Of the text; 0 for the program's end."""


def outcomes(texts: list[str], p: int) -> Counter[str]:
    """Compares programs with Python, which must agree; returns how many fail with what."""
    found: Counter[str] = Counter()
    for text in texts:
        result = run(text, p)
        assert difference(parse(text, "pairs"), result, p) == "", text
        found[result.error if isinstance(result, Failure) else "works"] += 1
    return found


def run(text: str, p: int) -> list[int | float] | Failure:
    """Returns a program's value of every pair below p, or where and how it fails."""
    label = python_function(text)
    values: list[Any] = []
    try:
        for x in range(p):
            for y in range(p):
                values.append(label(x, y, p))
    except _ERRORS:
        if None not in values:
            return _failure(text, len(values), p)
    return Failure(values.index(None), "", 0) if None in values else values


_ERRORS = (ArithmeticError, LookupError, ValueError, NameError, TypeError)


def _failure(text: str, position: int, p: int) -> Failure:
    """Returns how a program fails on an input, in a function that has not run yet.

    Python 3.11 joins instructions of functions that ran often, also of two lines, and then names
    the first of these lines.
    """
    try:
        python_function(text)(*divmod(position, p), p)
    except _ERRORS as error:
        return Failure(position, _name(error), _line(error))
    raise AssertionError(f"fails only in a loop: {text}")


def difference(program: lang.Program, expected: list[int | float] | Failure, p: int) -> str:
    """Says where evaluation differs from what Python gave on the pairs below p; "" if nowhere.

    Values differ if they are printed differently (-0.0 and 0.0, 1 and 1.0); True counts as 1.
    """
    try:
        values = evaluate(program, PairDomain(p)).tolist()
    except EvaluationError as error:
        return "" if is_named(expected, str(error), p) else f"{error}, not {expected}"
    if isinstance(expected, Failure):
        return f"{values[expected.position]}, not {expected}"
    pairs = zip(values, expected, strict=True)
    wrong = (f"{a!r}, not {b!r}, at {i}" for i, (a, b) in enumerate(pairs) if repr(+a) != repr(+b))
    return next(wrong, "")


def is_named(expected: list[int | float] | Failure, message: str, p: int) -> bool:
    """Whether an error's message says of a failure what and where it is."""
    if not isinstance(expected, Failure):
        return False
    x, y = divmod(expected.position, p)
    what = r"line \d+, column \d+: ends without return"
    if expected.error:
        what = rf"line {expected.line}, column \d+: {expected.error}, "
    return bool(re.match(what, message)) and message.endswith(f" at x = {x}, y = {y}")


def python_function(text: str) -> Callable[[int, int, int], Any]:
    """Makes a function of x, y and p from a program's text, with the language's limits built in."""
    function = ast.parse("def label(x, y, p): pass")
    function.body[0].body = _Limits().visit(ast.parse(text)).body
    scope = {"_whole": _whole, "_power": _power}
    scope |= {"sqrt": math.sqrt, "floor": math.floor, "ceil": math.ceil, "isqrt": math.isqrt}
    scope |= {"where": lambda condition, a, b: a if condition else b}
    scope |= {"fmod": math.fmod, "round": _round, "pow": _pow, "math": math}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of (1, 2)[0.5]
        exec(compile(ast.fix_missing_locations(function), "<program>", "exec"), scope)
    return scope["label"]


class _Limits(ast.NodeTransformer):
    """Routes through functions what may be complex in Python, or a number of any length."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        return self._limited(node, node.left, node.op, node.right)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.Assign:
        self.generic_visit(node)
        assert isinstance(node.target, ast.Name)
        old = ast.copy_location(ast.Name(node.target.id, ast.Load()), node)
        new = self._limited(node, old, node.op, node.value)
        return ast.copy_location(ast.Assign([node.target], new), node)

    def _limited(
        self, at: ast.AST, left: ast.expr, operator: ast.operator, right: ast.expr
    ) -> ast.expr:
        result = ast.copy_location(ast.BinOp(left, operator, right), at)
        if isinstance(operator, ast.Pow):
            result = ast.Call(ast.Name("_power", ast.Load()), [left, right], [])
        elif isinstance(operator, ast.Add | ast.Sub | ast.Mult):
            result = ast.Call(ast.Name("_whole", ast.Load()), [result], [])
        return ast.copy_location(result, at)


def _whole(value: int | float) -> int | float:
    if type(value) is int and not -LIMIT < value < LIMIT:
        raise OverflowError
    return value


def _round(value: int | float, *digits: Any) -> int | float:
    if digits and isinstance(value, int) and isinstance(digits[0], int) and digits[0] < -1024:
        return 0  # for which Python would compute a number of as many digits
    return _whole(round(value, *digits))


def _pow(base: int | float, exponent: int | float, *modulus: Any) -> int | float:
    return pow(base, exponent, *modulus) if modulus else _power(base, exponent)


def _power(base: int | float, exponent: int | float) -> int | float:
    if type(base) is type(exponent) is int and abs(base) > 1 and exponent > 1024:
        raise OverflowError  # without computing it
    value = base**exponent
    if isinstance(value, complex):
        raise ValueError
    return _whole(value)


def _name(error: Exception) -> str:
    return "NameError" if isinstance(error, NameError) else type(error).__name__


def _line(error: Exception) -> int:
    lines, traceback = [], error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == "<program>":
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return lines[-1]
