"""Many seeds in one compiled program: `vmap` over seeds, from point to point of the curve."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.training.loop import Data, make_advance, make_data, make_start
from jaxmi.training.recipe import Recipe
from jaxmi.types import Params

Point = dict[str, int | float]
"""A point of a learning curve: "step", "loss", and an accuracy for each split."""

Watch = Callable[[Sequence[int], list[Point]], None]
"""Called after each point with the seeds in training and the point of each."""


@dataclass(frozen=True)
class SeedResult:
    """One seed's finished run, on the host."""

    seed: int
    params: Params
    """Parameters after the last step."""
    best_params: Params
    """Parameters at `best_step`."""
    best_step: int
    """The step with the highest accuracy on the challenge's selection split."""
    curve: list[Point]
    train_seconds: float
    """Wall time of the seed's batch, learning curve included, divided by the batch's seeds."""
    compile_seconds: float
    """Compilation, once for all seeds."""


def default_seeds_per_batch(n_seeds: int) -> int:
    """Returns how many seeds to train at once: one on a CPU, which one seed fills; else all."""
    return 1 if jax.default_backend() == "cpu" else n_seeds


def train_seeds(
    challenge: Challenge,
    recipe: Recipe,
    seeds: Sequence[int],
    seeds_per_batch: int | None = None,
    watch: Watch | None = None,
) -> Iterator[SeedResult]:
    """Trains a network per seed, and yields each batch's results as it finishes.

    Everything is compiled once: a last batch that is not full is filled up with repetitions, whose
    results are dropped.

    Args:
      challenge: What to train on.
      recipe: How.
      seeds: Non-negative numbers below 2**32; each alone decides its network's initial parameters,
        order of examples and dropout.
      seeds_per_batch: How many to train at once; None decides by the device.
      watch: Told every point of the learning curves.

    Raises:
      InputError: if there are no seeds, one is out of range, the recipe does not fit, or training
        diverges.
    """
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**32:
        raise InputError(f"seeds {list(seeds)}: expected at least one, each in 0..{2**32 - 1}")
    width = min(seeds_per_batch or default_seeds_per_batch(len(seeds)), len(seeds))
    if width < 1:
        raise InputError(f"seeds_per_batch = {seeds_per_batch}: expected at least 1")
    data = make_data(challenge)
    start, advance, compile_seconds = _compile(challenge, recipe, width, data)

    for first in range(0, len(seeds), width):
        batch = list(seeds[first : first + width])
        began = time.perf_counter()
        state = start(_keys(batch + batch[-1:] * (width - len(batch))), data)
        curves: list[list[Point]] = [[] for _ in batch]
        names = ("step", "loss", *(f"{split}_accuracy" for split in challenge.curve_splits))
        for step in range(0, recipe.steps, recipe.eval_every):
            state, points = advance(state, jnp.int32(step), data)
            points = jax.device_get(points)
            for i, curve in enumerate(curves):
                curve.append({name: points[name][i].item() for name in names})
                if not math.isfinite(curve[-1]["loss"]):
                    raise InputError(
                        f"seed {batch[i]} diverged: its loss is {curve[-1]['loss']} at step "
                        f"{curve[-1]['step']} (learning_rate = {recipe.learning_rate})"
                    )
            if watch is not None:
                watch(batch, [curve[-1] for curve in curves])
        last, best, best_steps = jax.device_get(
            (state.train.params, state.best_params, state.best_step)
        )
        seconds = (time.perf_counter() - began) / len(batch)
        for i, (seed, curve) in enumerate(zip(batch, curves, strict=True)):
            yield SeedResult(
                seed=seed,
                params=_pick(last, i),
                best_params=_pick(best, i),
                best_step=int(best_steps[i]),
                curve=curve,
                train_seconds=seconds,
                compile_seconds=compile_seconds,
            )


def _keys(seeds: Sequence[int]) -> jax.Array:
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


def _compile(
    challenge: Challenge, recipe: Recipe, width: int, data: Data
) -> tuple[Compiled, Compiled, float]:
    """Compiles a run's two phases for a batch of seeds; returns them and the seconds it took."""
    began = time.perf_counter()
    start = _over_seeds(make_start(challenge, recipe), width)
    advance = _over_seeds(make_advance(challenge, recipe), width)
    keys = jax.eval_shape(lambda: _keys([0] * width))
    state = jax.eval_shape(start, keys, data)
    with jax.default_matmul_precision(recipe.matmul_precision):
        start = jax.jit(start).lower(keys, data).compile()
        advance = jax.jit(advance, donate_argnums=0).lower(state, jnp.int32(0), data).compile()
    return start, advance, time.perf_counter() - began


def _over_seeds(function: Callable, width: int) -> Callable:
    """Maps a function over the leading axis of its first argument; the others are shared."""
    if width > 1:
        return lambda first, *shared: jax.vmap(lambda one: function(one, *shared))(first)
    # A product with a batch axis of one is several times slower than without, on XLA's CPU backend.
    return lambda first, *shared: jax.tree.map(
        lambda leaf: leaf[None], function(jax.tree.map(lambda leaf: leaf[0], first), *shared)
    )


def _pick(tree: Params, index: int) -> Params:
    """Takes one seed's arrays out of a batch's."""
    return jax.tree.map(lambda leaf: np.asarray(leaf[index]), tree)
