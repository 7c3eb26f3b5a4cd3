"""A look-up is told from conditions with the same labels, by exchanging its places."""

import numpy as np
import pytest

from jaxmi.mechanism.account import run_network
from jaxmi.mechanism.look_ups import (
    COLUMNS,
    CONDITIONS,
    LOOK_UPS,
    NOT_ASKED,
    NOT_SHOWN,
    ROWS,
    SEVERAL,
    Computes,
    Model,
    find_model,
    look_up,
    places,
)
from jaxmi.mechanism.neuron_sets import NeuronSets
from jaxmi.mechanism.replacement import Source
from jaxmi.workflows.plants import Plant, compile_network

P = 29
NETWORK = {"d_mlp": 64, "d_model": 32, "n_heads": 4, "d_head": 8}
PROGRAM = """z = int(y ** 1.5) % 4 - 2
if y < 3 * sqrt(x) + 5:
    z += 2
if y > x + 4:
    z -= 3
if y < 35 - x:
    z += 2
return z >= 0
"""


def plant(program: str | np.ndarray, mechanism: str, **sizes: int) -> Plant:
    return compile_network(program, mechanism, P, {**NETWORK, **sizes}, disguise_seed=1)


def source_of(network: Plant) -> Source:
    challenge = network.challenge
    run = run_network(challenge.model, network.params, challenge.inputs)
    difference = run.mlp.difference(run.resid_mid)
    return Source(run.mlp, run.resid_mid, run.neurons, challenge.grid, difference)


@pytest.mark.parametrize("mechanism", [ROWS, COLUMNS, CONDITIONS])
def test_a_look_up_is_known_by_its_places(mechanism: str) -> None:
    found = find_model(source_of(plant(PROGRAM, mechanism)))
    assert found.model == (NOT_SHOWN if mechanism == CONDITIONS else mechanism)
    for name in LOOK_UPS:
        model = found.models[name]
        assert model.tested > 1 and model.strict is not None
        assert (model.strict > 0.97) == (name == mechanism)
    if mechanism == CONDITIONS:
        of_program = Model(3, 3, 3, 1.0)
        assert find_model(source_of(plant(PROGRAM, mechanism)), of_program).model == CONDITIONS


@pytest.mark.parametrize("mechanism", [ROWS, COLUMNS, CONDITIONS])
def test_one_boundary_is_a_look_up_too(mechanism: str) -> None:
    found = find_model(source_of(plant("return x < y\n", mechanism)))
    assert found.model == SEVERAL and "cannot be told" in found.words


@pytest.mark.parametrize("share", [0, 1, "few"])
def test_labels_that_hardly_change_are_no_failure(share: int | str) -> None:
    labels = np.zeros((P, P), np.int32)
    labels[...] = share if share != "few" else 0
    labels[3, 4] = 1
    found = find_model(source_of(plant(labels, ROWS)))
    assert found.as_json["model"] in (NOT_SHOWN, SEVERAL)


def test_a_network_whose_last_block_is_empty_is_no_failure() -> None:
    assert find_model(source_of(plant(PROGRAM, ROWS, n_layers=2))).model == NOT_SHOWN


@pytest.mark.parametrize("by", LOOK_UPS)
def test_a_look_up_s_places_give_its_labels(by: str) -> None:
    labels = np.random.default_rng(0).random((9, 9)) < 0.5
    network = look_up(labels, by)
    assert ((network.difference > 0) == labels.reshape(-1)).all()
    inputs = np.arange(labels.size)
    for one in places(labels, by):
        assert (one.labels(inputs, inputs) == labels.reshape(-1)).all()
        flipped = one.counterfactual[1 - one.values, inputs]
        assert (flipped != labels.reshape(-1)).any()


def test_the_words_say_what_is_known() -> None:
    shown, not_shown = Model(4, 4, 4, 1.0), Model(5, 5, 0, 0.4)
    one = Computes(ROWS, {ROWS: shown, COLUMNS: not_shown})
    assert "looks the labels up: 4 of 4 tested places along y for each x" in one.words
    assert "was not shown; conditions were not asked for" in (
        Computes(NOT_SHOWN, {ROWS: not_shown, COLUMNS: not_shown}).words
    )
    assert "computes the program's conditions" in (
        Computes(CONDITIONS, {ROWS: not_shown, COLUMNS: not_shown, CONDITIONS: shown}).words
    )
    assert Computes(NOT_ASKED, {}).as_json["model"] == NOT_ASKED


def test_a_set_of_neurons_that_cancel_is_found_whatever_their_scale() -> None:
    """Two neurons hold a bit as the difference of two large numbers; others hold something else."""
    rng = np.random.default_rng(0)
    bit, other = rng.integers(0, 2, (2, 3000))
    large = 100 * rng.random((3000, 2))
    contributions = np.column_stack(
        [large[:, 0] + 2 * bit, -large[:, 0], large[:, 1] + 3 * other, -large[:, 1]]
    )
    difference = contributions.sum(axis=1) - 2.5
    bases, sources = rng.integers(0, 3000, (2, 1500))
    labels = 2 * bit[bases] + 3 * other[sources] > 2.5
    for scale in (1.0, 1000.0):
        sets = NeuronSets(scale * contributions, scale * difference, scale / 2)
        assert sets.learn(bases, sources, labels).tolist() == [False, False, True, True]
