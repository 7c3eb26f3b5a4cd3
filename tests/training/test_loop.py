"""Whole runs: deterministic, the same alone and among others, the best step kept."""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen as nn

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import DivergedError, InputError
from jaxmi.training import loop
from jaxmi.training.loop import (
    Batch,
    TrainState,
    default_microbatch,
    make_optimizer,
    train_step,
)
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import train_seeds

PUBLISHED = RECIPES["transformer"]["published"]


def linear(params, inputs, dropout_key):
    """A network that is small enough to train in both libraries."""
    del dropout_key
    return inputs @ params["w"]


def rates(recipe, steps: int) -> np.ndarray:
    """The learning rates of the first steps, read off the updates: Adam's of a constant are 1."""
    optimizer = make_optimizer(replace(recipe, weight_decay=0.0))
    params = jnp.zeros(())
    state, found = optimizer.init(params), []
    for _ in range(steps):
        update, state = optimizer.update(jnp.ones(()), state, params)
        found.append(-float(update))
    return np.array(found)


def test_warm_up_starts_at_zero_and_ends_at_the_peak() -> None:
    expected = 5e-4 * np.minimum(np.arange(15) / 10, 1)
    np.testing.assert_allclose(rates(PUBLISHED, 15), expected, rtol=1e-5, atol=1e-12)


def test_the_cosine_ends_at_zero() -> None:
    recipe = replace(PUBLISHED, steps=20, eval_every=1, warmup_steps=4, schedule="cosine")
    done = np.maximum(np.arange(20) - 4, 0) / 16
    expected = 5e-4 * np.minimum(np.arange(20) / 4, 1) * 0.5 * (1 + np.cos(np.pi * done))
    np.testing.assert_allclose(rates(recipe, 20), expected, rtol=1e-4, atol=1e-10)


def test_thirty_steps_are_those_of_pytorchs_adamw() -> None:
    """The original's optimiser: AdamW with decay on everything and a LambdaLR warm-up."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(64, 5)).astype(np.float32), rng.integers(0, 3, 64)
    start = rng.normal(size=(5, 3)).astype(np.float32)

    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = torch.optim.AdamW([weight], lr=5e-4, weight_decay=1.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step / 10, 1))
    for _ in range(30):
        logits = torch.tensor(inputs) @ weight
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    params = {"w": jnp.asarray(start)}
    state = TrainState(params, make_optimizer(PUBLISHED).init(params))
    batch = Batch(jnp.asarray(inputs), jnp.asarray(labels, jnp.int32))
    step = jax.jit(lambda state: train_step(linear, make_optimizer(PUBLISHED), state, batch, None))
    for _ in range(30):
        state, found = step(state)
    np.testing.assert_allclose(found, loss.item(), rtol=1e-5)
    np.testing.assert_allclose(state.params["w"], weight.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert abs(np.asarray(state.params["w"]) - start).max() > 1e-3, "the control: it did move"


def test_the_loss_is_the_mean_cross_entropy_over_all_logits() -> None:
    params = {"w": jnp.eye(3)}
    state = TrainState(params, optax.sgd(0.1).init(params))
    batch = Batch(jnp.eye(3), jnp.array([0, 0, 0], jnp.int32))
    _, loss = train_step(linear, optax.sgd(0.1), state, batch, None)
    log_z = np.log(np.e + 2)
    np.testing.assert_allclose(loss, (log_z - 1 + 2 * log_z) / 3, rtol=1e-6)


@pytest.mark.device
@pytest.mark.long
def test_microbatches_add_up_to_the_batch(transformer: Challenge) -> None:
    rows = transformer.splits["train"]
    batch = Batch(jnp.asarray(transformer.inputs[rows]), jnp.asarray(transformer.labels[rows]))
    params = transformer.init(jax.random.key(0))
    gradient_descent = optax.sgd(1.0)
    state = TrainState(params, gradient_descent.init(params))
    step = jax.jit(partial(train_step, transformer.forward, gradient_descent), static_argnums=3)
    expected, loss = step(state, batch, None)
    for microbatch in (532, 1596):
        found, parts_loss = step(state, batch, None, microbatch)
        np.testing.assert_allclose(parts_loss, loss, rtol=1e-5)
        for have, want in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(have, want, rtol=0, atol=1e-5 * np.abs(want).max())
    one_part = jax.tree.map(lambda leaf: leaf[:532], batch)
    control, _ = step(state, one_part, None)
    moved = abs(control.params["W_U"] - expected.params["W_U"]).max()
    assert moved > 1e-4 * abs(expected.params["W_U"]).max()


@pytest.mark.parametrize(
    ("batch_size", "microbatch"), [(6384, 1596), (512, 512), (1601, 1601), (5000, 1250)]
)
def test_the_default_microbatch_divides_the_batch(batch_size: int, microbatch: int) -> None:
    """On a CPU; 1601 is a prime, which only itself divides."""
    assert default_microbatch(batch_size, 1600) == microbatch


SHORT = replace(RECIPES["transformer"]["fast"], steps=40, eval_every=10)
SHORT_CNN = replace(RECIPES["cnn"]["published"], steps=20, eval_every=10)


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def alone(transformer: Challenge):
    """Seed 3, trained alone by `train_seeds`."""
    return next(train_seeds(transformer, SHORT, [3]))


@pytest.mark.device
def test_the_same_seed_gives_the_same_bits(transformer: Challenge, alone) -> None:
    again = next(train_seeds(transformer, SHORT, [3]))
    chex.assert_trees_all_equal(again.params, alone.params)
    assert again.curve == alone.curve


def test_another_seed_gives_another_network(transformer: Challenge, alone) -> None:
    other = next(train_seeds(transformer, SHORT, [4]))
    for a, b in zip(leaves(other.params), leaves(alone.params), strict=True):
        assert (a != b).any()


@pytest.mark.device
@pytest.mark.slow
def test_a_seed_among_others_is_the_seed_alone(transformer: Challenge, alone) -> None:
    """Within 2e-3 of each array's largest value after 40 steps: rounding, amplified."""
    results = list(train_seeds(transformer, SHORT, [1, 3, 5], width=2))
    assert [result.seed for result in results] == [1, 3, 5]
    for found, expected in zip(leaves(results[1].params), leaves(alone.params), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * abs(expected).max())
    for point, expected_point in zip(results[1].curve, alone.curve, strict=True):
        assert point["step"] == expected_point["step"]
        assert abs(point["loss"] - expected_point["loss"]) < 1e-3


@pytest.mark.slow
def test_one_compiled_call_and_stages_train_the_same(transformer: Challenge, alone) -> None:
    trained = loop.make_train(transformer, SHORT)(jax.random.key(3))
    for found, expected in zip(leaves(trained.params), leaves(alone.params), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * abs(expected).max())
    assert trained.curve["step"].tolist() == [point["step"] for point in alone.curve]


@pytest.mark.slow
def test_train_is_a_function_of_keys_under_vmap(transformer: Challenge, alone) -> None:
    keys = jax.vmap(jax.random.key)(jnp.array([3, 4]))
    trained = jax.vmap(loop.make_train(transformer, SHORT))(keys)
    assert trained.curve["loss"].shape == (2, 4)
    np.testing.assert_allclose(trained.curve["loss"][0, -1], alone.curve[-1]["loss"], atol=1e-3)


def test_nothing_is_traced_twice(transformer: Challenge) -> None:
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(
        transformer.forms["fast"], n=3
    )  # the step, and two curve splits
    watched = replace(transformer, forms={"fast": counted})
    results = list(train_seeds(watched, SHORT, range(5), width=2))
    assert len(results) == 5


def test_training_learns(transformer: Challenge) -> None:
    """60 steps take the loss from log 114 to below that of guessing by the labels' share."""
    recipe = replace(SHORT, steps=60, learning_rate=2e-3)
    curve = next(train_seeds(transformer, recipe, [0])).curve
    assert curve[0]["loss"] > curve[-1]["loss"]
    share = transformer.labels.mean()
    assert curve[-1]["loss"] < -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert curve[-1]["test_accuracy"] > 0.75


class Recorder(nn.Module):
    """A network with one number per pair, which a step moves only if the pair is in its batch."""

    @nn.compact
    def __call__(self, tokens):
        return self.param("number", nn.initializers.zeros, (113 * 113,))


def visits(transformer: Challenge, steps: int) -> np.ndarray:
    """Counts how often each pair was trained on in the first steps, at seven batches an epoch.

    Without running means AdamW moves a number by the learning rate's size, whatever its gradient.
    """
    recipe = replace(
        SHORT,
        batch_size=912,
        steps=steps,
        eval_every=steps,
        learning_rate=1e-3,
        warmup_steps=0,
        schedule="constant",
        weight_decay=0.0,
        b1=0.0,
        b2=0.0,
    )

    def forward(params, tokens, dropout_key):
        del dropout_key
        logit = params["number"][tokens[:, 0] * 113 + tokens[:, 1]]
        return jnp.stack([logit, -logit], axis=1)

    few = {"test": np.arange(2, dtype=np.int32)}
    recording = replace(transformer, forms={"fast": forward}, curve_splits=few, model=Recorder())
    moved = next(train_seeds(recording, recipe, [0])).params["number"] / recipe.learning_rate
    counts = np.rint(abs(moved))
    np.testing.assert_allclose(abs(moved), counts, atol=0.05)
    return counts.astype(int)


def test_each_epoch_visits_every_example_once_in_an_order_of_its_own(
    transformer: Challenge,
) -> None:
    train = transformer.splits["train"]
    assert len(train) == 7 * 912
    is_train = np.isin(np.arange(113 * 113), train)
    for epochs in (1, 2):
        np.testing.assert_array_equal(visits(transformer, 7 * epochs), epochs * is_train)
    first_batch = visits(transformer, 1) > 0
    second_epochs_first_batch = visits(transformer, 8) > 1
    assert first_batch.sum() == second_epochs_first_batch.sum() == 912
    unshuffled = np.isin(np.arange(113 * 113), train[:912])
    for one, other in (
        (first_batch, unshuffled),
        (second_epochs_first_batch, unshuffled),
        (first_batch, second_epochs_first_batch),
    ):
        expected = 912 * 912 / len(train)  # as two independent draws overlap
        assert abs((one & other).sum() - expected) < 60


@pytest.mark.long
def test_the_best_step_is_kept_and_the_last_is_known(cnn: Challenge) -> None:
    recipe = replace(SHORT_CNN, learning_rate=1e-2, steps=60)  # fast: the curves jump about
    results = list(train_seeds(cnn, recipe, range(4)))
    rows = cnn.splits["validation"]
    for result in results:
        curve = [point["validation_accuracy"] for point in result.curve]
        assert result.best_step == (int(np.argmax(curve)) + 1) * recipe.eval_every
        for params, expected in ((result.best_params, max(curve)), (result.params, curve[-1])):
            right = cnn.logits(params, rows).argmax(axis=-1) == cnn.labels[rows]
            assert abs(right.mean() - expected) < 1e-3
    assert any(result.best_step < recipe.steps for result in results), "else nothing was tested"


@pytest.mark.long
def test_dropout_is_a_choice_of_the_recipe(cnn: Challenge) -> None:
    def train(**changes):
        return next(train_seeds(cnn, replace(SHORT_CNN, **changes), [0])).params

    with_dropout, without = train(), train(dropout=False)
    assert any((a != b).any() for a, b in zip(leaves(with_dropout), leaves(without), strict=True))


def test_a_batch_larger_than_the_training_set_is_refused(transformer: Challenge) -> None:
    with pytest.raises(InputError, match="batch_size = 6385 of only 6384"):
        loop.make_train(transformer, replace(SHORT, batch_size=6385))


def test_microbatches_must_divide_the_training_set(transformer: Challenge) -> None:
    with pytest.raises(InputError, match="microbatch = 1000 does not divide all 6384"):
        loop.make_train(transformer, replace(SHORT, batch_size=None, microbatch=1000))


def test_a_diverging_run_is_told(transformer: Challenge) -> None:
    with pytest.raises(InputError, match=r"seed 7 diverged.*learning_rate = 1e\+30"):
        next(train_seeds(transformer, replace(SHORT, learning_rate=1e30), [7]))


@pytest.mark.slow
def test_a_seed_that_diverges_takes_no_other_with_it(transformer: Challenge) -> None:
    first = [
        transformer.init(jax.random.fold_in(jax.random.key(s), 0))["W_E"][0, 0] for s in (0, 1)
    ]

    def forward(params, tokens, dropout_key):
        logits = transformer.forward(params, tokens, dropout_key)
        broken = jnp.abs(params["W_E"][0, 0] - first[0]) > jnp.abs(params["W_E"][0, 0] - first[1])
        return jnp.where(broken, jnp.nan, logits)

    breaking = replace(transformer, forms={"fast": forward})
    told: list[int] = []

    class Watch:
        def resumed(self, curves) -> None: ...

        def advanced(self, points) -> None:
            told.extend(points)

    slow = replace(SHORT, learning_rate=1e-5)
    for width in (1, 2):
        results = train_seeds(breaking, slow, [1, 0], width=width, watchers=[Watch()])
        assert next(results).seed == 0
        with pytest.raises(DivergedError, match="seed 1 diverged"):
            next(results)
    assert set(told) == {0}


@pytest.mark.parametrize("seeds", [[], [-1], [2**32]])
def test_impossible_seeds_are_refused(transformer: Challenge, seeds: list[int]) -> None:
    with pytest.raises(InputError, match="seeds"):
        next(train_seeds(transformer, SHORT, seeds))
