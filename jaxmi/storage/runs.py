"""A run on disk: `run.json`, `metrics.jsonl`, a checkpoint per seed, the state of unfinished seeds.

The seeds' folders are authoritative: each appears complete or not at all. `run.json` and
`metrics.jsonl` follow from them and are rewritten whenever a run is resumed. One process at a time
may write to a run folder, and only to continue the run that the folder holds.
"""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import jax

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.files import check_regular_file, readable_texts, takes_any_path
from jaxmi.settings import PROCESS_VALUES, VALUES
from jaxmi.storage.atomic import atomic_folder
from jaxmi.storage.checkpoints import (
    definition_of,
    read_json,
    write_checkpoint,
    write_json,
)
from jaxmi.training.recipe import Recipe
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import Curves, Point, SeedResult
from jaxmi.types import Params

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CURVE = "curve.jsonl"
"""The file beside a run's checkpoint that holds its learning curve, a point per line."""

COMPILER_FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
"""Environment variables that pass options to JAX's compilers."""

TROJAN = "trojan"
"""The key of run.json, and of config.json, that says which trojans the networks were given."""

_TIMES = ("train_seconds", "compile_seconds")
"""Times of a `SeedResult` that its checkpoint's configuration repeats, in seconds."""


class RunFolder:
    """Writes a run while it is trained; a `seeds.Watcher`. Use it as a context manager.

    An existing run is resumed. If several hosts train, each writes its own seeds, and host 0 the
    record of all; they must share the file system.
    """

    @takes_any_path
    def __init__(
        self,
        path: Path,
        challenge: Challenge,
        recipe_name: str,
        recipe: Recipe | None,
        force: bool = False,
        host: int = 0,
        variant: str | None = None,
        trojan: str | None = None,
        beside: Callable[[int], Mapping[str, Any]] = lambda seed: {},
    ) -> None:
        """Open the folder, or make it.

        Args:
          path: The folder; made with its parents.
          challenge: What is trained on.
          recipe_name: The recipe's name, for the record.
          recipe: All of its numbers; None of a run that trains nothing.
          force: Start over, even if a run exists; until the new one is finished, the earlier one
            is kept beside it under a name that ends in ".old".
          host: This host's number; 0 makes the folder, before the others open it.
          variant: How labels or splits differ from the published challenge's, if they do.
          trojan: Which trojans the networks are given, if they are; for the record.
          beside: Seed -> further JSON files of its checkpoint, by name.

        Raises:
          InputError: if the folder holds something else or another run, is in use by another
            process, or cannot be written.
        """
        self.path, self._challenge, self._host = path, challenge, host
        self._environments: list[dict[str, Any]] = []
        self._facts = run_facts(challenge, recipe_name, recipe, variant, trojan)
        self._beside = beside
        self._metrics_file: TextIO | None = None
        self._lock: TextIO | None = None
        try:
            if host == 0:
                self._take(force)
            elif not (path / "run.json").is_file():
                raise InputError(f"{path}: host {host} does not see the folder that host 0 made")
            self.runs = self._read_runs()
            if (path / "run.json").is_file():
                known = read_json(path / "run.json").get("environments")  # earlier versions: none
                self._environments = known if isinstance(known, list) else []
            if host == 0:
                self._write_record(finished=False)
                self._write_curves(path / "metrics.jsonl")
            name = "metrics.jsonl" if host == 0 else f"metrics-host-{host:05d}.jsonl"
            self._metrics_file = (path / name).open("a", encoding="utf-8", newline="\n")
        except OSError as error:
            if self._lock is not None and not self._read_runs():
                _undo(path)
            self.close()
            raise InputError(f"cannot write to {path}: {error.strerror}") from error
        except BaseException:  # an interrupt too: a notebook's kernel would keep the lock
            self.close()
            raise

    def __enter__(self) -> "RunFolder":
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Undo everything if training failed before any host saved a state or a network."""
        has_results = self.state_path.exists() or any(self.path.glob("seed-*"))
        if kind is not None and self._host == 0 and not has_results:
            if self._metrics_file is not None:
                self._metrics_file.close()  # Windows removes no open file
            _undo(self.path)
        self.close()

    def close(self) -> None:
        """Release the folder to other processes."""
        for file in (self._metrics_file, self._lock):
            if file is not None:
                file.close()

    @property
    def state_path(self) -> Path:
        """The folder with the state of unfinished seeds."""
        return self.path / "state"

    def seed_path(self, seed: int) -> Path:
        """Return the folder of a seed's checkpoint, whether it exists yet or not."""
        return self.path / f"seed-{seed:05d}"

    def curve(self, seed: int) -> list[Point]:
        """Read a finished seed's learning curve.

        Raises:
          InputError: if it cannot be read.
        """
        return read_curve(self.seed_path(seed))

    def unfinished(self, seeds: Sequence[int]) -> list[int]:
        """Return those seeds that have no checkpoint yet."""
        finished = {run["seed"] for run in self.runs}
        return [seed for seed in seeds if seed not in finished]

    def resumed(self, curves: Curves) -> None:
        """Append the earlier curves of resumed seeds to `metrics.jsonl`."""
        for seed, curve in curves.items():
            self._append(seed, curve)

    def advanced(self, points: dict[int, Point]) -> None:
        """Append a point of each seed's curve to `metrics.jsonl`."""
        if self._host == 0 and (here := environment()) not in self._environments:
            self._environments.append(here)
            self._write_record(finished=False)
        for seed, point in points.items():
            self._append(seed, [point])

    def add(self, result: SeedResult) -> None:
        """Evaluate and save one seed's network.

        The checkpoint after the last step goes to `seed-00000/`, with its learning curve in
        `curve.jsonl`; the one at the best step, if that is another, to `seed-00000/best/`.

        Raises:
          OSError: if a file cannot be written.
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
        with atomic_folder(self.seed_path(result.seed)) as folder:
            write_checkpoint(folder, result.params, config, metrics)
            self._write_beside(folder, result.seed)
            with (folder / CURVE).open("w", encoding="utf-8", newline="\n") as lines:
                lines.writelines(map(_line, result.curve))
            if result.best_step != last["step"]:
                (folder / "best").mkdir()
                best_metrics = self._evaluate(result.best_params)
                best_metrics["selected_on"] = self._challenge.selection_split
                config["step"] = result.best_step
                write_checkpoint(folder / "best", result.best_params, config, best_metrics)
                self._write_beside(folder / "best", result.seed)
        self.runs.append(self._entry(result.seed, config, metrics))
        if self._host == 0:
            self._write_record(finished=False)

    def add_edited(self, seed: int, params: Params, base: Mapping[str, Any]) -> None:
        """Evaluate and save a network that was made of a finished one without training.

        Its learning curve is empty.

        Args:
          seed: The seed to save it under.
          params: Its parameters.
          base: The finished network's config.json: its recipe and step are taken over.

        Raises:
          OSError: if a file cannot be written.
        """
        metrics = self._evaluate(params)
        trained = {name: base[name] for name in ("recipe",) if name in base}
        config = {
            **self._facts,
            **trained,
            "seed": seed,
            "step": base.get("step", 0),
            **dict.fromkeys(_TIMES, 0.0),
        }
        with atomic_folder(self.seed_path(seed)) as folder:
            write_checkpoint(folder, params, config, metrics)
            self._write_beside(folder, seed)
            (folder / CURVE).touch()
        self.runs.append(self._entry(seed, config, metrics))
        self._write_record(finished=False)

    def finish(self, seeds: Sequence[int]) -> list[int]:
        """Record all hosts' seeds, and remove the saved state and the run that was replaced.

        The state stays if it has unfinished seeds beyond those that were asked for this time.

        Args:
          seeds: The seeds that were asked for.

        Returns:
          Those of them that have no checkpoint: they diverged.

        Raises:
          UnavailableError: if the saved state cannot be read.
        """
        self.runs = self._read_runs()
        with StateStore(self.state_path) as store:
            has_unfinished = any(self.unfinished(batch.seeds) for batch in store.load())
        missing = self.unfinished(seeds)
        if self._host or not self.runs:
            return missing
        self._write_curves(self.path / "metrics.jsonl")
        for other_hosts_metrics in self.path.glob("metrics-host-*.jsonl"):
            _remove(other_hosts_metrics)
        if not has_unfinished:
            _remove(self.state_path)
        self._write_record(finished=not has_unfinished and not missing)
        if _is_set_aside(self.path):
            _remove(_old_path(self.path))
        return missing

    def _take(self, force: bool) -> None:
        """Make the folder for this process alone, and clear what a killed process left in it."""
        check_run_folder(self.path, self._facts, force)
        if force and (self.path / "run.json").is_file():
            _set_aside(self.path)
        self.path.resolve().mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.path)
        for leftover in (*self.path.glob(".seed-*"), *self.path.glob("metrics-host-*.jsonl")):
            _remove(leftover)

    def _append(self, seed: int, curve: Iterable[Point]) -> None:
        assert self._metrics_file is not None
        self._metrics_file.writelines(_line({"seed": seed, **point}) for point in curve)
        self._metrics_file.flush()

    def _write_beside(self, folder: Path, seed: int) -> None:
        for name, content in self._beside(seed).items():
            write_json(folder / name, content)

    def _evaluate(self, params: Params) -> dict[str, Any]:
        return {**self._challenge.metrics(self._challenge.predict(params))}

    def _read_runs(self) -> list[dict[str, Any]]:
        """Read an entry per finished seed, in order, from the seeds' folders."""
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
        record = {"finished": finished, "environments": self._environments, "runs": runs}
        write_json(self.path / "run.json", {**self._facts, **record})

    def _write_curves(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="\n") as lines:
            for run in self.runs:
                for point in self.curve(run["seed"]):
                    lines.write(_line({"seed": run["seed"], **point}))


@takes_any_path
def read_curve(checkpoint: Path) -> list[Point]:
    """Read the learning curve beside a run's checkpoint.

    Args:
      checkpoint: The checkpoint's folder.

    Raises:
      InputError: if it cannot be read.
    """
    path = checkpoint / CURVE
    check_regular_file(path)
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def run_facts(
    challenge: Challenge,
    recipe_name: str,
    recipe: Recipe | None,
    variant: str | None = None,
    trojan: str | None = None,
) -> dict[str, Any]:
    """Return what defines a run, as JSON types: the part of `run.json` that never changes.

    Args:
      challenge: What is trained on.
      recipe_name: The recipe's name, for the record.
      recipe: All of its numbers; None of a run that trains nothing.
      variant: How labels or splits differ from the published challenge's, if they do.
      trojan: Which trojans the networks are given; None leaves the key out.
    """
    return {
        "challenge": challenge.name,
        "model": challenge.model_config,
        "recipe": {"name": recipe_name, **({} if recipe is None else asdict(recipe))},
        "jaxmi_version": jaxmi.__version__,
        "variant": variant,
        **({} if trojan is None else {TROJAN: trojan}),
        **definition_of(challenge),
    }


def environment() -> dict[str, Any]:
    """Return what networks depend on beside challenge, recipe and seed, as JSON types.

    The settings of JAX are the same for every run; versions, devices and the compiler's flags may
    change the last digits. `run.json` lists each environment in which a part of a run was trained.
    """
    flags = {name: os.environ[name] for name in COMPILER_FLAGS if os.environ.get(name)}
    return {
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "flags": flags,
        "settings": {**VALUES, **PROCESS_VALUES},
    }


@takes_any_path
def check_run_folder(path: Path, facts: Mapping[str, Any], force: bool) -> None:
    """Check that a run can be written to a folder without losing anything.

    Args:
      path: The folder, which need not exist.
      facts: What defines the run, as in its `run.json`: names -> values, nested.
      force: Whether an earlier run may be replaced.

    Raises:
      InputError: if the path is a file, a folder that is not empty and holds no run, or, without
        `force`, another run; names the first difference. With `force`, if a folder that is no
        replaced run has the name under which the earlier run would be kept.
    """
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; name a folder")
        if not path.is_dir() or all(entry.name in _LEFTOVERS for entry in path.iterdir()):
            return
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}") from error
    if not (path / "run.json").is_file():
        raise InputError(f"{path} is not empty and holds no run; name another folder")
    if force:
        if _old_path(path).exists() and not _is_set_aside(path):
            raise InputError(f"{_old_path(path)} is in the way of --force; rename it first")
        return
    wanted = {TROJAN: None, **_flatten(facts)}  # a run without it is no run of trojans
    existing = _flatten(read_json(path / "run.json"))
    for name, value in wanted.items():
        if existing.get(name) != value:
            raise InputError(
                f"{path} holds a run with {name} = {existing.get(name)!r}, asked for is {value!r}; "
                "name another folder, or jaxmi regenerate --force replaces it"
            )


_LEFTOVERS = (".lock", ".run.json.tmp")
"""Files that a run leaves in its folder if it fails before its first record."""


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"recipe": {"steps": 1}} -> {"recipe.steps": 1}."""
    flat = {}
    for name, value in tree.items():
        inner = _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else None
        flat |= inner if inner is not None else {f"{prefix}{name}": value}
    return flat


def _lock(path: Path) -> TextIO:
    """Lock a folder for this process until the returned file is closed or the process ends.

    Where the system has no `flock` (Windows) nothing is locked: there, whoever starts two processes
    must give each a folder of its own.

    Raises:
      InputError: if another process has locked it.
    """
    if fcntl is None:
        return io.StringIO()
    file = (path / ".lock").open("a", encoding="utf-8", newline="\n")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise InputError(f"{path} is in use by another process") from error
    except BaseException:
        file.close()
        raise
    return file


_SET_ASIDE_MARK = ".set-aside"
"""The file that marks a replaced run, to tell it from another folder of the same name."""


def _set_aside(path: Path) -> None:
    """Rename an earlier run to `NAME.old`; if that exists already, remove the newer of the two."""
    _lock(path).close()  # raises if another process is writing there
    if _is_set_aside(path):
        shutil.rmtree(path.resolve())
    else:
        (path / _SET_ASIDE_MARK).touch()
        path.resolve().rename(_old_path(path))


def _undo(path: Path) -> None:
    """Remove a run that failed before its first result, and restore the one that was set aside."""
    target = path.resolve()
    _remove(path)
    if _is_set_aside(path):
        _old_path(path).rename(target)
        (target / _SET_ASIDE_MARK).unlink()


def _is_set_aside(path: Path) -> bool:
    return (_old_path(path) / _SET_ASIDE_MARK).is_file()


def _old_path(path: Path) -> Path:
    """Return where a run is kept while it is being replaced."""
    path = path.resolve()
    return path.with_name(f"{path.name}.old")


def _remove(path: Path) -> None:
    """Remove a file or folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path.resolve(), ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(readable_texts(value), allow_nan=False) + "\n"
