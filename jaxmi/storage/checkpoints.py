"""A network on disk: a folder with its parameters as safetensors and two JSON files, no pickle.

`params.safetensors` holds every parameter under its path in the tree ("attn.W_Q"), `config.json`
says what the network is and how it was made, `metrics.json` how accurate it is.

Neither safetensors nor `torch.load` notices a flipped bit in a tensor, or that two tensors of one
shape were exchanged. Every tensor file written here therefore carries a record, a JSON text: what
the network is ("about"), and the SHA-256 of that and of each tensor's type, shape and bytes.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import Definition, is_first_form
from jaxmi.challenges.registry import Origin, load_challenge, origin
from jaxmi.errors import InputError
from jaxmi.files import check_regular_file, readable_texts, takes_any_path, write_text
from jaxmi.models.trees import check_tensors, leaves_by_path
from jaxmi.storage.atomic import atomic_folder, check_writable
from jaxmi.types import Params

DEFINITION = "definition"
"""The key of config.json under which a challenge that a user made is kept."""

FORMAT = 1
"""Version of a checkpoint's layout; raised whenever an older reader would misread it."""

PARAMS_FILE = "params.safetensors"

CHECKPOINT_FILES = ("config.json", "metrics.json", PARAMS_FILE)
"""The files of a checkpoint."""


KEY_FILE = "mechanism.json"
"""A further file of a compiled network: what its directions, neurons and heads hold."""


@dataclass(frozen=True)
class Checkpoint:
    """A network read from disk."""

    params: Params
    """The parameters, NumPy float32."""
    config: dict[str, Any]
    """The keys "format", "challenge", "model"; of a challenge that a user made also "definition";
    of a network trained here "recipe", "seed", "step", "jaxmi_version" and times; of an imported
    one "imported"; of a compiled one "compiled"; of a sealed challenge's "sealed"; of a study's
    "variant"; of a trojaned one "trojan"."""
    metrics: dict[str, Any]
    """As `Challenge.metrics`, and what the trainer adds."""
    key: dict[str, Any] | None = None
    """What the parts of a compiled network hold, as `planted.key` writes it; None of others."""

    @property
    def challenge(self) -> str:
        """The name of the challenge that the network was trained on."""
        return self.config["challenge"]

    @property
    def definition(self) -> Definition | None:
        """What the challenge was made of; None if it is a published one.

        Raises:
          InputError: if the configuration holds something else.
        """
        value = self.config.get(DEFINITION)
        return None if value is None else Definition.from_json(value)

    @property
    def origin(self) -> Origin:
        """The kind of the challenge, and the network, known without the challenge's data.

        Raises:
          InputError: if the configuration names no challenge.
        """
        return origin(self.definition or self.challenge)

    @takes_any_path
    def load_challenge(self, data_dir: Path | None = None) -> Challenge:
        """Build the challenge that the network was trained on; a sealed one without its labels.

        Args:
          data_dir: A folder with the images, for images; None looks in the cache, then downloads.

        Raises:
          InputError: if the configuration names no challenge.
          UnavailableError: if MNIST is needed and cannot be had.
        """
        challenge = load_challenge(self.definition or self.challenge, data_dir)
        return challenge.without_labels() if self.sealed else challenge

    @property
    def sealed(self) -> str | None:
        """The commitment of the sealed challenge that the network belongs to, if there is one.

        Its labels are then not the published challenge's, and are secret.
        """
        return self.config.get("sealed")

    @property
    def variant(self) -> str | None:
        """How labels or split differ from the challenge's, if a study trained the network."""
        if is_first_form(self.config.get(DEFINITION)):
            return None  # with it, "variant" said that a user had made the challenge
        return self.config.get("variant")


def definition_of(challenge: Challenge) -> dict[str, Any]:
    """Return the key by which config.json and run.json record a challenge that a user made."""
    definition = challenge.definition
    return {} if definition is None else {DEFINITION: definition.to_json()}


@takes_any_path
def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; needs none of its challenge's data.

    Args:
      path: The checkpoint's folder.

    Raises:
      InputError: if the folder is no checkpoint of this format and of its challenge's network, or
        its parameters do not have the expected names, shapes and types or are not finite; names
        the first file or tensor that is wrong.
    """
    if not (path / "config.json").is_file():
        below = [*path.glob("*/config.json"), *path.glob("*/run.json")]
        names = sorted({file.parent.name for file in below if file.parent.name[0] != "."})
        hint = f"; name one in it: {', '.join(names[:3])}" if names else ""
        if not path.exists():
            raise InputError(f"{path} is no checkpoint: there is no such file or folder")
        if path.is_file():
            raise InputError(f"{path} is a file, and no checkpoint folder; {_advice(path)}")
        raise InputError(f"{path} is no checkpoint (it holds no config.json){hint}")
    config, metrics = read_json(path / "config.json"), read_json(path / "metrics.json")
    if config.get("format") != FORMAT:
        raise InputError(f"{path}: format {config.get('format')!r}, this jaxmi reads {FORMAT}")
    challenge = config.get("challenge")
    if not isinstance(challenge, str):
        raise InputError(f"{path}/config.json names no challenge")
    tensors = read_safetensors(path / PARAMS_FILE).tensors
    checkpoint = Checkpoint({}, config, metrics)
    try:
        expected = checkpoint.origin
        if config.get("model") != expected.model_config:
            raise InputError(f"config.json's model is not {challenge}'s: {expected.model_config}")
        check_tensors(leaves_by_path(expected.param_shapes), tensors)
        check_finite(tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    key = _read_key(path / KEY_FILE, tensors)
    return replace(checkpoint, params=unflatten_dict(tensors, sep="."), key=key)


def _read_key(path: Path, tensors: "Tensors") -> dict[str, Any] | None:
    """Return the key of a compiled network; None if there is none.

    Raises:
      InputError: if it was altered, or is of other parameters.
    """
    if not path.is_file():
        return None
    value = read_json(path)
    key = {name: part for name, part in value.items() if name not in ("params_sha256", "sha256")}
    if value.get("sha256") != _json_digest(key):
        raise InputError(f"{path} was altered: compile the network again")
    if value.get("params_sha256") != _params_digest(tensors):
        raise InputError(f"{path} is the key of other parameters than params.safetensors holds")
    return key


def _params_digest(tensors: "Tensors") -> str:
    return _json_digest({name: _tensor_digest(array) for name, array in tensors.items()})


def _advice(path: Path) -> str:
    """Return what a user can do with a file that was named in a checkpoint's place."""
    suffix = path.suffix.lower()
    if path.name in CHECKPOINT_FILES:
        return f"name its folder {path.parent}"
    if suffix in (".npz", ".npy", ".csv", ".tsv"):
        return "`jaxmi recover` and `jaxmi score` take tables of labels"
    if suffix in (".py", ".txt"):
        return "`jaxmi score` judges programs"
    return f"`jaxmi import {path} --out NETWORK` makes one of a network's file"


@takes_any_path
def save_checkpoint(
    path: Path,
    params: Params,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    force: bool = False,
    key: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint, complete or not at all.

    Args:
      path: The folder to make.
      params: The network's parameters.
      config: At least "challenge" and "model"; "format" is added.
      metrics: What is known of its accuracy.
      force: Replace an existing checkpoint.
      key: Of a compiled network, what its parts hold, in JSON types.

    Raises:
      InputError: as `check_vacant`.
      OSError: if it cannot be written.
    """
    check_vacant(path, force)
    with atomic_folder(path, replace=force) as folder:
        write_checkpoint(folder, params, config, metrics)
        if key is not None:
            content: dict[str, Any] = json.loads(
                json.dumps(key, allow_nan=False)
            )  # as it is read again
            tensors = leaves_by_path(jax.device_get(params))
            digests = {"params_sha256": _params_digest(tensors), "sha256": _json_digest(content)}
            write_json(folder / KEY_FILE, {**content, **digests})


@takes_any_path
def check_vacant(path: Path, force: bool) -> None:
    """Check that nothing but a checkpoint would be lost if one is put at a path.

    Raises:
      InputError: if something exists there (with `force`: anything but a checkpoint alone), or the
        path cannot be written.
    """
    check_writable(path)
    if not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir())):
        return
    if not force:
        raise InputError(f"{path} exists already; --force replaces it")
    if not path.is_dir():
        raise InputError(f"{path} is no folder; --force replaces checkpoints only")
    own = (*CHECKPOINT_FILES, KEY_FILE)
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in own)
    if others:
        raise InputError(f"{path} holds {others[0]} too, which --force would remove")


@takes_any_path
def write_checkpoint(
    folder: Path, params: Params, config: Mapping[str, Any], metrics: Mapping[str, Any]
) -> None:
    """Write a checkpoint's files into an existing folder; arguments as `save_checkpoint`.

    Raises:
      OSError: if a file cannot be written.
    """
    tensors = leaves_by_path(jax.device_get(params))
    write_safetensors(folder / PARAMS_FILE, tensors, about={})
    write_json(folder / "config.json", {"format": FORMAT, **config} | {"format": FORMAT})
    write_json(folder / "metrics.json", metrics)


Tensors = Mapping[str, np.ndarray]
"""Tensors under their names in a file."""

RECORD = "jaxmi"
"""The record's name in a file."""

MAX_BYTES = 2**30
"""Bytes that a tensor file may have: a thousand times these networks' 0.3 and 1.4 million, and
little enough to be read into memory."""

_BFLOAT16 = "BF16"

_TYPES = {"F32", "F64", "F16", _BFLOAT16, "I64", "I32", "I16", "I8", "U8", "BOOL"}
"""The tensor types of safetensors that are read."""


class Contents(NamedTuple):
    """The contents of a tensor file."""

    tensors: dict[str, np.ndarray]
    about: dict[str, Any] | None
    """What the record says of the network; None if the file has no record, so no checksums."""


@takes_any_path
def read_safetensors(path: Path) -> Contents:
    """Read tensors, and check them against the record if the file has one.

    Raises:
      InputError: if the file cannot be read, is larger than `MAX_BYTES`, holds a type that NumPy
        does not have, or was altered.
    """
    check_regular_file(path, MAX_BYTES)
    tensors = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                dtype = file.get_slice(name).get_dtype()
                if dtype not in _TYPES:
                    raise InputError(f"tensor {name} is {dtype}; convert it to float32")
                tensors[name] = file.get_tensor(name) if dtype != _BFLOAT16 else None
            record = (file.metadata() or {}).get(RECORD)
        wide = [name for name, array in tensors.items() if array is None]
        if wide:  # of which NumPy has no type; JAX's has
            with safe_open(path, framework="flax") as file:
                tensors |= {name: np.asarray(file.get_tensor(name)) for name in wide}
        return Contents(tensors, check_record(record, tensors))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, SafetensorError, ValueError) as error:  # ValueError: an impossible shape
        raise InputError(f"{path} cannot be read: {error}") from error


@takes_any_path
def write_safetensors(path: Path, tensors: Tensors, about: Mapping[str, Any]) -> None:
    """Write tensors, with their record under "jaxmi" in the header's metadata.

    Raises:
      OSError: if the file cannot be written.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    # safetensors' own save_file would make a file that only its owner can read.
    path.write_bytes(save(arrays, metadata={RECORD: make_record(arrays, about)}))


def check_finite(tensors: Tensors) -> None:
    """Check that every value is finite.

    Raises:
      InputError: naming the first tensor, in alphabetical order, with another value.
    """
    for name in sorted(tensors):
        if not np.isfinite(tensors[name]).all():
            raise InputError(f"tensor {name} has values that are not finite")


def make_record(tensors: Tensors, about: Mapping[str, Any]) -> str:
    """Return the record of a file with these tensors, as JSON.

    Args:
      tensors: All tensors of the file.
      about: What the network is, in JSON types.
    """
    sha256 = {name: _tensor_digest(array) for name, array in tensors.items()}
    about = readable_texts(about)
    record = {"about": about, "about_sha256": _json_digest(about), "sha256": sha256}
    return json.dumps(record, allow_nan=False)


def check_record(record: str | None, tensors: Tensors) -> dict[str, Any] | None:
    """Check tensors against a file's record.

    Returns:
      What the record says of the network; None if there is no record.

    Raises:
      InputError: if the record is damaged, or of other tensors; names the first that differs.
    """
    if record is None:
        return None
    try:
        content = json.loads(record)
        about, digests = content["about"], content["sha256"]
        intact = (
            isinstance(about, dict)
            and isinstance(digests, dict)
            and content["about_sha256"] == _json_digest(about)
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"its record cannot be read: {error!r:.100}") from error
    if not intact:
        raise InputError("its record was altered")
    for name in sorted(digests.keys() | tensors.keys()):
        if name not in tensors:
            raise InputError(f"tensor {name} is missing")
        if name not in digests:
            raise InputError(f"unexpected tensor {name}")
        if digests[name] != _tensor_digest(tensors[name]):
            raise InputError(f"tensor {name} does not have the checksum that it was saved with")
    return about


def _tensor_digest(array: np.ndarray) -> str:
    sha256 = hashlib.sha256(json.dumps([array.dtype.name, array.shape]).encode())
    sha256.update(array.tobytes())
    return sha256.hexdigest()


def _json_digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@takes_any_path
def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
      InputError: if the file cannot be read, or holds no JSON object.
    """
    check_regular_file(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object")
    return value


@takes_any_path
def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file, complete or not at all.

    Raises:
      TypeError: if the value has anything that JSON has not.
      OSError: if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(readable_texts(value), indent=2, allow_nan=False)
    write_text(temporary, text + "\n")
    os.replace(temporary, path)
