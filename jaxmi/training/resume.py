"""Preemption-safe training: the state of unfinished seeds on disk, by Orbax.

A batch of seeds is saved as one Orbax checkpoint, in the background and whole or not at all; the
last good one is kept until the next is complete. It is read back as plain arrays and so can go on
with another number of devices or hosts.
"""

import functools
import logging
import re
import shutil
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from jaxmi.errors import InputError, UnavailableError


@dataclass(frozen=True)
class SavedBatch:
    """A batch of seeds on its way, as it was saved."""

    seeds: tuple[int, ...]
    step: int
    seconds: float
    """Wall time spent on it so far."""
    arrays: dict[str, np.ndarray]
    """The leaves of the state by their paths, seeds leading."""


class StateStore:
    """The folder `state/` of a run: one sub-folder per batch of seeds that is under way."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which need not exist."""
        self._folder = folder.resolve()
        self._managers: dict[str, ocp.CheckpointManager] = {}
        _tell_failures_once()

    def load(self) -> Iterator[SavedBatch]:
        """Reads every batch that was under way, the furthest first.

        Raises:
          UnavailableError: if what is there cannot be read.
        """
        if not self._folder.is_dir():
            return
        found = []
        for path in self._folder.iterdir():
            with self._blaming(f"cannot read the training state in {path}"):
                step = self._manager(path.name).latest_step()
                if step is not None:
                    found.append((step, path.name))
        for step, name in sorted(found, reverse=True):
            with self._blaming(f"cannot read the training state in {self._folder / name}"):
                manager = self._manager(name)
                args = jax.tree.map(
                    lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
                    dict(manager.item_metadata(step)),
                )
                saved = manager.restore(step, args=ocp.args.PyTreeRestore(restore_args=args))
            yield SavedBatch(
                seeds=tuple(int(seed) for seed in saved["seeds"]),
                step=step,
                seconds=float(saved["seconds"][0]),
                arrays=saved["arrays"],
            )

    def save(self, seeds: Sequence[int], step: int, seconds: float, state: Any) -> None:
        """Starts to save a batch after `step` steps; every host calls it with its part.

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
            "arrays": _leaves_by_path(state),
        }
        self._check_space(tree)
        with self._blaming(f"cannot save the training state in {self._folder}"):
            manager = self._manager(_name(seeds))
            manager.check_for_errors()
            manager.save(step, args=ocp.args.PyTreeSave(tree))

    def wait(self) -> None:
        """Waits until everything is on disk.

        Raises:
          UnavailableError: as `save`.
        """
        with self._blaming(f"cannot save the training state in {self._folder}"):
            for manager in self._managers.values():
                manager.wait_until_finished()

    def forget(self, seeds: Sequence[int]) -> None:
        """Removes a batch that is finished."""
        manager = self._managers.pop(_name(seeds), None)
        if manager is not None:
            with suppress(Exception):  # a save that failed does not matter any more
                manager.close()
        if jax.process_index() == 0:
            shutil.rmtree(self._folder / _name(seeds), ignore_errors=True)

    def _check_space(self, tree: Any) -> None:
        """Refuses what would not fit: Orbax would find out file by file."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        there = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < needed:
            raise UnavailableError(
                f"cannot save the training state in {self._folder}: it needs {needed:,} bytes, "
                f"the disk has {free:,} left"
            )

    def _manager(self, name: str) -> ocp.CheckpointManager:
        if name not in self._managers:
            options = ocp.CheckpointManagerOptions(max_to_keep=1, cleanup_tmp_directories=True)
            self._managers[name] = ocp.CheckpointManager(
                epath.Path(self._folder / name),
                options=options,
                item_handlers=ocp.PyTreeCheckpointHandler(),
            )
        return self._managers[name]

    @contextmanager
    def _blaming(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax raises whatever its storage layer does
            raise UnavailableError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What went wrong at the bottom: TensorStore names every file on the way, and its settings."""
    message = " ".join(str(error).split())
    message = re.sub(r" \[[a-z_ ]+='.*", "", message)
    return message.rpartition('": ')[2][:300]


@functools.cache
def _tell_failures_once() -> None:
    """Keeps stderr free of what is raised anyway when a state cannot be saved.

    Orbax logs it too. And the first failure closes the event loop of the other writes: asyncio
    logs those that had failed by then, TensorStore's threads cannot report the rest.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(
        lambda record: not (record.exc_info and ".orbax-checkpoint-tmp" in str(record.exc_info[1]))
    )
    warnings.filterwarnings("ignore", "coroutine 'async_serialize_", RuntimeWarning)
    tell = sys.unraisablehook

    def tell_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            tell(unraisable)

    sys.unraisablehook = tell_others


def rebuild(saved: SavedBatch, template: Any) -> Any:
    """Returns the saved arrays in the structure of a state.

    Args:
      saved: As `StateStore.load` yields it.
      template: A tree with the leaves that are wanted; of them the shape of one seed's counts.

    Raises:
      InputError: if another version or recipe has saved it.
    """
    wanted = _leaves_by_path(template)
    for path in sorted(wanted.keys() | saved.arrays.keys()):
        if path not in wanted or path not in saved.arrays:
            raise InputError(
                f"the saved training state is of another version: it differs in {path}"
            )
        want, have = wanted[path], saved.arrays[path]
        if (want.shape[1:], want.dtype) != (have.shape[1:], have.dtype):
            raise InputError(
                f"the saved training state has {have.dtype}{list(have.shape[1:])} for {path}, "
                f"expected {want.dtype}{list(want.shape[1:])}"
            )
    return jax.tree.unflatten(jax.tree.structure(template), [saved.arrays[path] for path in wanted])


def _leaves_by_path(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _name(seeds: Sequence[int]) -> str:
    """A folder name for a batch: its first seed, and a checksum of all."""
    checksum = zlib.crc32(np.asarray(seeds, np.int64).tobytes())
    return f"{seeds[0]:05d}-{checksum:08x}"
