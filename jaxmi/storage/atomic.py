"""NumPy archives, without pickle, written whole and read with care.

A folder's checksums: a file that names every other with its SHA-256, for `sha256sum -c` too.

Output that appears whole or not at all, and never in the place of something else unasked.
"""

import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jaxmi.errors import InputError

SUMS = "SHA256SUMS"
"""The file's name."""


def checksums(path: Path) -> str:
    """Lists the SHA-256 of every file in a folder but `SUMS`, by name.

    Raises:
      InputError: if something in it is neither file nor folder, such as a link.
      OSError: if a file cannot be read.
    """
    files = sorted(str(f.relative_to(path)) for f in path.rglob("*") if not _is_folder(f))
    return "".join(f"{_digest(path / name)}  {name}\n" for name in files if name != SUMS)


def check_checksums(path: Path) -> None:
    """Checks that a folder holds what its checksums say, byte by byte, and nothing else.

    Raises:
      InputError: naming the first file that is altered, missing or not listed.
    """
    try:
        found, stated = checksums(path), (path / SUMS).read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if found == stated:
        folders = {f for f in path.rglob("*") if _is_folder(f)}
        if empty := folders - {parent for name in listed(path) for parent in (path / name).parents}:
            raise InputError(f"{path}: {min(empty).relative_to(path)} is an empty folder")
        return
    ours, theirs = _by_name(found), _by_name(stated)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours:
            raise InputError(f"{path}: {name} is missing")
        if name not in theirs:
            raise InputError(f"{path}: {name} is not listed in {SUMS}")
        if ours[name] != theirs[name]:
            raise InputError(f"{path}: {name} was altered")
    raise InputError(f"{path}: {SUMS} was altered")


def listed(path: Path) -> list[str]:
    """Returns the files that a folder's checksums name."""
    return list(_by_name((path / SUMS).read_text(encoding="ascii")))


def fingerprint(path: Path) -> str:
    """Returns the SHA-256 of a folder's checksums: what stands for all of its bytes."""
    return hashlib.sha256((path / SUMS).read_bytes()).hexdigest()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _digest(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path} is no plain file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _by_name(sums: str) -> dict[str, str]:
    lines = (line.partition("  ") for line in sums.split("\n") if line)
    return {name: digest for digest, _, name in lines}


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


MAX_BYTES = 2**26
"""Of all arrays in an archive that is read; labels of all inputs as float64 are 600,000."""


_DAMAGE = (
    *(OSError, ValueError, EOFError, MemoryError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What zipfile and NumPy raise over bytes that are no archive."""


def check_archive(path: Path, force: bool) -> None:
    """Checks that an archive can be written, before anything is computed.

    Raises:
      InputError: if the name does not end in .npz; else as `check_files`.
    """
    if path.suffix != ".npz":
        raise InputError(f"{path}: name a file that ends in .npz")
    check_files(path.parent, [path.name], force)


def write_archive(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays, compressed."""
    with whole_files(path.parent) as folder:
        np.savez_compressed(folder / path.name, allow_pickle=False, **arrays)


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Reads an archive's arrays; no pickle, and no more than `MAX_BYTES`.

    Raises:
      InputError: if it cannot be read, or is no such archive.
    """
    try:
        if not path.is_file():  # a pipe would keep us waiting
            raise InputError(f"{path} is no file")
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise InputError(f"{path} holds {size:,} bytes; labels have at most a million")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays}
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise InputError(f"{path} is no archive of arrays")
        return found
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path} is no archive of arrays: {error!r:.100}") from error
