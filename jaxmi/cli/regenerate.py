"""`jaxmi regenerate`: train the networks from scratch, save them, compare with the published."""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxmi.cli.subcommand import (
    DataSubcommand,
    OptionalNumber,
    OptionalPath,
    OptionalText,
    Result,
)
from jaxmi.errors import InputError
from jaxmi.training.recipe import RECIPES, Recipe

MAX_SEEDS = 1_000_000
"""Guards against typos: no run needs more."""


def parse_seeds(text: str) -> list[int]:
    """Read "first:end", "seed" or "seed,seed,...".

    Raises:
      InputError: if the text has another form, names no seed, or names one twice.
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
        raise InputError(f"--seeds {text} is empty: the end must be larger than the start")
    if max(seeds) >= 2**32:
        raise InputError(f"--seeds {text}: a seed must be below 2**32")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {text} names a seed twice")
    return seeds


def change_recipe(recipe: Recipe, changes: tuple[str, ...]) -> Recipe:
    """Apply "name=value" texts to a recipe.

    Raises:
      InputError: if a text has another form, names no number of the recipe, or has a value of the
        wrong type.
    """
    types: dict[str, Any] = {field.name: field.type for field in fields(Recipe)}
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in types:
            raise InputError(
                f"--set {change}: expected NAME=VALUE, where NAME is one of {', '.join(types)}"
            )
        value = _read_value(text)
        if types[name] is float and type(value) is int:
            value = float(value)
        kind = types[name]
        fits = isinstance(value, kind) if isinstance(kind, type | UnionType) else True
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"--set {change}: {text!r} is not a valid value for {name}")
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
class RecipeOptions:
    """The training of each network."""

    recipe: Literal["fast", "published"] = "fast"
    """fast: reaches the published accuracy in seconds; of your own challenge, derived from its
    sizes. published: the original training."""

    set: Annotated[
        tuple[str, ...], arg(metavar="NAME=VALUE [...]", help_behavior_hint="(repeatable)")
    ] = ()
    """Change numbers of the recipe: `--set steps=200 learning_rate=1e-3 dropout=false`."""


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where networks are trained."""

    seeds_per_batch: OptionalNumber = None
    """Seeds trained at once, across all devices. Default: one per device on a CPU, as many as fit
    into memory on a GPU or TPU."""

    cpu_devices: OptionalNumber = None
    """Split the CPU into this many devices, each of which trains its own seeds. Default: one per
    core, but no more than seeds."""


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """The files written during training."""

    save_every: OptionalNumber = None
    """Optimiser steps between two saves of the training state, rounded up to points of the learning
    curve. Default: ten points."""

    tensorboard: bool = False
    """Also write the learning curves for TensorBoard, to tensorboard/ in the run folder."""

    profile: bool = False
    """Also write a JAX trace of the steps between two points of the learning curve, to profile/ in
    the run folder."""


@dataclass(frozen=True, kw_only=True)
class HostOptions:
    """The addresses of hosts that train together."""

    coordinator: OptionalText = None
    """address:port of host 0. Goes with --hosts and --host."""

    hosts: OptionalNumber = None
    """Number of hosts."""

    host: OptionalNumber = None
    """This host's number, from 0."""

    cluster: bool = False
    """Read --coordinator, --hosts and --host from the cluster (TPU slice, Slurm, Kubernetes)."""

    join_timeout: int = 300
    """Seconds to wait for the other hosts."""


@dataclass(frozen=True, kw_only=True)
class Regenerate(DataSubcommand):
    """Train challenge networks from scratch, over one seed or many."""

    example = "jaxmi regenerate transformer --seeds 0:8"

    challenge: Positional[
        Annotated[tuple[str, ...], arg(metavar="CHALLENGE [...]", help_behavior_hint="")]
    ]
    """transformer, cnn, or `all` (both); challenge folders; folders of programs (.txt, .py).
    Challenges that differ only in labels and split are trained together."""

    seeds: Annotated[str, arg(metavar="SEEDS")] = "0:1"
    """first:end (0:8 is eight seeds, 0 to 7), one number, or several with commas."""

    out: OptionalPath = None
    """Run folder, for run.json, metrics.jsonl, a checkpoint per seed, and figures; with several
    challenges, a folder in it per challenge. An existing run is resumed. Default:
    runs/CHALLENGE-RECIPE."""

    force: bool = False
    """Start over, and replace an existing run."""

    recipe: Annotated[RecipeOptions, arg(name="recipe")] = RecipeOptions()

    devices: Annotated[DeviceOptions, arg(name="device")] = DeviceOptions()

    record: Annotated[RecordOptions, arg(name="record")] = RecordOptions()

    several: Annotated[HostOptions, arg(name="several hosts")] = HostOptions()
    """The same command runs on every host, in a folder that all of them share."""

    def run(self) -> Result:
        """Check everything that can be checked beforehand, then train."""
        seeds = parse_seeds(self.seeds)
        if not self.challenge:
            raise InputError(f"no challenge: name one of {', '.join(RECIPES)}, all, or a folder")
        name, changes = self.recipe.recipe, self.recipe.set
        for challenge, recipes in RECIPES.items():
            if challenge in self.challenge or "all" in self.challenge:
                change_recipe(recipes[name], changes)  # before anything is imported
        self._check_numbers()

        from jaxmi.workflows.train import Hosts, Options, find_challenges, name_of, regenerate

        challenges, several = find_challenges(self.challenge), self.several
        alone = len(challenges) == 1
        return regenerate(
            {self._folder(name_of(one), alone): one for one in challenges},
            name,
            lambda recipe: change_recipe(recipe, changes),
            seeds,
            Options(
                seeds_per_batch=self.devices.seeds_per_batch,
                save_every=self.record.save_every,
                tensorboard=self.record.tensorboard,
                profile=self.record.profile,
                force=self.force,
            ),
            self.data_dir,
            self.devices.cpu_devices,
            Hosts(several.coordinator, several.hosts, several.host, several.join_timeout)
            if several.cluster or several.coordinator is not None
            else None,
        )

    @property
    def resumes(self) -> bool:
        """True unless it was to start over."""
        return not self.force

    def show(self, result: Result) -> None:
        """Print a table per challenge, with the published network's accuracies."""
        import jax

        from jaxmi.cli.table import print_comparison

        if jax.process_index() > 0:
            return  # host 0 prints for all
        print_comparison([{**run, "name": f"seed {run['seed']}"} for run in result["runs"]])
        for folder in dict.fromkeys(Path(run["checkpoint"]).parent for run in result["runs"]):
            print(f"{folder}/: {', '.join(sorted(p.name for p in folder.glob('*.png')))}")

    def _folder(self, name: str, alone: bool) -> Path:
        if self.out is None:
            return Path("runs") / f"{name}-{self.recipe.recipe}"
        return self.out if alone else self.out / name

    def _check_numbers(self) -> None:
        several, cpu_devices = self.several, self.devices.cpu_devices
        for flag, value in {
            "--seeds-per-batch": self.devices.seeds_per_batch,
            "--cpu-devices": cpu_devices,
            "--save-every": self.record.save_every,
            "--hosts": several.hosts,
            "--join-timeout": several.join_timeout,
        }.items():
            if value is not None and value < 1:
                raise InputError(f"{flag} {value}: expected at least 1")
        if several.coordinator is not None and not re.fullmatch(r".+:\d+", several.coordinator):
            raise InputError(f"--coordinator {several.coordinator}: expected address:port")
        given = [several.coordinator, several.hosts, several.host]
        if any(value is not None for value in given) and (several.cluster or None in given):
            raise InputError("give --coordinator, --hosts and --host together, without --cluster")
        if cpu_devices is not None and (several.cluster or several.coordinator is not None):
            raise InputError(
                f"--cpu-devices {cpu_devices}: on several hosts set JAX_NUM_CPU_DEVICES"
            )
        if several.hosts is not None and several.host not in range(several.hosts):
            raise InputError(f"--host {several.host}: expected 0..{several.hosts - 1}")
