"""NumPy archives (.npz): tables of labels and what a study measured, read without pickle."""

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxmi.errors import InputError
from jaxmi.files import check_regular_file
from jaxmi.storage.atomic import atomic_files, check_files

MAX_BYTES = 2**26
"""Bytes that an archive's arrays may have together. The labels of all images as float64 have
560,000, so 64 MiB excludes decompression bombs and nothing else."""

DAMAGE = (
    *(OSError, ValueError, EOFError, MemoryError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, OverflowError),
    tokenize.TokenError,  # of a .npy header, which is Python's literal
)
"""What zipfile and NumPy raise when a file is not an archive."""


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Read an archive's arrays by name; at most `MAX_BYTES`, and no pickle.

    Raises:
      InputError: if the file cannot be read, is too large, or is not an archive of arrays.
    """
    check_regular_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise InputError(f"{path} holds {size:,} bytes; at most {MAX_BYTES:,} are read")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise InputError(f"{path} is no archive of arrays")
        return arrays
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{path} is no archive of arrays: {error!r:.100}") from error


def holds_arrays_only(path: Path) -> bool:
    """Return whether a file is a zip archive of .npy files and nothing else."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except DAMAGE:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def check_archive(path: Path, force: bool) -> None:
    """Check that an archive can be written.

    Raises:
      InputError: if the name does not end in .npz; else as `check_files`.
    """
    if path.suffix != ".npz":
        raise InputError(f"{path}: name a file that ends in .npz")
    check_files(path.parent, [path.name], force)


def write_archive(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays, compressed.

    Raises:
      OSError: if the file cannot be written.
    """
    with atomic_files(path.parent) as folder:
        np.savez_compressed(folder / path.name, allow_pickle=False, **arrays)
