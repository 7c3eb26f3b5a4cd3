"""What programs may call and index, against Python itself running the same text: values, errors.

Every text is run by Python input by input, and compared with jaxmi's three readings: evaluated as
it was read, evaluated as it is printed and read again, and compiled.
"""

import itertools
import math
import re
from collections import Counter
from typing import get_args

import pytest
from programs.scalar_reference import Failure, difference, run

from jaxmi.programs import arithmetic
from jaxmi.programs import language as lang
from jaxmi.programs.compiled import label_batch, why_not_compiled
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.language import ProgramError
from jaxmi.programs.parse import parse
from jaxmi.programs.show import canonical, show

SMALL_P = 7

OPERANDS = (
    "(x - 3)",
    "(2 * y - 5)",  # never 0
    "(x < y)",
    "((x - 3) / 4)",
    "(-y * 0.0)",
    "((x + 2) ** 200 - y)",
    "(x if y % 2 else x / 2)",
    "((y - 3) * 1e308 * 10 * (x - 3))",  # infinite, and not a number
)
"""Whole numbers, truth values, floats, zeros with a sign, large ones, mixed ones."""

ONE = (
    "bool({0})",
    "float({0})",
    "int({0})",
    "abs({0})",
    "round({0})",
    "round({0}, 1)",
    "round({0}, -1)",
    "round({0}, -9999999)",
    "round({0}, True)",
    "isqrt({0})",
    "math.isqrt(abs(int({0})))",
    "math.floor({0})",
    "math.ceil({0})",
    "math.trunc({0})",
    "math.fmod({0}, 3)",
    "math.fmod(-7.5, {0})",
    "pow({0}, 2)",
    "pow({0}, 3, 7)",
    "pow(3, abs({0}), p)",
    "min(({0},))",
    "max([{0}, 0, 1.5])",
    "min({0}, 0.0, -0.0)",
    "max({0}, -0.0, 0.0)",
    "sum(({0},))",
    "sum([{0}, 2])",
    "len(({0}, 2))",
    "any(({0},))",
    "all([{0}, True])",
    "{0} in (1, -3, 0.75)",
    "{0} not in [2, -0.25, True]",
    "{0} in {{1, 1.0, 0}}",
    "{0} in range(5)",
    "{0} in range(-3, 4, 2)",
    "{0} in range(3, -4, -2)",
    "{0} in range(3, -4, -1)",
    "{0} in range(4, 4)",
    "{0} not in range(-2, 900, 3)",
    "(5, -0.0, 2.5, False)[{0}]",
    "[9 ** 40, 7][{0}]",
    "(1, 2)[1]",
    "(3,)[x < {0} - {0}]",
)

TWO = (
    "round({0}, {1})",
    "fmod({0}, {1})",
    "pow({0}, {1})",
    "pow({0}, {1}, 5)",
    "divmod({0}, {1})[0]",
    "divmod({0}, {1})[1]",
    "divmod({0}, {1})[-1]",
    "divmod({0}, {1})[x % 2]",
    "min({0}, {1}, 3)",
    "max(({0}, {1}))",
    "sum(({0}, {1}))",
    "sum([{0}], {1})",
    "any(({0}, {1}))",
    "all(({0}, {1}))",
    "({0}, {1})[x % 2]",
    "({0}, 7, {1}, -0.0)[y % 4 - 4]",
    "{0} in (1, 7 % (y + 1), {1})",
)


def outcome(text: str) -> str:
    """Compare a text with Python as it is read and as it is printed; return how it ended."""
    program = parse(text, "pairs")
    expected = run(text, SMALL_P)
    printed = show(program)
    again = parse(printed, "pairs")
    assert again == program and show(again) == printed, text
    assert parse(show(canonical(program)), "pairs") == canonical(program), text
    assert difference(program, expected, SMALL_P) == "", text
    # A printed text may have other lines, which an error names.
    if not isinstance(expected, Failure) or "\n" not in text:
        assert difference(again, expected, SMALL_P) == "", printed
    return expected.error if isinstance(expected, Failure) else "works"


def outcomes(texts: list[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for text in texts:
        try:
            found[outcome(text)] += 1
        except ProgramError as error:
            # One of them may be nan, or fail.
            assert re.search("after `in` stand numbers|len of something that must", str(error))
            found["refused"] += 1
    return found


@pytest.mark.parametrize("form", ONE)
def test_a_function_of_one_operand_is_pythons(form: str) -> None:
    found = outcomes([f"return {form.format(operand)}" for operand in OPERANDS])
    assert found["works"] >= 1


@pytest.mark.parametrize("form", TWO)
def test_a_function_of_two_operands_is_pythons(form: str) -> None:
    pairs = itertools.product(OPERANDS, OPERANDS)
    found = outcomes([f"return {form.format(*operands)}" for operands in pairs])
    assert found["works"] >= 3


WHOLE = ("x - 3", "2 * y - 5", "x < y", "(x + 2) ** 200 - y", "-7", "x / 2")


def test_a_power_to_a_modulus_is_pythons() -> None:
    found = outcomes([f"return pow({a}, {b}, {m})" for a in WHOLE for b in WHOLE for m in WHOLE])
    assert set(found) == {"works", "ValueError", "TypeError"}
    assert found["works"] > 25 and found["ValueError"] > 25
    (error,) = outcomes(["return pow(x, y, y - y)"])
    assert error == "ValueError"


def test_a_power_to_a_modulus_is_never_computed_in_full() -> None:
    text = "return pow(x + 2, 2 ** 1000 + y, 10 ** 9 + 7) + pow(3, 10 ** 300, p) * 0"
    assert outcome(text) == "works"


STATEMENTS = {
    "a table": "T = (1, 5, -2.5, -0.0)\nreturn T[(x + y) % 4]",
    "a table of steps from the end": "T = [3, 1, 4, 1, 5]\nreturn T[-(x % 5) - 1] + T[0] + T[-1]",
    "a table's length": "T = (1, 5, 2)\nreturn T[x % len(T)]",
    "too long": "T = (1, 5, 2)\nreturn T[x]",
    "a set": "GOOD = {1, 4, 6, 6.0}\nreturn x in GOOD",
    "a frozen set": "GOOD = frozenset([1, 4, 6])\nreturn (x * y) % 7 not in GOOD",
    "a range": "R = range(6, -1, -3)\nreturn x in R or y in R",
    "a step by name": "K = 3\nreturn x in range(0, 50, K)",
    "a negative step by name": "K = -2\nreturn x - y in range(5, -50, K)",
    "a pair": "d = divmod(x * 3 - 7, 4)\nreturn d[0] * 100 + d[1]",
    "an unpacked pair": "d = divmod(x - 3, y + 1)\nq, r = d\nreturn q * 100 + r",
    "an unpacked pair that fails": "q, r = divmod(x, y - 3)\nreturn q * 100 + r",
    "elements are computed once": "T = [x, y * 2]\nx = 50\nreturn T[0] + T[1] + x",
    "elements fail where they stand": "T = (x, 7 // (y - 3))\nreturn T[0]",
    "two names": "A = B = (3, x)\nreturn A[1] + B[y % 2]",
    "a list of two": "a, b = [y, x]\nreturn a * 10 + b",
    "swapped through a table": "T = (y, x)\na, b = T\nreturn a * 10 + b",
    "functions of a table": "T = (x, y, 3)\nreturn max(T) * 100 + min(T) * 10 + sum(T)",
    "whether any": "T = (x > 3, y > 3)\nreturn any(T) * 10 + all(T)",
    "a range that is named": "R = range(x, y + 2)\nx = 9\nreturn y in R",
    "a choice of tables": "A = (1, 2)\nB = (5, 6)\nreturn A[x % 2] if y > 3 else B[x % 2]",
    "an index of an index": "T = (2, 0, 1)\nreturn T[T[x % 3]]",
    "a wide range": "return (x + 2 ** 60) in range(2 ** 58, 2 ** 61, 3)",
}


@pytest.mark.parametrize("text", STATEMENTS.values(), ids=STATEMENTS)
def test_named_tuples_sets_and_ranges_are_pythons(text: str) -> None:
    assert outcome(text) in ("works", "IndexError", "ZeroDivisionError")


COMPILED = {
    "return (1, 5, 2.5)[(x + y) % 3] > 2": True,
    "return (x, y, 3, -1)[(x + y) % 4 - 2] > 2": True,
    "return (0, 1)[x < y]": True,
    "return fmod(x - y, 4) < -1": True,
    "return fmod(x * 0.5 - y, 2.5) >= 1": True,
    "return fmod(x / 2 - y, 2.5) >= 1": False,
    "return (x * y) % 7 in (1, 2, 4)": True,
    "return x - y in range(5, -6, -3)": True,
    "return sum((x, y, x > y)) > 6": True,
    "return bool(x % 3) and any((x > 3, y > 3))": True,
    "return divmod(x + y, 3)[0] > divmod(x + y, 3)[1]": True,
    "return pow(x, 5, 7) + y > 6": True,
    "return pow(x + 1, -1, 11) > y": True,
    "return pow(x, -1, 11) > y if x else 0": False,  # as a table, the power fails at x = 0
    "return round(x / 7, 2) * 10 > y": True,
    "T = (3, 1, 4, 1, 5, 9, 2)\nreturn T[x] > T[y]": True,
    "return pow(x, y, p) > 2": False,
    "return round(x / (y + 1), 1) > 0.7": False,
    "return (0, 1)[x - x // 2 * 2]": False,  # its bounds are too wide
    "return fmod(x, y - 9) > 1": True,
}


def test_compiled_programs_have_pythons_labels() -> None:
    domain = PairDomain(SMALL_P)
    programs = [parse(text, "pairs") for text in COMPILED]
    labels = label_batch(programs, domain, fewest=1)
    for text, program, found in zip(COMPILED, programs, labels, strict=True):
        expected = run(text, SMALL_P)
        assert found.tolist() == expected, text
        assert 0 < found.mean() < 1, text
        assert (why_not_compiled(program, domain) is None) is COMPILED[text], text


ARGUMENTS = ("x - 3", "y / 4 - 2.1", "x < y", "p")


def test_no_function_and_no_node_is_forgotten_by_the_compiled_form() -> None:
    """Each is compiled, or refused with a reason; and labelled as by evaluation in both cases."""
    expressions = [
        f"{name}({', '.join(arguments)})"
        for name, (fewest, most) in lang.FUNCTIONS.items()
        for n in range(fewest, min(most, 3) + 1)
        for arguments in [*itertools.permutations(ARGUMENTS, n)][:: 2 * n]
    ]
    expressions += ["-x", "x + y", "1 < x < y", "x and y", "x if y else p", "(x, y)[x < y]"]
    programs = [parse(f"return ({text}) > 1", "pairs") for text in expressions]
    nodes = {type(node) for program in programs for node in lang.walk(program)}
    assert nodes >= set(get_args(lang.Expression))
    compiled = 0
    for program in programs:
        expected = run(show(program), SMALL_P)
        reason = why_not_compiled(program, PairDomain(SMALL_P))
        assert reason is None or reason
        compiled += reason is None
        if not isinstance(expected, Failure):
            (found,) = label_batch([program], PairDomain(SMALL_P), fewest=1)
            assert found.tolist() == expected, show(program)
        else:
            assert reason is not None
    assert compiled > len(programs) / 3


WRONG = {
    "round": ("_rounded", lambda a, n: math.floor(a * 10 + 0.5) / 10, "return round(x / 4, 1)"),
    "pow": ("_modular_power", lambda a, b, m: a**b % abs(m), "return pow(x, 3, -5)"),
    "fmod": ("fmod", lambda a, b: a % b, "return fmod(x - 3, 2)"),
    "item": ("_place", lambda n, i: int(i) % n, "return (1, 2, 3)[x - 1]"),
}


@pytest.mark.parametrize(("name", "wrong", "text"), WRONG.values(), ids=WRONG)
def test_the_comparison_sees_what_other_tools_compute(
    name: str, wrong: object, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    outcome(text)
    monkeypatch.setattr(arithmetic, name, wrong)
    with pytest.raises(AssertionError):
        outcome(text)


def test_a_variable_may_have_the_name_of_a_new_function() -> None:
    """Programs were written before there were these functions."""
    for name in lang.FREE_NAMES:
        program = parse(f"{name} = x * 2\nreturn {name} > y", "pairs")
        assert program == parse(show(program), "pairs")
        with pytest.raises(ProgramError, match=f"{name} is a variable; give it another name"):
            parse(f"{name} = 3\nreturn {name}(x, 2, 5) > 1", "pairs")
    with pytest.raises(ProgramError, match="fmod is a variable; give it another name"):
        parse("from math import fmod as g\nfmod = 3\nreturn g(x, fmod) > 1", "pairs")
