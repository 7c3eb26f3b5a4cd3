"""Tables of labels as files: an .npz archive whose array covers a domain, or a part of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from jaxmi.errors import InputError
from jaxmi.storage.archive import read_archive

LABELS = "labels"
"""The array that a table must hold."""

MAX_LABEL = 2**15
"""Labels are below this. Not only 0 and 1: a transformer may predict any of its tokens."""

Shape = tuple[int, ...]


class LabelTable(NamedTuple):
    """Labels read from a file."""

    labels: Int32[np.ndarray, "m"]
    """In domain order."""
    rows: slice
    """Which of the domain's inputs they label."""
    shape: Shape
    """The array's shape in the file."""
    arrays: Mapping[str, np.ndarray]
    """Everything that the file holds."""


def read_label_table(
    path: Path, shapes: Mapping[Shape, slice], names: tuple[str, ...] = (LABELS,)
) -> LabelTable:
    """Read a table of labels.

    Args:
      path: The .npz file.
      shapes: Shape of a table -> the rows of the domain that such a table covers.
      names: Names of the array, the preferred one first.

    Raises:
      InputError: if the file holds no such array, or one of another shape, or no whole numbers in
        0..32,767.
    """
    arrays = read_archive(path)
    name = next((name for name in names if name in arrays), None)
    if name is None:
        raise InputError(f"{path} holds no array `{names[-1]}`")
    labels = arrays[name]
    if labels.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise InputError(f"{path}: `{name}` is {labels.shape}, expected {expected}")
    if labels.dtype.kind not in "biuf" or not _small_whole_numbers(labels):
        raise InputError(
            f"{path}: `{name}` is {labels.dtype}, expected whole numbers from 0 to 32,767"
        )
    flat = labels.reshape(-1).astype(np.int32)
    return LabelTable(flat, shapes[labels.shape], labels.shape, arrays)


def _small_whole_numbers(labels: np.ndarray) -> bool:
    return bool(((labels >= 0) & (labels < MAX_LABEL) & (labels % 1 == 0)).all())
