"""Evaluation over a whole domain against Python run input by input, bit for bit."""

import gc
from collections import Counter
from importlib import resources
from random import Random
from typing import get_args

import jaxtyping
import numpy as np
import pytest
from programs.random_programs import random_program
from programs.scalar_reference import Failure, difference, outcomes, run

from jaxmi.data.mnist import Mnist
from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.compiled import label_batch
from jaxmi.programs.domain import ImageDomain, PairDomain
from jaxmi.programs.evaluate import EvaluationError, evaluate, label
from jaxmi.programs.parse import parse
from jaxmi.programs.published_labels import CLUE_INDEX, P, label_images, label_table
from jaxmi.programs.show import show

SMALL_P = 13


def published(name: str, kind: lang.Kind) -> lang.Program:
    text = resources.files("jaxmi.programs").joinpath(f"published/{name}.txt").read_text()
    return parse(text, kind)


def test_the_published_transformer_program_gives_the_exact_labels() -> None:
    program = published("transformer", "pairs")
    np.testing.assert_array_equal(label(program, PairDomain()), np.asarray(label_table()).ravel())
    assert difference(program, run(show(program), P), P) == ""


def test_the_published_cnn_program_gives_the_exact_labels_of_all_70000_images(
    mnist_data: Mnist,
) -> None:
    images = np.asarray(mnist_data.images)
    labels = label(published("cnn", "image"), ImageDomain(images, images))
    np.testing.assert_array_equal(labels, label_images(images, images[CLUE_INDEX]))


WORKING = [
    "z = 1\nif x < y:\n  z = 2.5\nreturn z",
    "if x < y:\n  z = x\nelif x > y:\n  z = .5\nelse:\n  z = y > 3\nreturn z",
    "if x < y:\n  x = y\ny -= x\np += y\nreturn x * 100 + y + p",
    "if x < y:\n  return 0\nif x > y + 3:\n  return 1.5\nreturn True",
    "if x < 9:\n  x += 1\n  if y < 9:\n    x *= 7\n    return x\n  x -= y\nreturn -x",
    "return x\nreturn 1 // 0",
    "if x >= 0:\n  return 1\nz = 1 // 0\nreturn z",
    "if x < y:\n  pass\nelse:\n  return 1\nreturn 0",
    "if x < 0:\n  z = 1 // 0\n  return z\nreturn 1",
    "if not x:\n  return 1\nelif y // x:\n  return 2\nreturn 3",
    "if x:\n  pass\nelif 1:\n  return 1\nelif 1 // 0:\n  return 2\nreturn 3",
    "return y // x if x else 5",
    "return x != 0 and y / x > 1",
    "return x == 0 or y / x",
    "return 0 < x < 20 // x",
    "return x < (x + y) / 2 < y",
    "return 1 if 1e308 * 10 - 1e308 * 10 else 0",
    "return 1 if -0.0 else 0",
    "z = (x * 1e308 * 10 if y else x) * 0\nreturn (z == z) + 2 * (z != z)",
    "return 3",
    "return (y + 1) ** 250 % 1000003 / 1000003",
]


def test_image_is_a_plain_name_in_programs_on_pairs() -> None:
    program = parse("image = x\nother = image\nimage = 5\nreturn other > 3", "pairs")
    expected = np.repeat(np.arange(P) > 3, P)
    np.testing.assert_array_equal(label(program, PairDomain()), expected)
    np.testing.assert_array_equal(label_batch([program], PairDomain(), fewest=1)[0], expected)


@pytest.mark.parametrize("text", WORKING)
def test_branches_returns_and_guards_are_pythons(text: str) -> None:
    assert outcomes([text], SMALL_P) == {"works": 1}


FAILING = {
    "NameError": [
        "if x < 9:\n  z = 1\nreturn z",
        "if x > 8:\n  z = 1\nz += y // 0\nreturn z",
    ],
    "ZeroDivisionError": [
        "z = 1\nz = z / (x - 9)\nreturn z",
        "return 1.5 % (x * 0.5 - 3)",
        "return (x - 3) ** -1",
        "z = 1 // (x - 5)\nreturn 1 // (x - 3)",  # a later line on an earlier input
        "z = 0\nif x < 3:\n  z = 1\nelif 1 % (y - 7):\n  z = 2\nreturn z",
        "z = 1\nif x > 3:\n  if y > 3:\n    z //= y - 7\nreturn z",
        "return 1 if x < 3 else 1 // (x - 8)",
        "return x < 4 or y < 3 or 1 // (x - 8)",
        "return 4 < x < 1 // (x - 8)",
        "return min(x, 1 // (x - 8), y)",
    ],
    "ValueError": [
        "return sqrt(7 - y)",
        "return (7 - y) ** 0.5",  # complex
        "z = 1e308 * x\nreturn floor(z - z)",
        "z = 1 // (x - 5)\nreturn sqrt(x - y)",
    ],
    "OverflowError": [
        "return (x * 1.0) ** 300",
        "return 2 ** (1015 + x)",
        "z = 2 ** 1000\nreturn z * 2 ** x * 2 ** y",
        "z = 2 ** 1023\nreturn z - 9 + x + z",
        "z = 2 ** 1023\nreturn -z + 9 - x - z",
        "return int(1e308 * (x + 1))",
        "return 0.5 + (x + 1) ** 280 * 2 ** (x * 3)",
        "return (x + 1) ** 285 / 3 ** -3",
    ],
    "": [  # no return
        "if x < 11:\n  return 1",
        "if x < 3:\n  z = 1\nelif y < 9:\n  return 1\nelse:\n  z = 2",
    ],
}


@pytest.mark.parametrize(("error", "text"), [(e, t) for e, texts in FAILING.items() for t in texts])
def test_the_first_input_on_which_python_raises_is_named(error: str, text: str) -> None:
    assert outcomes([text], SMALL_P) == {error: 1}


@pytest.mark.parametrize(
    "seed", [*range(1, 5), *(pytest.param(n, marks=pytest.mark.slow) for n in (0, *range(5, 10)))]
)
def test_a_hundred_random_programs_are_pythons_on_every_pair(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times a hundred; the last two lines say that they are worth running."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", seed > 0)  # it takes as long again
    rng = Random(seed)
    found: Counter[str] = Counter()
    for _ in range(100):
        text = show(random_program(rng))
        program = parse(text, "pairs")
        result = run(text, P)
        assert difference(program, result, P) == "", text
        found["fails" if isinstance(result, Failure) else "works"] += 1
        if not isinstance(result, Failure):
            found["varies"] += len(set(map(repr, result))) > 1
        elif result.position >= P:
            found["fails late"] += 1
    assert found["works"] > 50 and found["varies"] > 30
    assert found["fails"] > 10 and found["fails late"]


def test_random_programs_have_every_part_of_the_language() -> None:
    rng = Random(0)
    nodes = [node for _ in range(100) for node in lang.walk(random_program(rng))]
    kinds = {*get_args(lang.Expression), *get_args(lang.Statement), lang.Program}
    assert {type(node) for node in nodes} == kinds
    binary = {node.operator for node in nodes if isinstance(node, lang.Binary)}
    assert binary == set(get_args(lang.BinaryOperator))
    augmented = {node.operator for node in nodes if isinstance(node, lang.Assign)}
    assert augmented == {*get_args(lang.BinaryOperator), None}
    assert {n.operator for n in nodes if isinstance(n, lang.Unary)} == {"-", "not"}
    assert {n.connective for n in nodes if isinstance(n, lang.Connected)} == {"and", "or"}
    assert {n.function for n in nodes if isinstance(n, lang.Call)} == set(lang.FUNCTIONS)
    compared = [symbol for n in nodes if isinstance(n, lang.Compare) for symbol, _ in n.rest]
    assert set(compared) == set(get_args(lang.Comparison))
    assert any(len(n.rest) > 2 for n in nodes if isinstance(n, lang.Compare))
    assert {len(n.branches) for n in nodes if isinstance(n, lang.If)} == {1, 2, 3}
    assert {type(n.value) for n in nodes if isinstance(n, lang.Number)} == {bool, int, float}


def test_the_comparison_sees_a_wrong_report_of_a_failure() -> None:
    """The control's other half: another input, another error, another line are noticed."""
    text = "z = 1 // (x - 5)\nreturn 1 // (x - 3)"
    program, expected = parse(text, "pairs"), run(text, SMALL_P)
    assert expected == Failure(3 * SMALL_P, "ZeroDivisionError", 2)
    assert difference(program, expected, SMALL_P) == ""
    for wrong in ({"position": 3}, {"error": "ValueError"}, {"line": 1}, {"error": ""}):
        assert difference(program, expected._replace(**wrong), SMALL_P) != ""
    assert difference(program, [1] * SMALL_P**2, SMALL_P) != ""
    assert difference(parse("return 1", "pairs"), expected, SMALL_P) != ""


MESSAGES = {
    "return 1 // x": (
        "line 1, column 8: ZeroDivisionError, integer division or modulo by zero at x = 0, y = 0"
    ),
    "\n\nz = (1 +\n  2 / (x - 5))\nreturn z": (
        "line 4, column 3: ZeroDivisionError, division by zero at x = 5, y = 0"
    ),
    "def label(x, y):\n  if x < 3:\n    z = 1\n  return z if x >= 3 else 0": (
        "line 4, column 10: NameError, z has no value at x = 3, y = 0"
    ),
    "if x < 4:\n  return 1\nelif sqrt(9 - y) >= 0:\n  return 1": (
        "line 3, column 6: ValueError, math domain error at x = 4, y = 10"
    ),
    "if y < 7:\n  return 1": "line 1, column 1: ends without return at x = 0, y = 7",
    "return (8 - y) ** .5 > 0": (
        "line 1, column 8: ValueError, the power is a complex number at x = 0, y = 9"
    ),
    "return 9**9**9": (
        "line 1, column 8: OverflowError, a whole number reaches 2**1024 at x = 0, y = 0"
    ),
}


@pytest.mark.parametrize(("text", "message"), MESSAGES.items())
def test_the_message_says_where_and_why(text: str, message: str) -> None:
    """Some of the words are Python's own, and other versions' may be others."""
    with pytest.raises(EvaluationError) as caught:
        evaluate(parse(text, "pairs"), PairDomain())
    said = str(caught.value)
    assert said.partition(", ")[0] == message.partition(", ")[0]
    assert said.rpartition(" at ")[2] == message.rpartition(" at ")[2]
    assert said == message or "ValueError, " in message


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("return x < y", bool),
        ("return x", np.int64),
        ("return True", np.int64),
        ("return x / 2", np.float64),
        ("z = 1\nif x < 50:\n  z = 2.5\nelse:\n  z = 3.5\nreturn z", np.float64),
        ("return x if x < y else y / 2", object),
        ("return (x + 2) ** 60", object),
    ],
)
def test_values_are_stored_as_the_kind_that_they_all_are(text: str, dtype: type) -> None:
    values = evaluate(parse(text, "pairs"), PairDomain())
    assert values.shape == (P * P,)
    assert values.dtype == dtype


@pytest.mark.parametrize(
    "text", ["return 1.0", "return x < y", "return x % 2", "return x < y or 0.0"]
)
def test_labels_are_0_and_1_as_int32(text: str) -> None:
    program = parse(text, "pairs")
    labels = label(program, PairDomain())
    assert labels.dtype == np.int32
    assert set(labels.tolist()) <= {0, 1}
    np.testing.assert_array_equal(labels, evaluate(program, PairDomain()).astype(np.int32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return x", "returns 2 at x = 2, y = 0"),
        ("return y / 2", "returns 0.5 at x = 0, y = 1"),
        ("return -x", "returns -1 at x = 1, y = 0"),
        ("z = 1e308 * 10\nreturn z - z if y == 3 else 1", "returns nan at x = 0, y = 3"),
        ("return y if y < 2 else y ** 90", f"returns {2**90} at x = 0, y = 2"),
    ],
)
def test_what_is_no_label_is_refused(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        label(parse(text, "pairs"), PairDomain())
    line = 2 if "\n" in text else 1
    assert str(caught.value) == f"line {line}, column 1: {message}, not 0 or 1"


def test_a_program_of_another_kind_is_refused() -> None:
    image = np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(InputError, match="a program on pairs cannot label image"):
        evaluate(parse("return 1", "pairs"), ImageDomain(image, image))
    with pytest.raises(InputError, match="a program on image cannot label pairs"):
        evaluate(parse("return mean(image) > 3", "image"), PairDomain())


def test_errors_on_many_inputs_leave_nothing_in_memory() -> None:
    """An exception's traceback would keep the arrays of all others, which keep them in turn."""
    program = parse("if x:\n  return 1\nreturn sqrt(x - y - 1)", "pairs")
    gc.collect()
    for _ in range(3):
        with pytest.raises(EvaluationError):
            evaluate(program, PairDomain())
    gc.collect()
    assert sum(type(thing) is ValueError for thing in gc.get_objects()) < P
