"""The project's own checkpoint: a folder with safetensors and two JSON files, no pickle.

`params.safetensors` holds every parameter under its path in the tree ("attn.W_Q"), `config.json`
says what the network is and how it came about, `metrics.json` how good it is.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.types import Params

FORMAT = 1
"""Version of the layout below; raised whenever an older reader would misread it."""


@dataclass(frozen=True)
class Checkpoint:
    """A network read from disk."""

    params: Params
    config: dict[str, Any]
    """The keys "format", "challenge", "model", "recipe", "seed", "step", "jaxmi_version"."""
    metrics: dict[str, Any]
    """As `Challenge.metrics`, and what the trainer adds."""

    @property
    def challenge(self) -> str:
        """The name of the challenge that the network was trained on."""
        return self.config["challenge"]


def save_checkpoint(
    path: Path, params: Params, config: Mapping[str, Any], metrics: Mapping[str, Any]
) -> None:
    """Writes a checkpoint whole or not at all.

    Args:
      path: The folder to make; it must not exist.
      params: The network's parameters.
      config: At least "challenge"; "format" is added.
      metrics: What is known of its accuracy.

    Raises:
      InputError: if something is there already.
      OSError: if it cannot be written.
    """
    if path.exists():
        raise InputError(f"{path} exists already")
    with whole_folder(path) as folder:
        write_checkpoint(folder, params, config, metrics)


def write_checkpoint(
    folder: Path, params: Params, config: Mapping[str, Any], metrics: Mapping[str, Any]
) -> None:
    """Writes a checkpoint's files into a folder that is there already; see `save_checkpoint`."""
    tensors = _flatten(jax.device_get(params))
    tensors = {name: np.ascontiguousarray(leaf) for name, leaf in tensors.items()}
    try:
        save_file(tensors, folder / "params.safetensors")
    except safetensors.SafetensorError as error:  # what it says of a full disk
        raise OSError(f"cannot write {folder / 'params.safetensors'}: {error}") from error
    write_json(folder / "config.json", {"format": FORMAT, **config})
    write_json(folder / "metrics.json", metrics)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
      InputError: if the folder is not a checkpoint of this format; names what is wrong with it.
    """
    if not (path / "config.json").is_file():
        hint = ", a run; name one of its seeds" if (path / "run.json").is_file() else ""
        raise InputError(f"{path} is no checkpoint (it holds no config.json){hint}")
    config, metrics = read_json(path / "config.json"), read_json(path / "metrics.json")
    if config.get("format") != FORMAT:
        raise InputError(f"{path}: format {config.get('format')!r}, this jaxmi reads {FORMAT}")
    if not isinstance(config.get("challenge"), str):
        raise InputError(f"{path}/config.json names no challenge")
    try:
        tensors = load_file(path / "params.safetensors")
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}/params.safetensors cannot be read: {error}") from error
    for name in tensors:
        if any(other.startswith(f"{name}.") for other in tensors):
            raise InputError(
                f"{path}/params.safetensors: {name} is a tensor and a group of tensors"
            )
    return Checkpoint(unflatten_dict(tensors, sep="."), config, metrics)


def check_params(params: Params, challenge: Challenge) -> None:
    """Checks that parameters are those of the challenge's network.

    Raises:
      InputError: naming the first tensor that is missing, unexpected, misshapen, of another type or
        not finite.
    """
    expected = _flatten(jax.eval_shape(challenge.init, jax.random.key(0)))
    found = _flatten(params)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise InputError(f"parameter {name} is missing")
        if name not in expected:
            raise InputError(f"unexpected parameter {name}")
        want, have = expected[name], found[name]
        if (have.shape, have.dtype) != (want.shape, want.dtype):
            raise InputError(
                f"parameter {name} is {have.dtype}{list(have.shape)}, "
                f"expected {want.dtype}{list(want.shape)}"
            )
        if not np.isfinite(have).all():
            raise InputError(f"parameter {name} has values that are not finite")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder beside `path` and renames it to `path` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    os.replace(temporary, path)


def _flatten(params: Params) -> dict[str, Any]:
    """Lists the parameters under their paths in the tree, as in "attn.W_Q"."""
    return {str(name): leaf for name, leaf in flatten_dict(params, sep=".").items()}


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      InputError: if the file is missing, or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object")
    return value
