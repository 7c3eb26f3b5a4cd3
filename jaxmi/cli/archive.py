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
    if path.exists() and not force:
        raise InputError(f"{path} exists already; --force replaces it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}") from error


def write_archive(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays, compressed."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
