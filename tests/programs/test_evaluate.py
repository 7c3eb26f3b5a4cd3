"""Evaluation over a whole domain against Python run input by input, bit for bit."""

import gc
import itertools
from collections import Counter
from collections.abc import Callable
from importlib import resources
from random import Random
from typing import get_args

import numpy as np
import pytest
from programs.random_programs import random_program
from programs.scalar_reference import Failure, difference, run

from jaxmi.data.mnist import Mnist
from jaxmi.errors import InputError
from jaxmi.programs import arithmetic
from jaxmi.programs import language as lang
from jaxmi.programs.clue_labels import CLUE_INDEX, label_images
from jaxmi.programs.domain import ImageDomain, PairDomain
from jaxmi.programs.evaluate import EvaluationError, evaluate, label
from jaxmi.programs.pair_labels import P, label_table
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show

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
"""Whole numbers, floats, truth values, large ones, mixed ones: each kind twice, from x and from y."""

TERNARY = ("x - 9", "y / 4 - 1.5", "not y", "(x if y % 2 else x / 2)", "x % 7 * 1e308 * 10")


def published(name: str, kind: lang.Kind) -> lang.Program:
    text = resources.files("jaxmi.programs").joinpath(f"published/{name}.txt").read_text()
    return parse(text, kind)


def shown(text: str) -> lang.Program:
    """The program whose lines are those that the reference reports."""
    return parse(show(parse(text, "pairs")), "pairs")


def outcomes(texts: list[str], p: int = SMALL_P) -> Counter[str]:
    """Compares programs with Python; returns how many fail with what."""
    found: Counter[str] = Counter()
    for text in texts:
        program = shown(text)
        result = run(program, p)
        assert difference(program, result, p) == "", text
        found[result.error if isinstance(result, Failure) else "works"] += 1
    return found


def test_the_published_transformer_program_gives_the_exact_labels() -> None:
    program = published("transformer", "pairs")
    np.testing.assert_array_equal(label(program, PairDomain()), np.asarray(label_table()).ravel())
    assert difference(program, run(program, P), P) == ""


def test_the_published_cnn_program_gives_the_exact_labels_of_all_70000_images(
    mnist_data: Mnist,
) -> None:
    images = np.asarray(mnist_data.images)
    labels = label(published("cnn", "image"), ImageDomain(images, images))
    np.testing.assert_array_equal(labels, label_images(images, images[CLUE_INDEX]))


@pytest.mark.parametrize("operator", get_args(lang.BinaryOperator))
def test_arithmetic_is_pythons_for_every_kind_of_operand(operator: str) -> None:
    pairs = list(itertools.product(OPERANDS, OPERANDS))
    found = outcomes([f"return ({a}) {operator} ({b})" for a, b in pairs])
    assert found["works"] >= 30
    found = outcomes([f"z = {a}\nz {operator}= {b}\nreturn z" for a, b in pairs[::7]])
    assert found["works"] >= 5


@pytest.mark.parametrize("operator", get_args(lang.Comparison))
def test_comparisons_are_pythons_for_every_kind_of_operand(operator: str) -> None:
    pairs = itertools.product(OPERANDS, OPERANDS)
    found = outcomes([f"return ({a}) {operator} ({b})" for a, b in pairs])
    assert found == {"works": len(OPERANDS) ** 2}


@pytest.mark.parametrize("function", lang.FUNCTIONS)
def test_functions_are_pythons_for_every_kind_of_argument(function: str) -> None:
    if lang.FUNCTIONS[function] == (1, 1):
        found = outcomes([f"return {function}({a})" for a in OPERANDS])
        assert found["works"] >= 3
        return
    arguments = list(itertools.product(OPERANDS, OPERANDS))
    arguments += itertools.product(TERNARY, TERNARY, TERNARY)
    found = outcomes([f"return {function}({', '.join(a)})" for a in arguments])
    assert found == {"works": len(arguments)}


@pytest.mark.parametrize("form", ["-({})", "not ({})", "- -({})", "not not ({})", "({})"])
def test_signs_negations_and_values_are_pythons(form: str) -> None:
    texts = [f"return {form.format(operand)}" for operand in OPERANDS]
    assert outcomes(texts) == {"works": len(OPERANDS)}


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
    assert outcomes(texts) == {"works": len(TERNARY) ** 3}


STATEMENTS = {
    "only one branch assigns": "z = 1\nif x < y:\n  z = 2.5\nreturn z",
    "branches assign other kinds": "if x < y:\n  z = x\nelif x > y:\n  z = .5\nelse:\n  z = y > 3\nreturn z",
    "an input is given a new value": "if x < y:\n  x = y\ny -= x\np += y\nreturn x * 100 + y + p",
    "a label is returned early": "if x < y:\n  return 0\nif x > y + 3:\n  return 1.5\nreturn True",
    "a label is returned deep inside": "z = 0\nif x < 9:\n  z += 1\n  if y < 9:\n    z *= 7\n    return z\n"
    "  z -= y\nelse:\n  if y > 5:\n    return -z\nreturn z",
    "what follows a return is not run": "return x\nreturn 1 // 0",
    "nothing follows, nowhere": "if x >= 0:\n  return 1\nz = 1 // 0\nreturn z",
    "an empty branch": "if x < y:\n  pass\nelse:\n  return 1\nreturn 0",
    "a branch that no input takes": "if x < 0:\n  z = 1 // 0\n  return z\nreturn 1",
    "tests stop at the first that holds": "if not x:\n  return 1\nelif y // x:\n  return 2\nreturn 3",
    "a choice guards": "return y // x if x else 5",
    "and guards": "return x != 0 and y / x > 1",
    "or guards": "return x == 0 or y / x",
    "a chain guards": "return 0 < x < 20 // x",
    "a chain's middle is one value": "return x < (x + y) / 2 < y",
    "nan is true": "return 1 if 1e308 * 10 - 1e308 * 10 else 0",
    "-0.0 is false": "return 1 if -0.0 else 0",
    "nan is not itself": "z = (x * 1e308 * 10 if y else x) * 0\nreturn (z == z) + 2 * (z != z)",
    "a constant": "return 3",
    "whole numbers beyond all floats": "return (y + 1) ** 250 % 1000003 / 1000003",
}  # fmt: skip


@pytest.mark.parametrize("text", STATEMENTS.values(), ids=STATEMENTS)
def test_statements_are_pythons(text: str) -> None:
    assert outcomes([text]) == {"works": 1}


FAILURES = {
    "a variable without value": ("if x < 9:\n  z = 1\nreturn z", "NameError"),
    "and one that is added to": ("if x > 8:\n  z = 1\nz += y // 0\nreturn z", "NameError"),
    "a division by zero in the middle": ("z = 1\nz = z / (x - 9)\nreturn z", "ZeroDivisionError"),
    "a float's": ("return 1.5 % (x * 0.5 - 3)", "ZeroDivisionError"),
    "zero to a negative power": ("return (x - 3) ** -1", "ZeroDivisionError"),
    "a root of a negative number": ("return sqrt(7 - y)", "ValueError"),
    "a power that is complex": ("return (7 - y) ** 0.5", "ValueError"),
    "a power that no float holds": ("return (x * 1.0) ** 300", "OverflowError"),
    "a whole power of 2**1024": ("return 2 ** (1010 + x)", "OverflowError"),
    "a product of as much": ("z = 2 ** 1000\nreturn z * 2 ** x * 2 ** y", "OverflowError"),
    "a sum of as much": ("z = 2 ** 1023\nreturn z - 9 + x + z", "OverflowError"),
    "a difference of as much": ("z = 2 ** 1023\nreturn -z + 9 - x - z", "OverflowError"),
    "infinity in whole": ("return int(1e308 * (x + 1))", "OverflowError"),
    "floor of what is not a number": ("z = 1e308 * x\nreturn floor(z - z)", "ValueError"),
    "a whole number as a float": ("return 0.5 + (x + 1) ** 300", "OverflowError"),
    "a quotient that no float holds": ("return (x + 1) ** 280 / 3", "OverflowError"),
    "no return": ("if x < 11:\n  return 1", ""),
    "a return in one branch": ("if x < 3:\n  z = 1\nelif y < 9:\n  return 1\nelse:\n  z = 2", ""),
    "a later line on an earlier input": ("z = 1 // (x - 5)\nreturn 1 // (x - 3)", "ZeroDivisionError"),
    "another error on an earlier input": ("z = 1 // (x - 5)\nreturn sqrt(x - y)", "ValueError"),
    "in a test": ("z = 0\nif x < 3:\n  z = 1\nelif 1 % (y - 7):\n  z = 2\nreturn z", "ZeroDivisionError"),
    "in a branch": ("z = 1\nif x > 3:\n  if y > 3:\n    z //= y - 7\nreturn z", "ZeroDivisionError"),
    "in a choice": ("return 1 if x < 3 else 1 // (x - 8)", "ZeroDivisionError"),
    "in a connective": ("return x < 4 or y < 3 or 1 // (x - 8)", "ZeroDivisionError"),
    "in a chain": ("return 4 < x < 1 // (x - 8)", "ZeroDivisionError"),
    "in an argument": ("return min(x, 1 // (x - 8), y)", "ZeroDivisionError"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "error"), FAILURES.values(), ids=FAILURES)
def test_the_first_input_on_which_python_raises_is_named(text: str, error: str) -> None:
    assert outcomes([text]) == {error: 1}
