"""Networks in other tools' files: a layout of tensors in a container (.pt or .safetensors)."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmi.challenges.definition import Definition
from jaxmi.challenges.registry import name_of, origin
from jaxmi.errors import InputError
from jaxmi.files import check_regular_file
from jaxmi.models.transformer import TransformerConfig
from jaxmi.programs.language import Kind
from jaxmi.storage.checkpoints import (
    DEFINITION,
    FORMAT,
    Checkpoint,
    Contents,
    Tensors,
    read_safetensors,
    write_safetensors,
)
from jaxmi.storage.layouts import LAYOUTS, Layout, detect
from jaxmi.storage.pytorch_file import MAGIC, read_pytorch, write_pytorch
from jaxmi.types import Params

logger = logging.getLogger(__name__)

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


def find_layout(format_name: str, challenge: str, kind: Kind | None = None) -> Layout:
    """Return a format's layout of a challenge's network.

    Args:
      format_name: One of `FORMATS`.
      challenge: The challenge's name.
      kind: The challenge's kind; None: that of the published challenge of this name.

    Raises:
      InputError: if the format has none.
    """
    name, kind = FORMATS[format_name].layout, kind or origin(challenge).kind
    for layout in LAYOUTS:
        if layout.name == name and layout.fits(kind):
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
    layout = _layout_of(checkpoint, format_name)
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
    layout = _layout_of(checkpoints[0], format_name)
    stack: dict[str, np.ndarray] = {}
    for i, checkpoint in enumerate(checkpoints):
        for name, array in layout.write(checkpoint.params).items():
            if name not in stack:
                stack[name] = np.empty((len(checkpoints), *array.shape), array.dtype)
            stack[name][i] = array
    _write(path, layout, stack, {"stack": [_about(checkpoint) for checkpoint in checkpoints]})


def import_network(
    path: Path, format_name: str | None = None, challenge: str | Definition | None = None
) -> Checkpoint:
    """Read another tool's file.

    Args:
      path: The file.
      format_name: One of `FORMATS`; None detects it.
      challenge: A published challenge's name, or the definition of one that a user made; None takes
        the one in the file's record, or else detects which published challenge it is.

    Returns:
      The network. If the file was written by `export_network`, with its configuration and metrics
      as they were; else with those of the challenge's network, and no metrics. Either way the
      configuration has "imported": the file's name, layout and SHA-256, and whether it held
      checksums.

    Raises:
      InputError: if the file is damaged, or is not of this format or challenge; names the first
        tensor that does not fit. Also if a challenge is neither named nor recorded, and the sizes
        are no published network's.
      UnavailableError: if PyTorch is needed and not installed.
    """
    contents, container = _read(path)
    if format_name is not None and container not in FORMATS[format_name].suffixes:
        raise InputError(f"{path} is a {container} file, and {format_name} files are not")
    try:
        if contents.about and "stack" in contents.about:
            raise InputError("holds a stack of networks; export a network alone to import it")
        layout = _choose(contents.tensors, format_name, challenge)
        recorded = _recorded(contents.about)
        named = challenge or _recorded_challenge(recorded, layout)
        params = _read_params(layout, contents.tensors, named)
        config, metrics = _about_network(recorded, layout, named)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    imported = {
        "file": path.name,
        "layout": layout.name,
        "has_checksums": contents.about is not None,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return Checkpoint(params, {**config, "imported": imported}, metrics)


def _layout_of(checkpoint: Checkpoint, format_name: str) -> Layout:
    return find_layout(format_name, checkpoint.challenge, checkpoint.origin.kind)


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a file's record says of a network."""
    return {"config": {"format": FORMAT, **checkpoint.config}, "metrics": checkpoint.metrics}


class _Recorded(NamedTuple):
    """What a file's record says of a network."""

    config: dict[str, Any]
    metrics: dict[str, Any]
    definition: Definition | None


def _recorded(about: Mapping[str, Any] | None) -> _Recorded | None:
    """Return a file's record; None if it has none."""
    if about is None:
        return None
    config, metrics = about.get("config"), about.get("metrics")
    if not isinstance(config, dict) or not isinstance(metrics, dict):
        raise InputError("its record lacks the network's configuration")
    definition = config.get(DEFINITION)
    return _Recorded(
        config, metrics, None if definition is None else Definition.from_json(definition)
    )


def _recorded_challenge(recorded: _Recorded | None, layout: Layout) -> str | Definition | None:
    """Return the challenge that a record names, if its networks are of the layout's kind.

    If they are not, the tensors are read as the published challenge's, so that either a tensor that
    does not fit is named, or `_about_network` says that the record is another network's.
    """
    if recorded is None:
        return None
    definition = recorded.definition
    fits = definition is not None and layout.fits(definition.kind)
    return definition if fits else layout.published


def _read_params(layout: Layout, tensors: Tensors, challenge: str | Definition | None) -> Params:
    """Return the parameters in a file's tensors.

    Raises:
      InputError: naming the first tensor that does not fit; or, if no challenge is named, the
        sizes, unless they are the published ones.
    """
    if challenge is not None:
        return layout.table(origin(challenge).model.config).read(tensors)
    found = layout.find_sizes(tensors)
    params = layout.table(found.config).read(tensors)
    if found.heads_assumed and isinstance(found.config, TransformerConfig):
        heads, width = found.config.n_heads, found.config.d_head
        logger.info(f"{heads} heads of {width} are assumed: {layout.name} files do not tell")
    if differences := found.differences():
        raise InputError(
            f"its network has {differences}, and no published challenge's has: name the folder of "
            "its challenge with --challenge"
        )
    return params


def _about_network(
    recorded: _Recorded | None, layout: Layout, challenge: str | Definition | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a checkpoint's configuration and metrics: as recorded, or those of its challenge."""
    challenge = challenge or layout.published
    network = {
        "format": FORMAT,
        "challenge": name_of(challenge),
        "model": origin(challenge).model_config,
    }
    definition = None if isinstance(challenge, str) else challenge
    if recorded is None:
        own = {} if definition is None else {DEFINITION: definition.to_json()}
        return {**network, **own}, {}
    config = recorded.config
    for name, value in network.items():
        if config.get(name) != value:
            raise InputError(f"its record is of a network with {name} = {config.get(name)!r}")
    if _digest(recorded.definition) != _digest(definition):
        raise InputError(f"its record is of another challenge named {config['challenge']!r}")
    return config, recorded.metrics


def _digest(definition: Definition | None) -> str | None:
    return None if definition is None else definition.to_json()["sha256"]


def _choose(
    tensors: Tensors, format_name: str | None, challenge: str | Definition | None
) -> Layout:
    kind = None if challenge is None else origin(challenge).kind
    if format_name is not None and challenge is not None:
        return find_layout(format_name, name_of(challenge), kind)
    name = FORMATS[format_name].layout if format_name is not None else None
    layouts = [
        layout
        for layout in LAYOUTS
        if name in (None, layout.name) and (kind is None or layout.fits(kind))
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
