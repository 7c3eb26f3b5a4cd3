"""How a study is conducted: train the missing networks, measure each of them, conclude.

The measurements of a network are stored beside the result, with a fingerprint of the network. So a
study that was stopped is resumed, and one with more seeds measures only the new networks.
"""

import hashlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import jaxmi
from jaxmi.errors import InputError, StoppedError
from jaxmi.settings import with_fixed_settings
from jaxmi.storage.archive import read_archive, write_archive
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.storage.runs import RunFolder, check_run_folder, read_curve, run_facts
from jaxmi.studies.study import Conclusion, Measured, Study, Trained, Training
from jaxmi.training.devices import batch_width
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import Watcher, train_seeds

Watch = Callable[[Training, int], AbstractContextManager[Watcher]]
"""(training, number of seeds to train) -> a watcher of their progress."""

SCHEMA = "jaxmi study result, version 1"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
FINGERPRINT, SECONDS, COMMIT = "_fingerprint", "_seconds", "_commit"
"""The names of what is stored beside the measurements of a network."""


@dataclass(frozen=True)
class NetworkStore:
    """Run folders side by side, one per training, like those of `jaxmi regenerate`.

    The run of a challenge that a user made is found under any name, by what it was made from.
    """

    folder: Path
    watch: Watch
    stop: Callable[[], bool]
    """Says whether training was asked to stop."""
    _found: dict[str, Path] = field(default_factory=dict)
    """Training's name -> its run folder."""

    def train_missing(self, training: Training, seeds: Sequence[int]) -> float:
        """Train the seeds that the run folder does not hold.

        Returns:
          The seconds of training of all these seeds, whenever they were trained, with each
          compilation counted once.

        Raises:
          InputError: if the folder holds another run, or cannot be used.
          DivergedError: if seeds diverge; the others are saved.
          UnavailableError: if the training state cannot be saved.
          StoppedError: if `stop` said so; the same call resumes.
        """
        challenge, recipe = training.challenge, training.recipe
        with RunFolder(
            self._path(training), challenge, training.recipe_name, recipe, variant=training.variant
        ) as folder:
            missing = folder.unfinished(seeds)
            if missing:
                with self.watch(training, len(missing)) as watcher:
                    results = train_seeds(
                        challenge,
                        recipe,
                        missing,
                        width=batch_width(challenge, recipe, len(seeds)),
                        watchers=[folder, watcher],
                        store=StateStore(folder.state_path),
                        stop=self.stop,
                    )
                    with closing(results):
                        for result in results:
                            folder.add(result)
            folder.finish(seeds)
            runs = [run for run in folder.runs if run["seed"] in set(seeds)]
        compilations = {run["compile_seconds"] for run in runs}
        return sum(run["train_seconds"] for run in runs) + sum(compilations)

    def load(self, training: Training, seed: int) -> Trained:
        """Read a trained network.

        Raises:
          InputError: if it is missing or damaged.
        """
        path = self.checkpoint(training, seed)
        return Trained(seed, load_checkpoint(path).params, read_curve(path))

    def checkpoint(self, training: Training, seed: int) -> Path:
        """Return the folder of a network."""
        return self._path(training) / f"seed-{seed:05d}"

    def _path(self, training: Training) -> Path:
        if training.name not in self._found:
            self._found[training.name] = self._find(training)
        return self._found[training.name]

    def _find(self, training: Training) -> Path:
        path, challenge = self.folder / training.name, training.challenge
        if challenge.definition is None or training.variant or path.exists():
            return path
        facts = run_facts(challenge, training.recipe_name, training.recipe)
        for record in sorted(self.folder.glob("*/run.json")):
            with suppress(InputError):  # another run, or none that can be read
                check_run_folder(record.parent, facts, force=False)
                return record.parent
        return path


@with_fixed_settings
def conduct(
    study: Study,
    trainings: Sequence[Training],
    seeds: Sequence[int],
    quick: bool,
    networks: NetworkStore,
    folder: Path,
    log: Callable[[str], None],
    remeasure: bool = False,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Conduct a study.

    Args:
      study: The study.
      trainings: What it trains.
      seeds: The seeds of each training.
      quick: Whether the trainings are the quick ones.
      networks: Where networks are read from and written to.
      folder: Where this study's measurements are stored.
      log: Takes a line that says what is done next.
      remeasure: Measure again what was measured before.
      about: The challenge that the user named, as the result has it; None: none.

    Returns:
      The result, as JSON types; `result.schema.json` describes it.

    Raises:
      InputError, DivergedError, UnavailableError, StoppedError: as `NetworkStore.train_missing`.
    """
    measurements: dict[str, dict[int, Measured]] = {}
    networks_used, seconds_measuring, n_new = [], 0.0, 0
    commits: set[str] = set()
    for number, training in enumerate(trainings, 1):
        log(f"{study.name}: networks {number} of {len(trainings)}, {training.name}")
        own_seeds = seeds[: training.max_seeds]
        seconds = networks.train_missing(training, own_seeds)
        networks_used.append(_provenance(training, own_seeds, seconds))
        measurements[training.name] = {}
        for seed in own_seeds:
            if networks.stop():
                raise StoppedError(f"stopped before seed {seed} of {training.name} was measured")
            other = own_seeds[(list(own_seeds).index(seed) + 1) % len(own_seeds)]
            pair = (seed, other) if study.compares and other != seed else (seed,)
            measured, is_new = _measure(study, training, pair, networks, folder, remeasure)
            n_new += is_new
            seconds_measuring += float(measured.pop(SECONDS))
            commits.add(str(measured.pop(COMMIT, "")))
            del measured[FINGERPRINT]
            measurements[training.name][seed] = measured
    n = sum(len(by_seed) for by_seed in measurements.values())
    log(f"{study.name}: {n_new} networks measured, {n - n_new} read from {folder}; concluding")
    start = time.perf_counter()
    conclusion = study.conclude(trainings, measurements)
    seconds_measuring += time.perf_counter() - start
    return _result(
        study, conclusion, seeds, quick, networks_used, sorted(commits), seconds_measuring, about
    )


def _measure(
    study: Study,
    training: Training,
    seeds: Sequence[int],
    networks: NetworkStore,
    folder: Path,
    remeasure: bool,
) -> tuple[dict[str, np.ndarray], bool]:
    """Measure a network, or read what was measured on it before.

    Args:
      study: The study.
      training: What the network belongs to.
      seeds: Its seed, then that of the network that it is compared with, if the study does that.
      networks: Where networks are read from.
      folder: Where measurements are stored.
      remeasure: Measure again what was measured before.

    Returns:
      The measurements, with what is stored beside them; whether they are new.
    """
    path = folder / training.name / f"seed-{seeds[0]:05d}.npz"
    parameters = b""
    for seed in seeds:
        checkpoint = networks.checkpoint(training, seed)
        try:
            parameters += (checkpoint / "params.safetensors").read_bytes()
        except OSError as error:
            raise InputError(f"{error.filename}: {error.strerror}; remove {checkpoint}") from error
    fingerprint = hashlib.sha256(parameters + jaxmi.__version__.encode()).hexdigest()
    if path.is_file() and not remeasure:
        stored = read_archive(path)
        if str(stored.get(FINGERPRINT)) == fingerprint:
            return stored, False
    start = time.perf_counter()
    trained = networks.load(training, seeds[0])
    if len(seeds) > 1:
        trained = replace(trained, other=networks.load(training, seeds[1]).params)
    measured = dict(study.measure(training, trained))
    measured[FINGERPRINT] = np.array(fingerprint)
    measured[SECONDS] = np.array(time.perf_counter() - start)
    measured[COMMIT] = np.array(commit() or "")
    write_archive(path, measured)
    return measured, True


def _provenance(training: Training, seeds: Sequence[int], seconds: float) -> dict[str, Any]:
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
    seconds_measuring: float,
    about: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "study": study.name,
        "question": study.question,
        "findings": {name: finding.to_json() for name, finding in conclusion.findings.items()},
        "data": dict(conclusion.data),
        "provenance": {
            "jaxmi_version": jaxmi.__version__,
            "commit": commit(),
            "measured_at": [name or None for name in commits],
            "versions": {name: version(name) for name in PACKAGES},
            "seeds": list(seeds),
            "quick": quick,
            **({} if about is None else {"challenge": dict(about)}),
            "networks": networks,
            "train_seconds": round(sum(runs["train_seconds"] for runs in networks), 1),
            "measure_seconds": round(seconds_measuring, 1),
        },
    }


@cache
def commit() -> str | None:
    """Return the source's commit, with "+" if files have changed since; None if installed."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # fails if installed below another checkout
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(here.parents[1]))
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
