"""Compiled labels equal evaluated labels, bit for bit; programs without a proof are refused."""

import random
import re
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmi.data.mnist import Mnist
from jaxmi.errors import InputError
from jaxmi.programs import compiled
from jaxmi.programs import language as lang
from jaxmi.programs.compiled import (
    arrays,
    bounds,
    flow,
    label_batch,
    label_constants,
    why_not_compiled,
)
from jaxmi.programs.compiled.skeleton import fill, make_skeleton, split_constants
from jaxmi.programs.domain import Domain, ImageDomain, PairDomain
from jaxmi.programs.evaluate import EvaluationError, evaluate, label
from jaxmi.programs.language import Program
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show_expression

PUBLISHED = files("jaxmi.programs").joinpath("published/transformer.txt").read_text()
CLUE = files("jaxmi.programs").joinpath("published/cnn.txt").read_text()


def tables(program: lang.Program) -> list[str]:
    return [show_expression(table) for table in make_skeleton(program).tables]


@pytest.mark.parametrize(("text", "kind"), [(PUBLISHED, "pairs"), (CLUE, "image")])
def test_a_skeleton_filled_with_its_constants_is_the_program(text: str, kind: lang.Kind) -> None:
    program = parse(text, kind)
    values = split_constants(program)[1]
    assert fill(make_skeleton(program), values) == program
    others = fill(make_skeleton(program), [value + 1 for value in values])
    assert others != program
    assert split_constants(others) == (
        split_constants(program)[0],
        tuple(value + 1 for value in values),
    )
    assert make_skeleton(others) == make_skeleton(program)
    assert hash(make_skeleton(others)) == hash(make_skeleton(program))


def test_the_published_programs_constants_and_tables() -> None:
    program = parse(PUBLISHED, "pairs")
    assert split_constants(program)[1] == (0, 200, 3, 600, 2, 8, 5, 20, 3, 5.5, 0)
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
    assert split_constants(parse(text, "pairs"))[1] == found


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
    assert (split_constants(a)[0] == split_constants(b)[0]) is same
    assert (make_skeleton(a) == make_skeleton(b)) is same


def test_templates_and_the_names_of_images_are_no_constants() -> None:
    text = "clue = template(6)\nagain = clue\nit = image\nreturn l1(it, again) < mean(clue) * 3"
    program = parse(text, "image")
    assert split_constants(program)[1] == (3,)
    assert tables(program) == ["l1(image, template(6))", "mean(template(6))"]
    other = parse(text.replace("6", "7"), "image")
    assert split_constants(other)[0] != split_constants(program)[0]
    assert make_skeleton(other) != make_skeleton(program)


def test_an_input_that_is_assigned_to_is_in_no_other_table() -> None:
    assert tables(parse("x = x + y\nreturn sqrt(x) > sqrt(y) + p", "pairs")) == [
        "x",
        "y",
        "sqrt(y) + p",
    ]


def test_a_skeleton_knows_lines() -> None:
    (table,) = make_skeleton(parse("z = 1\nreturn z >\\\n  sqrt(y)", "pairs")).tables
    assert table.position == lang.Position(3, 3)


PAIRS = PairDomain()


class Draw:
    """Random programs on pairs, most of which cannot fail; every operation occurs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def program(self) -> str:
        lines = [f"z = {self.literal()}"]
        for _ in range(self.random.randint(1, 3)):
            lines += self.statement()
        return "\n".join([*lines, f"return {self.condition(2)}"])

    def statement(self) -> list[str]:
        kind = self.random.randrange(5)
        change = f"z {self.one('+-*')}= {self.number(1)}"
        if kind == 0:
            return [change]
        if kind == 1:
            return [f"w = {self.number(2)}", f"z = min(z, w) - {self.number(0)}"]
        if kind == 2:
            return [f"if {self.condition(1)}:", f"    return {self.condition(1)}"]
        lines = [f"if {self.condition(1)}:", f"    {change}"]
        if kind == 4:
            lines += [f"elif {self.condition(0)}:", f"    z = {self.number(1)}", "else:"]
            lines += [f"    x = {self.number(1)}"]
        return lines

    def condition(self, depth: int) -> str:
        kind = self.random.randrange(8)
        compared = f"{self.number(depth)} {self.order()} {self.number(depth)}"
        if depth == 0 or kind < 4:
            return compared
        if kind == 4:
            return f"not ({self.condition(depth - 1)})"
        if kind == 5:
            return f"{self.number(0)} {self.order()} {compared}"
        if kind == 6:
            choice = f"{self.condition(0)} if {self.condition(0)} else {self.condition(0)}"
            return f"({choice})"
        return f"(({self.condition(0)}) {self.one(('and', 'or'))} ({self.condition(0)}))"

    def number(self, depth: int) -> str:
        if depth == 0:
            return self.one(
                ("x", "y", "z", "x", "y", self.literal(), "p", "sqrt(x)", "y ** 1.5", "x ** 2")
            )
        a, b = self.number(depth - 1), self.number(depth - 1)
        forms = (
            f"({a} + {b})",
            f"({a} - {b})",
            f"{self.literal()} * {self.number(0)}",
            f"{a} / {self.random.randint(1, 9)}",
            f"{a} / (y + {self.literal()})",
            f"({a}) // {self.random.randint(1, 20)}",
            f"floor({a}) // {self.random.randint(1, 20)}",
            f"({self.number(0)}) % {self.random.randint(2, 20)}",
            f"int({a}) % {self.random.randint(2, 20)}",
            f"(x - {self.random.randint(1, 100)}) ** {self.random.randint(1, 3)}",
            f"abs({a})",
            f"sqrt(abs({a}))",
            f"{self.one(('min', 'max'))}({a}, {b})",
            f"{self.one(('int', 'floor', 'ceil', 'round'))}({a} / 3)",
            f"float({a})",
            f"isqrt(abs(int({a})))",
            f"where({self.condition(0)}, {a}, {b})",
            f"({a}, {self.literal()}, {b})[int(abs({self.number(0)})) % 3]",
            f"fmod(floor({a}), {self.random.randint(2, 20)})",
            f"-({a})",
            f"({a} or {b})",
            f"({a} and {b})",
            f"({a} if {self.condition(0)} else {b})",
        )
        return self.one(forms)

    def literal(self) -> str:
        whole = self.random.randint(1, 200)
        return self.one((str(whole), str(whole / 2), str(round(self.random.uniform(0.1, 20), 3))))

    def order(self) -> str:
        return self.one(("<", "<=", ">", ">=", "<", "<=", ">", ">=", "==", "!="))

    def one(self, choices):
        return self.random.choice(choices)

    def others(self, program: Program, n: int) -> list[Program]:
        """The program with other constants of the same types."""
        shared, values = make_skeleton(program), split_constants(program)[1]
        return [fill(shared, [self.other(value) for value in values]) for _ in range(n)]

    def other(self, value: int | float) -> int | float:
        if isinstance(value, int):
            return (
                max(1, value + self.random.randint(-3, 3)) if value else self.random.randint(0, 1)
            )
        return value * self.random.uniform(0.8, 1.25)


def labels_or_error(program: Program, domain: Domain) -> np.ndarray | str:
    try:
        return label(program, domain)
    except EvaluationError as error:
        return str(error)


def check_batch(
    programs: list[Program],
    domain: Domain,
    monkeypatch: pytest.MonkeyPatch,
    expected: list[np.ndarray] | None = None,
) -> int:
    """Compare a batch of programs that do not fail; return how many were compiled."""
    evaluated = []

    def counted(program: Program, domain: Domain) -> np.ndarray:
        evaluated.append(program)
        return label(program, domain)

    monkeypatch.setattr(compiled, "label", counted)
    found = label_batch(programs, domain, fewest=1)
    assert found.dtype == np.int32
    if expected is None:
        expected = [label(program, domain) for program in programs]
    np.testing.assert_array_equal(found, expected)
    return len(programs) - len(evaluated)


def compile_anyway(text: str, monkeypatch: pytest.MonkeyPatch, barriers: bool = True) -> np.ndarray:
    """Compile a program whatever the bounds say, with or without barriers; return its labels."""
    program = parse(text, "pairs")
    shared = make_skeleton(program)
    if not barriers:
        monkeypatch.setattr(arrays._Arrays, "_barrier", lambda self, values: values)
    with jax.enable_x64(True):
        tables = [table.astype(np.float64) for table in compiled._tables(shared, PAIRS)]
        values = np.array(split_constants(program)[1], np.float64)
        zero = np.zeros(PAIRS.shape, np.int64)
        run = jax.jit(lambda *arguments: arrays.label_domain(shared, *arguments))
        return np.asarray(run(values, tables, zero), np.int32).reshape(-1)


@pytest.mark.device
def test_the_published_program_is_compiled_with_200_sets_of_constants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published = parse(PUBLISHED, "pairs")
    programs = [published, *Draw(0).others(published, 200)]
    assert check_batch(programs, PAIRS, monkeypatch) == 201
    assert label_batch(programs[:1], PAIRS).sum() == 5465
    assert len({labels.tobytes() for labels in label_batch(programs, PAIRS)}) > 150


@pytest.mark.long
def test_540_random_programs_have_the_evaluated_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    programs, expected = [], []
    for seed in range(36):
        draw = Draw(seed)
        program = parse(draw.program(), "pairs")
        for one in (program, *draw.others(program, 14)):
            labels = labels_or_error(one, PAIRS)
            if isinstance(labels, str):
                assert why_not_compiled(one, PAIRS) is not None
            else:
                programs.append(one)
                expected.append(labels)
    share = check_batch(programs, PAIRS, monkeypatch, expected) / len(programs)
    assert len(programs) > 500, "few of them fail"
    assert share > 0.6, "most are in the domain of exactness"
    assert np.mean([0 < labels.mean() < 1 for labels in expected]) > 0.4, "many say something"


@pytest.mark.parametrize(
    "text",
    [
        "if x > 3:\n    z = 1\n    return z > y\nelse:\n    z = 2\nreturn z > y",
        "z = 1\nif x > 3:\n    z = 2\n    if y > 5:\n        return y > 9\nreturn z + x > 4",
        "if x > 90: return 1\nelif y > 90: return 0\nif x > y: return 0\nreturn 1",
        "return int((y - x) / 2.0) > -3",
        "return (y - x) // 7 + (x - y) % -5 > -4",
        "return (x and y - 5 or 3) > 2 > y % 4",
        "x -= y\nx *= x\nreturn x // 3 == y or not x",
        "return True if min(x, y, 5) < max(2.5, p - y) else 0.0",
        "return floor(x / 7 - 3.5) + ceil(-y / 3) < -abs(y - 50) ** 3 // 9999",
    ],
)
def test_python_runs_these_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = parse(text, "pairs")
    assert check_batch([program], PAIRS, monkeypatch) == 1
    assert 0 < label(program, PAIRS).mean() < 1


IMAGE_PROGRAMS = (
    "return not 24772 <= l1(image, template(6)) < 34270",
    "clue = template(6)\nother = clue\nreturn cosine(image, other) * 100 > 40.5",
    "d = l2(image, template(0)) / 3.5\nif d < 600: d += mean(image) * 1.1\nreturn d % 2 < 700",
    "d = l2(image, template(0)) / 3.5\nif d < 600: d += mean(image) * 1.1\nreturn 500 < d <= 720",
    "return (linf(image, template(1)) + dot(image, template(2)) // 1000) % 7 < 3",
)


def test_image_programs_have_the_evaluated_labels(
    mnist_data: Mnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = ImageDomain(mnist_data.images[1000:1500], mnist_data.images[:10])
    programs = []
    for text in IMAGE_PROGRAMS:
        program = parse(text, "image")
        programs += [program, *Draw(1).others(program, 40)]
    assert check_batch(programs, domain, monkeypatch) == 4 * 41, "the remainder of a float is not"


REFUSED = {
    "return int((sqrt(x) + sqrt(y)) ** 3 * 100000000000) % 2 == 1": "line 1: ** of a float",
    "return (x + 9007199254740991) % 2 == 1": "line 1: a whole number may reach 2**53",
    "return 0.5 * x * 1e-155 * 1e-155 > 0": "line 1: a float may be smaller than 2**-1022",
    "return (x * 0.1) % 0.3 < 0.1": "line 1: % of numbers with more than 53 binary digits",
    "return (4503599627370493.0 * 4.0 + x) // (y + 3.0) % 2.0 == 0.0": (
        "line 1: // of numbers with more than 53 binary digits"
    ),
    "z = 0\nreturn (0.1 * x + 0.2 * y) // 0.3 % 2 == 1": "line 2: // of numbers with more than 53",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_would_be_wrong(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = parse(text, "pairs")
    reason = why_not_compiled(program, PAIRS)
    assert reason is not None and reason.startswith(REFUSED[text])
    assert (compile_anyway(text, monkeypatch) != label(program, PAIRS)).any()
    assert check_batch([program] * 2, PAIRS, monkeypatch) == 0


@pytest.mark.parametrize(
    "text",
    [
        "return 0.1 * x * y + 0.3 * y == y * (0.1 * x + 0.3)",
        "return x // 49 == y // 49",
        "return x / 10.0 / 7.0 == y / 70.0",
        "return y / sqrt(x + 1) == sqrt(y)",
    ],
)
def test_without_barriers_xla_gives_other_labels(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: fused sums, inverses, divisions twice, and approximate roots, are real."""
    program = parse(text, "pairs")
    assert why_not_compiled(program, PAIRS) is None
    expected = label(program, PAIRS)
    np.testing.assert_array_equal(compile_anyway(text, monkeypatch), expected)
    assert (compile_anyway(text, monkeypatch, barriers=False) != expected).any()


FAILING = {
    "return sqrt(x - 5) > 2": "line 1: sqrt of something from -5 on, perhaps negative",
    "z = 3\nreturn 10 % (x - y) > z": "line 2: % by something from -112 to 112, perhaps 0",
    "return int(1e300 * x * 1e10) > 5": "line 1: a float may overflow",
    "if x > 3:\n    z = 1\nreturn z": "line 3: z may have no value",
    "if x > 3:\n    return 1": "it may end without return",
    "return x / 200": "it may return something else than 0 or 1, from 0 to 0.56",
    "return x + 1": "it may return something else than 0 or 1, from 1 to 113",
    "return 1 / x > 0.5": "line 1: / by something from 0 to 112, perhaps 0",
    "return 0 ** -x > 0.5": "line 1, column 8: ZeroDivisionError",
    "return 0 * (x + y) ** y == 5": "line 1: ** of more than one input, or of a variable",
}


@pytest.mark.parametrize("text", FAILING)
def test_a_program_that_may_fail_is_refused(text: str) -> None:
    reason = why_not_compiled(parse(text, "pairs"), PAIRS)
    assert reason is not None and reason.startswith(FAILING[text])


@pytest.mark.parametrize("text", list(FAILING)[:-2])
def test_errors_are_those_of_evaluation(text: str) -> None:
    program = parse(text, "pairs")
    expected = labels_or_error(program, PAIRS)
    assert isinstance(expected, str)
    fine = parse("return x > 3", "pairs")
    with pytest.raises(EvaluationError, match=re.escape(expected)):
        label_batch([fine, program, fine], PAIRS, fewest=1)
    with pytest.raises(EvaluationError, match=re.escape(expected)):
        label_constants(
            make_skeleton(program), np.array([split_constants(program)[1]], float), PAIRS
        )


def test_one_odd_program_does_not_keep_the_others_from_being_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = [*range(1, 100), 2**53, *range(100, 150)]
    programs = [parse(f"return (x * y + {n}) % 7 < {n} % 5", "pairs") for n in numbers]
    assert check_batch(programs, PAIRS, monkeypatch) == 149
    monkeypatch.setattr(compiled, "label", lambda *_: pytest.fail("few enough to be halved away"))
    with pytest.raises(pytest.fail.Exception):
        label_batch(programs[80:120], PAIRS, fewest=40)


def test_a_skeleton_is_compiled_once_and_few_programs_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced = []

    def counted(*arguments):
        traced.append(arguments)
        return arrays.label_domain(*arguments)

    monkeypatch.setattr(compiled, "label_domain", counted)
    program = parse("return 17 * x + 2.25 * y < 1234.5 - p * 3", "pairs")
    programs = [program, *Draw(0).others(program, 99)]
    label_batch(programs[:63], PAIRS)
    assert not traced
    label_batch(programs[:64], PAIRS)
    once = len(traced)
    assert once >= 1
    label_batch(programs, PAIRS)
    label_batch(programs[50:], PAIRS, fewest=1)
    assert len(traced) == once
    label_batch(programs, PairDomain(29))
    assert len(traced) == 2 * once, "the control: another domain's shapes are compiled anew"


def test_other_domains_and_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    program = parse(PUBLISHED, "pairs")
    assert check_batch(Draw(2).others(program, 20), PairDomain(29), monkeypatch) == 20
    images = ImageDomain(np.zeros((2, 28, 28), np.uint8), np.zeros((1, 28, 28), np.uint8))
    for programs in ([program], [parse("return l1(image, template(1)) > 2", "image")]):
        with pytest.raises(InputError, match=r"cannot label image|there are 1 images"):
            label_batch(programs, images, fewest=1)
    assert label_batch([], PAIRS).shape == (0, 113 * 113)


def test_constants_alone_give_the_programs_labels() -> None:
    program = parse("return (x - 50) ** 2 + (y - 40) ** 2 < 900.5", "pairs")
    programs = [program, *Draw(3).others(program, 70)]
    values = np.array([split_constants(one)[1] for one in programs], np.float64)
    found = label_constants(make_skeleton(program), values, PAIRS)
    np.testing.assert_array_equal(found, [label(one, PAIRS) for one in programs])
    np.testing.assert_array_equal(
        found[:5], label_constants(make_skeleton(program), values[:5], PAIRS)
    )


@pytest.mark.parametrize("values", [[[1.0, 2.5]], [[1.0]], [[1.0, np.inf]], [[0.5, 1.0]]])
def test_constants_that_do_not_fit_are_refused(values: list[list[float]]) -> None:
    shared = make_skeleton(parse("return x * 3 + y > 4", "pairs"))
    with pytest.raises(InputError, match="constant"):
        label_constants(shared, np.array(values), PAIRS)


def test_jax_stays_in_32_bits() -> None:
    label_batch([parse("return x > 3", "pairs")], PAIRS, fewest=1)
    assert not jax.config.jax_enable_x64
    assert jnp.arange(3).dtype == jnp.int32


def test_without_a_cpu_backend_programs_are_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(backend: str) -> list:
        raise RuntimeError(f"Unknown backend {backend}")

    program = parse("return x > 3", "pairs")
    assert check_batch([program], PAIRS, monkeypatch) == 1
    monkeypatch.setattr(jax, "local_devices", none)
    assert check_batch([program], PAIRS, monkeypatch) == 0


@pytest.mark.parametrize("seed", range(60))
def test_values_lie_within_their_bounds(seed: int) -> None:
    draw = Draw(1000 + seed)
    program = parse(f"z = {draw.literal()}\nreturn {draw.number(3)}", "pairs")
    shared = make_skeleton(program)
    given = {f"table#{i}": table for i, table in enumerate(compiled._tables(shared, PAIRS))}
    for i, (kind, value) in enumerate(zip(shared.kinds, split_constants(program)[1], strict=True)):
        given[f"{kind.__name__}#{i}"] = np.array([value])
    try:
        found = flow.interpret(shared, bounds._BoundsAlgebra(given))
    except flow.RefusedError:
        return
    values = evaluate(program, PAIRS)
    assert found.low <= values.min() and values.max() <= found.high
    assert bounds._grain(values.astype(np.float64)) >= found.grain
    types = {type(value) for value in values.tolist()} - {bool}
    assert types <= {"int": {int}, "float": {float}, "mixed": {int, float}}[found.kind]
