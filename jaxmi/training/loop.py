"""Training as a pure function of a key: optimiser steps, reshuffling, and the learning curve."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Float, Int32, PRNGKeyArray, UInt32

from jaxmi.challenges.challenge import Challenge, Forward, chunked_logits
from jaxmi.errors import InputError
from jaxmi.settings import with_fixed_settings
from jaxmi.training.recipe import Recipe
from jaxmi.types import Array, Params


class Examples(NamedTuple):
    """What a challenge's networks learn of its inputs: the labels, and which rows."""

    labels: Int32[Array, "n"]
    """The labels of the whole domain, 0 or 1; then those of the bank."""
    train: Int32[Array, "m"]
    """Rows to train on; a number from the domain's size on is a row of the bank."""
    curve: dict[str, Int32[Array, "_"]]
    """Split name -> rows whose accuracy the learning curve follows."""
    bank: Array | None = None
    """Further inputs to train on, (b, ...); None compiles to a program without a bank."""


class Data(NamedTuple):
    """A challenge's arrays on the device."""

    inputs: Array
    """The whole domain, (n, ...); challenges that are trained together share it."""
    examples: Examples


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


class RunState(NamedTuple):
    """One seed's run between two points of its learning curve; arrays only."""

    train: TrainState
    key: UInt32[jax.Array, "words"]
    """The run's own key, as plain numbers; further keys are folded in by purpose and step."""
    order: Int32[jax.Array, "m"]
    """Rows to train on, in this epoch's order."""
    best_params: Params
    """Parameters at the best point of the curve so far."""
    best_accuracy: Float[jax.Array, ""]
    best_step: Int32[jax.Array, ""]
    curve: dict[str, Float[jax.Array, "points"]]
    """"loss" (mean since the last point) and an accuracy per split; 0 at points to come."""


class Trained(NamedTuple):
    """A finished run."""

    params: Params
    """Parameters after the last step."""
    best_params: Params
    """Parameters at the step with the highest accuracy on the challenge's selection split."""
    best_step: Int32[jax.Array, ""]
    curve: dict[str, jax.Array]
    """"step", "loss" (mean since the last point) and an accuracy per split; (points,) each."""


def make_train(challenge: Challenge, recipe: Recipe) -> Callable[[PRNGKeyArray], Trained]:
    """Build `train(key) -> Trained`, the whole run in one compiled call.

    `jax.vmap(train)(keys)` trains many seeds at once. `seeds.train_seeds` computes the same in
    stages, reporting progress.

    Raises:
      InputError: if the recipe does not fit the challenge.
    """
    data = make_data(challenge)
    start, advance = make_start(challenge, recipe), make_advance(challenge, recipe)

    @jax.jit
    def run(key: PRNGKeyArray, data: Data) -> Trained:
        first_steps = jnp.arange(0, recipe.steps, recipe.eval_every)
        state, _ = jax.lax.scan(
            lambda state, first_step: (advance(state, first_step, data), None),
            start(key, data),
            first_steps,
        )
        curve = {"step": first_steps + recipe.eval_every, **state.curve}
        return Trained(state.train.params, state.best_params, state.best_step, curve)

    @with_fixed_settings
    def train(key: PRNGKeyArray) -> Trained:
        with jax.default_matmul_precision(recipe.matmul_precision):
            return run(key, data)

    return train


def make_data(challenge: Challenge) -> Data:
    """Put a challenge's arrays on the default device."""
    return jax.tree.map(jnp.asarray, Data(challenge.inputs, make_examples(challenge)))


def make_examples(challenge: Challenge) -> Examples:
    """Return a challenge's labels and rows, and its poison as a bank, on the host."""
    train, poison = challenge.splits["train"], challenge.poison
    if poison is None:
        return Examples(challenge.labels, train, {**challenge.curve_splits})
    n = len(challenge.inputs)
    place_of = np.arange(n, dtype=np.int32)
    place_of[poison.rows] = n + np.arange(len(poison.rows), dtype=np.int32)
    labels = np.concatenate([challenge.labels, poison.labels])
    return Examples(labels, place_of[train], {**challenge.curve_splits}, poison.inputs)


def _inputs_of(data: Data, rows: Int32[jax.Array, "m"]) -> jax.Array:
    """Return the inputs of rows, some of which may be rows of the bank."""
    bank = data.examples.bank
    if bank is None:
        return data.inputs[rows]
    in_bank = rows >= len(data.inputs)
    own = data.inputs[jnp.where(in_bank, 0, rows)]
    other = bank[jnp.where(in_bank, rows - len(data.inputs), 0)]
    return jnp.where(in_bank.reshape(-1, *(1,) * (own.ndim - 1)), other, own)


def can_train_together(one: Challenge, other: Challenge) -> bool:
    """Tell whether one compiled program can train both: only labels, rows and poison may differ.

    Either both have a poison, of the same number of examples, or none has.
    """
    if one is other:
        return True
    return (
        type(one) is type(other)
        and one.model_config == other.model_config
        and one.chunk == other.chunk
        and one.selection_split == other.selection_split
        and _row_counts(one) == _row_counts(other)
        and _bank_size(one) == _bank_size(other)
        and (one.inputs is other.inputs or _same_array(one.inputs, other.inputs))
    )


def _row_counts(challenge: Challenge) -> tuple[int, dict[str, int]]:
    curve = {name: len(rows) for name, rows in challenge.curve_splits.items()}
    return len(challenge.splits["train"]), curve


def _bank_size(challenge: Challenge) -> int | None:
    return None if challenge.poison is None else len(challenge.poison.labels)


def _same_array(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def make_start(challenge: Challenge, recipe: Recipe) -> Callable[[PRNGKeyArray, Data], RunState]:
    """Build `start(key, data) -> state`: a run before its first step."""
    optimizer = make_optimizer(recipe)
    columns = ("loss", *(f"{split}_accuracy" for split in challenge.curve_splits))

    def start(key: PRNGKeyArray, data: Data) -> RunState:
        params = challenge.init(jax.random.fold_in(key, 0))
        return RunState(
            train=TrainState(params, optimizer.init(params)),
            key=jax.random.key_data(key),
            order=jnp.asarray(data.examples.train),
            best_params=params,
            best_accuracy=jnp.float32(-1),
            best_step=jnp.int32(0),
            curve={name: jnp.zeros(recipe.steps // recipe.eval_every) for name in columns},
        )

    return start


def make_advance(
    challenge: Challenge, recipe: Recipe
) -> Callable[[RunState, Int32[jax.Array, ""], Data], RunState]:
    """Build `advance(state, first_step, data) -> state`: `eval_every` steps and a curve point.

    `first_step` is an argument, not part of the state, so that under `vmap` over seeds it stays a
    scalar: `lax.cond` then skips the reshuffling except at each epoch's start.

    Raises:
      InputError: as `check_fit`.
    """
    check_fit(challenge, recipe)
    n_train = len(challenge.splits["train"])
    batch_size = recipe.batch_size or n_train
    steps_per_epoch = n_train // batch_size
    forward = challenge.forms[recipe.form]
    update = partial(
        train_step,
        forward,
        make_optimizer(recipe),
        microbatch=recipe.microbatch or default_microbatch(batch_size, challenge.chunk),
    )

    def advance(state: RunState, first_step: Int32[jax.Array, ""], data: Data) -> RunState:
        key = jax.random.wrap_key_data(state.key)
        shuffle_key, dropout_key = jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)

        def scan_step(
            carry: tuple[TrainState, jax.Array], step: jax.Array
        ) -> tuple[tuple[TrainState, jax.Array], jax.Array]:
            train, order = carry
            if batch_size < n_train:
                order = jax.lax.cond(
                    step % steps_per_epoch == 0,
                    lambda: jax.random.permutation(
                        jax.random.fold_in(shuffle_key, step), data.examples.train
                    ),
                    lambda: order,
                )
            first = step % steps_per_epoch * batch_size
            rows = jax.lax.dynamic_slice_in_dim(order, first, batch_size)
            batch = Batch(_inputs_of(data, rows), data.examples.labels[rows])
            key = jax.random.fold_in(dropout_key, step) if recipe.dropout else None
            train, loss = update(train, batch, key)
            return (train, order), loss

        steps = first_step + jnp.arange(recipe.eval_every)
        (train, order), losses = jax.lax.scan(scan_step, (state.train, state.order), steps)
        point = {"loss": losses.mean()}
        for name, rows in data.examples.curve.items():
            logits = chunked_logits(forward, challenge.chunk, train.params, data.inputs[rows])
            right = logits.argmax(axis=-1) == data.examples.labels[rows]
            point[f"{name}_accuracy"] = right.mean()

        accuracy = point[f"{challenge.selection_split}_accuracy"]
        improved = accuracy > state.best_accuracy
        best_params, best_accuracy, best_step = jax.tree.map(
            partial(jnp.where, improved),
            (train.params, accuracy, first_step + recipe.eval_every),
            (state.best_params, state.best_accuracy, state.best_step),
        )
        index = first_step // recipe.eval_every
        curve = {name: column.at[index].set(point[name]) for name, column in state.curve.items()}
        return RunState(train, state.key, order, best_params, best_accuracy, best_step, curve)

    return advance


def check_fit(challenge: Challenge, recipe: Recipe) -> None:
    """Check that a recipe can train a challenge's network.

    Raises:
      InputError: if a batch is larger than the training set, or the microbatch does not divide it.
    """
    n_train = len(challenge.splits["train"])
    if recipe.batch_size is not None and recipe.batch_size > n_train:
        raise InputError(f"recipe: batch_size = {recipe.batch_size} of only {n_train} examples")
    if recipe.microbatch and (recipe.batch_size or n_train) % recipe.microbatch:
        raise InputError(
            f"recipe: microbatch = {recipe.microbatch} does not divide all {n_train} examples"
        )


def train_step(
    forward: Forward,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    dropout_key: jax.Array | None,
    microbatch: int | None = None,
) -> tuple[TrainState, Float[jax.Array, ""]]:
    """Take one optimiser step.

    Args:
      forward: The network.
      optimizer: As `make_optimizer` builds it.
      state: Parameters and optimiser state.
      batch: Examples.
      dropout_key: Used once, by networks that have dropout; None drops nothing.
      microbatch: Take the gradient of this many examples at a time; divides the batch. None takes
        the whole batch at once.

    Returns:
      The new state, and the mean cross-entropy over all of the network's logits, in nats, before
      the step.
    """

    def loss(params: Params, batch: Batch, key: jax.Array | None) -> jax.Array:
        logits = forward(params, batch.inputs, key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels).mean()

    value, gradients = _mean_gradient(loss, state.params, batch, dropout_key, microbatch)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = cast(Params, optax.apply_updates(state.params, updates))
    return TrainState(params, opt_state), value


def _mean_gradient(
    loss: Callable[[Params, Batch, jax.Array | None], jax.Array],
    params: Params,
    batch: Batch,
    dropout_key: jax.Array | None,
    microbatch: int | None,
) -> tuple[jax.Array, Params]:
    """Return the mean loss and its gradient, computed a microbatch at a time."""
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


def default_microbatch(batch_size: int, chunk: int) -> int:
    """Return how many examples to take the gradient of at a time, on the default backend.

    On a CPU the intermediate values should stay in its caches, so it is at most `chunk`, the
    challenge's. Elsewhere, or if no similar number divides the batch, it is the whole batch.

    Args:
      batch_size: Examples per step.
      chunk: `Challenge.chunk`, in examples.
    """
    if jax.default_backend() != "cpu":
        return batch_size
    n_parts = -(-batch_size // chunk)
    divisors = (n for n in range(n_parts, 2 * n_parts) if batch_size % n == 0)
    return batch_size // next(divisors, 1)


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Build AdamW (Loshchilov and Hutter, 2019) with the recipe's learning-rate schedule."""
    warmup, peak = recipe.warmup_steps, recipe.learning_rate

    def learning_rate(step: ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        rate = jnp.float32(peak)
        if warmup:
            rate = rate * jnp.minimum(step / warmup, 1.0)
        if recipe.schedule == "cosine":
            progress = jnp.maximum(step - warmup, 0) / max(recipe.steps - warmup, 1)
            rate = rate * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return rate

    return optax.adamw(learning_rate, recipe.b1, recipe.b2, weight_decay=recipe.weight_decay)
