"""One optimiser step: state and batch in, state and loss out."""

from typing import NamedTuple, cast

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
) -> tuple[TrainState, Float[jax.Array, ""]]:
    """Takes one optimiser step.

    Args:
      forward: The network.
      optimizer: As `make_optimizer` builds it.
      state: Parameters and optimiser state.
      batch: Examples.
      dropout_key: Used once, by networks that have dropout; None drops nothing.

    Returns:
      The new state, and the mean cross-entropy over all of the network's logits before the step.
    """

    def loss(params: Params) -> jax.Array:
        logits = forward(params, batch.inputs, dropout_key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels).mean()

    value, gradients = jax.value_and_grad(loss)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = cast(Params, optax.apply_updates(state.params, updates))
    return TrainState(params, opt_state), value
