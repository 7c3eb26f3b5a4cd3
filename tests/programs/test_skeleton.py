"""Programs that differ only in constants share a skeleton; what cannot be a constant stays."""

from importlib.resources import files

import pytest

from jaxmi.programs import language as lang
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show_expression
from jaxmi.programs.skeleton import constants, filled, skeleton

PUBLISHED = files("jaxmi.programs").joinpath("published/transformer.txt").read_text()
CLUE = files("jaxmi.programs").joinpath("published/cnn.txt").read_text()


def tables(program: lang.Program) -> list[str]:
    return [show_expression(table) for table in skeleton(program).tables]


@pytest.mark.parametrize(("text", "kind"), [(PUBLISHED, "pairs"), (CLUE, "image")])
def test_a_skeleton_filled_with_its_constants_is_the_program(text: str, kind: lang.Kind) -> None:
    program = parse(text, kind)
    values = constants(program)[1]
    assert filled(skeleton(program), values) == program
    others = filled(skeleton(program), [value + 1 for value in values])
    assert others != program
    assert constants(others) == (constants(program)[0], tuple(value + 1 for value in values))
    assert skeleton(others) == skeleton(program)
    assert hash(skeleton(others)) == hash(skeleton(program))


def test_the_published_programs_constants_and_tables() -> None:
    program = parse(PUBLISHED, "pairs")
    assert constants(program)[1] == (0, 200, 3, 600, 2, 8, 5, 20, 3, 5.5, 0)
    expected = ["x ** 2", "sqrt(y)", "y ** 2", "sqrt(x)", "int(x ** 1.5)", "y", "p - x"]
    assert tables(program) == expected
    assert tables(parse(CLUE, "image")) == ["l1(image, template(6))"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("return x ** 1.5 > 2 ** y", ()),
        ("return (x - 50) ** 2 < 3", (50, 3)),
        ("return (x - 50) ** 2.0 < 3", (3,)),
        ("return (x - 0.5) ** 2 < 3", (3,)),
        ("return (x / 2) ** 2 < sqrt(3)", (3,)),
        ("return (x + y + 1) ** 9 < 3", (3,)),
        ("return True if x > -1 else False", (1,)),
    ],
)
def test_literals_of_powers_and_truth_values_stay(text: str, found: tuple) -> None:
    assert constants(parse(text, "pairs"))[1] == found


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("return x > 1", "return x > 7", True),
        ("return x > 1", "return x > 1.0", False),
        ("return x > 1", "return x > True", False),
        ("return x > 1", "return y > 1", False),
        ("return x ** 2 > 1", "return x ** 3 > 1", False),
        ("return x ** 2 > 1", "return x ** 2.0 > 1", False),
        ("return x - (y - 1) > 1", "return x - y - 1 > 1", False),
        ("z = x\nreturn z > 1", "z = y\nreturn z > 1", False),
        ("return x > 1  # so", "\nreturn (x) > 2", True),
    ],
)
def test_keys_are_equal_where_skeletons_are(text: str, other: str, same: bool) -> None:
    a, b = parse(text, "pairs"), parse(other, "pairs")
    assert (constants(a)[0] == constants(b)[0]) is same
    assert (skeleton(a) == skeleton(b)) is same


def test_templates_and_the_names_of_images_are_no_constants() -> None:
    text = "clue = template(6)\nagain = clue\nit = image\nreturn l1(it, again) < mean(clue) * 3"
    program = parse(text, "image")
    assert constants(program)[1] == (3,)
    assert tables(program) == ["l1(image, template(6))", "mean(template(6))"]
    other = parse(text.replace("6", "7"), "image")
    assert constants(other)[0] != constants(program)[0]
    assert skeleton(other) != skeleton(program)


def test_an_input_that_is_assigned_to_is_in_no_other_table() -> None:
    assert tables(parse("x = x + y\nreturn sqrt(x) > sqrt(y) + p", "pairs")) == [
        "x",
        "y",
        "sqrt(y) + p",
    ]


def test_a_skeleton_knows_lines() -> None:
    (table,) = skeleton(parse("z = 1\nreturn z >\\\n  sqrt(y)", "pairs")).tables
    assert table.at == lang.Position(3, 3)
