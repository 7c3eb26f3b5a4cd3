"""Named tensors: checked against what is expected, and against a record that travels with them.

Neither safetensors nor `torch.load` notices a flipped bit in a tensor, or that two tensors of one
shape have changed places. A file written here therefore carries a record, a JSON text: what the
network is ("about"), and the SHA-256 of that and of every tensor's type, shape and bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmi.errors import InputError

Tensors = Mapping[str, np.ndarray]
"""Tensors under their names in a file."""

RECORD = "jaxmi"
"""The record's name in a file."""

MAX_LENGTH = 2**30
"""Bytes that a file may have: far more than these networks' (1.4 million), less than memory."""


class Contents(NamedTuple):
    """What a tensor file holds."""

    tensors: dict[str, np.ndarray]
    about: dict[str, Any] | None
    """What its record says of it; None if it has no record, and so no checksum either."""


def check_length(path: Path) -> None:
    """Checks that a file is not too long to be read whole.

    Raises:
      InputError: if it is.
      OSError: if it is not there.
    """
    length = path.stat().st_size
    if length > MAX_LENGTH:
        raise InputError(f"has {length:,} bytes; this network's tensors have a few million")


def check_tensors(expected: Mapping[str, jax.ShapeDtypeStruct], found: Tensors) -> None:
    """Checks that tensors are those that are expected; whether they are finite, too.

    Raises:
      InputError: naming the first tensor, in alphabetical order, that is missing, unexpected,
        misshapen, of another type, or not finite.
    """
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise InputError(f"tensor {name} is missing")
        if name not in expected:
            raise InputError(f"unexpected tensor {name}")
        want, have = expected[name], found[name]
        if (have.shape, have.dtype) != (want.shape, want.dtype):
            raise InputError(
                f"tensor {name} is {have.dtype}{list(have.shape)}, "
                f"expected {want.dtype}{list(want.shape)}"
            )
        if not np.isfinite(have).all():
            raise InputError(f"tensor {name} has values that are not finite")


def seal(tensors: Tensors, about: Mapping[str, Any]) -> str:
    """Returns the record of a file with these tensors."""
    sha256 = {name: _digest(array) for name, array in tensors.items()}
    record = {"about": about, "about_sha256": _json_digest(about), "sha256": sha256}
    return json.dumps(record, allow_nan=False)


def unseal(record: str | None, tensors: Tensors) -> dict[str, Any] | None:
    """Returns what a record says, if it is the record of these tensors; None if there is none.

    Raises:
      InputError: if the record is damaged, or not of these tensors; names the first that differs.
    """
    if record is None:
        return None
    try:
        content = json.loads(record)
        about, digests = content["about"], content["sha256"]
        whole = (
            isinstance(about, dict)
            and isinstance(digests, dict)
            and content["about_sha256"] == _json_digest(about)
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"its record cannot be read: {error!r:.100}") from error
    if not whole:
        raise InputError("its record is not as it was written")
    for name in sorted(digests.keys() | tensors.keys()):
        if name not in tensors:
            raise InputError(f"tensor {name} is missing")
        if name not in digests:
            raise InputError(f"unexpected tensor {name}")
        if digests[name] != _digest(tensors[name]):
            raise InputError(f"tensor {name} does not have the checksum that it was saved with")
    return about


def _digest(array: np.ndarray) -> str:
    sha256 = hashlib.sha256(json.dumps([array.dtype.name, array.shape]).encode())
    sha256.update(array.tobytes())
    return sha256.hexdigest()


def _json_digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
