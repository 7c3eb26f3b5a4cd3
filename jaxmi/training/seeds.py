"""Training of many networks: in batches over all devices, from point to point of the curve.

A network is a task: one of several runs, each with a challenge of its own, and a seed. `train_runs`
is the loop, `train_seeds` the same for one challenge. `Trainer` is the compiled program of all
runs, which starts and advances a batch.
"""

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import DivergedError, InputError, StoppedError
from jaxmi.settings import with_fixed_settings
from jaxmi.training import devices
from jaxmi.training.loop import (
    Data,
    Examples,
    RunState,
    can_train_together,
    make_advance,
    make_examples,
    make_start,
)
from jaxmi.training.recipe import Recipe
from jaxmi.training.resume import StateStore, rebuild
from jaxmi.types import Params

Point = dict[str, int | float]
"""A point of a learning curve: "step", "loss" in nats, and an accuracy in 0..1 for each split."""

Curves = dict[int, list[Point]]
"""Seed -> learning curve."""

T = TypeVar("T")

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
    """Wall time of the seed's batch, learning curve included, divided by the batch's networks."""
    compile_seconds: float
    """Compilation, once for all networks."""


@runtime_checkable
class Watcher(Protocol):
    """Follows the progress of the seeds that this host trains."""

    def resumed(self, curves: Curves) -> None:
        """Receive the curves so far of seeds that are resumed."""

    def advanced(self, points: dict[int, Point]) -> None:
        """Receive a new point of each seed's curve."""


@dataclass(frozen=True)
class Run:
    """A challenge, and the seeds to train on it."""

    challenge: Challenge
    seeds: Sequence[int]
    """Non-negative numbers below 2**32; each alone decides its network's initial parameters, order
    of examples and dropout."""
    watchers: Sequence[Watcher] = ()
    """Receive every point of the learning curves, by seed."""
    store: StateStore | None = None
    """Where the state of unfinished seeds is saved, and read to resume them."""


class Task(NamedTuple):
    """A network to train."""

    run: int
    """The index of its run."""
    seed: int


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
) -> Generator[SeedResult, None, None]:
    """Train a network per seed, and yield each batch's results as it finishes.

    This is `train_runs` of a single run: its arguments are described there and at `Run`.

    Raises:
      InputError, DivergedError, UnavailableError, StoppedError: as `train_runs`.
    """
    run = Run(challenge, seeds, tuple(watchers), store)
    results = train_runs([run], recipe, width=width, save_every=save_every, stop=stop)
    with closing(results):
        for _, result in results:
            yield result


@with_fixed_settings
def train_runs(
    runs: Sequence[Run],
    recipe: Recipe,
    *,
    width: int | None = None,
    watchers: Iterable[Watcher] = (),
    save_every: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[tuple[int, SeedResult], None, None]:
    """Train a network per run and seed, and yield each batch's results as it finishes.

    Networks are spread over all devices of all hosts. Everything is compiled once, whatever the
    number of runs: labels and rows are arguments of the compiled program, like the seed. A last
    batch that is not full is filled up with repetitions, whose results are dropped. Each host gets
    the results of those networks that its own devices trained.

    A network that diverges is dropped, and reported when all others are finished.

    Args:
      runs: Challenges with their seeds; all pairs must satisfy `loop.can_train_together`.
      recipe: How.
      width: Networks to train at once, over all devices; None decides by `devices.batch_width`.
      watchers: Receive every point of the learning curves of all runs, by the number of the
        network: its index if the runs are laid end to end.
      save_every: Steps between two saves, rounded up to points of the curve; None: ten points.
      stop: Called after each point; if it returns True, the state is saved and training stops.

    Whatever ends it, the stores are closed. Close the generator if its results are not all taken.

    Yields:
      The index of the run, and the result.

    Raises:
      InputError: if there is no run, a run has no seeds or one out of range, the runs cannot be
        trained together, the recipe does not fit, the width is no multiple of the number of
        devices, or a saved state is of another version or recipe.
      DivergedError: if networks of this host diverge.
      UnavailableError: if the state cannot be saved or read.
      StoppedError: if `stop` returned True.
    """
    _check_runs(runs)
    with ExitStack() as stack:
        for run in runs:
            if run.store is not None:
                stack.callback(run.store.close)
                stack.callback(run.store.close)  # an interrupt may end the first
        yield from _train_runs(runs, recipe, width, tuple(watchers), save_every, stop)


def _train_runs(
    runs: Sequence[Run],
    recipe: Recipe,
    width: int | None,
    watchers: Sequence[Watcher],
    save_every: int | None,
    stop: Callable[[], bool],
) -> Iterator[tuple[int, SeedResult]]:
    tasks = [Task(i, seed) for i, run in enumerate(runs) for seed in run.seeds]
    width = width or devices.batch_width(runs[0].challenge, recipe, len(tasks))
    trainer = Trainer([run.challenge for run in runs], recipe, width)
    tell = _Watchers(runs, tasks, watchers)
    points_per_save = -(-save_every // recipe.eval_every) if save_every else POINTS_PER_SAVE
    diverged: dict[Task, str] = {}
    for batch in trainer.plan(runs):
        start_time = time.perf_counter() - batch.seconds
        state, curves = batch.state, trainer.read_curves(batch, batch.state, 0, batch.step)
        diverged |= _divergences(curves, recipe, diverged)
        if batch.step:
            tell.resumed({task: curve for task, curve in curves.items() if task not in diverged})
        stopping = False
        for step in range(batch.step + recipe.eval_every, recipe.steps + 1, recipe.eval_every):
            state = trainer.advance(batch, state, step)
            new_curves = trainer.read_curves(batch, state, step - recipe.eval_every, step)
            diverged |= _divergences(new_curves, recipe, diverged)
            for task, curve in new_curves.items():
                curves[task] += curve
            points = {t: curve[0] for t, curve in new_curves.items() if t not in diverged}
            if not points and jax.process_count() == 1:
                break  # every network of this batch has diverged
            tell.advanced(points)
            stopping, is_last = stop(), step == recipe.steps
            is_due = step // recipe.eval_every % points_per_save == 0
            if not is_last and (is_due or stopping):
                _save(runs, batch, step, time.perf_counter() - start_time, state)
            if stopping and not is_last:
                for store in _stores(runs, batch):
                    store.wait()
                raise StoppedError(f"stopped at step {step} of {_name(runs, batch)}")
        finished = {task: curve for task, curve in curves.items() if task not in diverged}
        yield from _results(trainer, batch, state, finished, start_time)
        for store, rows in _stores(runs, batch).items():
            store.remove([batch.tasks[row].seed for row in rows])
        if stopping:
            raise StoppedError(f"stopped after {_name(runs, batch)}")
    if diverged:
        raise DivergedError(_divergence_message(runs, diverged))


@dataclass(frozen=True)
class Batch:
    """Networks that are trained side by side, and their progress."""

    tasks: tuple[Task, ...]
    step: int
    """Optimiser steps taken so far."""
    seconds: float
    """Wall time spent on them so far."""
    state: RunState
    """Sharded by network; rows beyond `tasks` are padding."""
    examples: Examples
    """Sharded likewise; of a single run the same for all, without an axis of networks."""


class Trainer:
    """The two phases of runs, start and advance, compiled for batches of one width."""

    def __init__(self, challenges: Sequence[Challenge], recipe: Recipe, width: int) -> None:
        """Compile both phases.

        Args:
          challenges: What to train on; only labels and rows differ.
          recipe: How.
          width: Networks to train at once, over all devices.

        Raises:
          InputError: if the width is no multiple of the number of devices, or the recipe does not
            fit the challenges.
        """
        self._recipe, self._width = recipe, width
        self._mesh = devices.seed_mesh()
        if width % self._mesh.size:
            raise InputError(f"width {width} is no multiple of the {self._mesh.size} devices")
        self._inputs = devices.place_everywhere(self._mesh, challenges[0].inputs)
        self._examples = [make_examples(challenge) for challenge in challenges]
        self._shared: Examples | None = None
        if len(challenges) == 1:
            self._shared = devices.place_everywhere(self._mesh, self._examples[0])
        start_time = time.perf_counter()
        start_from_key = make_start(challenges[0], recipe)
        advance_by_data = make_advance(challenges[0], recipe)

        def start(seed: jax.Array, examples: Examples, inputs: jax.Array) -> RunState:
            return start_from_key(jax.random.key(seed), Data(inputs, examples))

        def advance(
            state: RunState, examples: Examples, inputs: jax.Array, first_step: jax.Array
        ) -> RunState:
            return advance_by_data(state, first_step, Data(inputs, examples))

        def compiled(function: Callable, first: Any, *shared: Any, donate: bool = False) -> Any:
            n_mapped = 1 if self._shared is not None else 2
            mapped = devices.map_over_seeds(function, self._mesh, width, n_mapped, donate)
            lowered = mapped.lower(first, self._place_examples([0] * width), self._inputs, *shared)
            return lowered.out_info, lowered.compile()

        seeds = devices.place_by_seed(self._mesh, np.zeros(width, np.uint32))
        by_seed = NamedSharding(self._mesh, PartitionSpec("seed"))
        with jax.default_matmul_precision(recipe.matmul_precision):
            shapes, self._start = compiled(start, seeds)
            self._template = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=by_seed), shapes
            )
            _, self._advance = compiled(advance, self._template, self._first_step(0), donate=True)
        self.compile_seconds = time.perf_counter() - start_time

    @property
    def program(self) -> str:
        """The compiled program that takes the steps up to a point, as XLA prints it."""
        return self._advance.as_text() or ""

    def plan(self, runs: Sequence[Run]) -> Iterator[Batch]:
        """Yield batches that cover all seeds: first those with a saved state, then the others.

        Networks that were saved after the same number of steps are resumed side by side.

        Args:
          runs: The runs of the challenges that the trainer was made for, in their order.

        Raises:
          InputError: if a saved state is of another version or recipe.
          UnavailableError: if a saved state cannot be read.
        """
        pending = dict.fromkeys(Task(i, seed) for i, run in enumerate(runs) for seed in run.seeds)
        saved = [
            (step, i, run.store, name)
            for i, run in enumerate(runs)
            if run.store is not None
            for step, name in run.store.saved()
        ]
        saved.sort(key=lambda entry: -entry[0])
        for step, entries in itertools.groupby(saved, lambda entry: entry[0]):
            tasks, seconds, states = [], [], []
            for _, i, store, name in entries:
                batch = store.read(step, name)
                arrays = rebuild(batch, self._template)
                rows = [r for r, seed in enumerate(batch.seeds) if Task(i, seed) in pending]
                for row in rows:
                    tasks.append(Task(i, batch.seeds[row]))
                    del pending[tasks[-1]]
                seconds += [batch.seconds / len(batch.seeds)] * len(rows)
                states.append(jax.tree.map(lambda leaf, rows=rows: leaf[rows], arrays))
            state = jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)
            for rows in _chunks(list(range(len(tasks))), self._width):
                padded = self._pad(rows)
                yield self._batch(
                    [tasks[row] for row in rows],
                    step,
                    sum(seconds[row] for row in rows),
                    jax.tree.map(lambda leaf, padded=padded: leaf[padded], state),
                )
        for tasks in _chunks(list(pending), self._width):
            yield self._batch(tasks)

    def _batch(
        self, tasks: list[Task], step: int = 0, seconds: float = 0.0, state: Any = None
    ) -> Batch:
        """Place a batch on the devices; without a state, start it."""
        padded = self._pad(tasks)
        examples = self._place_examples([task.run for task in padded])
        if state is None:
            seeds = np.asarray([task.seed for task in padded], np.uint32)
            placed = devices.place_by_seed(self._mesh, seeds)
            placed = self._start(placed, examples, self._inputs)
        else:
            placed = devices.place_by_seed(self._mesh, state)
        return Batch(tuple(tasks), step, seconds, placed, examples)

    def advance(self, batch: Batch, state: RunState, step: int) -> RunState:
        """Take the optimiser steps that lead up to `step`, a point of the curve.

        Args:
          batch: The networks.
          state: Their state at the point before. Its memory is donated: it must not be used
            afterwards.
          step: Optimiser steps in all.
        """
        first_step = self._first_step(step - self._recipe.eval_every)
        return self._advance(state, batch.examples, self._inputs, first_step)

    def read_curves(
        self, batch: Batch, state: RunState, after: int, step: int
    ) -> dict[Task, list[Point]]:
        """Read the points after one step, up to another, of the networks on this host."""
        rows = devices.local_rows(state.curve)
        every = self._recipe.eval_every
        return {
            task: [
                {"step": s, **{name: c[s // every - 1].item() for name, c in rows[row].items()}}
                for s in range(after + every, step + 1, every)
            ]
            for row, task in enumerate(batch.tasks)
            if row in rows
        }

    def _place_examples(self, runs: Sequence[int]) -> Examples:
        """Put the labels and rows of each network's run on the devices."""
        if self._shared is not None:
            return self._shared
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(self._examples[i] for i in runs))
        return devices.place_by_seed(self._mesh, stacked)

    def _first_step(self, step: int) -> jax.Array:
        return devices.place_everywhere(self._mesh, np.int32(step))

    def _pad(self, items: list[T]) -> list[T]:
        return [*items, *[items[-1]] * (self._width - len(items))]


class _Watchers:
    """Tells the watchers of each run of its seeds, and those of all runs of all networks."""

    def __init__(
        self, runs: Sequence[Run], tasks: Sequence[Task], watchers: Sequence[Watcher]
    ) -> None:
        self._runs, self._watchers = runs, watchers
        self._numbers = {task: number for number, task in enumerate(tasks)}

    def resumed(self, curves: Mapping[Task, list[Point]]) -> None:
        for watcher, curves_of_watcher in self._split(curves):
            watcher.resumed(curves_of_watcher)

    def advanced(self, points: Mapping[Task, Point]) -> None:
        for watcher, points_of_watcher in self._split(points):
            watcher.advanced(points_of_watcher)

    def _split(self, values: Mapping[Task, T]) -> Iterator[tuple[Watcher, dict[int, T]]]:
        by_run: dict[int, dict[int, T]] = {}
        for task, value in values.items():
            by_run.setdefault(task.run, {})[task.seed] = value
        for i, of_run in by_run.items():
            for watcher in self._runs[i].watchers:
                yield watcher, of_run
        for watcher in self._watchers if values else ():
            yield watcher, {self._numbers[task]: value for task, value in values.items()}


def _check_runs(runs: Sequence[Run]) -> None:
    if not runs:
        raise InputError("no challenge to train on: expected at least one")
    for run in runs:
        seeds = run.seeds
        if not seeds or min(seeds) < 0 or max(seeds) >= 2**32:
            raise InputError(f"seeds {list(seeds)}: expected at least one, each in 0..{2**32 - 1}")
        if not can_train_together(runs[0].challenge, run.challenge):
            raise InputError(
                f"{runs[0].challenge.title!r} and {run.challenge.title!r} cannot be trained "
                "together: their inputs, networks, split sizes or numbers of poisons differ"
            )


def _stores(runs: Sequence[Run], batch: Batch) -> dict[StateStore, list[int]]:
    """Return the stores of a batch's runs, each with its rows of the batch."""
    rows: dict[StateStore, list[int]] = {}
    for row, task in enumerate(batch.tasks):
        store = runs[task.run].store
        if store is not None:
            rows.setdefault(store, []).append(row)
    return rows


def _save(runs: Sequence[Run], batch: Batch, step: int, seconds: float, state: RunState) -> None:
    """Save each run's part of a batch in its own store, so that it can be resumed by itself."""
    stores = _stores(runs, batch)
    one_run = len({task.run for task in batch.tasks}) == 1
    arrays = state if one_run or not stores else devices.gather_rows(state)
    for store, rows in stores.items():
        seeds = [batch.tasks[row].seed for row in rows]
        own = arrays if one_run else jax.tree.map(lambda leaf, rows=rows: leaf[rows], arrays)
        store.save(seeds, step, seconds * len(rows) / len(batch.tasks), own)
        if jax.process_count() > 1 and not one_run:
            store.wait()  # Orbax mixes up two saves in the background between hosts


def _results(
    trainer: Trainer,
    batch: Batch,
    state: RunState,
    curves: Mapping[Task, list[Point]],
    start_time: float,
) -> Iterator[tuple[int, SeedResult]]:
    """Yield the results of the networks that have a curve: this host's, without diverged ones."""
    rows = devices.local_rows((state.train.params, state.best_params, state.best_step))
    seconds = time.perf_counter() - start_time
    for row, task in enumerate(batch.tasks):
        if task in curves:
            params, best_params, best_step = rows[row]
            yield (
                task.run,
                SeedResult(
                    seed=task.seed,
                    params=params,
                    best_params=best_params,
                    best_step=int(best_step),
                    curve=curves[task],
                    train_seconds=seconds / len(batch.tasks),
                    compile_seconds=trainer.compile_seconds,
                ),
            )


def _divergences(
    curves: Mapping[Task, list[Point]], recipe: Recipe, known: Mapping[Task, str]
) -> dict[Task, str]:
    """Return a message for each network, except known ones, whose loss is not finite."""
    messages = {}
    for task, curve in curves.items():
        point = next((point for point in curve if not math.isfinite(point["loss"])), None)
        if point is not None and task not in known:
            messages[task] = (
                f"seed {task.seed} diverged: its loss is {point['loss']} at step {point['step']} "
                f"(learning_rate = {recipe.learning_rate})"
            )
    return messages


def _divergence_message(runs: Sequence[Run], diverged: Mapping[Task, str]) -> str:
    task, first = next(iter(diverged.items()))
    if len(runs) > 1:
        first = f"{runs[task.run].challenge.name}: {first}"
    return first if len(diverged) == 1 else f"{first}; so did {len(diverged) - 1} more"


def _chunks(items: list[T], size: int) -> Iterator[list[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _name(runs: Sequence[Run], batch: Batch) -> str:
    """Return the seeds of a batch for messages, with their challenges if there are several."""
    if len(runs) == 1:
        return f"seeds {_span([task.seed for task in batch.tasks])}"
    first, last = batch.tasks[0], batch.tasks[-1]
    name = f"seed {first.seed} of {runs[first.run].challenge.name}"
    if len(batch.tasks) == 1:
        return name
    return f"{name} to seed {last.seed} of {runs[last.run].challenge.name}"


def _span(seeds: Sequence[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}..{seeds[-1]}"
