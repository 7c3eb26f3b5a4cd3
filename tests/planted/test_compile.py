"""Compiled networks: every label is the program's, and the key says what is inside."""

import random
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest

from jaxmi.challenges.definition import Definition
from jaxmi.challenges.registry import load_challenge
from jaxmi.errors import InputError
from jaxmi.mechanism.tables import tables_of
from jaxmi.models.transformer import TransformerConfig
from jaxmi.planted.accumulation import accumulation, threshold_along
from jaxmi.planted.compile import MECHANISMS, Compiled, plant
from jaxmi.planted.disguise import disguise
from jaxmi.planted.key import AFTER_MLP, Entry
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Program, Return
from jaxmi.programs.parse import parse
from jaxmi.programs.sample import sample_program
from jaxmi.programs.variables import hypotheses, named_parts

P = 23
X, Y = np.indices((P, P)).reshape(2, -1)
CONFIG = TransformerConfig(d_vocab=P + 1)
GUARDED = """z = 0
if y < 3 * sqrt(x) + 8:
    z += 3
if y > x + 4:
    z -= 2
if y < 26 - x:
    z += 2
z += int(x ** 1.5) % 5 - 2
if x < 12 and z < 2:
    z += 2.5
return z >= 1
"""
PLAIN = GUARDED.partition("if x < 12")[0] + "return z >= 1"


@cache
def challenge(p: int = P):
    return load_challenge(Definition("pairs", parse("return x < y", "pairs"), domain={"p": p}))


def labels_of(program: Program, p: int = P) -> np.ndarray:
    return label(program, PairDomain(p)).reshape(p, p) == 1


def compiled(program: Program, mechanism: str, config: TransformerConfig = CONFIG) -> Compiled:
    return plant(labels_of(program, config.d_vocab - 1), program, config, mechanism)


def is_exact(params, program: Program, p: int = P) -> bool:
    """Return whether the network gives each label, in float32, among all tokens."""
    logits = challenge(p).logits(params)
    return bool((logits.argmax(axis=1) == labels_of(program, p).reshape(-1)).all())


def fair(program: Program) -> bool:
    try:
        return 0.05 < labels_of(program).mean() < 0.95
    except InputError:
        return False


@cache
def random_programs(n: int) -> list[Program]:
    drawn = (sample_program(PairDomain(P), random.Random(seed)) for seed in range(10 * n))
    return list(islice(filter(fair, drawn), n))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_sixty_random_programs_are_exact(mechanism: str) -> None:
    programs = random_programs(60)
    assert len(programs) == 60
    for program in programs:
        assert is_exact(compiled(program, mechanism).params, program)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_published_program_is_exact_also_in_disguise(mechanism: str) -> None:
    program = load_challenge("transformer").program
    assert program is not None
    found = compiled(program, mechanism, TransformerConfig())
    hidden = disguise(found, TransformerConfig(), 7)
    for one in (found, hidden):
        assert is_exact(one.params, program, 113)
    assert not is_exact(found.params, parse("return x < y", "pairs"), 113)  # the control
    assert (np.asarray(found.params["W_E"]) == 0).mean() > 0.5
    assert (np.asarray(hidden.params["W_E"]) == 0).mean() < 0.05


@pytest.mark.long
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_random_programs_are_exact_at_the_published_sizes(mechanism: str) -> None:
    config = TransformerConfig()
    for seed in range(60):
        program = sample_program(PairDomain(), random.Random(seed))
        assert is_exact(compiled(program, mechanism, config).params, program, 113)


def test_labels_alone_are_looked_up_and_a_random_table_is_exact() -> None:
    labels = np.random.default_rng(0).random((P, P)) < 0.5
    for mechanism in ("rows", "columns"):
        logits = challenge().logits(plant(labels, None, CONFIG, mechanism).params)
        assert (logits.argmax(axis=1) == labels.reshape(-1)).all()
    with pytest.raises(InputError, match="conditions needs a program"):
        plant(labels, None, CONFIG, "conditions")


WRITTEN = {
    "else": "z = 0\nif y < x:\n    z += 3\nelse:\n    z -= 1\nreturn z > 0",
    "elif": "z = 1\nif y < x:\n    z += 3\nelif x < 9:\n    z -= 2\nreturn z >= 1",
    "both operands": "z = x ** 2 - 7 * y\nreturn z > 50",
    "slanted": "z = (x + 2 * y) // 9 % 4 - 2\nif x > 7:\n    z += 1\nreturn z >= 0",
    "difference": "z = (2 * x - y) // 5 % 3\nz -= y % 2\nreturn z == 2 or z > 1",
    "negative": "z = 5\nif x > y:\n    z = z - 4\nreturn z < 3",
    "interval": "return 4 < y - x < 12",
    "outside": "return not 4 < y < 12",
    "helper": "a = x * 2\nz = 0\nif y > a:\n    z += 1\nreturn z > 0",
    "truth value": "z = 0\nz += (x < y) * 3\nz -= x % 4\nreturn z > 0",
    "nothing": "return x < 99",
    "everything is 0": "z = 0\nif x < y:\n    z += 1\nreturn z > 4",
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_programs_of_other_forms_are_exact(mechanism: str, name: str) -> None:
    program = parse(WRITTEN[name], "pairs")
    assert is_exact(compiled(program, mechanism).params, program)


REFUSED = {
    "z = 0\nif x * y % 7 < 3:\n    z += 1\nreturn z > 0": r"`x \* y % 7 < 3` is no boundary",
    "z = x * y\nreturn z > 50": r"`x \* y` is no sum of a number of x and one of y",
    "z = x\nz *= 2\nreturn z > 9": r"`z \*= 2` does not add to the sum",
    "z = x\nz = y\nreturn z > 9": "`z = y` does not add to the sum",
    "z = x\nreturn z % 5 < 2": "is no threshold",
    "if x < y:\n    return 1\nreturn 0": "returns in several places",
    "z = 0\nif x < y:\n    z += x\nreturn z > 3": r"`z \+= x` under a condition",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_conditions_cannot_hold_is_refused_and_can_be_looked_up(text: str) -> None:
    program = parse(text, "pairs")
    with pytest.raises(InputError, match=REFUSED[text]):
        compiled(program, "conditions")
    assert is_exact(compiled(program, "rows").params, program)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"d_mlp": 3}, "9 neurons, and the network has d_mlp = 3"),
        ({"d_model": 5}, "dimensions of the residual stream, and the network has d_model = 5"),
        ({"n_heads": 1}, "2 heads of 16, and the network has n_heads = 1"),
        ({"d_head": 1, "n_heads": 2}, "heads of 1, and the network has n_heads = 2"),
        ({"d_model": 1, "d_head": 1, "n_heads": 1, "d_mlp": 1}, "d_mlp = 1"),
    ],
)
def test_a_network_that_is_too_small_is_refused(sizes: dict[str, int], message: str) -> None:
    program = parse(GUARDED, "pairs")
    config = replace(CONFIG, **sizes)
    for mechanism in MECHANISMS:
        with pytest.raises(InputError, match=f"{mechanism} needs") as caught:
            compiled(program, mechanism, config)
        if mechanism == "conditions":
            assert message in str(caught.value)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_sizes_used_are_enough_and_one_less_is_not(mechanism: str) -> None:
    program = parse(GUARDED, "pairs")
    used = compiled(program, mechanism).sizes
    exact = replace(CONFIG, **used)
    found = compiled(program, mechanism, exact)
    tables = tables_of(found.params, exact)
    operands = np.stack([X, Y], axis=1)
    difference = tables.mlp.difference(tables.resid_mid(tables.patterns(operands), operands))
    assert ((difference > 0) == labels_of(program).reshape(-1)).all()
    for name in used:
        with pytest.raises(InputError, match=f"{name} = {used[name] - 1}"):
            compiled(program, mechanism, replace(exact, **{name: used[name] - 1}))


class Inside:
    """A compiled network's activations on all inputs, in float64."""

    def __init__(self, found: Compiled) -> None:
        tables = tables_of(found.params, CONFIG)
        operands = np.stack([X, Y], axis=1)
        self.mlp = tables.mlp
        self.resid = tables.resid_mid(tables.patterns(operands), operands)
        self.neurons = self.mlp.neurons(self.resid)
        self.key = {entry.name: entry for entry in found.key.entries}


PROGRAMS = {
    "guarded": GUARDED,
    **{name: WRITTEN[name] for name in ("slanted", "else", "helper", "truth value")},
}


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("name", PROGRAMS)
def test_what_the_key_says_is_held_has_the_variable_s_values(name: str, seed: int | None) -> None:
    program = parse(PROGRAMS[name], "pairs")
    found = compiled(program, "conditions")
    inside = Inside(found if seed is None else disguise(found, CONFIG, seed))
    parts = named_parts(program, PairDomain(P))
    held = [part for part in parts if inside.key[part.name].held]
    assert held
    for part in held:
        entry = inside.key[part.name]
        assert entry.neurons and entry.directions is not None
        read = sum(c * inside.neurons[:, i] for i, c in entry.neurons.items()) + entry.offset
        np.testing.assert_allclose(read, part.values, atol=1e-3)
        numbers = inside.resid @ entry.directions.T
        if entry.form == "number":
            np.testing.assert_allclose(numbers[:, 0] + entry.shift, part.values, atol=1e-3)
        elif entry.form == "boundary":
            np.testing.assert_array_equal(numbers[:, 0] > -0.5, part.values == 1)


def interchanged(inside: Inside, entry: Entry, bases: np.ndarray, sources: np.ndarray):
    """Return labels with what the entry's directions hold taken from sources."""
    assert entry.directions is not None
    moved = inside.resid[bases]
    there = (inside.resid[sources] - moved) @ entry.directions.T
    return inside.mlp.difference(moved + there @ entry.directions) > 0


@pytest.mark.parametrize("seed", [None, 3])
def test_exchanging_a_condition_s_direction_is_setting_it_and_in_rows_there_is_none(seed) -> None:
    program = parse(PLAIN, "pairs")
    found = compiled(program, "conditions")
    inside = Inside(found if seed is None else disguise(found, CONFIG, seed))
    bases, sources = np.random.default_rng(0).integers(0, P * P, (2, 4000))
    asked = 0
    for one in hypotheses(program, PairDomain(P)):
        entry = inside.key.get(one.variable.name)
        if entry is None or entry.form not in ("boundary", "number"):
            continue
        wanted = one.variable.labels(bases, sources)
        np.testing.assert_array_equal(interchanged(inside, entry, bases, sources), wanted)
        assert (wanted != one.own[bases]).mean() > 0.02  # the control: something happens
        asked += 1
    assert asked == 4
    looked_up = Inside(compiled(program, "rows"))
    names = {one.name for one in named_parts(program, PairDomain(P))}
    assert not any(looked_up.key[name].held for name in names)
    # Nor does any of its directions do what a condition's does.
    (boundary,) = (h for h in hypotheses(program, PairDomain(P)) if h.variable.name == "y > x + 4")
    wanted = boundary.variable.labels(bases, sources)
    for entry in looked_up.key.values():
        if entry.directions is not None and entry.site != AFTER_MLP:
            assert (interchanged(looked_up, entry, bases, sources) != wanted).mean() > 0.05


def test_guards_are_folded_and_the_key_says_so() -> None:
    key = {
        entry.name: entry for entry in compiled(parse(GUARDED, "pairs"), "conditions").key.entries
    }
    assert not key["z < 2"].held and key["z < 2"].words.startswith("folded into")
    assert key["x < 12 and z < 2"].form == "folded"
    assert not next(entry for name, entry in key.items() if name.startswith("z before")).held
    assert key["z"].site == AFTER_MLP
    assert key["x < 12 and z < 2"].full and not key["y > x + 4"].full
    plain = compiled(parse(PLAIN, "pairs"), "conditions").key.entries
    assert all(entry.full for entry in plain if entry.held)


def test_a_condition_on_one_operand_depends_on_that_operand_alone() -> None:
    inside = Inside(compiled(parse("return x < 12", "pairs"), "conditions"))
    entry = inside.key["x < 12"]
    assert entry.directions is not None
    numbers = (inside.resid @ entry.directions[0]).reshape(P, P)
    np.testing.assert_array_equal(numbers, np.broadcast_to(11 - np.arange(P)[:, None], (P, P)))


def test_further_blocks_of_a_look_up_are_empty_and_of_a_guarded_program_are_not() -> None:
    program = parse(GUARDED, "pairs")
    found = compiled(program, "conditions", replace(CONFIG, n_layers=2))
    assert found.params["mlp_1"]["W_in"].any()
    found = compiled(program, "rows", replace(CONFIG, n_layers=2))
    assert not any(array.any() for array in found.params["mlp_1"].values())
    assert set(found.params) == {"W_E", "W_pos", "W_U", "attn", "mlp", "attn_1", "mlp_1"}


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("n", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_programs_stay_exact_in_all_disguises_at_once(mechanism: str, n: int) -> None:
    for seed, program in enumerate(random_programs(n)):
        found = disguise(
            compiled(program, mechanism),
            CONFIG,
            seed,
            cancelling=10,
            idle_heads=1,
            noise=1e-5,
        )
        assert is_exact(found.params, program)
        assert sum(len(one.cancelling) for one in found.key.decoys) == 10


def test_a_disguise_follows_from_its_seed_alone() -> None:
    found = compiled(parse(PLAIN, "pairs"), "conditions")
    one, same, other = (disguise(found, CONFIG, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.params["W_U"], same.params["W_U"])
    assert np.abs(one.params["W_U"] - other.params["W_U"]).max() > 0.01


def test_a_label_changes_at_one_of_the_sums_that_exchanges_give() -> None:
    read = accumulation(
        parse("z = x\nif y < 3:\n    z += 9\nreturn z >= 4", "pairs"), PairDomain(7)
    )
    assert threshold_along(read, np.arange(-2.0, 9), 7) == (3.5, True)
    assert threshold_along(read, np.array([0.0, 3.75, 5]), 7) == (4.375, True)
    assert threshold_along(read, np.arange(2.0), 7) == (-1.0, False)
    assert threshold_along(read, np.arange(5.0, 8), 7) == (4.0, True)
    last = parse("z = x\nreturn z % 3 == 1", "pairs").body[-1]
    assert isinstance(last, Return)
    assert threshold_along(replace(read, returned=last.value), np.arange(7.0), 7) is None
