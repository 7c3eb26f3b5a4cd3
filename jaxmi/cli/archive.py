"""NumPy archives as a verb's output file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxmi.errors import InputError
from jaxmi.weights.whole import check_files, whole_files


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
