"""Training of many seeds: in batches over all devices, from point to point of the curve.

`train_seeds` is the loop. `Trainer` is a run's compiled program, which starts and advances a batch.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import DivergedError, InputError, StoppedError
from jaxmi.training import devices
from jaxmi.training.loop import Data, RunState, make_advance, make_data, make_start
from jaxmi.training.recipe import Recipe
from jaxmi.training.resume import StateStore, rebuild
from jaxmi.types import Params

Point = dict[str, int | float]
"""A point of a learning curve: "step", "loss" in nats, and an accuracy in 0..1 for each split."""

Curves = dict[int, list[Point]]
"""Seed -> learning curve."""

POINTS_PER_SAVE = 10
"""Points of the learning curve between two saves of the state, unless `save_every` is given."""


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


@runtime_checkable
class Watcher(Protocol):
    """Follows the progress of the seeds that this host trains."""

    def resumed(self, curves: Curves) -> None:
        """Receive the curves so far of seeds that are resumed."""

    def advanced(self, points: dict[int, Point]) -> None:
        """Receive a new point of each seed's curve."""


def train_seeds(
    challenge: Challenge,
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    width: int | None = None,
    watchers: Iterable[Watcher] = (),
    store: StateStore | None = None,
    save_every: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[SeedResult]:
    """Train a network per seed, and yield each batch's results as it finishes.

    Seeds are spread over all devices of all hosts. Everything is compiled once: a last batch that
    is not full is filled up with repetitions, whose results are dropped. Each host gets the
    results of those seeds that its own devices trained.

    A seed that diverges is dropped, and reported when all others are finished.

    Args:
      challenge: What to train on.
      recipe: How.
      seeds: Non-negative numbers below 2**32; each alone decides its network's initial parameters,
        order of examples and dropout.
      width: Seeds to train at once, over all devices; None decides by `devices.batch_width`.
      watchers: Receive every point of the learning curves.
      store: Where the state of unfinished seeds is saved, and read to resume them.
      save_every: Steps between two saves, rounded up to points of the curve; None: ten points.
      stop: Called after each point; if it returns True, the state is saved and training stops.

    Raises:
      InputError: if there are no seeds, one is out of range, the recipe does not fit, the width is
        no multiple of the number of devices, or a saved state is of another version or recipe.
      DivergedError: if seeds of this host diverge.
      UnavailableError: if the state cannot be saved or read.
      StoppedError: if `stop` returned True.
    """
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**32:
        raise InputError(f"seeds {list(seeds)}: expected at least one, each in 0..{2**32 - 1}")
    trainer = Trainer(
        challenge, recipe, width or devices.batch_width(challenge, recipe, len(seeds))
    )
    points_per_save = -(-save_every // recipe.eval_every) if save_every else POINTS_PER_SAVE
    watchers = tuple(watchers)
    diverged: dict[int, str] = {}
    for batch in trainer.plan(seeds, store):
        start_time = time.perf_counter() - batch.seconds
        state, curves = batch.state, trainer.read_curves(batch, batch.state, 0, batch.step)
        diverged |= _divergences(curves, recipe, diverged)
        if batch.step:
            for watcher in watchers:
                watcher.resumed({s: curve for s, curve in curves.items() if s not in diverged})
        stopping = False
        for step in range(batch.step + recipe.eval_every, recipe.steps + 1, recipe.eval_every):
            state = trainer.advance(state, step)
            new_curves = trainer.read_curves(batch, state, step - recipe.eval_every, step)
            diverged |= _divergences(new_curves, recipe, diverged)
            for seed, curve in new_curves.items():
                curves[seed] += curve
            points = {s: curve[0] for s, curve in new_curves.items() if s not in diverged}
            if not points and jax.process_count() == 1:
                break  # every seed of this batch has diverged
            for watcher in watchers if points else ():
                watcher.advanced(points)
            stopping, is_last = stop(), step == recipe.steps
            is_due = step // recipe.eval_every % points_per_save == 0
            if store is not None and not is_last and (is_due or stopping):
                store.save(batch.seeds, step, time.perf_counter() - start_time, state)
            if stopping and not is_last:
                if store is not None:
                    store.wait()
                raise StoppedError(f"stopped at step {step} of seeds {_span(batch.seeds)}")
        finished = {seed: curve for seed, curve in curves.items() if seed not in diverged}
        yield from _results(trainer, batch, state, finished, start_time)
        if store is not None:
            store.remove(batch.seeds)
        if stopping:
            raise StoppedError(f"stopped after seeds {_span(batch.seeds)}")
    if diverged:
        raise DivergedError(_divergence_message(diverged))


@dataclass(frozen=True)
class SeedBatch:
    """Seeds that are trained side by side, and their progress."""

    seeds: tuple[int, ...]
    step: int
    """Optimiser steps taken so far."""
    seconds: float
    """Wall time spent on them so far."""
    state: RunState
    """Sharded by seed; rows beyond `seeds` are padding."""


class Trainer:
    """A run's two phases, start and advance, compiled for batches of one width."""

    def __init__(self, challenge: Challenge, recipe: Recipe, width: int) -> None:
        """Compile both phases.

        Args:
          challenge: What to train on.
          recipe: How.
          width: Seeds to train at once, over all devices.

        Raises:
          InputError: if the width is no multiple of the number of devices, or the recipe does not
            fit the challenge.
        """
        self._recipe, self._width = recipe, width
        self._mesh = devices.seed_mesh()
        if width % self._mesh.size:
            raise InputError(f"width {width} is no multiple of the {self._mesh.size} devices")
        self._data = devices.place_everywhere(self._mesh, make_data(challenge))
        start_time = time.perf_counter()
        start_from_key = make_start(challenge, recipe)

        def start(seed: jax.Array, data: Data) -> RunState:
            return start_from_key(jax.random.key(seed), data)

        seeds = devices.place_by_seed(self._mesh, np.zeros(width, np.uint32))
        by_seed = NamedSharding(self._mesh, PartitionSpec("seed"))
        with jax.default_matmul_precision(recipe.matmul_precision):
            lowered = devices.map_over_seeds(start, self._mesh, width).lower(seeds, self._data)
            self._start = lowered.compile()
            self._template = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=by_seed),
                lowered.out_info,
            )
            advance = make_advance(challenge, recipe)
            lowered = devices.map_over_seeds(advance, self._mesh, width, donate=True).lower(
                self._template, self._first_step(0), self._data
            )
            self._advance = lowered.compile()
        self.compile_seconds = time.perf_counter() - start_time

    @property
    def program(self) -> str:
        """The compiled program that takes the steps up to a point, as XLA prints it."""
        return self._advance.as_text() or ""

    def plan(self, seeds: Sequence[int], store: StateStore | None) -> Iterator[SeedBatch]:
        """Yield batches that cover the seeds: first those with a saved state, then the others.

        Raises:
          InputError: if a saved state is of another version or recipe.
          UnavailableError: if a saved state cannot be read.
        """
        pending = dict.fromkeys(seeds)
        for saved in store.load() if store is not None else ():
            arrays = rebuild(saved, self._template)
            rows = [row for row, seed in enumerate(saved.seeds) if seed in pending]
            for chunk in _chunks(rows, self._width):
                batch = tuple(saved.seeds[row] for row in chunk)
                padded = self._pad(chunk)
                state = jax.tree.map(lambda leaf, padded=padded: leaf[padded], arrays)
                for seed in batch:
                    del pending[seed]
                state = devices.place_by_seed(self._mesh, state)
                yield SeedBatch(
                    batch, saved.step, saved.seconds * len(chunk) / len(saved.seeds), state
                )
        for batch in _chunks(list(pending), self._width):
            padded = np.asarray(self._pad(batch), np.uint32)
            state = self._start(devices.place_by_seed(self._mesh, padded), self._data)
            yield SeedBatch(tuple(batch), 0, 0.0, state)

    def advance(self, state: RunState, step: int) -> RunState:
        """Take the optimiser steps that lead up to `step`, a point of the curve.

        The state's memory is donated: it must not be used afterwards.
        """
        first_step = self._first_step(step - self._recipe.eval_every)
        return self._advance(state, first_step, self._data)

    def read_curves(self, batch: SeedBatch, state: RunState, after: int, step: int) -> Curves:
        """Read the points after one step, up to another, of the seeds on this host."""
        rows = devices.local_rows(state.curve)
        every = self._recipe.eval_every
        return {
            seed: [
                {"step": s, **{name: c[s // every - 1].item() for name, c in rows[row].items()}}
                for s in range(after + every, step + 1, every)
            ]
            for row, seed in enumerate(batch.seeds)
            if row in rows
        }

    def _first_step(self, step: int) -> jax.Array:
        return devices.place_everywhere(self._mesh, np.int32(step))

    def _pad(self, batch: Sequence[int]) -> list[int]:
        return [*batch, *[batch[-1]] * (self._width - len(batch))]


def _results(
    trainer: Trainer,
    batch: SeedBatch,
    state: RunState,
    curves: Curves,
    start_time: float,
) -> Iterator[SeedResult]:
    """Yield the results of the seeds that have a curve: this host's, without diverged ones."""
    rows = devices.local_rows((state.train.params, state.best_params, state.best_step))
    seconds = time.perf_counter() - start_time
    for row, seed in enumerate(batch.seeds):
        if seed in curves:
            params, best_params, best_step = rows[row]
            yield SeedResult(
                seed=seed,
                params=params,
                best_params=best_params,
                best_step=int(best_step),
                curve=curves[seed],
                train_seconds=seconds / len(batch.seeds),
                compile_seconds=trainer.compile_seconds,
            )


def _divergences(curves: Curves, recipe: Recipe, known: dict[int, str]) -> dict[int, str]:
    """Return a message for each seed, except known ones, whose loss is not finite."""
    messages = {}
    for seed, curve in curves.items():
        point = next((point for point in curve if not math.isfinite(point["loss"])), None)
        if point is not None and seed not in known:
            messages[seed] = (
                f"seed {seed} diverged: its loss is {point['loss']} at step {point['step']} "
                f"(learning_rate = {recipe.learning_rate})"
            )
    return messages


def _divergence_message(diverged: dict[int, str]) -> str:
    first = next(iter(diverged.values()))
    return first if len(diverged) == 1 else f"{first}; so did {len(diverged) - 1} more"


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _span(seeds: Sequence[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}..{seeds[-1]}"
