"""`jaxmi regenerate`: train the networks from scratch, save them, compare with the published.

Seeds and recipe changes as the user writes them.
"""

import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from tyro.conf import Positional

from jaxmi.cli.subcommand import Result, Verb
from jaxmi.errors import DivergedError, InputError
from jaxmi.training.recipe import RECIPES, Recipe

MAX_SEEDS = 1_000_000
"""More in one run are surely a slip of the finger."""


def parse_seeds(text: str) -> list[int]:
    """Reads "first:end", "seed" or "seed,seed,...".

    Raises:
      InputError: if the text is neither, or names no seed, or one twice.
    """
    if match := re.fullmatch(r"(\d{1,12}):(\d{1,12})", text):
        if int(match[2]) - int(match[1]) > MAX_SEEDS:
            raise InputError(f"--seeds {text}: more than {MAX_SEEDS:,} seeds in one run")
        seeds = list(range(int(match[1]), int(match[2])))
    elif re.fullmatch(r"\d{1,12}(,\d{1,12})*", text):
        seeds = [int(seed) for seed in text.split(",")]
    else:
        raise InputError(f"--seeds {text}: expected first:end (0:8), a seed, or seeds with commas")
    if not seeds:
        raise InputError(f"--seeds {text} names no seed: the end must lie behind the first")
    if max(seeds) >= 2**32:
        raise InputError(f"--seeds {text}: a seed must be below 2**32")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {text} names a seed twice")
    return seeds


def change_recipe(recipe: Recipe, changes: tuple[str, ...]) -> Recipe:
    """Applies "name=value" texts to a recipe.

    Raises:
      InputError: if a text is no such pair, names no number of the recipe, or gives a value that it
        cannot take.
    """
    types: dict[str, Any] = {field.name: field.type for field in fields(Recipe)}
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in types:
            raise InputError(
                f"--set {change}: expected NAME=VALUE with a name of {', '.join(types)}"
            )
        value = _read_value(text)
        if types[name] is float and type(value) is int:
            value = float(value)
        kind = types[name]
        fits = isinstance(value, kind) if isinstance(kind, type | UnionType) else True
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"--set {change}: {text!r} is no value for {name}")
        values[name] = value
    return replace(recipe, **values)


def _read_value(text: str) -> int | float | bool | str | None:
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


@dataclass(frozen=True, kw_only=True)
class Regenerate(Verb):
    """Train challenge networks from scratch, over one seed or many."""

    challenge: Positional[Literal["transformer", "cnn", "all"]]
    """Which challenge, or both."""

    seeds: str = "0:1"
    """first:end (0:8 is eight seeds, 0 to 7), one number, or several with commas."""

    recipe: Literal["fast", "published"] = "fast"
    """fast: reaches the published accuracy soon. published: the original training."""

    out: Path | None = None
    """Run folder, for run.json, metrics.jsonl, a checkpoint per seed, and figures; with `all`, one
    folder in it per challenge. A run that is there already is gone on with. Default:
    runs/CHALLENGE-RECIPE."""

    force: bool = False
    """Begin anew, and replace a run that is there."""

    set: tuple[str, ...] = ()
    """Change numbers of the recipe, as in `--set steps=200 learning_rate=1e-3 dropout=false`."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for cnn."""

    seeds_per_batch: int | None = None
    """Seeds trained at once, over all devices. Default: one per device on a CPU, as many as fit
    into memory on a GPU or TPU."""

    cpu_devices: int | None = None
    """Split a CPU into so many devices, each of which trains seeds of its own. Default: one per
    core, but no more than seeds."""

    save_every: int | None = None
    """Optimiser steps between two saves of the training state, rounded up to points of the learning
    curve. Default: ten points."""

    tensorboard: bool = False
    """Write the learning curves for TensorBoard too, to tensorboard/ in the run folder."""

    profile: bool = False
    """Write a JAX trace of one point of the learning curve to profile/ in the run folder."""

    coordinator: str | None = None
    """Of several hosts: address:port of host 0. Give --hosts and --host with it."""

    hosts: int | None = None
    """How many hosts train together."""

    host: int | None = None
    """This host's number, from 0."""

    cluster: bool = False
    """Of several hosts: learn the above three from the cluster (TPU slice, Slurm, Kubernetes)."""

    join_timeout: int = 300
    """Seconds to wait for the other hosts."""

    def run(self) -> Result:
        """Checks everything that can be checked beforehand, then trains."""
        seeds = parse_seeds(self.seeds)
        names = ("transformer", "cnn") if self.challenge == "all" else (self.challenge,)
        recipes = {name: change_recipe(RECIPES[name][self.recipe], self.set) for name in names}
        self._check_numbers()

        from jaxmi.challenges.registry import load_challenge
        from jaxmi.storage.runs import check_run_folder
        from jaxmi.training.hosts import join, stop_together
        from jaxmi.training.loop import check_fit
        from jaxmi.workflows.machine import keep_stdout, prepare_devices, told_to_stop
        from jaxmi.workflows.train import Extras, train_run

        for name in names:
            recipe = {"name": self.recipe, **asdict(recipes[name])}
            check_run_folder(self._folder(name), {"challenge": name, "recipe": recipe}, self.force)
        if self.tensorboard:
            from jaxmi.workflows.progress import check_tensorboard

            check_tensorboard()
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise InputError(f"--data-dir {self.data_dir} is no folder")
        if self.cluster or self.coordinator is not None:
            keep_stdout()
            join(self.coordinator, self.hosts, self.host, self.join_timeout)
        else:
            prepare_devices(self.cpu_devices, len(seeds))
        challenges = [load_challenge(name, self.data_dir) for name in names]
        for challenge in challenges:
            check_fit(challenge, recipes[challenge.name])

        runs: list[dict[str, Any]] = []
        diverged: list[str] = []
        with told_to_stop() as told:
            extras = Extras(
                self.seeds_per_batch,
                self.save_every,
                self.tensorboard,
                self.profile,
                self.force,
                stop_together(told),
            )
            for challenge in challenges:
                name, folder = challenge.name, self._folder(challenge.name)
                try:
                    runs += train_run(folder, challenge, self.recipe, recipes[name], seeds, extras)
                except DivergedError as error:  # on every host alike: the next challenge's turn
                    diverged.append(str(error))
        if diverged:
            raise DivergedError("; ".join(diverged))
        return {"runs": runs}

    def show(self, result: Result) -> None:
        """Prints a table per challenge, ours against published."""
        import jax

        from jaxmi.cli.table import print_comparison

        if jax.process_index() > 0:
            return  # host 0 speaks for all
        print_comparison([{**run, "name": f"seed {run['seed']}"} for run in result["runs"]])
        for folder in dict.fromkeys(Path(run["checkpoint"]).parent for run in result["runs"]):
            print(f"{folder}/: {', '.join(sorted(p.name for p in folder.glob('*.png')))}")

    def _folder(self, name: str) -> Path:
        if self.out is None:
            return Path("runs") / f"{name}-{self.recipe}"
        return self.out / name if self.challenge == "all" else self.out

    def _check_numbers(self) -> None:
        for flag, value in {
            "--seeds-per-batch": self.seeds_per_batch,
            "--cpu-devices": self.cpu_devices,
            "--save-every": self.save_every,
            "--hosts": self.hosts,
            "--join-timeout": self.join_timeout,
        }.items():
            if value is not None and value < 1:
                raise InputError(f"{flag} {value}: expected at least 1")
        if self.coordinator is not None and not re.fullmatch(r".+:\d+", self.coordinator):
            raise InputError(f"--coordinator {self.coordinator}: expected address:port")
        given = [self.coordinator, self.hosts, self.host]
        if any(value is not None for value in given) and (self.cluster or None in given):
            raise InputError("--coordinator, --hosts and --host go together, and without --cluster")
        if self.cpu_devices is not None and (self.cluster or self.coordinator is not None):
            raise InputError(
                f"--cpu-devices {self.cpu_devices}: on several hosts set JAX_NUM_CPU_DEVICES"
            )
        if self.hosts is not None and self.host not in range(self.hosts):
            raise InputError(f"--host {self.host}: expected 0..{self.hosts - 1}")
