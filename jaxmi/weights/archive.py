"""NumPy archives, without pickle, written whole and read with care."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxmi.errors import InputError
from jaxmi.weights.whole import check_files, whole_files

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
