"""Preemption-safe training: the state of unfinished seeds on disk, by Orbax.

A batch of seeds is saved as one Orbax checkpoint, in the background and complete or not at all; the
last good one is kept until the next is complete. It is read as plain arrays, so training can be
resumed with another number of devices or hosts.
"""

import logging
import re
import shutil
import statistics
import sys
import threading
import traceback
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from jaxmi.errors import InputError, UnavailableError
from jaxmi.models.trees import check_tensors, leaves_by_path


@dataclass(frozen=True)
class SavedBatch:
    """An unfinished batch of seeds, as it was saved."""

    seeds: tuple[int, ...]
    step: int
    """Optimiser steps taken."""
    seconds: float
    """Wall time spent on it so far."""
    arrays: dict[str, np.ndarray]
    """The leaves of the state by their paths; (rows, ...) each, a row per seed, then padding."""


class StateStore:
    """The folder `state/` of a run: one sub-folder per unfinished batch of seeds.

    Close it, or use it as a context manager: until then Orbax has threads of its own, and duplicate
    reports of its failures are silenced. A closed store may be used again.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder, which need not exist."""
        self._folder = folder.resolve()
        self._managers: dict[str, ocp.CheckpointManager] = {}
        self._until_closed = ExitStack()

    def __enter__(self) -> "StateStore":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Wait for what is being saved, and end Orbax's threads; do nothing if it is closed.

        A failed save is not reported: call `wait` before, if that matters.
        """
        try:
            while self._managers:
                _, manager = self._managers.popitem()
                self._close(manager)
        finally:
            self._until_closed.close()

    def load(self) -> Iterator[SavedBatch]:
        """Read every saved batch, the one with the most steps first.

        Raises:
          UnavailableError: if a saved state cannot be read.
        """
        return (self.read(step, name) for step, name in self.saved())

    def saved(self) -> list[tuple[int, str]]:
        """Return the steps and the names of all saved batches, the most steps first.

        Raises:
          UnavailableError: if a saved state cannot be read.
        """
        if not self._folder.is_dir():
            return []
        steps = []
        for path in self._folder.iterdir():
            with self._as_unavailable(f"cannot read the training state in {path}"):
                step = self._manager(path.name).latest_step()
                if step is not None:
                    steps.append((step, path.name))
        return sorted(steps, reverse=True)

    def read(self, step: int, name: str) -> SavedBatch:
        """Read a batch that `saved` names.

        Raises:
          UnavailableError: if it cannot be read.
        """
        with self._as_unavailable(f"cannot read the training state in {self._folder / name}"):
            manager = self._manager(name)
            args = jax.tree.map(
                lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
                dict(manager.item_metadata(step)),
            )
            saved = manager.restore(step, args=ocp.args.PyTreeRestore(restore_args=args))
        return SavedBatch(
            seeds=tuple(int(seed) for seed in saved["seeds"]),
            step=step,
            seconds=float(saved["seconds"][0]),
            arrays=saved["arrays"],
        )

    def save(self, seeds: Sequence[int], step: int, seconds: float, state: Any) -> None:
        """Start to save a batch after `step` steps; every host calls this with its part.

        The arrays are copied before this returns, so that the state may be donated.

        Args:
          seeds: The batch, in the order of the arrays' leading axis; padding rows may follow.
          step: Optimiser steps taken.
          seconds: Wall time spent on it so far.
          state: A tree of arrays sharded by seed.

        Raises:
          UnavailableError: if this or an earlier save fails; the last good state is kept.
        """
        tree = {
            "seeds": np.asarray(seeds, np.int64),
            "seconds": np.asarray([seconds]),
            "arrays": leaves_by_path(state),
        }
        self._check_space(tree)
        with self._saving():
            manager = self._manager(_name(seeds))
            manager.check_for_errors()
            manager.save(step, args=ocp.args.PyTreeSave(tree))

    def wait(self) -> None:
        """Wait until everything is on disk.

        Raises:
          UnavailableError: as `save`.
        """
        with self._saving():
            for manager in self._managers.values():
                manager.wait_until_finished()

    def remove(self, seeds: Sequence[int]) -> None:
        """Remove the state of a batch that is finished."""
        manager = self._managers.pop(_name(seeds), None)
        if manager is not None:
            self._close(manager)  # a failed save of a finished batch does not matter
        if jax.process_index() == 0:
            shutil.rmtree(self._folder / _name(seeds), ignore_errors=True)

    def _check_space(self, tree: Any) -> None:
        """Raise an error if the disk has too little space: Orbax would fail file by file."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        existing = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise UnavailableError(
                f"cannot save the training state in {self._folder}: it needs {needed:,} bytes, "
                f"the disk has {free:,} left"
            )

    def _manager(self, name: str) -> ocp.CheckpointManager:
        if not self._managers:
            self._until_closed.close()
            self._until_closed.enter_context(_silence.of_a_store())
        if name not in self._managers:
            options = ocp.CheckpointManagerOptions(max_to_keep=1, cleanup_tmp_directories=True)
            self._managers[name] = ocp.CheckpointManager(
                epath.Path(self._folder / name),
                options=options,
                item_handlers=ocp.PyTreeCheckpointHandler(),
            )
        return self._managers[name]

    def _close(self, manager: ocp.CheckpointManager) -> None:
        try:
            manager.close()
        except Exception:  # as below
            _silence.save_failed()

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Raise an error of a block that saves, or waits for it, as an `UnavailableError`."""
        with self._as_unavailable(f"cannot save the training state in {self._folder}"):
            try:
                yield
            except Exception:
                _silence.save_failed()
                raise

    @contextmanager
    def _as_unavailable(self, problem: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax passes on any exception of its storage layer
            raise UnavailableError(f"{problem}: {_reason(error)}") from error


def rebuild(saved: SavedBatch, template: Any) -> Any:
    """Return the saved arrays in the structure of a state.

    Args:
      saved: As `StateStore.load` yields it.
      template: A state of this version and recipe, (seeds, ...) each leaf, or its shapes; the
        number of seeds may differ.

    Raises:
      InputError: if another version or recipe has saved it, or its arrays do not have a row for
        each seed; names the first tensor that does not fit.
    """
    leaves = leaves_by_path(template)
    lengths = [array.shape[0] for array in saved.arrays.values() if array.ndim]
    n_rows = max(len(saved.seeds), statistics.mode(lengths or [0]))
    expected = {
        path: jax.ShapeDtypeStruct((n_rows, *leaf.shape[1:]), leaf.dtype)
        for path, leaf in leaves.items()
    }
    try:
        check_tensors(expected, saved.arrays)
    except InputError as error:
        raise InputError(
            f"the saved training state is of another version or recipe: {error}; "
            "jaxmi regenerate --force starts over"
        ) from error
    return jax.tree.unflatten(jax.tree.structure(template), [saved.arrays[path] for path in leaves])


def _reason(error: Exception) -> str:
    """Return the root cause: TensorStore's message names every file on the way, and settings."""
    message = " ".join(str(error).split())
    message = re.sub(r" \[[a-z_ ]+='.*", "", message)
    return message.rpartition('": ')[2][:300]


class _Silence:
    """Silences duplicate reports of failed saves, from the first store opened to the last closed.

    A failure is raised anyway. Orbax logs it too. And the first failure closes the event loop of
    the other writes: asyncio logs those that had failed by then, TensorStore's threads cannot
    report the rest. These late reports may follow the last close, even at the process's exit, so
    they stay silenced after a failure, until a store is closed without one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_open = 0
        self._failed = False
        self._log = ExitStack()
        self._late = ExitStack()

    def save_failed(self) -> None:
        """Take note that a save failed, of which there may be late reports."""
        self._failed = True

    @contextmanager
    def of_a_store(self) -> Iterator[None]:
        """Silence the reports while a store is open, in any thread."""
        with self._lock:
            if self._n_open == 0:
                self._failed = False
                self._log = _orbax_log_silenced()
                self._late.close()
                self._late = _late_reports_silenced()
            self._n_open += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_open -= 1
                if self._n_open == 0:
                    self._log.close()
                    if not self._failed:
                        self._late.close()


_silence = _Silence()


def _orbax_log_silenced() -> ExitStack:
    """Silence Orbax's log; return what undoes it."""
    undo = ExitStack()
    absl = logging.getLogger("absl")
    undo.callback(absl.setLevel, absl.level)
    absl.setLevel(logging.CRITICAL)
    return undo


def _late_reports_silenced() -> ExitStack:
    """Change what reports; return what undoes it, and leaves what others have changed since."""
    undo = ExitStack()
    asyncio = logging.getLogger("asyncio")

    def is_new(record: logging.LogRecord) -> bool:
        return not (record.exc_info and _is_of_orbax(record.exc_info[1]))

    asyncio.addFilter(is_new)
    undo.callback(asyncio.removeFilter, is_new)
    warnings.filterwarnings("ignore", "coroutine 'async_serialize_", RuntimeWarning)
    own = warnings.filters[0]

    def remove_own() -> None:
        with suppress(ValueError):
            warnings.filters.remove(own)  # type: ignore[attr-defined] - it is a list
            warnings._filters_mutated()  # type: ignore[attr-defined] - a private function

    undo.callback(remove_own)
    report = sys.unraisablehook

    def report_others(unraisable: Any) -> None:
        if not _is_of_a_closed_loop_of_orbax(unraisable):
            report(unraisable)

    def report_all() -> None:
        if sys.unraisablehook is report_others:
            sys.unraisablehook = report

    sys.unraisablehook = report_others
    undo.callback(report_all)
    return undo


def _is_of_orbax(error: BaseException | None) -> bool:
    """Return whether an error was raised while Orbax wrote a file, by its place or its text."""
    frames = () if error is None else traceback.walk_tb(error.__traceback__)
    raised = any("orbax" in frame.f_code.co_filename for frame, _ in frames)
    return raised or ".orbax-checkpoint-tmp" in str(error)


def _is_of_a_closed_loop_of_orbax(unraisable: Any) -> bool:
    """Return whether a write of Orbax could not report, since its event loop was closed.

    TensorStore's threads call asyncio directly: they name no object, all frames are asyncio's.
    A user's own TensorStore would report the same. Other code names an object, such as a coroutine
    or a `__del__`, or has frames of its own.
    """
    error, culprit = unraisable.exc_value, unraisable.object
    if str(error) != "Event loop is closed":
        return False
    if culprit is None:
        frames = traceback.walk_tb(error.__traceback__)
        modules = [frame.f_globals.get("__name__", "") for frame, _ in frames]
        if all(module.startswith("asyncio.") for module in modules):
            return True
    codes = (getattr(culprit, name, None) for name in ("cr_code", "ag_code", "__code__"))
    files = (getattr(code, "co_filename", "") for code in codes)
    return _is_of_orbax(error) or any("orbax" in file for file in files)


def _name(seeds: Sequence[int]) -> str:
    """Return a batch's folder name: its first seed, and a checksum of all."""
    checksum = zlib.crc32(np.asarray(seeds, np.int64).tobytes())
    return f"{seeds[0]:05d}-{checksum:08x}"
