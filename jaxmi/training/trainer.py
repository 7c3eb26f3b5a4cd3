"""A batch of seeds in one compiled program, over all devices."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.training import devices
from jaxmi.training.loop import Data, RunState, make_advance, make_data, make_start
from jaxmi.training.recipe import Recipe
from jaxmi.training.resume import StateStore, rebuild

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
