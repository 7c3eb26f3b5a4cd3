"""Program -> text and back; what the canonical form keeps, and what it leaves out."""

import re
from importlib import resources
from random import Random

import jaxtyping
import pytest
from programs.random_programs import random_program

from jaxmi.programs import language as lang
from jaxmi.programs.language import ProgramError
from jaxmi.programs.parse import MAX_CHARACTERS, parse
from jaxmi.programs.show import canonical, program_hash, show, show_expression

PUBLISHED: dict[str, lang.Kind] = {"transformer": "pairs", "cnn": "image"}


def published(name: str) -> str:
    return resources.files("jaxmi.programs").joinpath(f"published/{name}.txt").read_text()


def pairs(text: str) -> lang.Program:
    return parse(text, "pairs")


@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_random_programs_are_read_back_as_they_were(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # six times as fast
    rng = Random(1000 + seed)
    for _ in range(200):
        program = random_program(rng)
        text = show(program)
        again = pairs(text)
        assert again == program, text
        assert hash(again) == hash(program)
        assert show(again) == text
        standard = canonical(program)
        assert pairs(show(standard)) == standard == canonical(standard)


EXPRESSIONS = [
    "x + y + p",
    "x + (y + p)",
    "x - (y - p)",
    "x * (y + p)",
    "x * (y / p)",
    "x / y * p",
    "x ** y ** p",
    "(x ** y) ** p",
    "(-x) ** y",
    "-x ** y",
    "x ** -y",
    "x ** (not y)",
    "--x",
    "-(x + y)",
    "-x * y",
    "-(x * y)",
    "not x == y",
    "(not x) == y",
    "not (x and y)",
    "not x and y",
    "not not x",
    "-(not x)",
    "x < y < p",
    "(x < y) < p",
    "x < (y < p)",
    "x < (y and p)",
    "x and y or p",
    "x and (y or p)",
    "x and (y and p)",
    "(x and y) and p",
    "x or y or p",
    "x if y else p",
    "x if (x if y else p) else p",
    "(x if y else p) if x else p",
    "x if y else x if p else y",
    "x + (x if y else p)",
    "x or (x if y else p)",
    "sqrt(x if y else p)",
    "min(x, -y, not p)",
    "1e+16 + 0.1 - 5e-324 * 1e+308",
    "True + 1 + 1.0",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_is_shown_with_the_parentheses_it_needs_and_no_others(text: str) -> None:
    program = pairs(f"return {text}")
    assert show(program) == f"return {text}\n"
    (statement,) = program.body
    assert isinstance(statement, lang.Return)
    assert show_expression(statement.value) == text


def test_statements_are_shown_one_a_line() -> None:
    text = (
        "z = 1; z **= 2\nif x: pass\nelif y: z=x;y=z\nelse:\n  if p: return 0\n  z //= 2\nreturn z"
    )
    assert show(pairs(text)).splitlines() == [
        "z = 1",
        "z **= 2",
        "if x:",
        "    pass",
        "elif y:",
        "    z = x",
        "    y = z",
        "else:",
        "    if p:",
        "        return 0",
        "    z //= 2",
        "return z",
    ]


@pytest.mark.parametrize(("name", "kind"), PUBLISHED.items())
def test_the_published_programs_are_read_back(name: str, kind: lang.Kind) -> None:
    program = parse(published(name), kind)
    assert parse(show(program), kind) == program
    assert parse(show(canonical(program)), kind) == canonical(program)


def test_whatever_is_accepted_can_be_shown_and_read_again() -> None:
    """Four spaces a level, and every digit of a number, may make more of a short text."""
    for text in (
        "if x: return 1\nelse:\n  pass\n  if y: return 0\nreturn 1",
        "".join(f"{' ' * i}if x:\n" for i in range(28)) + f"{' ' * 28}y=1\n" * 150 + "return 1",
        "z=1e15\n" * 450 + "return 1",
    ):
        program = pairs(text)
        assert pairs(show(program)) == program
    deep = "".join(f"{' ' * i}if x:\n" for i in range(28)) + f"{' ' * 28}y=1\n" * 400
    assert len(deep) < MAX_CHARACTERS
    with pytest.raises(ProgramError, match="four spaces a level"):
        pairs(f"{deep}return 1")


SAME = [
    "z = sqrt(x)\nif z < 3:\n    y2 = 1\nelif y:\n    y2 = z\nelse:\n    y2 = 0\nreturn y2",
    "w = sqrt(x)\nif w < 3:\n    z = 1\nelif y:\n    z = w\nelse:\n    z = 0\nreturn z",
    "w = np.sqrt(x)\nif w < 3: z = 1\nelse:\n  if y: z = w\n  else: z = 0\nreturn z",
    "'''Words.'''\ndef label(x, y):\n  w = (math.sqrt(((x))))  # words\n  if (w < 3): z = 1\n"
    "  elif y: z = +w\n  else: z = 0; pass\n  return z",
]


def test_names_layout_and_ways_to_write_the_same_are_no_part_of_the_hash() -> None:
    assert len({program_hash(pairs(text)) for text in SAME}) == 1
    assert len({canonical(pairs(text)) for text in SAME}) == 1
    assert len({pairs(text) for text in SAME}) == 2  # the names are a part of the program
    assert show(canonical(pairs(SAME[1]))).splitlines()[:3] == [
        "z = sqrt(x)",
        "if z < 3:",
        "    z2 = 1",
    ]


def test_every_change_of_a_number_or_an_operator_changes_the_hash() -> None:
    text = show(pairs(published("transformer")))
    hashes = {program_hash(pairs(text))}
    changes = [(found.span(), f"1{found.group()}") for found in re.finditer(r"\d+(\.\d+)?", text)]
    for found in re.finditer(r"(?<= )[-+<](?= )", text):
        changes.append((found.span(), {"+": "-", "-": "+", "<": ">"}[found.group()]))
    for (start, end), new in changes:
        hashes.add(program_hash(pairs(text[:start] + new + text[end:])))
    assert len(changes) == 21
    assert len(hashes) == 1 + len(changes)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("return x < 1", "return x < 1.0"),
        ("return x < 1", "return x < True"),
        ("return x < y", "return y > x"),  # no algebra
        ("return x + y", "return y + x"),
        ("z = 1; return z", "return 1"),
        ("x = 1; return x", "z = 1; return z"),  # an input keeps its name
        ("z = 1; w = 2; return z", "z = 1; w = 2; return w"),
        ("z = 1; z += x; return z", "z = 1; z = z + x; return z"),
    ],
)
def test_what_is_another_program_has_another_hash(one: str, other: str) -> None:
    assert program_hash(pairs(one)) != program_hash(pairs(other))


def test_the_kind_is_part_of_the_hash() -> None:
    assert program_hash(pairs("return 1")) != program_hash(parse("return 1", "image"))


def test_names_are_given_anew_in_the_order_in_which_they_appear() -> None:
    text = "z2 = x; image = y; z = z2 + image; y = z; z2 = z; return z2"
    expected = "z = x; z2 = y; z3 = z + z2; y = z3; z = z3; return z"
    assert show(canonical(pairs(text))) == show(pairs(expected))


def test_hashes_do_not_change_from_one_version_to_the_next() -> None:
    """Sealed challenges are committed to them."""
    transformer, cnn = (program_hash(parse(published(name), PUBLISHED[name])) for name in PUBLISHED)
    assert transformer.startswith("d3bbd69aa4949779")
    assert cnn.startswith("d392a5a3e0c42109")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("return 1", 2),
        ("return -x", 3),
        ("return x + y", 4),
        ("return x < y <= p", 6),
        ("return x and y and p", 6),
        ("return x if y else p", 5),
        ("return sqrt(x)", 3),
        ("return min(x, y, p)", 5),
        ("z = x; return z", 4),
        ("z = x; z += 1; return z", 7),
        ("if x: return 1\nreturn 0", 6),
        ("if x: return 1\nelse: return 0", 7),
        ("if x: return 1\nelif y: return 0\nreturn 1", 10),
        ("return ((x))  # words", 2),
    ],
)
def test_the_size_counts_statements_operators_names_and_numbers(text: str, size: int) -> None:
    assert pairs(text).size == size
    assert canonical(pairs(text)).size == size
