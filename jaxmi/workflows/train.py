"""Networks trained into run folders: everything around `training.seeds.train_runs`."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.challenges.definition import FILE, Definition
from jaxmi.challenges.registry import NAMES, load_challenge, name_of, origin
from jaxmi.drawing import try_to_save
from jaxmi.errors import DivergedError, InputError
from jaxmi.files import takes_any_path
from jaxmi.programs.published_labels import CALIBRATED_BAND, l1_distances
from jaxmi.report import figures
from jaxmi.settings import with_fixed_settings
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.storage.runs import RunFolder, check_run_folder, run_facts
from jaxmi.training.convergence import not_converged
from jaxmi.training.devices import batch_width
from jaxmi.training.hosts import barrier, join, stop_together
from jaxmi.training.loop import can_train_together, check_fit
from jaxmi.training.recipe import RECIPES, Recipe, recipes_for
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import Point, Run, Watcher, train_runs
from jaxmi.types import Params
from jaxmi.workflows.challenges import define, find
from jaxmi.workflows.machine import keep_stdout, prepare_devices, stop_on_request
from jaxmi.workflows.progress import Profile, Progress, check_tensorboard

logger = logging.getLogger(__name__)

Key = TypeVar("Key")

DPI = 110
"""Dots per inch of a run's figures."""


@takes_any_path
def draw_run(
    path: Path,
    challenge: Challenge,
    params: Params,
    name: str,
    curves: Mapping[int, Sequence[Point]],
) -> None:
    """Draw the learning curves of all seeds, and what one network learned, as PNG files.

    Args:
      path: The folder to draw into.
      challenge: What was trained on.
      params: The network whose labels are drawn.
      name: What to call it.
      curves: Seed -> its learning curve.
    """
    title = f"{challenge.title}, {len(curves)} seed{'s' if len(curves) > 1 else ''}"
    goal = None if challenge.published is None else challenge.published.test_accuracy
    unfinished = not_converged(curves, challenge.kind)
    drawings: dict[str, Callable[[], Any]] = {
        "curves": partial(figures.learning_curves, curves, goal, title, unfinished)
    }
    if challenge.grid is not None:
        shown = (challenge.labels, challenge.predict(params), challenge.train_mask)
        truth, learned, trained_on = (challenge.slices(values) for values in shown)
        for place in truth:
            drawings["-".join(["labels", *re.findall(r"\w+", place)])] = partial(
                figures.label_maps,
                truth=truth[place],
                learned=learned[place],
                is_train=trained_on[place],
                name=f"{name}, {place}" if place else name,
            )
    elif challenge.published is None:
        test = challenge.splits["test"]
        drawings["labels"] = partial(
            figures.image_mistakes,
            images=challenge.inputs[test],
            labels=challenge.labels[test],
            learned=challenge.predict(params, test),
            name=name,
        )
    elif isinstance(challenge.solution, ClueSolution):
        test, clue = challenge.splits["test"], challenge.inputs[challenge.solution.clue_index]
        drawings["distances"] = partial(
            figures.distance_figure,
            images=challenge.inputs[test],
            distances=np.asarray(l1_distances(challenge.inputs[test], clue)),
            labels=challenge.labels[test],
            learned=challenge.predict(params, test),
            clue=clue,
            band=CALIBRATED_BAND,
            name=name,
        )
    for file_name, drawing in drawings.items():
        try_to_save(path / f"{file_name}.png", drawing, dpi=DPI)


@dataclass(frozen=True)
class Options:
    """Options of a run; none changes what is learned."""

    seeds_per_batch: int | None = None
    """Seeds trained at once, over all devices; None decides by the devices."""
    save_every: int | None = None
    """Optimiser steps between two saves of the training state; None: ten points of the curve."""
    tensorboard: bool = False
    """Write the learning curves for TensorBoard."""
    profile: bool = False
    """Write a JAX trace of one point of the learning curve."""
    force: bool = False
    """Start over, and replace an existing run."""
    stop: Callable[[], bool] = lambda: False
    """Asked after each point of the curve; True saves the state and stops."""


@dataclass(frozen=True)
class Hosts:
    """The hosts that train together; all None: read from the cluster."""

    coordinator: str | None
    """address:port of host 0."""
    count: int | None
    index: int | None
    """This host's number, from 0."""
    join_timeout: int = 300
    """Seconds to wait for the other hosts."""


def find_challenges(names: Sequence[str]) -> list[str | Definition]:
    """Return the challenges that a user names, without their data.

    Args:
      names: Each a published challenge's name, "all" for all of these, the folder of a challenge,
        or a folder of programs (.txt, .py), each of which becomes a challenge of the published
        sizes, named like its file.

    Returns:
      A published challenge's name, or what another is made of.

    Raises:
      InputError: if there is no such challenge, or two have the same name.
    """
    found: list[str | Definition] = []
    for name in names:
        folder = Path(name)
        files = () if name in NAMES or (folder / FILE).is_file() else sorted(folder.glob("*"))
        programs = [file for file in files if file.suffix in (".txt", ".py")]
        if name == "all":
            found += NAMES
        elif programs:
            found += map(_define_program, programs)
        else:
            found.append(find(name))
    counts = Counter(map(name_of, found))
    for name, count in counts.items():
        if count > 1:
            raise InputError(
                f"{count} challenges are named {name!r}, and so would be their run folders: train "
                "them one at a time, or make one under another name"
            )
    return found


def _define_program(file: Path) -> Definition:
    """Define a challenge by a program."""
    try:
        return define(file, name=file.stem)
    except InputError as error:
        named = str(error).startswith(str(file))
        raise error if named else InputError(f"{file}: {error}") from error


@takes_any_path
@with_fixed_settings
def regenerate(
    challenges: Mapping[Path, str | Definition],
    recipe_name: str,
    change: Callable[[Recipe], Recipe],
    seeds: Sequence[int],
    options: Options,
    data_dir: Path | None = None,
    cpu_devices: int | None = None,
    hosts: Hosts | None = None,
) -> dict[str, Any]:
    """Train networks from scratch into run folders; resume runs that exist.

    Challenges of one shape are trained together, by one compiled program, one shape after another.
    Everything that can be checked is checked before anything is trained.

    Args:
      challenges: Run folder -> the challenge, as `find_challenges` returns it.
      recipe_name: The name of each challenge's recipe.
      change: Applied to each recipe.
      seeds: Which seeds of each challenge.
      options: How to carry it out; `options.stop` is replaced by signals.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.
      cpu_devices: Devices to split the CPU into; None: one per core, but no more than networks of
        one kind.
      hosts: The hosts that train together; None: this one alone.

    Returns:
      What `jaxmi regenerate --json` prints.

    Raises:
      InputError: if a folder or a recipe is invalid, or a number out of range.
      DivergedError: if some networks diverge, when the others are finished.
      UnavailableError: if MNIST is needed and cannot be had, or a state cannot be saved.
      StoppedError: on a signal that asks to stop, when the state is saved; the same call resumes.
    """
    challenges = {Path(folder): challenge for folder, challenge in challenges.items()}
    for folder, challenge in challenges.items():
        facts: dict[str, Any] = {"challenge": name_of(challenge)}
        if isinstance(challenge, str):  # another's recipe follows from its data
            recipe = change(RECIPES[challenge][recipe_name])
            facts["recipe"] = {"name": recipe_name, **asdict(recipe)}
        check_run_folder(folder, facts, options.force)
    if options.tensorboard:
        check_tensorboard()
    if data_dir is not None and not data_dir.is_dir():
        raise InputError(f"--data-dir {data_dir} is not a folder")
    if hosts is not None:
        keep_stdout()
        join(hosts.coordinator, hosts.count, hosts.index, hosts.join_timeout)
    else:
        kinds = Counter(origin(challenge).kind for challenge in challenges.values())
        prepare_devices(cpu_devices, len(seeds) * max(kinds.values()))
    loaded = _load(challenges, data_dir)
    recipes = {path: change(recipes_for(c)[recipe_name]) for path, c in loaded.items()}
    for folder, challenge in loaded.items():
        check_fit(challenge, recipes[folder])
        check_run_folder(folder, run_facts(challenge, recipe_name, recipes[folder]), options.force)

    entries: dict[Path, list[dict[str, Any]]] = {}
    diverged: list[str] = []
    with stop_on_request() as stopping:
        options = replace(options, stop=stop_together(stopping))
        for group in group_by_shape(loaded, recipes):
            recipe = recipes[next(iter(group))]
            try:
                entries |= train_together(group, recipe_name, recipe, list(seeds), options)
            except DivergedError as error:  # on every host alike: the next group's turn
                diverged.append(str(error))
    if diverged:
        raise DivergedError("; ".join(diverged))
    return {"runs": [entry for path in challenges for entry in entries[path]]}


def _load(
    challenges: Mapping[Path, str | Definition], data_dir: Path | None
) -> dict[Path, Challenge]:
    """Build challenges; those with the same inputs share them."""
    loaded: dict[Path, Challenge] = {}
    for path, wanted in challenges.items():
        challenge = load_challenge(wanted, data_dir)
        for earlier in loaded.values():
            if can_train_together(earlier, challenge):
                challenge = replace(challenge, inputs=earlier.inputs)
                break
        loaded[path] = challenge
    return loaded


def group_by_shape(
    challenges: Mapping[Key, Challenge], recipes: Mapping[Key, Recipe]
) -> list[dict[Key, Challenge]]:
    """Return groups of challenges that one compiled program can train.

    Args:
      challenges: Challenges by any key.
      recipes: The recipe of each.
    """
    groups: list[dict[Key, Challenge]] = []
    for key, challenge in challenges.items():
        for group in groups:
            first, other = next(iter(group.items()))
            if recipes[first] == recipes[key] and can_train_together(other, challenge):
                group[key] = challenge
                break
        else:
            groups.append({key: challenge})
    return groups


@takes_any_path
@with_fixed_settings
def train_together(
    challenges: Mapping[Path, Challenge],
    recipe_name: str,
    recipe: Recipe,
    seeds: list[int],
    options: Options,
) -> dict[Path, list[dict[str, Any]]]:
    """Train the seeds that the run folders lack, of challenges of one shape.

    Each run folder is complete in itself: it can be resumed alone, or with others.

    Args:
      challenges: Run folder -> its challenge.
      recipe_name: The recipe's name, for the record.
      recipe: The recipe of all.
      seeds: The seeds of each challenge.
      options: How to carry it out.

    Returns:
      Run folder -> run.json's entry for each of the seeds, whether trained now or before.

    Raises:
      InputError: if a folder cannot be used.
      DivergedError: on every host, if some networks diverge; the others are in the folders.
      UnavailableError: if the state cannot be saved.
      StoppedError: on a signal that asks to stop; the same call resumes.
    """
    host = jax.process_index()
    where = next(iter(challenges))
    if host > 0:
        barrier(f"{where} is made")
    with ExitStack() as stack:
        folders = {
            path: stack.enter_context(
                RunFolder(path, challenge, recipe_name, recipe, options.force, host)
            )
            for path, challenge in challenges.items()
        }
        if host == 0:
            barrier(f"{where} is made")
        left = {path: folder.unfinished(seeds) for path, folder in folders.items()}
        barrier(f"{where} is read")
        for path in folders if host == 0 else ():
            if left[path] != seeds:
                logger.info(f"{path}: {len(seeds) - len(left[path])} of {len(seeds)} seeds exist")
        diverged = None
        if any(left.values()):
            try:
                _train(folders, challenges, recipe, seeds, left, options)
            except DivergedError as error:
                diverged = error
        barrier(f"{where} is written")
        entries, missing = {}, []
        for path, folder in folders.items():
            missing += folder.finish(seeds)
            entries[path] = [run for run in folder.runs if run["seed"] in set(seeds)]
            if host == 0 and entries[path]:
                _draw(folder, challenges[path], entries[path][0])
                _report_convergence(folder, challenges[path], entries[path], recipe)
        if missing:
            raise diverged or DivergedError(f"on another host, seeds diverged: {missing}")
        return entries


def _draw(folder: RunFolder, challenge: Challenge, entry: Mapping[str, Any]) -> None:
    params = load_checkpoint(Path(entry["checkpoint"])).params
    curves = {run["seed"]: folder.curve(run["seed"]) for run in folder.runs}
    draw_run(folder.path, challenge, params, f"seed {entry['seed']}", curves)


def _report_convergence(
    folder: RunFolder, challenge: Challenge, entries: Sequence[Mapping[str, Any]], recipe: Recipe
) -> None:
    """Say which of the seeds that were asked for have not converged, and what to do."""
    curves = {entry["seed"]: folder.curve(entry["seed"]) for entry in entries}
    if seeds := not_converged(curves, challenge.kind):
        logger.warning(
            f"{folder.path}: {len(seeds)} of {len(curves)} seeds have not converged "
            f"({figures.list_seeds(seeds)}): train longer, for example with --set "
            f"steps={2 * recipe.steps} and another --out or --force, or a larger network"
        )


def _train(
    folders: Mapping[Path, RunFolder],
    challenges: Mapping[Path, Challenge],
    recipe: Recipe,
    seeds: list[int],
    left: Mapping[Path, list[int]],
    options: Options,
) -> None:
    parts = [
        Part(folder, challenges[path], left[path]) for path, folder in folders.items() if left[path]
    ]
    one = len(folders) == 1
    named = parts[0].challenge.name if one else f"{len(parts)} challenges"
    unit = "seed" if one else "network"
    train_parts(parts, named, unit, recipe, options, len(seeds) * len(folders))


@dataclass(frozen=True)
class Part:
    """Networks of a run folder that are trained on one challenge."""

    folder: RunFolder
    challenge: Challenge
    seeds: list[int]


def train_parts(
    parts: Sequence[Part], named: str, unit: str, recipe: Recipe, options: Options, n_networks: int
) -> None:
    """Train networks into their run folders, all by one compiled program.

    Args:
      parts: Several may be of one folder if no seed is in two of these.
      named: What is trained, for the display.
      unit: What a network is called there.
      recipe: How.
      options: How to carry it out.
      n_networks: Networks in all, those that exist included: the width follows from it.

    Raises:
      DivergedError: if some networks diverge; the others are in the folders.
      UnavailableError: if the state cannot be saved.
      StoppedError: on a signal that asks to stop; the same call resumes.
    """
    n_left = sum(len(part.seeds) for part in parts)
    progress = Progress(named, recipe.steps, -(-n_left // jax.process_count()), unit)
    watchers: list[Watcher] = [progress] if jax.process_index() == 0 else []
    with ExitStack() as stack:
        stack.enter_context(progress)
        if options.profile:
            watchers.append(stack.enter_context(Profile(parts[0].folder.path / "profile")))
        of_folder = {
            id(part.folder): (_watchers_of_run(part.folder, options), part.folder.state_path)
            for part in parts
        }
        stores = {path: StateStore(path) for _, path in of_folder.values()}
        runs = []
        for part in parts:
            of_part, path = of_folder[id(part.folder)]
            runs.append(Run(part.challenge, part.seeds, of_part, stores[path]))
        width = batch_width(runs[0].challenge, recipe, n_networks, options.seeds_per_batch)
        # One result at a time: a thousand networks need not fit in memory.
        results = train_runs(
            runs,
            recipe,
            width=width,
            watchers=watchers,
            save_every=options.save_every,
            stop=options.stop,
        )
        stack.enter_context(closing(results))
        for index, result in results:
            parts[index].folder.add(result)


def _watchers_of_run(folder: RunFolder, options: Options) -> list[Watcher]:
    if not options.tensorboard:
        return [folder]
    from jaxmi.workflows.progress import TensorBoard

    return [folder, TensorBoard(folder.path / "tensorboard")]
