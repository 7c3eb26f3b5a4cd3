"""Conducts a study: trains what is missing, measures what is not measured, concludes.

What was measured on a network is kept beside the result, with a fingerprint of the network, so that
a study that was stopped goes on, and one with more seeds measures only the new ones.

A study's networks: read from their run folder, trained first where they are missing.
"""

import hashlib
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import jaxmi
from jaxmi.errors import InputError, StoppedError
from jaxmi.storage.archive import read_archive, write_archive
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.storage.runs import RunFolder, read_curve
from jaxmi.studies.study import Conclusion, Measured, Study, Trained, Training
from jaxmi.training.devices import batch_width
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import Watcher, train_seeds

Watch = Callable[[Training, int], AbstractContextManager[Watcher]]
"""(training, seeds to train) -> what is told of their progress."""


@dataclass(frozen=True)
class NetworkStore:
    """Run folders side by side, like those of `jaxmi regenerate`, one per training."""

    folder: Path
    watch: Watch
    stop: Callable[[], bool]
    """Says whether training was asked to stop."""

    def fill(self, training: Training, seeds: Sequence[int]) -> float:
        """Trains those seeds that are not there.

        Returns:
          Seconds that training took all of them, now or before, each compilation counted once.

        Raises:
          InputError: if the folder holds another run, or cannot be used.
          DivergedError: if seeds diverge; the others are there.
          UnavailableError: if the training state cannot be saved.
          StoppedError: if `stop` said so; the same call goes on.
        """
        challenge, recipe = training.challenge, training.recipe
        with RunFolder(
            self._path(training), challenge, training.recipe_name, recipe, variant=training.variant
        ) as folder:
            left = folder.unfinished(seeds)
            if left:
                with self.watch(training, len(left)) as watcher:
                    for result in train_seeds(
                        challenge,
                        recipe,
                        left,
                        width=batch_width(challenge, recipe, len(seeds)),
                        watchers=[folder, watcher],
                        store=StateStore(folder.state_path),
                        stop=self.stop,
                    ):
                        folder.add(result)
            folder.finish(seeds)
            runs = [run for run in folder.runs if run["seed"] in set(seeds)]
        compiled = {run["compile_seconds"] for run in runs}
        return sum(run["train_seconds"] for run in runs) + sum(compiled)

    def load(self, training: Training, seed: int) -> Trained:
        """Reads a network that is there.

        Raises:
          InputError: if it is not, or is damaged.
        """
        path = self.checkpoint(training, seed)
        return Trained(seed, load_checkpoint(path).params, read_curve(path))

    def checkpoint(self, training: Training, seed: int) -> Path:
        """Where a network is."""
        return self._path(training) / f"seed-{seed:05d}"

    def _path(self, training: Training) -> Path:
        return self.folder / training.name


SCHEMA = "jaxmi study result, version 1"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
FINGERPRINT, SECONDS, COMMIT = "_fingerprint", "_seconds", "_commit"
"""What is kept beside what was measured."""


def conduct(
    study: Study,
    trainings: Sequence[Training],
    seeds: Sequence[int],
    quick: bool,
    networks: NetworkStore,
    folder: Path,
    tell: Callable[[str], None],
    anew: bool = False,
) -> dict[str, Any]:
    """Conducts a study.

    Args:
      study: Which.
      trainings: What it trains.
      seeds: Of each training.
      quick: Whether they are trained few steps only, to see that it works.
      networks: Where networks are, or will be.
      folder: Where this study's measurements are kept.
      tell: Is told what is done next.
      anew: Measure also what was measured before.

    Returns:
      The result, as JSON types; `result.schema.json` describes it.

    Raises:
      InputError, DivergedError, UnavailableError, StoppedError: as `NetworkStore.fill`.
    """
    measured: dict[str, dict[int, Measured]] = {}
    facts, measuring, n_new = [], 0.0, 0
    commits: set[str] = set()
    for number, training in enumerate(trainings, 1):
        tell(f"{study.name}: networks {number} of {len(trainings)}, {training.name}")
        own_seeds = seeds[: training.max_seeds]
        seconds = networks.fill(training, own_seeds)
        facts.append(_facts(training, own_seeds, seconds))
        measured[training.name] = {}
        for seed in own_seeds:
            if networks.stop():
                raise StoppedError(f"stopped before seed {seed} of {training.name} was measured")
            found, is_new = _measure(study, training, seed, networks, folder, anew)
            n_new += is_new
            measuring += float(found.pop(SECONDS))
            commits.add(str(found.pop(COMMIT, "")))
            del found[FINGERPRINT]
            measured[training.name][seed] = found
    n = sum(len(of) for of in measured.values())
    tell(f"{study.name}: {n_new} networks measured, {n - n_new} known already; concluding")
    began = time.perf_counter()
    conclusion = study.conclude(trainings, measured)
    measuring += time.perf_counter() - began
    return _result(study, conclusion, seeds, quick, facts, sorted(commits), measuring)


def _measure(
    study: Study,
    training: Training,
    seed: int,
    networks: NetworkStore,
    folder: Path,
    anew: bool,
) -> tuple[dict[str, np.ndarray], bool]:
    """Measures a network, or reads what was measured on it before; with what is kept beside.

    Returns:
      What was measured; whether it was now.
    """
    path = folder / training.name / f"seed-{seed:05d}.npz"
    checkpoint = networks.checkpoint(training, seed)
    try:
        parameters = (checkpoint / "params.safetensors").read_bytes()
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; remove {checkpoint}") from error
    mark = hashlib.sha256(parameters + jaxmi.__version__.encode()).hexdigest()
    if path.is_file() and not anew:
        known = read_archive(path)
        if str(known.get(FINGERPRINT)) == mark:
            return known, False
    began = time.perf_counter()
    found = dict(study.measure(training, networks.load(training, seed)))
    found |= {FINGERPRINT: np.array(mark), SECONDS: np.array(time.perf_counter() - began)}
    found[COMMIT] = np.array(commit() or "")
    write_archive(path, found)
    return found, True


def _facts(training: Training, seeds: Sequence[int], seconds: float) -> dict[str, Any]:
    return {
        "name": training.name,
        "challenge": training.challenge.name,
        "variant": training.variant,
        "recipe": {"name": training.recipe_name, **asdict(training.recipe)},
        "seeds": len(seeds),
        "train_seconds": round(seconds, 1),
    }


def _result(
    study: Study,
    conclusion: Conclusion,
    seeds: Sequence[int],
    quick: bool,
    networks: list[dict[str, Any]],
    commits: list[str],
    measuring: float,
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "study": study.name,
        "question": study.question,
        "findings": {name: found.to_json() for name, found in conclusion.findings.items()},
        "data": dict(conclusion.data),
        "provenance": {
            "jaxmi_version": jaxmi.__version__,
            "commit": commit(),
            "measured_at": [one or None for one in commits],
            "versions": {name: version(name) for name in PACKAGES},
            "seeds": list(seeds),
            "quick": quick,
            "networks": networks,
            "train_seconds": round(sum(one["train_seconds"] for one in networks), 1),
            "measure_seconds": round(measuring, 1),
        },
    }


@cache
def commit() -> str | None:
    """The source's commit, with a plus sign if files have changed; None if installed."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # else it is installed in another's checkout
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(here.parents[1]))
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
