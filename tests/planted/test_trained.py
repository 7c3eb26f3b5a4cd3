"""Trained plants: variables are where they were to be, by a computation of its own; controls."""

import random
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmi
from jaxmi.errors import InputError
from jaxmi.explanation.edits import at
from jaxmi.models.transformer import Transformer, TransformerConfig
from jaxmi.planted import causal_model as causal
from jaxmi.planted import trained
from jaxmi.planted.compile import Compiled
from jaxmi.planted.disguise import disguise
from jaxmi.planted.interchange_training import Measured, Training, draw_batches, train
from jaxmi.planted.key import BEFORE_MLP, NEURONS, POSITION
from jaxmi.planted.trained import TrainedPlant, causal_model, train_plant
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Program
from jaxmi.programs.parse import parse
from jaxmi.programs.sample import NumberGrammar, sample_program
from jaxmi.programs.variables import hypotheses
from jaxmi.workflows import plants
from jaxmi.workflows.plants import compile_network

P = 13
SIZES = {"d_model": 32, "n_heads": 2, "d_head": 16, "d_mlp": 48}
CONFIG = TransformerConfig(d_vocab=P + 1, **SIZES)
QUICK = Training(steps=800, batch=128)
CONDITION, RESIDUE = "y < x + 2", "int(x ** 1.5) % 4"
TEXT = f"z = 0\nif {CONDITION}:\n    z += 2\nz += {RESIDUE} - 2\nreturn z >= 0\n"
PROGRAM = parse(TEXT, "pairs")
LABELS = label(PROGRAM, PairDomain(P)).reshape(P, P) == 1
X, Y = np.indices((P, P)).reshape(2, -1)
TOKENS = np.stack([X, Y, np.full_like(X, P)], axis=1)
FOUND = {one.variable.name: one.variable for one in hypotheses(PROGRAM, PairDomain(P))}


@cache
def planted() -> TrainedPlant:
    return train_plant(LABELS, PROGRAM, CONFIG, "conditions", 0, QUICK)


def test_exchanges_give_the_programs_labels_on_pairs_that_were_not_trained_on() -> None:
    measured = planted().measured
    assert measured.random >= 0.99 and measured.strict is not None and measured.strict >= 0.95
    assert measured.agreement == 1
    assert all(one.strict_pairs > 100 for one in (*measured.variables, *measured.parts))


def test_no_pair_that_is_trained_on_crosses_the_halves() -> None:
    model = causal_model(LABELS, PROGRAM, "conditions")
    halves = np.random.default_rng(0).permutation(P * P - 1).reshape(2, -1)
    drawn = draw_batches(model, halves, QUICK, np.random.default_rng(1))
    assert drawn.bases.shape == (QUICK.steps, QUICK.batch)
    of_bases, of_sources = (np.isin(rows, halves[0]) for rows in (drawn.bases, drawn.sources))
    np.testing.assert_array_equal(of_bases, of_sources)
    assert of_bases[:, : QUICK.batch // 2].all() and not of_bases[:, QUICK.batch // 2 :].any()
    # What is said to follow is what the model says, pair by pair.
    for step in range(3):
        for i in range(QUICK.batch):
            taken = np.flatnonzero(drawn.variables[step, i, :2]).tolist()
            rows = drawn.bases[step, [i]], drawn.sources[step, [i]]
            assert drawn.said[step, i] == model.exchanged(*rows, taken)[0]


def test_without_interchange_losses_the_variables_are_elsewhere() -> None:
    """The control: the labels are learned as well, and the stated places hold nothing."""
    model = causal_model(LABELS, PROGRAM, "conditions")
    measured = train(model, CONFIG, 0, replace(QUICK, interchange=0.0)).measured
    assert measured.agreement > 0.98
    assert all(one.strict is not None and one.strict < 0.5 for one in measured.variables)
    assert not measured.is_plant


MODEL = Transformer(CONFIG)


@partial(jax.jit, static_argnames="site")
def exchanged(params, bases, sources, span, site):
    """Run bases, at the last position with what sources have along the span, by edits."""

    def one(base, source):
        there = MODEL.apply({"params": params}, source)[1][site][POSITION]
        edits = at(site, lambda own: own + (there[None] - own) @ span.T @ span, pos=POSITION)
        return MODEL.apply({"params": params}, base, edits)[0][POSITION].argmax()

    return jax.vmap(one)(bases, sources)


def shares(compiled: Compiled, name: str, place: str) -> dict[str, float]:
    """Return, for each variable of the program, how often its labels follow an exchange."""
    (entry,) = (one for one in compiled.key.entries if one.name == name)
    assert entry.held and entry.form == "trained"
    if place == "directions":
        site, span = BEFORE_MLP, jnp.asarray(entry.directions, jnp.float32)
    else:
        span = jnp.eye(CONFIG.d_mlp)[jnp.asarray(sorted(entry.neurons or {}))]
        span, site = jnp.pad(span, ((0, CONFIG.d_mlp - len(span)), (0, 0))), NEURONS
    bases, sources = np.random.default_rng(5).integers(P * P, size=(2, 1500))
    found = exchanged(compiled.params, TOKENS[bases], TOKENS[sources], span, site)
    return {
        one: float((np.asarray(found) == variable.labels(bases, sources)).mean())
        for one, variable in FOUND.items()
    }


@pytest.mark.parametrize("hidden", [False, True])
def test_the_keys_places_do_the_same_through_the_networks_own_sites(hidden: bool) -> None:
    """The labels are those of `hypotheses`, and the network is run with edits."""
    compiled = planted().compiled
    compiled = disguise(compiled, CONFIG, 3) if hidden else compiled
    for place in ("directions", "neurons"):
        for name, other in ((CONDITION, RESIDUE), (RESIDUE, CONDITION)):
            found = shares(compiled, name, place)
            assert found[name] > 0.985
            assert found[other] < 0.9  # the control: the other variable is not there


def test_the_sum_of_a_groups_activations_is_the_variable_as_well_as_the_key_says() -> None:
    compiled = planted().compiled
    post = activations_of(compiled.params)
    for entry in compiled.key.entries:
        if entry.held and entry.name in FOUND:
            neurons = np.array(list(entry.neurons or {}))
            value = post[:, neurons] @ np.array(list((entry.neurons or {}).values())) + entry.offset
            wanted = Y < X + 2 if entry.name == CONDITION else (X**1.5).astype(int) % 4
            error = ((value - wanted) ** 2).mean() / wanted.var()
            assert entry.fit == pytest.approx(1 - error, abs=1e-3)
            assert entry.fit is not None and entry.fit > 0.6  # a sum tells most, not all


@jax.jit
def _post(params):
    run = jax.vmap(lambda tokens: MODEL.apply({"params": params}, tokens)[1][NEURONS][POSITION])
    return run(jnp.asarray(TOKENS))


def activations_of(params) -> np.ndarray:
    return np.asarray(_post(params), np.float64)


@pytest.mark.slow
def test_a_look_up_is_trained_and_does_not_hold_the_condition() -> None:
    found = train_plant(LABELS, PROGRAM, CONFIG, "rows", 0, replace(QUICK, steps=2500))
    entries = {one.name: one for one in found.compiled.key.entries}
    assert not entries[CONDITION].held and entries["y"].held
    for name in ("y", "y < place 2 of x"):
        told = shares(found.compiled, name, "directions")
        assert max(told[CONDITION], told[RESIDUE]) < 0.95


@cache
def random_programs(p: int, n: int) -> list[Program]:
    grammar = replace(NumberGrammar().scaled_to(p), guarded=(0, 0))
    drawn = (sample_program(PairDomain(p), random.Random(seed), grammar) for seed in range(99))
    fair = (one for one in drawn if 0.1 < label(one, PairDomain(p)).mean() < 0.9)
    return [next(fair) for _ in range(n)]


@pytest.mark.parametrize("number", range(8))
def test_a_models_exchanges_are_those_of_the_programs_variables(number: int) -> None:
    program = random_programs(17, 8)[number]
    model = causal.of_program(program, 17)
    np.testing.assert_array_equal(model.labels, label(program, PairDomain(17)) == 1)
    bases, sources = np.random.default_rng(0).integers(17 * 17, size=(2, 4000))
    places = {one.name: i for i, one in enumerate(model.variables)}
    places |= {one.name: i for one, i in model.aliases}
    compared = 0
    for one in hypotheses(program, PairDomain(17)):
        if one.variable.name in places:
            said = one.variable.labels(bases, sources)
            place = [places[one.variable.name]]
            np.testing.assert_array_equal(model.exchanged(bases, sources, place), said)
            np.testing.assert_array_equal(model.exchanged_parts(bases, sources, place), said)
            compared += 1
    assert compared


def test_the_label_of_a_sum_that_no_input_has_is_the_programs() -> None:
    # The inputs' sums are -2 and 2; exchanges also give 0, midway, which the program labels 1.
    program = parse(
        "z = -1\nif x < 6:\n    z += 1\nif x >= 6:\n    z -= 1\nif x < 6:\n    z += 2\n"
        "return z >= 0",
        "pairs",
    )
    model = causal.of_program(program, P)
    bases, sources = np.random.default_rng(0).integers(P * P, size=(2, 4000))
    names = [one.name for one in model.variables]
    for one in hypotheses(program, PairDomain(P)):
        if names.count(one.variable.name) == 1:
            number = [names.index(one.variable.name)]
            said = one.variable.labels(bases, sources)
            np.testing.assert_array_equal(model.exchanged(bases, sources, number), said)


@pytest.mark.parametrize("along", ["x", "y"])
def test_a_look_ups_labels_are_the_table_and_setting_all_its_variables_gives_the_source(
    along,
) -> None:
    labels = np.random.default_rng(0).random((P, P)) < 0.5
    model = causal.of_places(labels, along)
    np.testing.assert_array_equal(model.labels, labels.reshape(-1))
    bases, sources = np.random.default_rng(1).integers(P * P, size=(2, 2000))
    operand = {"x": X, "y": Y}[along]
    row = {"x": Y, "y": X}[along]
    said = model.exchanged(bases, sources, range(len(model.variables)))
    np.testing.assert_array_equal(said, labels.reshape(-1)[sources])
    table = labels if along == "y" else labels.T
    said = model.exchanged(bases, sources, [0])
    np.testing.assert_array_equal(said, table[row[bases], operand[sources]])


def test_what_is_trained_comes_with_its_key_and_numbers(tmp_path) -> None:
    plant = compile_network(TEXT, "conditions", P, SIZES, train_seed=0, training=QUICK)
    for one, other in zip(
        jax.tree.leaves(plant.params), jax.tree.leaves(planted().compiled.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)  # the seed decides everything
    about = plant.config["compiled"]
    assert about["trained"]["seed"] == 0 and about["trained"]["steps"] == QUICK.steps
    assert about["agreement"] == 1 and about["interchange"]["random"] >= 0.99
    entries = {one["name"]: one for one in plant.key["variables"]}
    assert entries[CONDITION]["form"] == "trained" and len(entries[CONDITION]["directions"]) == 2
    assert set(entries[CONDITION]["interchange"]) == {"directions", "neurons"}
    network = jaxmi.Network(
        plant.challenge, plant.params, plant.metrics, plant.config, key=plant.key
    )
    network.save(tmp_path / "plant")
    assert jaxmi.load(tmp_path / "plant").key == plant.key


def test_noise_that_changes_a_trained_network_s_label_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(plants, "train_plant", lambda *_: planted())
    given = partial(compile_network, TEXT, "conditions", P, SIZES, 1, train_seed=0)
    with pytest.raises(InputError, match=r"noise 0\.5 changes \d+ of 169 labels: take less"):
        given(noise=0.5)
    calm = given(noise=1e-6)  # the control: little noise changes none
    assert calm.config["compiled"]["agreement"] == planted().measured.agreement


def test_a_plant_whose_variables_are_not_there_is_refused_with_the_number(monkeypatch) -> None:
    measured = replace(planted().measured, rest=0.9876)
    monkeypatch.setattr(trained, "train", lambda *_: SimpleNamespace(measured=measured))
    with pytest.raises(InputError, match=r"seed 1 the least interchange accuracy is 98\.76%"):
        train_plant(LABELS, PROGRAM, CONFIG, "conditions", 1, QUICK)


REFUSED = {
    "z = x - 5\nif y < 4 and z > 1:\n    z -= 3\nreturn z >= 0": "the sum so far",
    "z = x\nreturn z % 5 < 2": "is no threshold",
    "return x < 99": "no variable",
}


@pytest.mark.parametrize("text", REFUSED)
def test_programs_that_cannot_be_trained_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=REFUSED[text]):
        compile_network(text, "conditions", P, SIZES, train_seed=0)


@pytest.mark.parametrize(
    ("sizes", "seed", "message"),
    [
        ({"d_model": 4}, 0, "d_model = 4"),
        ({"d_mlp": 2}, 0, "d_mlp = 2"),
        ({"n_layers": 2}, 0, "n_layers = 2"),
        ({}, -1, "seed -1"),
        ({}, 2**32, "seed 4294967296"),
    ],
)
def test_networks_and_seeds_that_do_not_fit_are_refused(sizes, seed: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile_network(TEXT, "conditions", P, {**SIZES, **sizes}, train_seed=seed)


def test_labels_alone_have_no_conditions() -> None:
    with pytest.raises(InputError, match="conditions needs a program"):
        compile_network(LABELS, "conditions", P, SIZES, train_seed=0)


def test_the_least_share_counts_the_rest_too() -> None:
    measured = planted().measured
    assert replace(measured, rest_neurons=0.5).random == 0.5
    assert not replace(measured, rest=0.98).is_plant
    assert isinstance(measured, Measured)
