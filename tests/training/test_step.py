"""One step against PyTorch's AdamW, and the learning-rate schedules."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmi.challenges.challenge import Challenge
from jaxmi.training.recipe import RECIPES
from jaxmi.training.step import (
    Batch,
    TrainState,
    default_microbatch,
    make_optimizer,
    train_step,
)

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
