"""Challenges as TensorFlow Datasets."""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError, UnavailableError
from jaxmi.files import takes_any_path
from jaxmi.storage.atomic import atomic_folder, check_writable
from jaxmi.workflows.challenges import load_any

_INFO = "dataset_info.json"
"""The file by which a TensorFlow Dataset is known."""


@takes_any_path
def write_challenge_as_tfds(
    name: str, out: Path, force: bool, data_dir: Path | None
) -> dict[str, Any]:
    """Write a challenge as a TensorFlow Dataset.

    Args:
      name: The challenge.
      out: The folder to make; `tfds.builder_from_directory(out)` reads it.
      force: Replace a TensorFlow Dataset that exists.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Returns:
      What `jaxmi data tfds --json` prints.

    Raises:
      InputError: if there is no such challenge, or `out` cannot be written or would lose something.
      UnavailableError: if MNIST is needed and cannot be had, or array-record is not installed.
    """
    check_replaceable(out, force)
    return write_tfds(load_any(name, data_dir), out, force)


@takes_any_path
def write_tfds(challenge: Challenge, out: Path, force: bool = False) -> dict[str, Any]:
    """Write a challenge's inputs, labels and splits as a TensorFlow Dataset.

    Every example has `index`, its row in the challenge; `tokens` or `image`, the network's input;
    `label`; and `digit`, where images show one. Within a split, examples are in the challenge's
    order.

    Args:
      challenge: Any challenge.
      out: The folder to make; `tfds.builder_from_directory(out)` reads it.
      force: Replace a TensorFlow Dataset that exists.

    Returns:
      "challenge" and "out"; "splits", the number of examples of each; "features", the shape and
      type of each.

    Raises:
      InputError: if `out` cannot be written, exists and `force` is not given, or holds anything
        but a TensorFlow Dataset.
      UnavailableError: if array-record is not installed: it has no build for this system.
    """
    check_replaceable(out, force)
    from jaxmi.data.tfds import INDEX, write_dataset  # takes a second to import

    columns = tfds_columns(challenge)
    dataset_name = re.sub(r"[^a-z0-9]+", "_", f"jaxmi_{challenge.name}".lower())
    with atomic_folder(out, replace=force) as folder:
        write_dataset(folder, dataset_name, challenge.title, columns, challenge.splits)
    features = {INDEX: {"shape": [], "dtype": "int32"}}
    for name, values in columns.items():
        features[name] = {"shape": list(values.shape[1:]), "dtype": values.dtype.name}
    return {
        "challenge": challenge.name,
        "out": str(out),
        "splits": {name: len(rows) for name, rows in challenge.splits.items()},
        "features": features,
    }


def tfds_columns(challenge: Challenge) -> dict[str, np.ndarray]:
    """Return the features of all examples, (n, ...) each, in domain order."""
    is_sequence = challenge.inputs.ndim == 2
    columns = {
        "tokens" if is_sequence else "image": challenge.inputs,
        "label": challenge.labels,
    }
    if challenge.digits is not None:
        columns["digit"] = challenge.digits
    return columns


@takes_any_path
def check_replaceable(out: Path, force: bool) -> None:
    """Check that a dataset can be written to a folder, and that nothing else is lost by it.

    Raises:
      InputError: if it cannot, or something would be.
      UnavailableError: if the package that writes the file format is not installed.
    """
    if find_spec("array_record") is None:
        raise UnavailableError(
            "a TensorFlow Dataset is written by the package array-record, which is not installed; "
            "it has builds for Linux and for macOS on arm64 only"
        )
    check_writable(out.parent)
    if not os.path.lexists(out):
        return
    if not force:
        raise InputError(f"{out} exists already; --force replaces it")
    if not (out / _INFO).is_file():
        raise InputError(f"{out} is no TensorFlow Dataset; --force replaces nothing else")
    others = sorted(entry.name for entry in out.iterdir() if not _is_part(entry))
    if others:
        raise InputError(f"{out} holds {others[0]} too, which --force would remove")


def _is_part(file: Path) -> bool:
    """Return whether a file may be part of a TensorFlow Dataset of this module."""
    return file.name in (_INFO, "features.json") or ".array_record-" in file.name
