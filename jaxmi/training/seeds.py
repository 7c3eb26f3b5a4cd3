"""Many seeds, batch by batch, from point to point of the curve.

A batch of seeds in one compiled program, over all devices.
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
"""A point of a learning curve: "step", "loss", and an accuracy for each split."""

Curves = dict[int, list[Point]]
"""Seed -> learning curve."""


@dataclass(frozen=True)
class SeedBatch:
    """Seeds that are trained side by side, and how far they are."""

    seeds: tuple[int, ...]
    step: int
    seconds: float
    """Wall time spent on them so far."""
    state: RunState
    """Sharded by seed; rows beyond `seeds` are padding."""


class Trainer:
    """A run's two phases, compiled for batches of one width."""

    def __init__(self, challenge: Challenge, recipe: Recipe, width: int) -> None:
        """Compiles.

        Raises:
          InputError: if the width is no multiple of the number of devices, or the recipe does not
            fit the challenge.
        """
        self._recipe, self._width = recipe, width
        self._mesh = devices.seed_mesh()
        if width % self._mesh.size:
            raise InputError(f"width {width} is no multiple of the {self._mesh.size} devices")
        self._data = devices.place_everywhere(self._mesh, make_data(challenge))
        began = time.perf_counter()
        start_one = make_start(challenge, recipe)

        def start(seed: jax.Array, data: Data) -> RunState:
            return start_one(jax.random.key(seed), data)

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
        self.compile_seconds = time.perf_counter() - began

    @property
    def program(self) -> str:
        """The compiled program that takes the steps up to a point, as XLA prints it."""
        return self._advance.as_text() or ""

    def plan(self, seeds: Sequence[int], store: StateStore | None) -> Iterator[SeedBatch]:
        """Yields batches that cover the seeds: first what was under way, then the others."""
        left = dict.fromkeys(seeds)
        for saved in store.load() if store is not None else ():
            arrays = rebuild(saved, self._template)
            rows = [row for row, seed in enumerate(saved.seeds) if seed in left]
            for chunk in _chunks(rows, self._width):
                batch = tuple(saved.seeds[row] for row in chunk)
                padded = self._pad(chunk)
                state = jax.tree.map(lambda leaf, padded=padded: leaf[padded], arrays)
                for seed in batch:
                    del left[seed]
                state = devices.place_by_seed(self._mesh, state)
                yield SeedBatch(
                    batch, saved.step, saved.seconds * len(chunk) / len(saved.seeds), state
                )
        for batch in _chunks(list(left), self._width):
            padded = np.asarray(self._pad(batch), np.uint32)
            state = self._start(devices.place_by_seed(self._mesh, padded), self._data)
            yield SeedBatch(tuple(batch), 0, 0.0, state)

    def advance(self, state: RunState, step: int) -> RunState:
        """Takes the optimiser steps that lead up to a step, a point of the curve."""
        first_step = self._first_step(step - self._recipe.eval_every)
        return self._advance(state, first_step, self._data)

    def read_curves(self, batch: SeedBatch, state: RunState, after: int, step: int) -> Curves:
        """Reads this host's seeds' points after one step, up to another."""
        rows = devices.own_rows(state.curve)
        every = self._recipe.eval_every
        return {
            seed: [
                {"step": at, **{name: c[at // every - 1].item() for name, c in rows[row].items()}}
                for at in range(after + every, step + 1, every)
            ]
            for row, seed in enumerate(batch.seeds)
            if row in rows
        }

    def _first_step(self, step: int) -> jax.Array:
        return devices.place_everywhere(self._mesh, np.int32(step))

    def _pad(self, batch: Sequence[int]) -> list[int]:
        return [*batch, *[batch[-1]] * (self._width - len(batch))]


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


POINTS_PER_SAVE = 10
"""Points of the learning curve between two saves of the state, if nothing else is asked for."""


@runtime_checkable
class Watcher(Protocol):
    """Is told how the seeds that this host trains are getting on."""

    def resumed(self, curves: Curves) -> None:
        """Takes note of seeds that go on where they stopped, and of their curves so far."""

    def advanced(self, points: dict[int, Point]) -> None:
        """Takes note of a new point of each seed's curve."""


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
    """Trains a network per seed, and yields each batch's results as it finishes.

    Seeds are spread over all devices of all hosts. Everything is compiled once: a last batch that
    is not full is filled up with repetitions, whose results are dropped. Each host gets the
    results of those seeds that its own devices trained.

    A seed that diverges is dropped, and told when all others are done.

    Args:
      challenge: What to train on.
      recipe: How.
      seeds: Non-negative numbers below 2**32; each alone decides its network's initial parameters,
        order of examples and dropout.
      width: Seeds to train at once, over all devices; None decides by `devices.batch_width`.
      watchers: Told every point of the learning curves.
      store: Where the state of unfinished seeds is saved, and found again.
      save_every: Steps between two saves, rounded up to points of the curve; None: ten points.
      stop: Asked after each point; if it says True, the state is saved and training stops.

    Raises:
      InputError: if there are no seeds, one is out of range, the recipe does not fit, or the width
        is no multiple of the number of devices.
      DivergedError: if seeds of this host diverge.
      UnavailableError: if the state cannot be saved.
      StoppedError: if `stop` said so.
    """
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**32:
        raise InputError(f"seeds {list(seeds)}: expected at least one, each in 0..{2**32 - 1}")
    trainer = Trainer(
        challenge, recipe, width or devices.batch_width(challenge, recipe, len(seeds))
    )
    points_per_save = -(-save_every // recipe.eval_every) if save_every else POINTS_PER_SAVE
    diverged: dict[int, str] = {}
    for batch in trainer.plan(seeds, store):
        began = time.perf_counter() - batch.seconds
        state, curves = batch.state, trainer.read_curves(batch, batch.state, 0, batch.step)
        for seed, curve in curves.items():
            _note_divergence(seed, curve, recipe, diverged)
        if batch.step:
            for watcher in watchers:
                watcher.resumed({s: curve for s, curve in curves.items() if s not in diverged})
        stopping = False
        for step in range(batch.step + recipe.eval_every, recipe.steps + 1, recipe.eval_every):
            state = trainer.advance(state, step)
            before = step - recipe.eval_every
            points = {}
            for seed, curve in trainer.read_curves(batch, state, before, step).items():
                _note_divergence(seed, curve, recipe, diverged)
                curves[seed] += curve
                if seed not in diverged:
                    points[seed] = curve[0]
            if not points and jax.process_count() == 1:
                break  # nothing is left of this batch
            for watcher in watchers if points else ():
                watcher.advanced(points)
            stopping, unfinished = stop(), step < recipe.steps
            due = step // recipe.eval_every % points_per_save == 0
            if store is not None and unfinished and (due or stopping):
                store.save(batch.seeds, step, time.perf_counter() - began, state)
            if stopping and unfinished:
                if store is not None:
                    store.wait()
                raise StoppedError(f"stopped at step {step} of seeds {_span(batch.seeds)}")
        finished = (state.train.params, state.best_params, state.best_step)
        rows = devices.own_rows(finished)
        seconds = (time.perf_counter() - began) / len(batch.seeds)
        for row, seed in enumerate(batch.seeds):
            if row in rows and seed not in diverged:
                params, best_params, best_step = rows[row]
                yield SeedResult(
                    seed=seed,
                    params=params,
                    best_params=best_params,
                    best_step=int(best_step),
                    curve=curves[seed],
                    train_seconds=seconds,
                    compile_seconds=trainer.compile_seconds,
                )
        if store is not None:
            store.forget(batch.seeds)
        if stopping:
            raise StoppedError(f"stopped after seeds {_span(batch.seeds)}")
    if diverged:
        raise DivergedError(_first_of(diverged))


def _note_divergence(
    seed: int, curve: list[Point], recipe: Recipe, diverged: dict[int, str]
) -> None:
    for point in curve:
        if not math.isfinite(point["loss"]) and seed not in diverged:
            diverged[seed] = (
                f"seed {seed} diverged: its loss is {point['loss']} at step {point['step']} "
                f"(learning_rate = {recipe.learning_rate})"
            )


def _first_of(messages: dict[int, str]) -> str:
    first = next(iter(messages.values()))
    return first if len(messages) == 1 else f"{first}; so did {len(messages) - 1} more"


def _span(seeds: Sequence[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}..{seeds[-1]}"
