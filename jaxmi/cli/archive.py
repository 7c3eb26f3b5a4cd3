"""NumPy archives as a verb's output file: written whole or not at all."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxmi.errors import InputError


def check_archive(path: Path, force: bool) -> None:
    """Checks that an archive can be written, before anything is computed.

    Raises:
      InputError: if the name does not end in .npz, the file exists and `force` is not given, or the
        folder cannot be written.
    """
    if path.suffix != ".npz":
        raise InputError(f"{path}: name a file that ends in .npz")
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file")
        if path.exists() and not force:
            raise InputError(f"{path} exists already; --force replaces it")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def write_archive(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays, compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".jaxmi-", dir=path.parent)
    temporary = Path(name)
    try:
        temporary.chmod(0o644)
        with open(descriptor, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
