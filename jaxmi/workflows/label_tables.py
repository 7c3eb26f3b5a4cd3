"""Tables of labels as files, over a domain or a part of it: .npz, .npy, .csv, a pickle of arrays.

The published `transformer_label_info.pkl` is such a pickle; it is read without being run.
"""

import csv
import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from jaxmi.errors import InputError
from jaxmi.files import check_regular_file, takes_any_path
from jaxmi.storage.archive import DAMAGE, MAX_BYTES, read_archive
from jaxmi.storage.pickle_reader import Tensor

logger = logging.getLogger(__name__)

LABELS, MODEL_LABELS, LOGITS = "labels", "model_labels", "logits"
"""Arrays of a table. If it has both kinds of labels, as the published file, `labels` are the true
ones. A table without labels has `logits`, or a single array without a name."""

UNNAMED = "arr_0"
"""The name that NumPy gives to an array without one."""

SUFFIXES = (".npz", ".npy", ".csv", ".tsv", ".pkl", ".pickle")
"""Endings of tables, in small letters."""

MAX_LABEL = 2**15
"""Labels are below this. Not only 0 and 1: a transformer may predict any of its tokens."""

LIKELY, FAR_BETTER = 0.75, 0.1
"""Share of inputs on which a table that was transposed by mistake agrees when it is transposed
back, at least, and by how much that is more."""

Shape = tuple[int, ...]


class LabelTable(NamedTuple):
    """Labels read from a file."""

    labels: Int32[np.ndarray, "m"]
    """In domain order."""
    rows: slice
    """Which of the domain's inputs they label."""
    shape: Shape
    """The shape of the table of labels."""
    arrays: Mapping[str, np.ndarray]
    """Everything that the file holds; logits also if they are its only array."""


@takes_any_path
def is_table(path: Path) -> bool:
    """Return whether a file's name ends like a table's; capital letters count too."""
    return path.suffix.lower() in SUFFIXES


@takes_any_path
def read_label_table(
    path: Path, shapes: Mapping[Shape, slice], names: tuple[str, ...] = (MODEL_LABELS, LABELS)
) -> LabelTable:
    """Read a table of labels.

    The array may have further axes of length 1, or one more axis: a one-hot code, or logits, of
    which the largest is the label.

    Args:
      path: The file.
      shapes: Shape of a table -> the rows of the domain that such a table covers.
      names: Names of the array, the preferred one first.

    Raises:
      InputError: if the file holds no such array, or one of another shape, or no whole numbers in
        0..32,767.
    """
    arrays = read_table_arrays(path)
    name = find_labels(arrays, names)
    if name is None:
        found = ", ".join(arrays) or "nothing"
        raise InputError(f"{path} holds no array `{names[-1]}`; it holds {found}")
    array = arrays[name]
    shape = next((shape for shape in possible_shapes(array) if shape in shapes), None)
    if shape is None:
        expected = " or ".join(map(str, shapes))
        raise InputError(f"{path}: `{name}` is {array.shape}, expected {expected}")
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: `{name}` is {array.dtype}, expected whole numbers from 0 to 32,767"
        )
    if array.size != math.prod(shape):
        if not np.isfinite(array).all():
            raise InputError(f"{path}: `{name}` has logits that are not finite")
        if name == LOGITS or not _is_one_hot(array):
            arrays = {LOGITS: array.reshape(*shape, array.shape[-1]), **arrays}
        labels = array.argmax(axis=-1)
    else:
        labels = array
        _check_labels(labels, f"{path}: `{name}`")
    return LabelTable(labels.reshape(-1).astype(np.int32), shapes[shape], shape, arrays)


def find_labels(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> str | None:
    """Return the name of a table's array of labels: a known name, logits, or the only one."""
    for name in (*names, LOGITS):
        if name in arrays:
            return name
    return UNNAMED if set(arrays) == {UNNAMED} else None


def possible_shapes(array: np.ndarray) -> list[Shape]:
    """Return the shapes that an array's table of labels may have, the likeliest first.

    The last axis is one of classes only if the array is a one-hot code, or could be logits: a table
    of labels of another shape must not be taken for either.
    """
    squeezed = tuple(n for n in array.shape if n != 1)
    shapes = [array.shape, squeezed]
    if array.ndim > 1 and array.shape[-1] > 1 and (_is_one_hot(array) or _may_be_logits(array)):
        shapes += [array.shape[:-1], squeezed[:-1]]
    return shapes


def as_truth_values(array: np.ndarray, shape: Shape, what: str) -> Bool[np.ndarray, "m"]:
    """Return truth values, given as such or as 0 and 1, in the table's shape or flat.

    Raises:
      InputError: if it is anything else.
    """
    known = _is_binary(array)
    flat = tuple(n for n in array.shape if n != 1) in (shape, (math.prod(shape),))
    if not known or not flat:
        kind = array.dtype if array.dtype.kind not in "iuf" or known else "not 0 and 1"
        raise InputError(f"{what} is {array.shape} {kind}, expected {shape} bool, or 0 and 1")
    return array.reshape(-1) == 1


def hint_if_transposed(
    labels: np.ndarray, reference: np.ndarray, shape: Shape, name: object
) -> None:
    """Tell the user if a square table agrees far better with the reference when transposed."""
    if len(shape) != 2 or shape[0] != shape[1] or labels.size != math.prod(shape):
        return
    table, expected = labels.reshape(shape), reference.reshape(shape)
    as_is, transposed = (table == expected).mean(), (expected == table.T).mean()
    if transposed > max(as_is + FAR_BETTER, LIKELY):
        logger.info(
            f"{name} agrees on {as_is:.1%} of the inputs, and on {transposed:.1%} if it is "
            "transposed: rows must be x, columns y"
        )


@takes_any_path
def read_table_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a table; nothing in the file is run.

    Raises:
      InputError: if the file cannot be read, or is no table.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return {LABELS: _read_npy(path)}
    if suffix in (".csv", ".tsv"):
        return _read_csv(path)
    if suffix in (".pkl", ".pickle"):
        return _read_pickled(path)
    return read_archive(path)


def _read_npy(path: Path) -> np.ndarray:
    check_regular_file(path, MAX_BYTES)
    try:
        # Mapped first: a header that says more than the file holds allocates nothing.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except DAMAGE as error:
        raise InputError(f"{path} is no NumPy array: {error!r:.100}") from error


def _read_pickled(path: Path) -> dict[str, np.ndarray]:
    from jaxmi.storage.pytorch_file import read_pytorch  # imports JAX

    file = read_pytorch(path)
    content = file.content if isinstance(file.content, dict) else {LABELS: file.content}
    arrays = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            value = value.array(file.storages, file.byte_order)
        if isinstance(value, np.ndarray):
            arrays[str(name)] = value
    if sum(array.nbytes for array in arrays.values()) > MAX_BYTES:
        raise InputError(f"{path} holds more than {MAX_BYTES:,} bytes of arrays")
    return arrays


_COORDINATES = ("x", "y", "w")
_INDEX_NAMES = ("", "index", "row", "i", "unnamed: 0")
_LABEL_NAMES = ("label", "labels", "model_label", "model_labels", "prediction", "value", "z")


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    """Read a table as text: a matrix, a column, or rows of x, y and label.

    The separator is a comma, a semicolon, a tab or spaces. Names of columns in a header tell what
    they are.
    """
    check_regular_file(path, MAX_BYTES // 4)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    if not lines:
        raise InputError(f"{path} is empty")
    separator = next((mark for mark in ",;\t" if mark in lines[0]), None)
    if separator is None:
        rows = [line.split() for line in lines]
    else:
        rows = [[field.strip() for field in row] for row in csv.reader(lines, delimiter=separator)]
    header: list[str] | None = None
    if any(_number(field) is None for field in rows[0]):
        header, rows = [field.lower() for field in rows[0]], rows[1:]
    width = len(rows[0]) if rows else 0
    for i, row in enumerate(rows):
        if len(row) != width or (header is not None and len(header) != width):
            raise InputError(f"{path}: row {i + 1} has {len(row)} fields, others {width}")
    try:
        table = np.array([[_value(field) for field in row] for row in rows], np.float64)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if not table.size:
        raise InputError(f"{path} has no rows")
    return _columns(table, header, path)


def _columns(table: np.ndarray, header: list[str] | None, path: Path) -> dict[str, np.ndarray]:
    n, width = table.shape
    if header is None and n == width + 1 and (table[0] == np.arange(width)).all():
        return {LABELS: table[1:]}  # a header of column numbers
    if header is None and width == 3 and n != 3:
        header = ["x", "y", "label"]
    elif header is None and width == 4 and n != 4:
        header = ["x", "y", "w", "label"]
    if header is None:
        return {LABELS: table[:, 0] if width == 1 else table}
    named = {name: table[:, i] for i, name in enumerate(header)}
    axes = [name for name in _COORDINATES if name in named]
    labels = [name for name in header if name in _LABEL_NAMES]
    index = [name for name in header if name in _INDEX_NAMES]
    if not labels:
        values = [i for i, name in enumerate(header) if name not in _INDEX_NAMES or i]
        rest = table[:, values]
        return {LABELS: rest[:, 0] if rest.shape[1] == 1 else rest}
    columns = {_ARRAY_NAMES.get(name, name): named[name] for name in header}
    columns = {name: one for name, one in columns.items() if name not in (*axes, *index)}
    if axes:
        return _placed(columns, [named[axis] for axis in axes], path)
    return _placed(columns, [named[index[0]]], path) if index else columns


_ARRAY_NAMES = {
    **dict.fromkeys(_LABEL_NAMES, LABELS),
    **dict.fromkeys(("model_label", "model_labels"), MODEL_LABELS),
}


def _placed(
    columns: Mapping[str, np.ndarray], coordinates: list[np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    """Return columns as tables, each value at its coordinates, which must cover a grid once."""
    n, places = len(coordinates[0]), np.stack(coordinates)
    p = round(n ** (1 / len(coordinates)))
    valid = p ** len(coordinates) == n and (places % 1 == 0).all() and (places >= 0).all()
    if not valid or (places >= p).any():
        raise InputError(
            f"{path}: {n:,} rows do not give each input once: expected p^{len(coordinates)} rows, "
            "with coordinates from 0 to p - 1"
        )
    at = np.ravel_multi_index(tuple(places.astype(np.int64)), (p,) * len(coordinates))
    if len(np.unique(at)) != n:
        raise InputError(f"{path}: some inputs have two rows, others none")
    order = np.argsort(at)
    return {name: one[order].reshape((p,) * len(coordinates)) for name, one in columns.items()}


_NUMBER = re.compile(r"[+-]?(\d{1,20}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?")


def _number(field: str) -> float | None:
    if field.lower() in ("true", "false"):
        return float(field.lower() == "true")
    return float(field) if _NUMBER.fullmatch(field) else None


def _value(field: str) -> float:
    number = _number(field)
    if number is None:
        raise ValueError(f"{field!r:.40} is no number")
    return number


def _is_one_hot(array: np.ndarray) -> bool:
    return _is_binary(array) and bool((array.sum(axis=-1) == 1).all())


def _may_be_logits(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and not _is_binary(array)


def _is_binary(array: np.ndarray) -> bool:
    return array.dtype.kind in "biuf" and bool(((array == 0) | (array == 1)).all())


def _check_labels(labels: np.ndarray, what: str) -> None:
    finite = labels[np.isfinite(labels)] if labels.dtype.kind == "f" else labels
    if finite.size == labels.size and set(np.unique(finite)) == {-1, 1}:
        raise InputError(
            f"{what} has the labels -1 and 1, expected 0 and 1: write (labels > 0).astype(int)"
        )
    if not ((labels >= 0) & (labels < MAX_LABEL) & (labels % 1 == 0)).all():
        raise InputError(f"{what} is {labels.dtype}, expected whole numbers from 0 to 32,767")
