"""Every operator and function on every kind of operand, against Python run input by input."""

import itertools
from typing import get_args

import numpy as np
import pytest
from programs.scalar_reference import difference, outcomes, run

from jaxmi.programs import arithmetic
from jaxmi.programs import language as lang
from jaxmi.programs.parse import parse

SMALL_P = 13

OPERANDS = (
    "x - 9",
    "2 * y - 21",  # never 0
    "x < y",
    "(x - 9) / 4",
    "y / 4 - 2.1",  # never 0
    "-y * 0.0",
    "(x + 2) ** 200 - y",
    "(x if y % 2 else x / 2)",
    "(y - 9) * 1e308 * 10 * (x - 9)",  # infinite, and not a number
    "(9007199254740993 if x < y else x * 9007199254740992.0)",
)
"""Whole numbers, floats, truth values, large ones, mixed ones; on both inputs, or on one."""

TERNARY = ("x - 9", "y / 4 - 1.5", "not y", "(x if y % 2 else x / 2)", "x % 7 * 1e308 * 10")


@pytest.mark.parametrize("operator", get_args(lang.BinaryOperator))
def test_arithmetic_is_pythons_for_every_kind_of_operand(operator: str) -> None:
    pairs = list(itertools.product(OPERANDS, OPERANDS))
    found = outcomes([f"return ({a}) {operator} ({b})" for a, b in pairs], SMALL_P)
    assert found["works"] >= 30
    found = outcomes([f"z = {a}\nz {operator}= {b}\nreturn z" for a, b in pairs[::7]], SMALL_P)
    assert found["works"] >= 5


@pytest.mark.parametrize("operator", get_args(lang.Comparison))
def test_comparisons_are_pythons_for_every_kind_of_operand(operator: str) -> None:
    pairs = itertools.product(OPERANDS, OPERANDS)
    found = outcomes([f"return ({a}) {operator} ({b})" for a, b in pairs], SMALL_P)
    assert found == {"works": len(OPERANDS) ** 2}


@pytest.mark.parametrize("function", lang.FUNCTIONS)
def test_functions_are_pythons_for_every_kind_of_argument(function: str) -> None:
    fewest, most = lang.FUNCTIONS[function]
    if fewest == 1:
        found = outcomes([f"return {function}({a})" for a in OPERANDS], SMALL_P)
        assert found["works"] >= (2 if function == "isqrt" else 3)  # it takes no float
    arguments = list(itertools.product(OPERANDS, OPERANDS)) if fewest <= 2 <= most else []
    arguments += itertools.product(TERNARY, TERNARY, TERNARY) if most >= 3 else []
    found = outcomes([f"return {function}({', '.join(a)})" for a in arguments], SMALL_P)
    if function in ("min", "max", "where"):
        assert found == {"works": len(arguments)}
    elif arguments and function != "pow":
        assert found["works"] >= 15


def test_an_element_is_pythons_for_every_kind_of_element_and_index() -> None:
    texts = [f"return ({a}, 7, {b})[x % 3]" for a in OPERANDS for b in OPERANDS]
    texts += [f"return ({a}, {b})[-(x < y)]" for a in OPERANDS for b in OPERANDS]
    texts += [f"return (0.0, -0.0, 2, {x})[y % 4 - 4]" for x in ("True", "x", "9 ** 40", "1e308")]
    assert outcomes(texts, SMALL_P) == {"works": len(texts)}
    assert outcomes([f"return (1, 2, 3)[{i}]" for i in OPERANDS], SMALL_P) == {
        "IndexError": 3,
        "TypeError": 6,
        "works": 1,
    }


def test_the_whole_root_is_exact_where_a_float_is_not() -> None:
    roots = ("94906266", "67108863", "67108864", "3", "1000003")
    texts = [f"return isqrt({r} ** 2 - 1 + x) + y * 0" for r in roots]
    texts += [f"return isqrt({r} ** 9 - 7 + x * y)" for r in roots]
    assert outcomes(texts, SMALL_P) == {"works": len(texts)}
    assert int(np.sqrt(94906266.0**2 - 1)) == 94906266  # the control


@pytest.mark.parametrize("form", ["-({})", "not ({})", "- -({})", "not not ({})", "({})"])
def test_signs_negations_and_values_are_pythons(form: str) -> None:
    texts = [f"return {form.format(operand)}" for operand in OPERANDS]
    assert outcomes(texts, SMALL_P) == {"works": len(OPERANDS)}


@pytest.mark.parametrize(
    "form",
    [
        "({}) and ({}) and ({})",
        "({}) or ({}) or ({})",
        "({}) and (({}) or ({}))",
        "not (({}) or ({})) and ({})",
        "({}) if ({}) else ({})",
        "({}) < ({}) <= ({})",
        "({}) != ({}) >= ({}) > 0.5",
        "({}) == ({}) < 9007199254740993 != ({})",
    ],
)
def test_connectives_choices_and_chains_are_pythons(form: str) -> None:
    texts = [f"return {form.format(*three)}" for three in itertools.product(TERNARY, repeat=3)]
    assert outcomes(texts, SMALL_P) == {"works": len(TERNARY) ** 3}


def float32_power(a: int | float, b: int | float) -> float:
    return float(np.float32(a) ** np.float32(b))


def towards_zero(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.trunc(a / b).astype(np.int64)


def floats(where: np.ndarray, values: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.where(where, values.astype(np.float64), others.astype(np.float64))


WRONG = {
    "powers in float32": ("_power", float32_power, "return x ** 1.5"),
    "C's division": ("_VECTOR", {**arithmetic._VECTOR, "//": towards_zero}, "return (x - 9) // 4"),
    "true division": ("_VECTOR", {**arithmetic._VECTOR, "//": np.true_divide}, "return x // 4"),
    "C's remainder": ("_VECTOR", {**arithmetic._VECTOR, "%": np.fmod}, "return (x - 9) % 4"),
    "64 bits": ("EXACT", 2**63, "return (x + 9007199254740985) * 1.0 == x + 9007199254740985"),
    "one kind for all": ("merge", floats, "return x if x < y else y / 2"),
    "-0.0 as 0.0": ("negative", lambda values: 0 - values, "return -(x * 0.0)"),
}


@pytest.mark.parametrize(("name", "wrong", "text"), WRONG.values(), ids=WRONG)
def test_the_comparison_sees_wrong_arithmetic(
    name: str, wrong: object, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: each of these is a mistake that an evaluator in arrays could make."""
    program = parse(text, "pairs")
    expected = run(text, SMALL_P)
    assert difference(program, expected, SMALL_P) == ""
    monkeypatch.setattr(arithmetic, name, wrong)
    assert difference(program, expected, SMALL_P) != ""
