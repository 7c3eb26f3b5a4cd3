"""A run on disk: `run.json`, `metrics.jsonl`, a checkpoint per seed, the state of unfinished ones.

The seeds' folders are the truth: each appears whole or not at all. `run.json` and `metrics.jsonl`
follow from them and are written anew whenever a run goes on.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.training.recipe import Recipe
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import SeedResult
from jaxmi.training.trainer import Curves, Point
from jaxmi.types import Params
from jaxmi.weights.native import CURVE, read_curve, read_json, write_checkpoint, write_json
from jaxmi.weights.run_access import (
    check_free,
    lock,
    put_back,
    remove,
    remove_set_aside,
    set_aside,
)
from jaxmi.weights.whole import whole_folder

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
