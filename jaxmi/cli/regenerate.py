"""`jaxmi regenerate`: train the networks from scratch, save them, compare with the published."""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from jaxmi.cli.verb import Result, Verb
from jaxmi.errors import InputError
from jaxmi.training.recipe import RECIPES, Recipe

if TYPE_CHECKING:
    from jaxmi.challenges.challenge import Challenge

MAX_SEEDS = 1_000_000
"""More in one run are surely a slip of the finger."""


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
    folder in it per challenge. Default: runs/CHALLENGE-RECIPE."""

    force: bool = False
    """Replace an earlier run there."""

    seeds_per_batch: int | None = None
    """Seeds trained at once. Default: one on a CPU, all on a GPU or TPU."""

    set: tuple[str, ...] = ()
    """Change numbers of the recipe, as in `--set steps=200 learning_rate=1e-3 dropout=false`."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for cnn."""

    def run(self) -> Result:
        """Checks everything that can be checked beforehand, then trains."""
        seeds = parse_seeds(self.seeds)
        names = ("transformer", "cnn") if self.challenge == "all" else (self.challenge,)
        recipes = {name: change_recipe(RECIPES[name][self.recipe], self.set) for name in names}
        if self.seeds_per_batch is not None and self.seeds_per_batch < 1:
            raise InputError(f"--seeds-per-batch {self.seeds_per_batch}: expected at least 1")

        from jaxmi.challenges.registry import load_challenge
        from jaxmi.training.loop import check_fit
        from jaxmi.weights.run_folder import check_free

        for name in names:
            check_free(self._folder(name), self.force)
        challenges = [load_challenge(name, self.data_dir) for name in names]
        for challenge in challenges:
            check_fit(challenge, recipes[challenge.name])
        runs = [run for c in challenges for run in self._train(c, recipes[c.name], seeds)]
        return {"runs": runs}

    def show(self, result: Result) -> None:
        """Prints a table per challenge, ours against published."""
        from jaxmi.cli.table import print_comparison

        print_comparison([{**run, "name": f"seed {run['seed']}"} for run in result["runs"]])
        for folder in dict.fromkeys(Path(run["checkpoint"]).parent for run in result["runs"]):
            print(f"{folder}/: {', '.join(sorted(p.name for p in folder.glob('*.png')))}")

    def _folder(self, name: str) -> Path:
        if self.out is None:
            return Path("runs") / f"{name}-{self.recipe}"
        return self.out / name if self.challenge == "all" else self.out

    def _train(
        self, challenge: "Challenge", recipe: Recipe, seeds: list[int]
    ) -> list[dict[str, Any]]:
        from jaxmi.cli.progress import Progress
        from jaxmi.cli.run_figures import draw_run
        from jaxmi.training.seeds import train_seeds
        from jaxmi.weights.run_folder import RunFolder

        folder = RunFolder(self._folder(challenge.name), challenge, self.recipe, recipe, self.force)
        with (
            folder,
            Progress(challenge.name, recipe.steps, recipe.eval_every, len(seeds)) as progress,
        ):
            results = train_seeds(challenge, recipe, seeds, self.seeds_per_batch, progress.watch)
            curves, first = {}, None
            for result in results:  # one at a time: a thousand networks need not fit in memory
                folder.add(result)
                curves[result.seed] = result.curve
                first = first or result
            assert first is not None
            draw_run(folder.path, challenge, first, curves)
            folder.finish()
        return folder.runs


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
