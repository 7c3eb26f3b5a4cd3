"""Programs as people write them: read with Python's meaning, or refused with what to type."""

import inspect
import re
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs.random_programs import random_program
from programs.written import IMAGES, PAIRS, POST, python_label

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.domain import ImageDomain, P, PairDomain
from jaxmi.programs.evaluate import EvaluationError, evaluate, label
from jaxmi.programs.language import Position, ProgramError
from jaxmi.programs.parse import MAX_SIZE, parse
from jaxmi.programs.published_labels import label_table
from jaxmi.programs.show import canonical, program_hash, show
from jaxmi.workflows.submissions import read_program


def disagreements(text: str, labels: np.ndarray, pairs: list[tuple[int, int]]) -> int:
    """Counts pairs that Python, running the text itself, labels otherwise."""
    function = python_label(text, {})
    third = inspect.signature(function).parameters
    last = (P,) if {"p", "q"} & {*third} else ()
    return sum(int(function(x, y, *last)) != labels[x, y] for x, y in pairs)


def some_pairs(n: int) -> list[tuple[int, int]]:
    rng = Random(0)
    return [(rng.randrange(P), rng.randrange(P)) for _ in range(n)]


@pytest.mark.parametrize("name", PAIRS)
def test_what_people_write_means_what_python_makes_of_it(name: str) -> None:
    program = parse(PAIRS[name], "pairs")
    labels = label(program, PairDomain()).reshape(P, P)
    assert 0 < labels.mean() < 1
    assert disagreements(PAIRS[name], labels, some_pairs(300)) == 0
    for printed in (program, canonical(program)):
        again = parse(show(printed), "pairs")
        assert again == printed
        np.testing.assert_array_equal(label(again, PairDomain()).reshape(P, P), labels)


def test_the_comparison_sees_another_meaning() -> None:
    """The control."""
    for name, wrong in {
        "swap": "if x > y:\n  x = y\n  y = x\nreturn x * 2 > y",
        "in a set": "return (x + y) % 11 == 1",
        "default and main guard": "return (x + y) % 7 == 0",
        "negative mod": "return abs(x - y) % 8 < 3",
    }.items():
        labels = label(parse(wrong, "pairs"), PairDomain()).reshape(P, P)
        assert disagreements(PAIRS[name], labels, some_pairs(300))


@pytest.mark.parametrize("name", IMAGES)
def test_what_people_write_of_images_means_what_python_makes_of_it(name: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 28, 28)).astype(np.uint8)
    images[::2] = images[6]
    images[::2, :5] = rng.integers(0, 256, (30, 5, 28))
    domain = ImageDomain(images, images)
    program = parse(IMAGES[name], "image")
    function = python_label(IMAGES[name], {"template": lambda i: images[i].astype(int)})
    expected = [int(function(image.astype(int))) for image in images]
    assert label(program, domain).tolist() == expected
    assert parse(show(program), "image") == program


def test_the_posts_listing_gives_the_published_labels() -> None:
    labels = label(parse(POST, "pairs"), PairDomain())
    np.testing.assert_array_equal(labels, np.asarray(label_table()).ravel())


def test_an_explicit_p_is_that_number_at_every_p() -> None:
    for text in (
        "p = 113\ndef f(x, y): return x * y % p < 50",
        "def f(x, y, p=113): return x*y%p<50",
    ):
        at_113 = label(parse(text, "pairs"), PairDomain(20))
        written = label(parse("return x * y % 113 < 50", "pairs"), PairDomain(20))
        np.testing.assert_array_equal(at_113, written)
    given_p = label(parse("def f(x, y, p): return x * y % p < 50", "pairs"), PairDomain(60))
    np.testing.assert_array_equal(given_p, label(parse("x * y % 60 < 50", "pairs"), PairDomain(60)))


SAME = {
    "def f(x, y):\n  return (x > 3) & (y < 5)": "return x > 3 and y < 5",
    "def f(a, b):\n  z = a\n  return z > b": "z = x\nreturn z > y",
    "label = lambda a, b: a > b": "return x > y",
    "import numpy as np\nnp.where(x > y, 1, 0)": "return 1 if x > y else 0",
    "return x in (1, 2)": "return x == 1 or x == 2",
    "return x not in range(3)": "return not 0 <= x < 3",
    "a = b = x\nreturn a > b": "a = x\nb = a\nreturn a > b",
    "return np.logical_not(x)": "return not x",
    "def f(x, y):\n  x, y = y, x\n  return x > y": "t = x\nx = y\ny = t\nreturn x > y",
}


@pytest.mark.parametrize(("text", "plain"), SAME.items())
def test_a_text_is_the_program_that_one_would_write_plainly(text: str, plain: str) -> None:
    assert program_hash(parse(text, "pairs")) == program_hash(parse(plain, "pairs"))


FAILING = {
    "np.where computes both": ("return np.where(x > 0, 7 // x, 0) > 1", "ZeroDivisionError"),
    "& computes both": ("return (x > 0) & (7 // x > 1)", "ZeroDivisionError"),
    "| computes both": ("return (x < 1) | (7 // x > 1)", "ZeroDivisionError"),
    "logical_or computes both": ("return np.logical_or(x < 1, 7 // x)", "ZeroDivisionError"),
    "isqrt of a negative": ("return isqrt(x - 1)", "ValueError"),
    "isqrt of a float": ("return isqrt(x / 2)", "TypeError"),
    "a variable hides a constant": (
        "z = 0\ndef f(x, y):\n  if x:\n    z = 1\n  return z",
        "NameError",
    ),
    "p too": ("p = 3\ndef f(x, y):\n  if x:\n    p = 1\n  return p < 3", "NameError"),
}


@pytest.mark.parametrize(("text", "error"), FAILING.values(), ids=FAILING)
def test_what_fails_in_python_fails(text: str, error: str) -> None:
    program = parse(text, "pairs")
    with pytest.raises(EvaluationError, match=error):
        evaluate(program, PairDomain(5))
    assert parse(show(program), "pairs") == program


REFUSED = {
    # Imports
    "import os\ndef f(x): return 1": (1, 1, "import of os; a program may import numpy and math"),
    "from scipy import special\nx > y": (1, 1, "import of scipy"),
    "import numpy.linalg as la\nx > y": (1, 1, "import of numpy.linalg"),
    "import numpy as x\nx > y": (1, 1, "import as x, which is an input"),
    "import math\nreturn 1": (1, 1, "import of something that is not used; delete the line"),
    "if x:\n  import math\nreturn 1": (2, 3, "import inside the program; write it in the first"),
    # Around the function
    "def f(x, y): return 1\nprint(f(1, 2))": (2, 1, "one function, and nothing after it"),
    "def g(x): return x\ndef f(x, y): return g(x)": (2, 1, "one function, and nothing after it"),
    "label = lambda x, y: x > y\nlabels = [1]": (2, 1, "one function, and nothing after it"),
    "K = x\ndef f(x, y): return K": (1, 5, "x has no value before the function; use it inside"),
    "K = q\ndef f(x, y): return K": (1, 5, "unknown name 'q'"),
    "def f(a): return a": (1, 1, "the function's arguments are x, y, p, in this order"),
    "def f(a, x): return a": (1, 1, "the function's arguments are x, y, p, in this order"),
    "def f(a, a): return a": (1, 1, "the function's arguments are x, y, p, in this order; a"),
    "def f(a, b, c, d): return a": (1, 16, "the function's arguments are x, y, p, in this order"),
    "def f(a, b): return x": (1, 21, "unknown name 'x'; the inputs are a, b, p"),
    "def f(a, b): return q": (1, 21, "unknown name 'q'; the inputs are a, b, p"),
    "def f(abs, b): return 1": (1, 7, "abs is a function; use another name"),
    "def f(a: 'int', b): return 1": (1, 10, "an annotation other than int, float, bool"),
    "z = 0\ndef f(x, y):\n  z += 1\n  return z": (3, 3, "z has no value yet"),
    # Characters
    "return x \u00d7 y": (1, 10, "character U+00D7 (multiplication sign); type *"),
    "return x \u2264 y": (1, 10, "character U+2264 (less-than or equal to); type <="),
    "return x\u00b2": (1, 9, "character U+00B2 (superscript two); type ** 2"),
    "return \uff58": (1, 8, "character U+FF58 (fullwidth latin small letter x); type x"),
    "def f(x, y):\n  \u201cWords.\u201d\n  return 1": (2, 3, "character U+201C (left double"),
    "def f(x, y):\n  return \u03bb": (2, 10, "character U+03BB (greek small letter lamda)"),
    "def f(x):\n  return 1  # \u202e": (2, 15, "character U+202E (right-to-left override), which"),
    "# \u200b\nreturn 1": (1, 3, "character U+200B (zero width space), which cannot be seen"),
    "return 1  # caf\u00e9": (1, 16, "character U+00E9 (latin small letter e with acute)"),
    "\ufeffreturn 1": (1, 1, "character U+FEFF"),
    ">>> return 1": (1, 1, "a prompt before bare statements; delete the prompts"),
    ">>> def f(x, y):\n...     return (q\n": (2, 16, "not Python"),
    ">>> def f(x, y):\n...     return q\n": (2, 16, "unknown name 'q'"),
    "x ```> y```": (1, 3, "not Python: invalid syntax; leave out what stands around"),
    # Expressions
    "return x in y": (1, 8, "comparisons are < <= > >= == !=, or one `in` of numbers or a range"),
    "return x in ()": (1, 13, "nothing is in there; write the numbers"),
    "z = x / y\nreturn x in (1, z)": (2, 17, "after `in` stand numbers"),
    "return x in range(0, y / 2)": (1, 22, "a range's ends are whole numbers"),
    "return x in range(9, 0, y)": (1, 25, "a range's step is a whole number other than 0"),
    "return x in range(9, 0, 0)": (1, 25, "a range's step is a whole number other than 0"),
    "return x & 1": (1, 8, "operator & is not part of the language; of conditions"),
    "z = x > 3\nz |= y\nreturn z": (2, 1, "operator | is not part of the language"),
    "return x ^ 2": (1, 8, "operator ^ is not part of the language; a power is `**`"),
    "return ~(x > 3)": (1, 8, "operator ~ is not part of the language; of a condition write `not`"),
    "x && y": (1, 4, "not Python: invalid syntax; instead of && write and"),
    "print(x)\nreturn x > y": (1, 1, "a call whose value is not used is not part of the language"),
    "from math import pi as P\nreturn P > x": (2, 8, "unknown name 'P'; write 3.14159"),
    "return np.round(x / 3, 2) > y": (1, 8, "NumPy rounds to decimals in another way than Python"),
    "return divmod(x, 3)": (1, 8, "divmod gives two numbers; write divmod(a, b)[0]"),
    "return divmod(x, 3)[2]": (1, 8, "a subscript"),
    "return pow(x, -1, y)": (1, 8, "an inverse of an input alone is no label; write a comparison"),
    "return np.power(x, 2, y)": (1, 8, "power takes 2 numbers, not 3"),
    "return pow(9, 99999999)": (1, 8, "a whole number reaches 2**1024"),
    "return bool(x)": (1, 8, "bool of an input alone is no label; write a comparison"),
    "return np.pi > x": (1, 8, "an attribute is not part of the language; write 3.14159"),
    "return math.gcd(x, 3)": (
        1,
        8,
        "not one of the language's functions; instead of math.gcd write `a % n == 0 and b % n == 0",
    ),
    "return np.maximum(x, 3)": (
        1,
        8,
        "not one of the language's functions; instead of np.maximum write max(a, b)",
    ),
    "from numpy import floor_divide\nfloor_divide(x, 3)": (
        2,
        1,
        "not one of the language's functions; instead of floor_divide write a // b",
    ),
    "return np.log(x)": (1, 8, "not one of the language's functions: int, abs,"),
    "return (x > 3).astype(int)": (
        1,
        8,
        "not one of the language's functions; instead of astype write int(a)",
    ),
    "for i in x: pass\nreturn 1": (1, 1, "a loop is not part of the language; write each step"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items())
def test_what_is_refused_is_named_with_what_to_type(
    text: str, expected: tuple[int, int, str]
) -> None:
    line, column, words = expected
    with pytest.raises(ProgramError) as caught:
        parse(text, "pairs")
    assert str(caught.value).startswith(f"line {line}, column {column}: {words}")
    assert caught.value.position == Position(line, column)


SEVERAL = {
    "return np.maximum(x, 3) > q\\\n  + np.maximum(y, math.gcd(x, y))": (
        "line 1, column 8: not one of the language's functions; instead of np.maximum write "
        "max(a, b); line 1, column 27: unknown name 'q'; line 2, column 19: instead of math.gcd "
        "write `a % n == 0 and b % n == 0` for each n that counts"
    ),
    "if b > 3: return sqr(a) > 4\nreturn flor(b) + a > 5": (
        "line 1, column 4: unknown name 'b'; the inputs are x, y, p; line 1, column 18: instead of "
        "sqr write sqrt(...); line 1, column 22: unknown name 'a'; line 2, column 8: instead of "
        "flor write floor(...)"
    ),
    "return np.log(x) > np.sin(y) if q else 0": (
        "line 1, column 8: not one of the language's functions: np.log; line 1, column 20: no "
        "function np.sin; line 1, column 33: unknown name 'q'"
    ),
    "z = z + w\nreturn z": (
        "line 1, column 5: unknown name 'z'; the inputs are x, y, p; line 1, column 9: unknown "
        "name 'w'"
    ),
    f"return {' + '.join(f'unknown_{i}' for i in range(30))}": (
        "line 1, column 8: unknown name 'unknown_0'; the inputs are x, y, p; line 1, column 20: "
        "unknown name 'unknown_1'; line 1, column 32: unknown name 'unknown_2'; line 1, column 44: "
        "unknown name 'unknown_3'; line 1, column 56: unknown name 'unknown_4'; and 25 more"
    ),
}


@pytest.mark.parametrize(("text", "message"), SEVERAL.items())
def test_all_unknown_names_are_told_at_once_with_the_place_of_the_first(
    text: str, message: str
) -> None:
    with pytest.raises(ProgramError) as caught:
        parse(text, "pairs")
    assert str(caught.value) == message


HINTS = {
    "np.isqrt(x)": "instead of np.isqrt write isqrt(...)",
    "os.sqrt(x)": "instead of os.sqrt write sqrt(...)",
    "math.round(x / 2)": "instead of math.round write round(...)",
    "np.bitwise_and(x, y)": "instead of np.bitwise_and write a and b",
    "np.isin(x, (1, 2))": "instead of np.isin write a in (1, 2)",
    "math.pow(x, 2)": "instead of math.pow write a ** b",
    "math.remainder(x, 3)": "instead of math.remainder write a - round(a / b) * b",
    "trunc(x / 2)": "instead of trunc write int(a)",
    "np.array([1, 2])[x]": "instead of np.array write the tuple or the number alone",
    "abs(x)[0]": "a subscript is not part of the language; write a tuple before it",
    "(x / 2).is_integer()": "instead of is_integer write a % 1 == 0",
    "str(x)": "instead of str write `a // 10 ** n % 10` for digit n",
    "sum(x, y)": "sum takes a tuple of numbers, as in `sum((x, y, 3))`",
    "sum((x / 2, y, 3))": "sum of floats, which versions of Python round differently",
    "len(x)": "len takes a tuple of numbers",
    "{1, 2}[x]": "a set or a range where a tuple is needed",
    "((0, 1), (1, 0))[x][y]": "a table of two indices is not part of the language; write one tuple",
    "((0, 1), (1, 0))[x]": "a tuple inside another is not part of the language; write one tuple",
    "(1, 2)[0:1]": "a subscript is not part of the language",
    "(x, y) == (1, 2)": "a tuple is not part of the language; write a number, or compare each",
    "{0: 1, 1: 5}[x]": "a subscript is not part of the language; write a tuple before it",
    "round(x / 3, ndigits=1)": "functions take plain arguments",
    "min((x, *y))": "Python's Starred is not part of the language",
}


@pytest.mark.parametrize(("expression", "words"), HINTS.items())
def test_a_refusal_names_the_nearest_thing_that_exists(expression: str, words: str) -> None:
    with pytest.raises(ProgramError) as caught:
        parse(f"return {expression} > 1", "pairs")
    assert words in str(caught.value)


NAMED = {
    "T = (1, 2)\nreturn T > x": (2, 8, "T is a tuple, which stands in `T[0]`, after `in`"),
    "T = (1, 2)\nT = 3\nreturn T": (2, 1, "T is a tuple and keeps its value"),
    "T = (1, 2)\nT += 3\nreturn T": (2, 1, "T is a tuple and keeps its value"),
    "T = 3\nT = (1, 2)\nreturn T[0]": (2, 1, "a tuple is given a new name, once, at the top"),
    "x = (1, 2)\nreturn y": (1, 1, "a tuple is given a new name, once, at the top level"),
    "if x:\n  T = (1, 2)\nreturn T[0]": (2, 3, "a tuple is given a new name, once, at the top"),
    "T = (1, 2)\nreturn T[2] > x": (2, 8, "a subscript beyond the 2 numbers of the tuple"),
    "T = (1, 2)\nT[0] = 3\nreturn T[0]": (2, 1, "only a plain name can be given a value"),
    "T = ()\nreturn x": (1, 5, "nothing is in there"),
    "a, b = {x, y}\nreturn a": (1, 8, "a set or a range where a tuple is needed"),
}


@pytest.mark.parametrize(("text", "expected"), NAMED.items())
def test_a_named_tuple_is_a_constant(text: str, expected: tuple[int, int, str]) -> None:
    line, column, words = expected
    with pytest.raises(ProgramError) as caught:
        parse(text, "pairs")
    assert str(caught.value).startswith(f"line {line}, column {column}: {words}")


def test_what_is_written_out_counts() -> None:
    """Nested, it would be as long as a product of the tuples' lengths."""
    numbers = ", ".join(map(str, range(60)))
    assert parse(f"return x in ({numbers})", "pairs").size == 60 * 3 + 60
    for text in (
        f"return ((x in ({numbers})) in ({numbers})) in ({numbers})",
        f"return x ** 2 + y ** 2 * 3 in ({', '.join(map(str, range(200)))})",
        f"return (x in ({numbers}) and y in ({numbers})) in ({numbers})",
    ):
        with pytest.raises(ProgramError, match=f"more than {MAX_SIZE:,} statements"):
            parse(text, "pairs")


def test_what_would_be_too_deep_when_written_out_is_refused() -> None:
    for n in range(20, 29):
        text = f"return {'-' * n}(x not in (1, 2))"
        try:
            program = parse(text, "pairs")
        except ProgramError as error:
            assert "in the language's own form: nested more than 30 deep" in str(error)
            assert n > 24
        else:
            assert parse(show(program), "pairs") == program


def wrapped(rng: Random, text: str) -> str:
    """Puts statements into one of many wrappings, none of which changes what they mean."""
    names = rng.choice([("x", "y"), ("x", "y", "p"), ("a", "b"), ("first", "second", "third")])
    for old, new in zip(("x", "y", "p"), names, strict=False):
        text = rename(text, old, new)
    space = rng.choice(["    ", "\t", "  "])
    body = [f"{space}{line}" for line in text.splitlines()]
    types = [f"{name}: {rng.choice(['int', 'float'])}" for name in names]
    arguments = ", ".join(rng.choice([names, types]))
    if rng.random() < 0.3:
        arguments += ", unused=3"
    lines = [f"def label({arguments}){rng.choice(['', ' -> bool'])}:"]
    if rng.random() < 0.5:
        lines.append(f'{space}"""What it says: \u00e9\u2264\u4e16."""')
    lines += body
    before = [
        "import numpy as np",
        "from math import sqrt",
        "import math, numpy",
        "# gr\u00f6\u00dfer",
        "UNUSED = 3.5",
        "LIMIT: int = 2",
        "",
        "'''Words.'''",
    ]
    lines = [*rng.sample(before, rng.randint(0, 4)), *lines]
    if rng.random() < 0.5:
        lines += ["", 'if __name__ == "__main__":', f"{space}print(label(1, 2))", f"{space}x = [1]"]
    if rng.random() < 0.2:
        lines = ["```python", *lines, "```"]
    elif rng.random() < 0.2:
        lines = [f"{'... ' if i else '>>> '}{line}" for i, line in enumerate(lines)]
    text = rng.choice(["\n", "\r\n"]).join([*lines, ""])
    return f"{rng.choice(['', chr(0xFEFF)])}{text}"


def rename(text: str, old: str, new: str) -> str:
    return re.sub(rf"\b{old}\b", new, text)


def outcome(program: lang.Program) -> Any:
    try:
        return [repr(value) for value in evaluate(program, PairDomain(11)).tolist()]
    except EvaluationError as error:
        return re.sub(r"^line \d+, column \d+: ", "", str(error))


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_no_wrapping_changes_what_a_random_program_means(seed: int) -> None:
    rng = Random(seed)
    program = random_program(rng)
    text = wrapped(rng, show(program))
    try:
        read = parse(text, "pairs")
    except ProgramError as error:
        # Constants and longer names may exceed a limit that the program itself keeps.
        assert "more than" in str(error)
        return
    assert outcome(read) == outcome(program)
    assert parse(show(read), "pairs") == read


GERMAN = "# ok\nx > y  # gr\u00f6\u00dfer"


@pytest.mark.parametrize(
    ("content", "message", "command"),
    [
        ("\ufeffx > y".encode("utf-16-le"), "1, column 1: the file is UTF-16, not UTF-8", "UTF-16"),
        ("x > y".encode("utf-16-be"), "1, column 1: the file is UTF-16, not UTF-8", "UTF-16BE"),
        (GERMAN.encode("utf-16-le"), "1, column 1: the file is UTF-16, not UTF-8", "UTF-16LE"),
        ("# \u4e16\u754c\nx > y".encode("utf-16-le"), "is UTF-16, not UTF-8", "UTF-16LE"),
        ("x > y".encode("utf-32"), "1, column 1: the file is UTF-32, not UTF-8", "UTF-32"),
        ("x > y".encode("utf-32-be"), "1, column 1: the file is UTF-32, not UTF-8", "UTF-32BE"),
        (GERMAN.encode("latin-1"), "2, column 12: byte 0xF6; the file is not UTF-8", "LATIN1"),
        (b"x > y  # \x93ok\x94", "1, column 10: byte 0x93; the file is not UTF-8", "CP1252"),
        (b"x > y\n\0", "2, column 1: byte 0x00; the file is not UTF-8", None),
        (b"\0" * 80, "1, column 1: byte 0x00; the file is not UTF-8", None),
    ],
)
def test_a_file_in_another_encoding_is_refused_as_such(
    tmp_path: Any, content: bytes, message: str, command: str | None
) -> None:
    path = tmp_path / "program.py"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_program(path, "pairs")
    assert message in str(caught.value)
    assert "save it as UTF-8" in str(caught.value)
    assert (f"iconv -f {command} -t UTF-8 " in str(caught.value)) == (command is not None)


def test_a_file_in_utf8_is_read_with_and_without_a_byte_order_mark(tmp_path: Any) -> None:
    path = tmp_path / "program.py"
    for content in ("z = x\n# gr\u00f6\u00dfer\nreturn z > y", "\ufeffz = x\r\nreturn z > y"):
        path.write_bytes(content.encode())
        assert read_program(path, "pairs") == parse("z = x\nreturn z > y", "pairs")


@pytest.mark.parametrize(
    "expression",
    [
        "(image - template(6)).sum()",
        "np.abs(image - 3).sum()",
        "(image > 128).sum()",
        "np.sum(image)",
    ],
)
def test_what_images_have_not_is_refused_with_what_they_have(expression: str) -> None:
    with pytest.raises(ProgramError, match="of images write l1"):
        parse(f"return {expression} > 30", "image")


def test_the_page_shows_a_file_that_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs/programs.md").read_text()
    (text,) = re.findall(r"```\n(import numpy.*?)```", page, re.S)
    labels = label(parse(text, "pairs"), PairDomain()).reshape(P, P)
    assert disagreements(text, labels, some_pairs(300)) == 0
