"""A run on disk: `run.json`, `metrics.jsonl`, a checkpoint per seed, the state of unfinished ones.

The seeds' folders are the truth: each appears whole or not at all. `run.json` and `metrics.jsonl`
follow from them and are written anew whenever a run goes on.

Who may write to a run folder: one process, and only the run that is there already.
"""

import fcntl
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.storage.atomic import whole_folder
from jaxmi.storage.checkpoints import CURVE, read_curve, read_json, write_checkpoint, write_json
from jaxmi.training.recipe import Recipe
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import Curves, Point, SeedResult
from jaxmi.types import Params

_NOTHING = (".lock", ".run.json.tmp")
"""What a run that could not begin leaves in its folder."""

_SET_ASIDE = ".set-aside"
"""Marks a run that was set aside, so that no other folder of such a name is taken for one."""


def check_free(path: Path, facts: Mapping[str, Any], force: bool) -> None:
    """Checks that a run can be written to a folder without losing anything.

    Args:
      path: The folder, which need not exist.
      facts: What defines the run, as in its `run.json`: names -> values, nested.
      force: Whether an earlier run may be replaced.

    Raises:
      InputError: if the path is a file, a folder that is not empty and holds no run, or, without
        `force`, another run; names what is different. With `force`, if a folder that is no run of
        ours has the name under which the earlier run would be kept.
    """
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; name a folder")
        if not path.is_dir() or all(entry.name in _NOTHING for entry in path.iterdir()):
            return
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}") from error
    if not (path / "run.json").is_file():
        raise InputError(f"{path} is not empty and holds no run; name another folder")
    if force:
        if old_name(path).exists() and not _is_set_aside(path):
            raise InputError(f"{old_name(path)} is in the way of --force; rename it first")
        return
    wanted, there = _flatten(facts), _flatten(read_json(path / "run.json"))
    for name, value in wanted.items():
        if there.get(name) != value:
            raise InputError(
                f"{path} holds a run with {name} = {there.get(name)!r}, asked for is {value!r}; "
                "name another folder, or jaxmi regenerate --force replaces it"
            )


def lock(path: Path) -> TextIO:
    """Takes a folder for this process, as long as the file is open; a killed one lets go.

    Raises:
      InputError: if another process has it.
    """
    file = (path / ".lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise InputError(f"{path} is in use by another process") from error
    return file


def set_aside(path: Path) -> None:
    """Renames an earlier run to `NAME.old`; if one is there already, that one is the kept one."""
    lock(path).close()  # nobody is at work there
    if _is_set_aside(path):
        shutil.rmtree(path.resolve())
    else:
        (path / _SET_ASIDE).touch()
        path.resolve().rename(old_name(path))


def put_back(path: Path) -> None:
    """Undoes a run that came to nothing: removes it, and puts back the one that was set aside."""
    target = path.resolve()
    remove(path)
    if _is_set_aside(path):
        old_name(path).rename(target)
        (target / _SET_ASIDE).unlink()


def remove_set_aside(path: Path) -> None:
    """Removes the run that was set aside for this one, if there is one."""
    if _is_set_aside(path):
        remove(old_name(path))


def _is_set_aside(path: Path) -> bool:
    return (old_name(path) / _SET_ASIDE).is_file()


def remove(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path.resolve(), ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def old_name(path: Path) -> Path:
    """Where a run is kept that is being replaced."""
    path = path.resolve()
    return path.with_name(f"{path.name}.old")


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"recipe": {"steps": 1}} -> {"recipe.steps": 1}."""
    flat = {}
    for name, value in tree.items():
        inner = _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else None
        flat |= inner if inner is not None else {f"{prefix}{name}": value}
    return flat


_TIMES = ("train_seconds", "compile_seconds")


class RunFolder:
    """Writes a run as it goes; a `seeds.Watcher`. Use it as a context: only one process may.

    A folder that holds the same run already is gone on with. Of several hosts, each writes its own
    seeds and the first one the record of all; they must share the file system.
    """

    def __init__(
        self,
        path: Path,
        challenge: Challenge,
        recipe_name: str,
        recipe: Recipe,
        force: bool = False,
        host: int = 0,
        variant: str | None = None,
    ) -> None:
        """Opens the folder, or makes it.

        Args:
          path: The folder; made with its parents.
          challenge: What is trained on.
          recipe_name: The recipe's name, for the record.
          recipe: All of its numbers.
          force: Begin anew, even if a run is there; until the new one is finished, the earlier one
            is kept beside it under a name that ends in ".old".
          host: This host's number; 0 makes the folder, before the others open it.
          variant: How its labels or splits differ from the published challenge's, if they do.

        Raises:
          InputError: if the folder holds something else or another run, is in use by another
            process, or cannot be written.
        """
        self.path, self._challenge, self._host = path, challenge, host
        self._facts = {
            "challenge": challenge.name,
            "model": challenge.model_config,
            "recipe": {"name": recipe_name, **asdict(recipe)},
            "jaxmi_version": jaxmi.__version__,
            "variant": variant,
        }
        self._live: TextIO | None = None
        self._lock: TextIO | None = None
        try:
            if host == 0:
                check_free(path, self._facts, force)
                if force and (path / "run.json").is_file():
                    set_aside(path)
                path.resolve().mkdir(parents=True, exist_ok=True)
                self._lock = lock(path)
                for half_written in (*path.glob(".seed-*"), *path.glob("metrics-host-*.jsonl")):
                    remove(half_written)
            elif not (path / "run.json").is_file():
                raise InputError(f"{path}: host {host} does not see the folder that host 0 made")
            self.runs = self._read_runs()
            if host == 0:
                self._write_record(finished=False)
                self._write_curves(path / "metrics.jsonl")
            live = "metrics.jsonl" if host == 0 else f"metrics-host-{host:05d}.jsonl"
            self._live = (path / live).open("a")
        except OSError as error:
            if self._lock is not None and not self._read_runs():
                put_back(path)
            self.close()
            raise InputError(f"cannot write to {path}: {error.strerror}") from error
        except InputError:
            self.close()
            raise

    def __enter__(self) -> "RunFolder":
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Undoes everything if training failed before there was anything to keep."""
        kept = self.state_path.exists() or any(self.path.glob("seed-*"))  # by any host
        if kind is not None and self._host == 0 and not kept:
            put_back(self.path)
        self.close()

    def close(self) -> None:
        """Lets other processes at the folder."""
        for file in (self._live, self._lock):
            if file is not None:
                file.close()

    def left(self, seeds: Sequence[int]) -> list[int]:
        """Returns those seeds that are not finished."""
        finished = {run["seed"] for run in self.runs}
        return [seed for seed in seeds if seed not in finished]

    def resumed(self, curves: Curves) -> None:
        """Notes the curves so far of seeds that go on."""
        for seed, curve in curves.items():
            self._append(seed, curve)

    def advanced(self, points: dict[int, Point]) -> None:
        """Notes a point of each seed's curve in `metrics.jsonl`."""
        for seed, point in points.items():
            self._append(seed, [point])

    def add(self, result: SeedResult) -> None:
        """Evaluates and saves one seed's network.

        Writes the checkpoint after the last step to `seed-00000/`, with its learning curve in
        `curve.jsonl`, and, if it is another, the checkpoint at the best step to `seed-00000/best/`.
        """
        last = result.curve[-1]
        metrics = {**self._evaluate(result.params), "best_step": result.best_step}
        metrics["loss"] = last["loss"]
        config = {
            **self._facts,
            "seed": result.seed,
            "step": last["step"],
            **{name: round(getattr(result, name), 3) for name in _TIMES},
        }
        with whole_folder(self.seed_path(result.seed)) as folder:
            write_checkpoint(folder, result.params, config, metrics)
            with (folder / CURVE).open("w") as lines:
                lines.writelines(map(_line, result.curve))
            if result.best_step != last["step"]:
                (folder / "best").mkdir()
                best = self._evaluate(result.best_params)
                best["selected_on"] = self._challenge.selection_split
                config["step"] = result.best_step
                write_checkpoint(folder / "best", result.best_params, config, best)
        self.runs.append(self._entry(result.seed, config, metrics))
        if self._host == 0:
            self._write_record(finished=False)

    def finish(self, seeds: Sequence[int]) -> list[int]:
        """Records all hosts' seeds, and removes the saved state and the run that was replaced.

        The state stays if it has seeds that are under way and were not asked for this time.

        Args:
          seeds: What was asked for.

        Returns:
          Those of them that are not there: they diverged.
        """
        self.runs = self._read_runs()
        saved = (batch.seeds for batch in StateStore(self.state_path).load())
        under_way = any(self.left(seeds) for seeds in saved)
        missing = self.left(seeds)
        if self._host or not self.runs:
            return missing
        self._write_curves(self.path / "metrics.jsonl")
        for other_hosts in self.path.glob("metrics-host-*.jsonl"):
            remove(other_hosts)
        if not under_way:
            remove(self.state_path)
        self._write_record(finished=not under_way and not missing)
        remove_set_aside(self.path)
        return missing

    @property
    def state_path(self) -> Path:
        """Where the state of unfinished seeds is."""
        return self.path / "state"

    def seed_path(self, seed: int) -> Path:
        """Where a seed's checkpoint is, or will be."""
        return self.path / f"seed-{seed:05d}"

    def curve(self, seed: int) -> list[Point]:
        """Reads a finished seed's learning curve."""
        return read_curve(self.seed_path(seed))

    def _append(self, seed: int, curve: Iterable[Point]) -> None:
        assert self._live is not None
        self._live.writelines(_line({"seed": seed, **point}) for point in curve)
        self._live.flush()

    def _evaluate(self, params: Params) -> dict[str, Any]:
        return {**self._challenge.metrics(self._challenge.logits(params).argmax(axis=-1))}

    def _read_runs(self) -> list[dict[str, Any]]:
        """An entry per finished seed, by number, from the seeds' folders."""
        runs = []
        for path in self.path.glob("seed-*[0-9]"):
            config, metrics = read_json(path / "config.json"), read_json(path / "metrics.json")
            try:
                runs.append(self._entry(config["seed"], config, metrics))
            except KeyError as error:
                raise InputError(f"{path}/config.json lacks {error}") from error
        return sorted(runs, key=lambda run: run["seed"])

    def _entry(
        self, seed: int, config: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "challenge": self._challenge.name,
            "seed": seed,
            "recipe": self._facts["recipe"]["name"],
            "steps": config["step"],
            **metrics,
            **{name: config[name] for name in _TIMES},
            "checkpoint": str(self.seed_path(seed)),
        }

    def _write_record(self, finished: bool) -> None:
        runs = sorted(self.runs, key=lambda run: run["seed"])
        write_json(self.path / "run.json", {**self._facts, "finished": finished, "runs": runs})

    def _write_curves(self, path: Path) -> None:
        with path.open("w") as lines:
            for run in self.runs:
                for point in self.curve(run["seed"]):
                    lines.write(_line({"seed": run["seed"], **point}))


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, allow_nan=False) + "\n"
