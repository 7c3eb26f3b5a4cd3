"""Output that appears whole or not at all, and never in the place of something else unasked."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxmi.errors import InputError


def check_files(folder: Path, names: Sequence[str], force: bool) -> None:
    """Checks that files can be written, before anything is computed.

    Args:
      folder: Where; it need not exist.
      names: The files, by their paths in the folder.
      force: Whether files that are there may be replaced.

    Raises:
      InputError: if a file exists and `force` is not given, is a folder, would replace a part of a
        checkpoint or of a sealed folder, or cannot be written.
    """
    paths = [folder / name for name in names]
    for path in paths:
        try:
            is_folder, is_there = path.is_dir(), os.path.lexists(path)
        except OSError as error:
            raise InputError(f"cannot write to {path}: {error.strerror}") from error
        if is_folder:
            raise InputError(f"{path} is a folder; name a file")
        if is_there and not force:
            raise InputError(f"{path} exists already; --force replaces it")
    for parent in sorted({path.parent for path in paths}):
        check_writable(parent)
        if (parent / "config.json").is_file():
            raise InputError(f"{parent} is a checkpoint; write elsewhere")
        if (parent / "SHA256SUMS").is_file():
            raise InputError(f"{parent} is sealed by its checksums; write elsewhere")


def check_writable(folder: Path) -> None:
    """Checks that files can be made in a folder, which need not exist.

    Raises:
      InputError: if they cannot.
    """
    try:
        with tempfile.TemporaryFile(dir=_standing(folder)):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder; if the block succeeds, moves its files to `folder`, one by one.

    What else is in `folder` stays; it is made, with its parents, only then.
    """
    temporary = Path(tempfile.mkdtemp(prefix=".jaxmi-", dir=_standing(folder)))
    try:
        yield temporary
        for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
            target = folder / file.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def whole_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """Gives a temporary folder beside `path`; if the block succeeds, renames it to `path`.

    Args:
      path: Where the folder is to be.
      replace: Remove a folder that is there already, once the new one is whole.
    """
    path = path.resolve()  # what a link points to is replaced, not the link
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    replaced = temporary.with_name(f"{temporary.name}-replaced")
    try:
        temporary.chmod(0o755)
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


def _standing(folder: Path) -> Path:
    """The nearest folder above that exists, or the folder itself.

    Raises:
      OSError: if a file is in the way.
    """
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
