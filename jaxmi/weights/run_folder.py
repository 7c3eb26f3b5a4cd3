"""A run on disk: `run.json`, `metrics.jsonl`, and a checkpoint per seed."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.training.recipe import Recipe
from jaxmi.training.seeds import SeedResult
from jaxmi.types import Params
from jaxmi.weights.native import whole_folder, write_checkpoint, write_json


class RunFolder:
    """Writes a run as it goes: seeds that are finished are whole on disk, whatever comes after.

    Use it as a context: if training fails before any seed is finished, the folder is taken away and
    an earlier run that it was to replace is put back.
    """

    def __init__(
        self,
        path: Path,
        challenge: Challenge,
        recipe_name: str,
        recipe: Recipe,
        force: bool = False,
    ) -> None:
        """Makes the folder and its `run.json`.

        Args:
          path: The folder; made with its parents.
          challenge: What is trained on.
          recipe_name: The recipe's name, for the record.
          recipe: All of its numbers.
          force: Replace an earlier run there; until the new one is finished, the earlier one is
            kept beside it under a name that ends in ".old".

        Raises:
          InputError: if the folder holds something already, or cannot be written.
        """
        self.path = path
        self.runs: list[dict[str, Any]] = []
        """An entry per finished seed: its accuracies, its times, its checkpoint."""
        self._challenge = challenge
        self._facts = {
            "challenge": challenge.name,
            "model": asdict(challenge.model.config),
            "recipe": {"name": recipe_name, **asdict(recipe)},
            "jaxmi_version": jaxmi.__version__,
        }
        check_free(path, force)
        self._old: Path | None = None
        try:
            if path.is_dir():
                self._old = path.resolve().rename(_old_name(path))
            path.resolve().mkdir(parents=True)
            self._write_record(finished=False)
        except OSError as error:
            raise InputError(f"cannot write to {path}: {error.strerror}") from error

    def __enter__(self) -> "RunFolder":
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Undoes everything if training failed before any seed was finished."""
        if kind is not None and not self.runs:
            shutil.rmtree(self.path.resolve(), ignore_errors=True)
            if self._old is not None:
                self._old.rename(self.path.resolve())

    def add(self, result: SeedResult) -> None:
        """Evaluates and saves one seed's network.

        Writes the checkpoint after the last step to `seed-00000/` and, if it is another, the one at
        the best step to `seed-00000/best/`; appends the learning curve to `metrics.jsonl`.
        """
        path = self.path / f"seed-{result.seed:05d}"
        last = result.curve[-1]
        metrics = {**self._evaluate(result.params), "best_step": result.best_step}
        metrics["loss"] = last["loss"]
        with whole_folder(path) as folder:
            config = {**self._facts, "seed": result.seed, "step": last["step"]}
            write_checkpoint(folder, result.params, config, metrics)
            if result.best_step != last["step"]:
                (folder / "best").mkdir()
                best = self._evaluate(result.best_params)
                best["selected_on"] = self._challenge.selection_split
                config["step"] = result.best_step
                write_checkpoint(folder / "best", result.best_params, config, best)
        with (self.path / "metrics.jsonl").open("a") as lines:
            for point in result.curve:
                lines.write(json.dumps({"seed": result.seed, **point}, allow_nan=False) + "\n")
        self.runs.append(
            {
                "challenge": self._challenge.name,
                "seed": result.seed,
                "recipe": self._facts["recipe"]["name"],
                "steps": last["step"],
                **metrics,
                "train_seconds": round(result.train_seconds, 3),
                "compile_seconds": round(result.compile_seconds, 3),
                "checkpoint": str(path),
            }
        )
        self._write_record(finished=False)

    def finish(self) -> None:
        """Records that every seed is there, and removes the run that this one replaced."""
        self._write_record(finished=True)
        if self._old is not None:
            shutil.rmtree(self._old, ignore_errors=True)

    def _evaluate(self, params: Params) -> dict[str, Any]:
        return {**self._challenge.metrics(self._challenge.logits(params).argmax(axis=-1))}

    def _write_record(self, finished: bool) -> None:
        record: Mapping[str, Any] = {**self._facts, "finished": finished, "runs": self.runs}
        write_json(self.path / "run.json", record)


def check_free(path: Path, force: bool) -> None:
    """Checks that a run can be written to a folder without losing anything.

    Raises:
      InputError: if the path is a file, or a folder that is not empty, unless it is an earlier run
        and `force` is given.
    """
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; name a folder")
        if not path.is_dir() or not any(path.iterdir()):
            return
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}") from error
    if not (path / "run.json").is_file():
        raise InputError(f"{path} is not empty and holds no run; name another folder")
    if not force:
        raise InputError(f"{path} holds a run already; --force replaces it")
    if _old_name(path).exists():
        raise InputError(
            f"{_old_name(path)} is left of an earlier --force; keep or remove it first"
        )


def _old_name(path: Path) -> Path:
    path = path.resolve()
    return path.with_name(f"{path.name}.old")
