"""The variables of a program, and the label if one of them had another value."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from jaxmi.programs.domain import NumberDomain, PairDomain, TripleDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Kind
from jaxmi.programs.parse import parse
from jaxmi.programs.sample import sample_program
from jaxmi.programs.variables import LEAST_MOVED, MOST_MOVED, Hypothesis, hypotheses

DOMAINS: dict[Kind, NumberDomain] = {"pairs": PairDomain(23), "triples": TripleDomain(7)}


def found(text: str, kind: Kind = "pairs") -> dict[str, Hypothesis]:
    every = hypotheses(parse(text, kind), DOMAINS[kind])
    return {one.variable.name: one for one in every}


PROGRAM = """z = 0
if x ** 2 < 9 * y:
    z += 3
z += x // 4
z -= int(y ** 1.5) % 5
if y < 20 - x and z < 2:
    z += 4
return z >= 3
"""


def test_the_variables_of_a_program_are_named_as_it_writes_them() -> None:
    roles = {name: one.variable.role for name, one in found(PROGRAM).items()}
    assert roles == {
        "x ** 2 < 9 * y": "condition",
        "z += x // 4": "term",
        "int(y ** 1.5) % 5": "residue",
        "y < 20 - x": "condition",
        "z before line 6": "partial sum",
        "z < 2": "condition",
        "x": "operand",
        "y": "operand",
    }


def by_hand(x: int, y: int, given: dict[str, int]) -> bool:
    """Run `PROGRAM` with some of its values set."""
    z = 3 * given.get("x ** 2 < 9 * y", x**2 < 9 * y)
    z += given.get("z += x // 4", x // 4)
    z -= given.get("int(y ** 1.5) % 5", int(y**1.5) % 5)
    z = given.get("z before line 6", z)
    if given.get("y < 20 - x", y < 20 - x) and given.get("z < 2", z < 2):
        z += 4
    return z >= 3


def values_by_hand(name: str, x: int, y: int) -> int:
    z = 3 * (x**2 < 9 * y) + x // 4 - int(y**1.5) % 5
    return {
        "x ** 2 < 9 * y": x**2 < 9 * y,
        "z += x // 4": x // 4,
        "int(y ** 1.5) % 5": int(y**1.5) % 5,
        "y < 20 - x": y < 20 - x,
        "z before line 6": z,
        "z < 2": z < 2,
    }[name]


@pytest.mark.parametrize("name", [n for n in found(PROGRAM) if n not in ("x", "y")])
def test_setting_a_value_gives_what_python_gives(name: str) -> None:
    p, variable = 23, found(PROGRAM)[name].variable
    rng = np.random.default_rng(0)
    for base, source in rng.integers(0, p * p, (200, 2)):
        value = values_by_hand(name, *divmod(int(source), p))
        expected = by_hand(*divmod(int(base), p), {name: value})
        assert variable.labels(np.array([base]), np.array([source]))[0] == expected


def test_setting_an_operand_exchanges_it() -> None:
    p, variables = 23, found(PROGRAM)
    rng = np.random.default_rng(1)
    bases, sources = rng.integers(0, p * p, (2, 300))
    own = variables["x"].own
    x, y = (np.divmod(rows, p) for rows in (bases, sources))
    mixed = y[0] * p + x[1]
    assert (variables["x"].variable.labels(bases, sources) == own[mixed]).all()
    mixed = x[0] * p + y[1]
    assert (variables["y"].variable.labels(bases, sources) == own[mixed]).all()


@pytest.mark.parametrize("kind", DOMAINS)
@pytest.mark.parametrize("seed", range(4))
def test_a_value_set_to_what_it_is_changes_nothing(kind: Kind, seed: int) -> None:
    domain = DOMAINS[kind]
    program = sample_program(domain, random.Random(seed))
    every = np.arange(np.prod(domain.shape))
    own = label(program, domain) == 1
    variables = hypotheses(program, domain)
    assert {one.variable.role for one in variables} - {"operand"}
    for one in variables:
        assert (one.variable.labels(every, every) == own).all()


def test_a_moved_constant_changes_the_variable() -> None:
    every = np.arange(23 * 23)
    for name, one in found(PROGRAM).items():
        if one.variable.role in ("condition", "residue"):
            assert one.moved is not None, name
            assert (one.moved.variable.labels(every, every) == one.moved.own).all()
            assert (one.moved.own != one.own).any()
        else:
            assert one.moved is None
    moved = found(PROGRAM)["y < 20 - x"].moved
    assert moved is not None
    parts = [one.variable.values for one in (found(PROGRAM)["y < 20 - x"], moved)]
    assert LEAST_MOVED <= (parts[0] != parts[1]).mean() <= MOST_MOVED
    residue = found(PROGRAM)["int(y ** 1.5) % 5"].moved
    assert residue is not None and residue.variable.name == "int(y ** 1.5) % 6"


def test_an_exponent_is_no_constant_to_move_and_without_one_a_side_is_moved() -> None:
    moved = found("return x ** 2 < y and y > x + 1")["x ** 2 < y"].moved
    assert moved is not None and "** 2" in moved.variable.name
    bare = found("return x < y and x + y > 12")["x < y"].moved
    assert bare is not None and bare.variable.name.startswith("x + ")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("return x < y", {"x", "y"}),  # the condition is the label
        ("return (x + 2 * y) % 5 < 2", {"(x + 2 * y) % 5", "x", "y"}),
        ("return x < 7", {"x"}),
        # A condition that guards a division cannot be set, nor what it guards be computed alone.
        (
            "if y == 0:\n    return x > 3\nreturn x % y < 1 or x > 20",
            {"x > 3", "x > 20", "x", "y"},
        ),
        # The same condition twice is one variable.
        (
            "z = 3 * (x < 9)\nz += y % 3\nif x < 9 and y > 4:\n    z -= 2\nreturn z > 2",
            {"x < 9", "y % 3", "y > 4", "x", "y"},
        ),
        # A variable of the user's that is compared later.
        (
            "s = x + y\nif s > 20 and x > 3:\n    return 1\nreturn y > 15",
            {"s > 20", "x > 3", "x", "y"},  # y > 15 is all that is returned
        ),
    ],
)
def test_other_programs(text: str, names: set[str]) -> None:
    assert set(found(text)) == names


def check_by_hand(text: str, name: str, value: Callable, run: Callable) -> None:
    """Compare setting a variable with a function of Python that has its value as an argument."""
    variable, p = found(text)[name].variable, 23
    rng = np.random.default_rng(0)
    for base, source in rng.integers(0, p * p, (150, 2)):
        (x, y), of = divmod(int(base), p), divmod(int(source), p)
        expected = run(x, y, value(*of))
        assert variable.labels(np.array([base]), np.array([source]))[0] == expected, (x, y, of)
        assert variable.labels(np.array([base]), np.array([base]))[0] == run(x, y, value(x, y))


def test_an_input_that_is_assigned_is_a_state() -> None:
    text = "x = x + 5\nz = 0\nif x < 12:\n    z += 2\nif y > 9:\n    z += 1\nreturn z > 1"
    check_by_hand(text, "x < 12", lambda x, y: x + 5 < 12, lambda x, y, v: 2 * v + (y > 9) > 1)
    assert "x < 12" in found(text) and "y > 9" not in found(text)  # y > 9 changes no label


def test_a_condition_is_set_wherever_a_statement_asks_for_it() -> None:
    text = (
        "z = x % 5\nif z < 2 and x > 9:\n    z += 7\nelif z < 2 and y > 11:\n    z += 5\n"
        "return z > 4"
    )

    def run(x: int, y: int, small: bool) -> bool:
        z = x % 5
        return z + (7 if small and x > 9 else 5 if small and y > 11 else 0) > 4

    check_by_hand(text, "z < 2", lambda x, y: x % 5 < 2, run)


def test_a_term_is_set_where_it_is_added_only() -> None:
    for added in ("z += x", "z = z + x"):
        text = f"z = y % 4\n{added}\nif x < 9:\n    z += 11\nreturn z > 13"
        check_by_hand(text, "z += x", lambda x, y: x, lambda x, y, v: y % 4 + v + 11 * (x < 9) > 13)
        assert {"z += x", "x", "x < 9", "y % 4"} <= set(found(text))


def test_a_remainder_of_a_variable_is_one() -> None:
    text = "t = x * y\nz = t % 7\nif x > 11:\n    z += 2\nreturn z > 4"
    check_by_hand(text, "t % 7", lambda x, y: x * y % 7, lambda x, y, v: v + 2 * (x > 11) > 4)


def test_conditions_of_one_text_at_two_places_have_names_of_their_own() -> None:
    text = (
        "z = x % 5\nif z < 2 and y > 9:\n    z += 4\nif z < 2 and x > 9:\n    z += 9\nreturn z > 3"
    )
    names = [one.variable.name for one in hypotheses(parse(text, "pairs"), DOMAINS["pairs"])]
    assert len(set(names)) == len(names)
    assert {"z < 2 at line 2", "z < 2 at line 4"} <= set(names)


def test_a_variable_of_too_many_values_is_left_out(monkeypatch) -> None:
    monkeypatch.setattr("jaxmi.programs.variables.MAX_VALUES", 4)
    assert "int(y ** 1.5) % 5" not in found(PROGRAM)
    monkeypatch.setattr("jaxmi.programs.variables.MAX_LABELS", 23 * 23 * 22)
    assert "x" not in found(PROGRAM)


def test_on_some_inputs_only() -> None:
    one, rows = found(PROGRAM)["y < 20 - x"], np.array([400, 3, 77])
    part = one.at(rows)
    assert part.own.tolist() == one.own[rows].tolist()
    bases, sources = np.array([0, 2, 1]), np.array([1, 0, 2])
    expected = one.variable.labels(rows[bases], rows[sources])
    assert part.variable.labels(bases, sources).tolist() == expected.tolist()
    assert part.moved is not None and one.moved is not None
    assert part.moved.own.tolist() == one.moved.own[rows].tolist()
