"""Output that appears complete or not at all, and replaces nothing unless asked to.

Files are written under a temporary name and then renamed, so that a reader or a crash never finds
half a file. The checks come before anything is computed.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxmi.errors import InputError
from jaxmi.storage.checksums import SUMS


@contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder; if the block succeeds, move its files to `folder`, one by one.

    Other files in `folder` stay. `folder` and its parents are made only when the block succeeds.

    Raises:
      OSError: if a file cannot be written.
    """
    temporary = Path(tempfile.mkdtemp(prefix=".jaxmi-", dir=_nearest_existing(folder)))
    try:
        yield temporary
        for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
            target = folder / file.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; if the block succeeds, rename it to `path`.

    Args:
      path: The folder to make. A symbolic link is followed: its target is replaced, not the link.
      replace: Remove an existing folder once the new one is complete.

    Raises:
      OSError: if the folder cannot be written, or exists, is not empty and `replace` is not given.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    replaced = temporary.with_name(f"{temporary.name}-replaced")
    try:
        _give_usual_mode(temporary)
        yield temporary
        if replace and path.exists():
            path.rename(replaced)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced.exists():
            replaced.rename(path)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _give_usual_mode(folder: Path) -> None:
    """Give a folder that mkdtemp made for its owner alone the mode that mkdir would give it.

    The umask is asked by making a folder: setting it would change that of other threads.
    """
    probe = folder / "mode"
    probe.mkdir()
    folder.chmod(
        stat.S_IMODE(probe.stat().st_mode) | (stat.S_IMODE(folder.stat().st_mode) & stat.S_ISGID)
    )
    probe.rmdir()


def check_files(folder: Path, names: Sequence[str], force: bool) -> None:
    """Check that files can be written.

    Args:
      folder: The folder of the files; it need not exist.
      names: The files, by their paths in the folder.
      force: Whether existing files may be replaced.

    Raises:
      InputError: if a file exists and `force` is not given, is a folder, would replace a part of a
        checkpoint or of a sealed folder, or cannot be written.
    """
    paths = [folder / name for name in names]
    for path in paths:
        try:
            is_folder, exists = path.is_dir(), os.path.lexists(path)
        except OSError as error:
            raise InputError(f"cannot write to {path}: {error.strerror}") from error
        if is_folder:
            raise InputError(f"{path} is a folder; name a file")
        if exists and not force:
            raise InputError(f"{path} exists already; --force replaces it")
    for parent in sorted({path.parent for path in paths}):
        check_writable(parent)
        if (parent / "config.json").is_file():
            raise InputError(f"{parent} is a checkpoint; write elsewhere")
        if (parent / SUMS).is_file():
            raise InputError(f"{parent} is sealed by its checksums; write elsewhere")


def check_writable(folder: Path) -> None:
    """Check that files can be made in a folder, which need not exist.

    Raises:
      InputError: if they cannot.
    """
    try:
        with tempfile.TemporaryFile(dir=_nearest_existing(folder)):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error


def _nearest_existing(folder: Path) -> Path:
    """Return the folder itself if it exists, else the nearest parent that does.

    Raises:
      OSError: if a path above it is a file.
    """
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
