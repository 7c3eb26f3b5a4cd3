"""Who may write to a run folder: one process, and only the run that is there already."""

import fcntl
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from jaxmi.errors import InputError
from jaxmi.weights.native import read_json

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
