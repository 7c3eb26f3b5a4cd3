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
from jaxmi.weights.native import save_checkpoint, write_json


class RunFolder:
    """Writes a run as it goes: seeds that are finished are whole on disk, whatever comes after."""

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
          force: Replace an earlier run there.

        Raises:
          InputError: if the folder holds something already, or cannot be written.
        """
        self.path = path
        self._challenge = challenge
        self._facts = {
            "challenge": challenge.name,
            "model": asdict(challenge.model.config),
            "recipe": {"name": recipe_name, **asdict(recipe)},
            "jaxmi_version": jaxmi.__version__,
        }
        check_free(path, force)
        try:
            if path.is_dir():
                shutil.rmtree(path)
            path.mkdir(parents=True)
            write_json(path / "run.json", {**self._facts, "finished": False, "runs": []})
        except OSError as error:
            raise InputError(f"cannot write to {path}: {error.strerror}") from error

    def __enter__(self) -> "RunFolder":
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Takes the folder away again if training failed before any seed was finished."""
        if kind is not None and not any(self.path.glob("seed-*")):
            shutil.rmtree(self.path, ignore_errors=True)

    def add(self, result: SeedResult) -> dict[str, Any]:
        """Evaluates and saves one seed's network.

        Writes the checkpoint after the last step to `seed-00000/` and, if it is another, the one at
        the best step to `seed-00000/best/`; appends the learning curve to `metrics.jsonl`.

        Returns:
          The seed's entry for `run.json`.
        """
        path = self.path / f"seed-{result.seed:05d}"
        last_step = int(result.curve[-1]["step"])
        metrics = self._evaluate(result.params)
        metrics |= {"best_step": result.best_step, "loss": result.curve[-1]["loss"]}
        self._save(path, result, result.params, last_step, metrics)
        if result.best_step != last_step:
            best = self._evaluate(result.best_params)
            best["selected_on"] = self._challenge.selection_split
            self._save(path / "best", result, result.best_params, result.best_step, best)
        with (self.path / "metrics.jsonl").open("a") as lines:
            for point in result.curve:
                lines.write(json.dumps({"seed": result.seed, **point}) + "\n")
        return {
            "challenge": self._challenge.name,
            "seed": result.seed,
            "recipe": self._facts["recipe"]["name"],
            "steps": last_step,
            **metrics,
            "train_seconds": round(result.train_seconds, 3),
            "compile_seconds": round(result.compile_seconds, 3),
            "checkpoint": str(path),
        }

    def finish(self, runs: list[dict[str, Any]]) -> None:
        """Records that every seed is there."""
        write_json(self.path / "run.json", {**self._facts, "finished": True, "runs": runs})

    def _evaluate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._challenge.metrics(self._challenge.logits(params).argmax(axis=-1))}

    def _save(
        self, path: Path, result: SeedResult, params: Mapping[str, Any], step: int, metrics: dict
    ) -> None:
        save_checkpoint(path, params, {**self._facts, "seed": result.seed, "step": step}, metrics)


def check_free(path: Path, force: bool) -> None:
    """Checks that a run can be written to a folder without losing anything.

    Raises:
      InputError: if the path is a file, or a folder that is not empty, unless it is an earlier run
        and `force` is given.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; name a folder")
    if path.is_dir() and any(path.iterdir()):
        if not (path / "run.json").is_file():
            raise InputError(f"{path} is not empty and holds no run; name another folder")
        if not force:
            raise InputError(f"{path} holds a run already; --force replaces it")
