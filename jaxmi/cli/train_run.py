"""Trains one challenge's seeds into a run folder: everything around `seeds.train_seeds`."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxmi.challenges.challenge import Challenge
from jaxmi.cli.profile import Profile
from jaxmi.cli.progress import Progress
from jaxmi.cli.run_figures import draw_run
from jaxmi.cli.verb import log
from jaxmi.errors import DivergedError
from jaxmi.training import hosts
from jaxmi.training.devices import batch_width
from jaxmi.training.recipe import Recipe
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import Watcher, train_seeds
from jaxmi.weights.native import load_checkpoint
from jaxmi.weights.run_folder import RunFolder


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
        hosts.meet(f"{path} is made")
    with RunFolder(path, challenge, recipe_name, recipe, extras.force, host) as folder:
        if host == 0:
            hosts.meet(f"{path} is made")
        left = folder.left(seeds)
        hosts.meet(f"{path} is read")
        if left != seeds and host == 0:
            log(f"{path}: {len(seeds) - len(left)} of {len(seeds)} seeds are there already")
        diverged = None
        if left:
            try:
                _train(folder, challenge, recipe, seeds, left, extras)
            except DivergedError as error:
                diverged = error
        hosts.meet(f"{path} is written")
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
        from jaxmi.cli.tensorboard import TensorBoard

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
