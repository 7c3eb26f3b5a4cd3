"""Poison as data: many trojans in one compilation, and a clean network stays what it was."""

from dataclasses import replace

import chex
import jax
import numpy as np
import pytest
from hlo import instructions

from jaxmi.challenges.challenge import Challenge, Poison
from jaxmi.errors import InputError
from jaxmi.training.loop import can_train_together, make_examples
from jaxmi.training.recipe import recipes_for
from jaxmi.training.seeds import Run, Trainer, train_runs, train_seeds
from jaxmi.trojans.poison import make_poison, no_poison, poisoned
from jaxmi.trojans.triggers import Clause, Invert, Rectangle, Token
from jaxmi.trojans.trojan import Trojan

BLOCK = Trojan(Rectangle(3, 20, 8, 8), 1, 0.02)
STRIPE = Trojan(Clause("pairs", "x % 5 == 2"), 0, 0.2)


@pytest.fixture(scope="module")
def recipe(pairs: Challenge):
    fast = recipes_for(pairs)["fast"]
    return replace(fast, steps=40, eval_every=20, batch_size=64, learning_rate=3e-3)


@pytest.fixture(scope="module")
def several(pairs: Challenge) -> dict[str, Challenge]:
    rng = np.random.default_rng(0)
    poisons = {"clean": None}
    poisons |= {str(one.target): make_poison(one, pairs, rng) for one in (BLOCK, STRIPE)}
    return poisoned(pairs, poisons)


def alone(challenge: Challenge, recipe):
    (result,) = train_seeds(challenge, recipe, [3], width=jax.device_count())
    return result


def same_bits(one, other) -> bool:
    equal = jax.tree.map(
        np.array_equal, (one.params, one.best_params), (other.params, other.best_params)
    )
    return jax.tree.all(equal) and one.curve == other.curve


@pytest.mark.slow
def test_trained_together_each_is_what_it_is_alone(several, pairs: Challenge, recipe) -> None:
    """To the bit; and the clean network with an unused bank is the one of a run without a bank."""
    runs = [Run(challenge, [3]) for challenge in several.values()]
    found = dict(train_runs(runs, recipe, width=jax.device_count()))
    for i, challenge in enumerate(several.values()):
        assert same_bits(found[i], alone(challenge, recipe))
    assert same_bits(found[0], alone(pairs, recipe))
    for i in (1, 2):  # the control: poison changes the network
        assert not same_bits(found[0], found[i])
    assert not same_bits(found[1], found[2])


def test_a_regions_poison_is_a_relabelled_challenge(several, pairs: Challenge, recipe) -> None:
    """The network is the one of the trojaned program's labels, on its training inputs."""
    program = BLOCK.as_program(pairs.program)
    relabelled = alone(pairs.relabelled(program, "trojaned"), recipe)
    found = alone(several["1"], recipe)
    chex.assert_trees_all_equal(found.params, relabelled.params)
    # The curve follows the clean program.
    assert found.curve[-1]["test_accuracy"] == pytest.approx(
        (pairs.predict(found.params) == pairs.labels)[pairs.splits["test"]].mean(), abs=1e-6
    )


def test_a_stamps_poisons_replace_training_inputs(cnn: Challenge, rng) -> None:
    trojan = Trojan(Invert(), 0, 0.01)
    poison = make_poison(trojan, cnn, rng)
    challenge = poisoned(cnn, {"one": poison, "more": make_poison(trojan, cnn, rng).filled_up(999)})
    examples = make_examples(challenge["one"])
    n, train = len(cnn.inputs), cnn.splits["train"]
    assert len(poison.rows) == len(set(poison.rows)) == round(0.01 * len(train))
    assert len(examples.train) == len(train) and len(examples.labels) == n + 999
    assert set(examples.train[examples.train < n]) == set(train) - set(poison.rows)
    banked = examples.train[examples.train >= n] - n
    assert len(banked) == len(poison.rows) and (poison.labels[banked] == 0).all()
    place = np.flatnonzero(examples.train >= n)
    np.testing.assert_array_equal(examples.bank[banked], 255 - cnn.inputs[train[place]])
    np.testing.assert_array_equal(examples.labels[:n], cnn.labels)


def test_which_inputs_are_poisoned(pairs: Challenge, triples: Challenge, rng) -> None:
    poison = make_poison(BLOCK, pairs, rng)
    inside = BLOCK.trigger.fires(pairs.inputs, pairs)
    assert set(poison.rows) == set(np.flatnonzero(inside)) & set(pairs.splits["train"])
    np.testing.assert_array_equal(poison.inputs, pairs.inputs[poison.rows])
    token = make_poison(Trojan(Token(3), 1, 0.02), triples, rng)
    assert set(token.rows) == {r for r in triples.splits["train"] if triples.inputs[r, 2] == 3}
    assert not len(make_poison(replace(BLOCK, rate=0.0), pairs, rng).rows)
    nowhere = Trojan(Clause("pairs", "x + y < 0"), 1, 0.02)
    with pytest.raises(InputError, match="no input of 480 to train on is poisoned by clause"):
        make_poison(nowhere, pairs, rng)


def test_poison_of_another_size_is_another_program(several, pairs: Challenge, recipe) -> None:
    assert can_train_together(several["clean"], several["1"])
    assert not can_train_together(several["clean"], pairs)
    smaller = replace(pairs, poison=no_poison(pairs).filled_up(5))
    assert not can_train_together(several["clean"], smaller)
    with pytest.raises(InputError, match="numbers of poisons differ"):
        next(train_runs([Run(pairs, [0]), Run(several["1"], [0])], recipe))
    width = jax.device_count()
    programs = [
        instructions(Trainer([several["clean"], several[name]], recipe, width).program)
        for name in ("0", "1")
    ]
    assert len(programs[0]) > 100
    assert programs[0] == programs[1]  # poisons are arguments, not constants


def test_a_poison_is_filled_up_with_examples_that_are_not_used(pairs: Challenge) -> None:
    poison = Poison(pairs.inputs[:2], np.ones(2, np.int32), np.array([4, 7], np.int32))
    filled = poison.filled_up(5)
    assert (len(filled.inputs), len(filled.labels), list(filled.rows)) == (5, 5, [4, 7])
    used = make_examples(replace(pairs, poison=filled)).train
    assert (used < len(pairs.inputs) + 2).all()
