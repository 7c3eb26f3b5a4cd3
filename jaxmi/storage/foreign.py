"""Networks in other tools' files: a layout of tensors in a container (.pt or .safetensors)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.registry import origin
from jaxmi.errors import InputError
from jaxmi.files import check_regular_file
from jaxmi.storage.checkpoints import (
    FORMAT,
    Checkpoint,
    Contents,
    Tensors,
    read_safetensors,
    write_safetensors,
)
from jaxmi.storage.layouts import LAYOUTS, Layout, detect
from jaxmi.storage.pytorch_file import MAGIC, read_pytorch, write_pytorch

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first bytes of a file that PyTorch before 1.6 saved."""


@dataclass(frozen=True)
class Format:
    """A file format that a user may name: a layout and its containers."""

    layout: str
    """The layout's name, as in `layouts`."""
    suffixes: tuple[str, ...]
    """Endings of its files; the first is the default. ".safetensors" stands for that container, the
    others for a PyTorch archive."""


FORMATS: Mapping[str, Format] = {
    "casper": Format("casper", (".pt", ".pth")),
    "transformer-lens": Format("transformer-lens", (".pt", ".pth", ".safetensors")),
    "transformer-lens-4": Format("transformer-lens-4", (".pt", ".pth", ".safetensors")),
    "safetensors": Format("casper", (".safetensors",)),
}
"""The published files, TransformerLens's state dicts, and the published tensors without pickle."""


def find_layout(format_name: str, challenge: str) -> Layout:
    """Return a format's layout of a challenge's network.

    Raises:
      InputError: if the format has none.
    """
    name = FORMATS[format_name].layout
    for layout in LAYOUTS:
        if (layout.name, layout.challenge) == (name, challenge):
            return layout
    raise InputError(f"{format_name} is no format for the network of challenge {challenge!r}")


def check_suffix(path: Path, format_name: str) -> None:
    """Check that a file's name has an ending of its format.

    Raises:
      InputError: if it has another; names those that are allowed.
    """
    suffixes = FORMATS[format_name].suffixes
    if path.suffix not in suffixes:
        raise InputError(f"{path}: a {format_name} file ends in {' or '.join(suffixes)}")


def export_network(checkpoint: Checkpoint, format_name: str, path: Path) -> None:
    """Write a checkpoint as another tool's file, with a record of its configuration and metrics.

    Args:
      checkpoint: The network, with parameters that fit its challenge's network.
      format_name: One of `FORMATS`.
      path: The file; its ending chooses the container.

    Raises:
      InputError: if the format is none for this network.
      UnavailableError: if PyTorch is needed and not installed.
      OSError: if the file cannot be written.
    """
    layout = find_layout(format_name, checkpoint.challenge)
    _write(path, layout, layout.write(checkpoint.params), _about(checkpoint))


def export_stack(checkpoints: Sequence[Checkpoint], format_name: str, path: Path) -> None:
    """Write many networks as one file, each tensor with a leading axis of networks.

    `torch.func.functional_call` under `torch.vmap` takes them in this form.

    Args:
      checkpoints: Networks of one challenge.
      format_name: One of `FORMATS`.
      path: The file.

    Raises:
      InputError: if the format is none for this network.
      OSError: if the file cannot be written.
    """
    layout = find_layout(format_name, checkpoints[0].challenge)
    stack: dict[str, np.ndarray] = {}
    for i, checkpoint in enumerate(checkpoints):
        for name, array in layout.write(checkpoint.params).items():
            if name not in stack:
                stack[name] = np.empty((len(checkpoints), *array.shape), array.dtype)
            stack[name][i] = array
    _write(path, layout, stack, {"stack": [_about(checkpoint) for checkpoint in checkpoints]})


def import_network(
    path: Path, format_name: str | None = None, challenge: str | None = None
) -> Checkpoint:
    """Read another tool's file.

    Args:
      path: The file.
      format_name: One of `FORMATS`; None detects it.
      challenge: The challenge's name; None detects it.

    Returns:
      The network. If the file was written by `export_network`, with its configuration and metrics
      as they were; else with those of the challenge's network, and no metrics. Either way the
      configuration has "imported": the file's name, layout and SHA-256, and whether it held
      checksums.

    Raises:
      InputError: if the file is damaged, or is not of this format or challenge; names the first
        tensor that does not fit.
      UnavailableError: if PyTorch is needed and not installed.
    """
    contents, container = _read(path)
    if format_name is not None and container not in FORMATS[format_name].suffixes:
        raise InputError(f"{path} is a {container} file, and {format_name} files are not")
    try:
        if contents.about and "stack" in contents.about:
            raise InputError("holds a stack of networks; export a network alone to import it")
        layout = _choose(contents.tensors, format_name, challenge)
        params = layout.read(contents.tensors)
        config, metrics = _recorded(contents.about, layout)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    imported = {
        "file": path.name,
        "layout": layout.name,
        "has_checksums": contents.about is not None,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return Checkpoint(params, {**config, "imported": imported}, metrics)


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a file's record says of a network."""
    return {"config": {"format": FORMAT, **checkpoint.config}, "metrics": checkpoint.metrics}


def _recorded(
    about: Mapping[str, Any] | None, layout: Layout
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a file's record as a checkpoint's configuration and metrics."""
    network = {
        "format": FORMAT,
        "challenge": layout.challenge,
        "model": origin(layout.challenge).model_config,
    }
    if about is None:
        return network, {}
    config, metrics = about.get("config"), about.get("metrics")
    if not isinstance(config, dict) or not isinstance(metrics, dict):
        raise InputError("its record lacks the network's configuration")
    for name, value in network.items():
        if config.get(name) != value:
            raise InputError(f"its record is of a network with {name} = {config.get(name)!r}")
    return config, metrics


def _choose(tensors: Tensors, format_name: str | None, challenge: str | None) -> Layout:
    if format_name is not None and challenge is not None:
        return find_layout(format_name, challenge)
    name = FORMATS[format_name].layout if format_name is not None else None
    layouts = [
        layout
        for layout in LAYOUTS
        if name in (None, layout.name) and challenge in (None, layout.challenge)
    ]
    return layouts[0] if len(layouts) == 1 else detect(tensors, layouts)


def _write(
    path: Path, layout: Layout, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    if path.suffix == ".safetensors":
        write_safetensors(path, tensors, about)
    else:
        write_pytorch(path, tensors, about, wrapped=layout.wrapped)


def _read(path: Path) -> tuple[Contents, str]:
    """Read a file of either container, which its first bytes tell; also return its suffix."""
    check_regular_file(path)
    if path.name == "params.safetensors" and (path.parent / "config.json").is_file():
        raise InputError(f"{path.parent} is a checkpoint already; it needs no import")
    try:
        with path.open("rb") as file:
            first_bytes = file.read(len(_LEGACY_MAGIC))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if first_bytes.startswith(MAGIC):
        return read_pytorch(path), ".pt"
    if first_bytes == _LEGACY_MAGIC:
        raise InputError(f"{path} was saved by PyTorch before 1.6; save it again with a later one")
    if first_bytes[8:9] == b"{":
        return read_safetensors(path), ".safetensors"
    raise InputError(f"{path} is neither a PyTorch file nor a safetensors file")
