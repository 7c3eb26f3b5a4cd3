"""Trains one challenge's seeds into a run folder: everything around `seeds.train_seeds`.

The figures of a run folder.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.challenges.pairs import PairChallenge
from jaxmi.errors import DivergedError
from jaxmi.programs.published_labels import CALIBRATED_BAND, l1_distances
from jaxmi.report import figures
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.storage.runs import RunFolder
from jaxmi.training import hosts
from jaxmi.training.devices import batch_width
from jaxmi.training.recipe import Recipe
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import Point, Watcher, train_seeds
from jaxmi.types import Params
from jaxmi.workflows.progress import Profile, Progress

logger = logging.getLogger(__name__)

DPI = 110


def draw_run(
    path: Path,
    challenge: Challenge,
    params: Params,
    name: str,
    curves: Mapping[int, Sequence[Point]],
) -> None:
    """Draws the learning curves of all seeds, and what one network, by name, learned, as PNG."""
    title = f"{challenge.title}, {len(curves)} seed{'s' if len(curves) > 1 else ''}"
    drawn = {"curves": figures.learning_curves(curves, challenge.published.test_accuracy, title)}
    if isinstance(challenge, PairChallenge):
        drawn["labels"] = figures.label_maps(
            truth=challenge.as_table(challenge.labels),
            learned=challenge.as_table(challenge.predict(params)),
            is_train=challenge.is_train,
            name=name,
        )
    elif isinstance(challenge.solution, ClueSolution):
        test, clue = challenge.splits["test"], challenge.inputs[challenge.solution.clue_index]
        drawn["distances"] = figures.distance_figure(
            images=challenge.inputs[test],
            distances=np.asarray(l1_distances(challenge.inputs[test], clue)),
            labels=challenge.labels[test],
            learned=challenge.predict(params, test),
            clue=clue,
            band=CALIBRATED_BAND,
            name=name,
        )
    for file_name, figure in drawn.items():
        figure.savefig(path / f"{file_name}.png", dpi=DPI)


@dataclass(frozen=True)
class Extras:
    """How a run is carried out; none of it changes what is learned."""

    seeds_per_batch: int | None
    save_every: int | None
    tensorboard: bool
    profile: bool
    force: bool
    stop: Callable[[], bool]
    """Says whether the run was asked to stop."""


def train_run(
    path: Path,
    challenge: Challenge,
    recipe_name: str,
    recipe: Recipe,
    seeds: list[int],
    extras: Extras,
) -> list[dict[str, Any]]:
    """Trains the seeds that the run folder has not yet.

    Returns:
      The folder's entry for each of its seeds that was asked for, whether trained now or before.

    Raises:
      InputError: if the folder cannot be used.
      DivergedError: on every host, if some seeds diverge; the others are in the folder.
      UnavailableError: if the state cannot be saved.
      StoppedError: on SIGTERM; the same call goes on.
    """
    host = jax.process_index()
    if host > 0:
        hosts.barrier(f"{path} is made")
    with RunFolder(path, challenge, recipe_name, recipe, extras.force, host) as folder:
        if host == 0:
            hosts.barrier(f"{path} is made")
        left = folder.unfinished(seeds)
        hosts.barrier(f"{path} is read")
        if left != seeds and host == 0:
            logger.info(f"{path}: {len(seeds) - len(left)} of {len(seeds)} seeds are there already")
        diverged = None
        if left:
            try:
                _train(folder, challenge, recipe, seeds, left, extras)
            except DivergedError as error:
                diverged = error
        hosts.barrier(f"{path} is written")
        missing = folder.finish(seeds)
        asked = [run for run in folder.runs if run["seed"] in set(seeds)]
        if host == 0 and asked:
            first = load_checkpoint(Path(asked[0]["checkpoint"])).params
            curves = {run["seed"]: folder.curve(run["seed"]) for run in folder.runs}
            draw_run(path, challenge, first, f"seed {asked[0]['seed']}", curves)
        if missing:
            raise diverged or DivergedError(f"on another host, seeds diverged: {missing}")
        return asked


def _train(
    folder: RunFolder,
    challenge: Challenge,
    recipe: Recipe,
    seeds: list[int],
    left: list[int],
    extras: Extras,
) -> None:
    progress = Progress(challenge.name, recipe.steps, -(-len(left) // jax.process_count()))
    watchers: list[Watcher] = [folder]
    if jax.process_index() == 0:
        watchers.append(progress)
    if extras.tensorboard:
        from jaxmi.workflows.progress import TensorBoard

        watchers.append(TensorBoard(folder.path / "tensorboard"))
    with ExitStack() as stack:
        stack.enter_context(progress)
        if extras.profile:
            watchers.append(stack.enter_context(Profile(folder.path / "profile")))
        # One result at a time: a thousand networks need not fit in memory.
        for result in train_seeds(
            challenge,
            recipe,
            left,
            width=batch_width(challenge, recipe, len(seeds), extras.seeds_per_batch),
            watchers=watchers,
            store=StateStore(folder.state_path),
            save_every=extras.save_every,
            stop=extras.stop,
        ):
            folder.add(result)
