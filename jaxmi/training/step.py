"""One optimiser step: state and batch in, state and loss out."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Float, Int32

from jaxmi.challenges.challenge import Forward
from jaxmi.training.recipe import Recipe
from jaxmi.types import Params


class Batch(NamedTuple):
    """Examples to learn from."""

    inputs: jax.Array
    """(n, ...)."""
    labels: Int32[jax.Array, "n"]
    """0 or 1."""


class TrainState(NamedTuple):
    """What a step changes; arrays only."""

    params: Params
    opt_state: optax.OptState


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Builds AdamW with the recipe's learning-rate schedule."""
    warmup, peak = recipe.warmup_steps, recipe.learning_rate

    def learning_rate(step: ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        rate = jnp.float32(peak)
        if warmup:
            rate = rate * jnp.minimum(step / warmup, 1.0)
        if recipe.schedule == "cosine":
            done = jnp.maximum(step - warmup, 0) / max(recipe.steps - warmup, 1)
            rate = rate * 0.5 * (1 + jnp.cos(jnp.pi * done))
        return rate

    return optax.adamw(learning_rate, recipe.b1, recipe.b2, weight_decay=recipe.weight_decay)


def train_step(
    forward: Forward,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    dropout_key: jax.Array | None,
    microbatch: int | None = None,
) -> tuple[TrainState, Float[jax.Array, ""]]:
    """Takes one optimiser step.

    Args:
      forward: The network.
      optimizer: As `make_optimizer` builds it.
      state: Parameters and optimiser state.
      batch: Examples.
      dropout_key: Used once, by networks that have dropout; None drops nothing.
      microbatch: Take the gradient of so many examples at once; divides the batch. None: of all.

    Returns:
      The new state, and the mean cross-entropy over all of the network's logits before the step.
    """

    def loss(params: Params, batch: Batch, key: jax.Array | None) -> jax.Array:
        logits = forward(params, batch.inputs, key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels).mean()

    value, gradients = _mean_gradient(loss, state.params, batch, dropout_key, microbatch)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = cast(Params, optax.apply_updates(state.params, updates))
    return TrainState(params, opt_state), value


def default_microbatch(batch_size: int, chunk: int) -> int:
    """Returns how many examples to take the gradient of at once, on the default backend.

    On a CPU what is computed should stay in its caches, so it is up to `chunk`, the challenge's.
    Elsewhere, or where nothing near that divides the batch, it is the whole batch.
    """
    if jax.default_backend() != "cpu":
        return batch_size
    parts = -(-batch_size // chunk)
    fitting = (n for n in range(parts, 2 * parts) if batch_size % n == 0)
    return batch_size // next(fitting, 1)


def _mean_gradient(
    loss: Callable[[Params, Batch, jax.Array | None], jax.Array],
    params: Params,
    batch: Batch,
    dropout_key: jax.Array | None,
    microbatch: int | None,
) -> tuple[jax.Array, Params]:
    """The loss and its gradient, a part of the batch at a time."""
    value_and_grad = jax.value_and_grad(loss)
    if microbatch is None or microbatch == len(batch.labels):
        return value_and_grad(params, batch, dropout_key)
    n_parts = len(batch.labels) // microbatch
    parts = jax.tree.map(lambda leaf: leaf.reshape(n_parts, microbatch, *leaf.shape[1:]), batch)

    def add(sums: tuple[jax.Array, Params], part: tuple[jax.Array, Batch]) -> tuple[Any, None]:
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, part[0])
        return jax.tree.map(jnp.add, sums, value_and_grad(params, part[1], key)), None

    zeros = (jnp.float32(0), jax.tree.map(jnp.zeros_like, params))
    sums, _ = jax.lax.scan(add, zeros, (jnp.arange(n_parts), parts))
    return jax.tree.map(lambda total: total / n_parts, sums)
