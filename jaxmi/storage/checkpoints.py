"""The project's own checkpoint: a folder with safetensors and two JSON files, no pickle.

`params.safetensors` holds every parameter under its path in the tree ("attn.W_Q"), `config.json`
says what the network is and how it came about, `metrics.json` how good it is.

Named tensors: checked against what is expected, and against a record that travels with them.

Neither safetensors nor `torch.load` notices a flipped bit in a tensor, or that two tensors of one
shape have changed places. A file written here therefore carries a record, a JSON text: what the
network is ("about"), and the SHA-256 of that and of every tensor's type, shape and bytes.

safetensors files: named tensors and a text for a header, no code that could run.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxmi.challenges.registry import model_config, param_shapes
from jaxmi.errors import InputError
from jaxmi.storage.atomic import check_writable, whole_folder
from jaxmi.training.seeds import Point
from jaxmi.types import Params

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


_TYPES = {"F32", "F64", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
"""Types that NumPy has too, as the format calls them."""


def write_safetensors(path: Path, tensors: Tensors, about: Mapping[str, Any]) -> None:
    """Writes tensors, with their record under "jaxmi" in the header's metadata.

    Raises:
      OSError: if the file cannot be written.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    # Not by save_file, whose files only their owner can read.
    path.write_bytes(save(arrays, metadata={RECORD: seal(arrays, about)}))


def read_safetensors(path: Path) -> Contents:
    """Reads tensors, and checks them against the record if the file has one.

    Raises:
      InputError: if the file cannot be read, holds a type that NumPy does not have, or is not as it
        was written.
    """
    tensors = {}
    try:
        check_length(path)
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                dtype = file.get_slice(name).get_dtype()
                if dtype not in _TYPES:
                    raise InputError(f"tensor {name} is {dtype}; convert it to float32")
                tensors[name] = file.get_tensor(name)
            record = (file.metadata() or {}).get(RECORD)
        return Contents(tensors, unseal(record, tensors))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, SafetensorError, ValueError) as error:  # a shape that NumPy cannot have
        raise InputError(f"{path} cannot be read: {error}") from error


FORMAT = 1
"""Version of the layout below; raised whenever an older reader would misread it."""

CURVE = "curve.jsonl"
"""A run's checkpoint has its learning curve beside it, a point per line."""

CHECKPOINT_FILES = ("config.json", "metrics.json", "params.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A network read from disk."""

    params: Params
    config: dict[str, Any]
    """The keys "format", "challenge", "model"; of a network trained here also "recipe", "seed",
    "step", "jaxmi_version" and times; of an imported one "imported"; of a sealed challenge's
    "sealed"; of a study's "variant"."""
    metrics: dict[str, Any]
    """As `Challenge.metrics`, and what the trainer adds."""

    @property
    def challenge(self) -> str:
        """The name of the challenge that the network was trained on."""
        return self.config["challenge"]

    @property
    def sealed(self) -> str | None:
        """The commitment of the sealed challenge that it belongs to, if it belongs to one.

        Its labels are then not the challenge's own, and nobody knows them.
        """
        return self.config.get("sealed")

    @property
    def variant(self) -> str | None:
        """How its labels or split differ from the challenge's, if it was trained for a study."""
        return self.config.get("variant")


def save_checkpoint(
    path: Path,
    params: Params,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    force: bool = False,
) -> None:
    """Writes a checkpoint whole or not at all.

    Args:
      path: The folder to make.
      params: The network's parameters.
      config: At least "challenge"; "format" is added.
      metrics: What is known of its accuracy.
      force: Replace a checkpoint that is there.

    Raises:
      InputError: as `check_vacant`.
      OSError: if it cannot be written.
    """
    check_vacant(path, force)
    with whole_folder(path, replace=force) as folder:
        write_checkpoint(folder, params, config, metrics)


def check_vacant(path: Path, force: bool) -> None:
    """Checks that nothing is lost if a checkpoint is put at a path.

    Raises:
      InputError: if something is there (with `force`: anything but a checkpoint alone), or the path
        cannot be written.
    """
    check_writable(path)
    if not os.path.lexists(path):
        return
    if not force:
        raise InputError(f"{path} exists already; --force replaces it")
    if not path.is_dir():
        raise InputError(f"{path} is no folder; --force replaces checkpoints only")
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in CHECKPOINT_FILES)
    if others:
        raise InputError(f"{path} holds {others[0]} too, which --force would remove")


def write_checkpoint(
    folder: Path, params: Params, config: Mapping[str, Any], metrics: Mapping[str, Any]
) -> None:
    """Writes a checkpoint's files into a folder that is there already; see `save_checkpoint`."""
    write_safetensors(folder / "params.safetensors", flatten(jax.device_get(params)), about={})
    write_json(folder / "config.json", {"format": FORMAT, **config} | {"format": FORMAT})
    write_json(folder / "metrics.json", metrics)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint; needs none of its challenge's data.

    Raises:
      InputError: if the folder is not a checkpoint of this format, of its challenge's network, with
        parameters that fit it and are finite; names what is wrong.
    """
    if not (path / "config.json").is_file():
        below = [*path.glob("*/config.json"), *path.glob("*/run.json")]
        names = sorted({file.parent.name for file in below if file.parent.name[0] != "."})
        hint = f"; name one in it: {', '.join(names[:3])}" if names else ""
        raise InputError(f"{path} is no checkpoint (it holds no config.json){hint}")
    config, metrics = read_json(path / "config.json"), read_json(path / "metrics.json")
    if config.get("format") != FORMAT:
        raise InputError(f"{path}: format {config.get('format')!r}, this jaxmi reads {FORMAT}")
    challenge = config.get("challenge")
    if not isinstance(challenge, str):
        raise InputError(f"{path}/config.json names no challenge")
    tensors = read_safetensors(path / "params.safetensors").tensors
    try:
        if config.get("model") != model_config(challenge):
            raise InputError(f"config.json's model is not {challenge}'s: {model_config(challenge)}")
        check_tensors(flatten(param_shapes(challenge)), tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Checkpoint(unflatten_dict(tensors, sep="."), config, metrics)


def read_curve(checkpoint: Path) -> list[Point]:
    """Reads the learning curve that lies beside a run's checkpoint.

    Raises:
      InputError: if it cannot be read.
    """
    path = checkpoint / CURVE
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    os.replace(temporary, path)


def flatten(params: Params) -> dict[str, Any]:
    """Lists the parameters under their paths in the tree, as in "attn.W_Q"."""
    return {str(name): leaf for name, leaf in flatten_dict(params, sep=".").items()}


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      InputError: if the file is missing, or holds no JSON object.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would keep us waiting
            raise InputError(f"{path} is no file")
        value = json.loads(path.read_text())
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object")
    return value
