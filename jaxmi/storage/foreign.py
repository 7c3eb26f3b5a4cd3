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
from jaxmi.files import check_regular_file, takes_any_path
from jaxmi.models.transformer import TransformerConfig
from jaxmi.programs.language import Kind
from jaxmi.storage.archive import holds_arrays_only, read_archive
from jaxmi.storage.checkpoints import (
    DEFINITION,
    FORMAT,
    MAX_BYTES,
    Checkpoint,
    Tensors,
    check_record,
    read_json,
    read_safetensors,
    write_safetensors,
)
from jaxmi.storage.describe import describe, first_bytes
from jaxmi.storage.fold import fold_biases
from jaxmi.storage.layouts import LAYOUTS, Layout, detect
from jaxmi.storage.pytorch_file import (
    MAGIC,
    SUFFIXES,
    PickledFile,
    is_pickle,
    read_pytorch,
    write_pytorch,
)
from jaxmi.storage.wrappers import choose
from jaxmi.types import Params

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Format:
    """A file format that a user may name: a layout and its containers."""

    layout: str
    """The layout's name, as in `layouts`."""
    suffixes: tuple[str, ...]
    """Endings of its files; the first is the default. ".safetensors" stands for that container, the
    others for a PyTorch archive."""


FORMATS: Mapping[str, Format] = {
    "casper": Format("casper", SUFFIXES),
    "transformer-lens": Format("transformer-lens", (*SUFFIXES, ".safetensors")),
    "transformer-lens-4": Format("transformer-lens-4", (*SUFFIXES, ".safetensors")),
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


@takes_any_path
def check_suffix(path: Path, format_name: str) -> None:
    """Check that a file's name has an ending of its format.

    Raises:
      InputError: if it has another; names those that are allowed.
    """
    suffixes = FORMATS[format_name].suffixes
    if path.suffix not in suffixes:
        raise InputError(f"{path}: a {format_name} file ends in {' or '.join(suffixes)}")


@takes_any_path
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


@takes_any_path
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


@takes_any_path
def import_network(
    path: Path,
    format_name: str | None = None,
    challenge: str | Definition | None = None,
    key: str | None = None,
) -> Checkpoint:
    """Read another tool's file; nothing in it is run.

    Args:
      path: The file: of PyTorch, pickled, safetensors or .npz; or the index of safetensors in
        several files.
      format_name: One of `FORMATS`; None detects it.
      challenge: A published challenge's name, or the definition of one that a user made; None takes
        the one in the file's record, or else detects which published challenge it is.
      key: The place of the state dict in the file, such as "ema.state_dict"; None takes the only
        dictionary that fits a layout.

    Returns:
      The network. If the file was written by `export_network`, with its configuration and metrics
      as they were; else with those of the challenge's network, and no metrics. Either way the
      configuration has "imported": the file's name, layout and SHA-256, whether it held checksums,
      and "notes", if something was taken off, converted or moved, which is logged too.

    Raises:
      InputError: if the file is damaged, holds several networks and no key is given, or is not of
        this format or challenge; names the first tensor that does not fit. Also if a challenge is
        neither named nor recorded, and the sizes are no published network's.
    """
    path = _index_of(path)
    file, container, about = _read(path)
    suffixes = () if format_name is None else FORMATS[format_name].suffixes
    if format_name is not None and container != ".npz" and container not in suffixes:
        raise InputError(f"{path} is a {container} file, and {format_name} files are not")
    try:
        _check_not_stacked(about)
        chosen = choose(file, _layouts(format_name, challenge), key)
        if container == ".pt":
            about = check_record(file.record, chosen.raw)
            _check_not_stacked(about)
        notes = list(chosen.notes)
        tensors = _as_float32(chosen.tensors, notes)
        layout = _choose(tensors, format_name, challenge)
        tensors = fold_biases(layout, tensors, notes)
        recorded = _recorded(about)
        named = challenge or _recorded_challenge(recorded, layout)
        params = _read_params(layout, tensors, named)
        config, metrics = _about_network(recorded, layout, named)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    for note in notes:
        logger.info(f"{path}: {note}")
    imported = {
        "file": path.name,
        "layout": layout.name,
        "has_checksums": about is not None,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **({"notes": notes} if notes else {}),
    }
    return Checkpoint(params, {**config, "imported": imported}, metrics)


def _check_not_stacked(about: Mapping[str, Any] | None) -> None:
    if about and "stack" in about:
        raise InputError("holds a stack of networks; export a network alone to import it")


def _index_of(path: Path) -> Path:
    """Return the index in a folder of safetensors in several files, or any other path as it is."""
    index = path / f"model{_INDEX}"
    return index if index.is_file() else path


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


def _layouts(format_name: str | None, challenge: str | Definition | None) -> list[Layout]:
    """Return the layouts that a file may have, by what the user says of it."""
    kind = None if challenge is None else origin(challenge).kind
    if format_name is not None and challenge is not None:
        return [find_layout(format_name, name_of(challenge), kind)]
    name = FORMATS[format_name].layout if format_name is not None else None
    return [
        layout
        for layout in LAYOUTS
        if name in (None, layout.name) and (kind is None or layout.fits(kind))
    ]


def _choose(
    tensors: Tensors, format_name: str | None, challenge: str | Definition | None
) -> Layout:
    layouts = _layouts(format_name, challenge)
    return layouts[0] if len(layouts) == 1 else detect(tensors, layouts)


def _as_float32(tensors: Tensors, notes: list[str]) -> dict[str, np.ndarray]:
    """Return tensors with numbers of other widths as float32, and note whether digits are lost.

    Raises:
      InputError: if they are more than a file of `MAX_BYTES` would hold.
    """
    if sum(4 * array.size for array in tensors.values()) > MAX_BYTES:
        raise InputError(f"its tensors have more than {MAX_BYTES:,} bytes as float32")
    converted, kinds, lossless = {}, set(), True
    for name, array in tensors.items():
        kind = array.dtype.name
        if kind in ("float64", "float16", "bfloat16"):
            with np.errstate(over="ignore", invalid="ignore"):
                narrow = array.astype(np.float32)
                lossless &= np.array_equal(narrow.astype(array.dtype), array, equal_nan=True)
            kinds.add(kind)
            converted[name] = narrow
        else:
            converted[name] = np.asarray(array, array.dtype.newbyteorder("="))
    if kinds:
        how = "without loss" if lossless else "which rounds it"
        notes.append(f"{' and '.join(sorted(kinds))} is converted to float32, {how}")
    return converted


def _write(
    path: Path, layout: Layout, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    if path.suffix == ".safetensors":
        write_safetensors(path, tensors, about)
    else:
        write_pytorch(path, tensors, about, wrapped=layout.wrapped)


def _read(path: Path) -> tuple[PickledFile, str, dict[str, Any] | None]:
    """Read a file of any container, which its first bytes tell.

    Returns:
      What it holds, the suffix of such files, and what its record says of the network, if that was
      compared already.
    """
    if path.name.endswith(_INDEX):
        return PickledFile(_read_parts(path), {}, "<", None), ".safetensors", None
    if (path / "config.json").is_file():
        raise InputError(f"{path} is a checkpoint already; it needs no import")
    check_regular_file(path)
    if path.name == "params.safetensors" and (path.parent / "config.json").is_file():
        raise InputError(f"{path.parent} is a checkpoint already; it needs no import")
    start = first_bytes(path)
    if start.startswith(MAGIC) and holds_arrays_only(path):
        return PickledFile(read_archive(path), {}, "<", None), ".npz", None
    if start.startswith(MAGIC) or is_pickle(start):
        return read_pytorch(path), ".pt", None
    if start[8:9] == b"{" and not describe(start, path):
        contents = read_safetensors(path)
        return PickledFile(contents.tensors, {}, "<", None), ".safetensors", contents.about
    what = describe(start, path)
    raise InputError(f"{path} is {what or 'neither a PyTorch file nor a safetensors file'}")


_INDEX = ".safetensors.index.json"
"""The ending of the index of safetensors in several files, as Hugging Face writes them."""

_MOST_PARTS = 100


def _read_parts(index: Path) -> dict[str, np.ndarray]:
    """Read the tensors of several safetensors files, by their index.

    Raises:
      InputError: if a part is missing or lacks a tensor that the index says it has; or the index
        names a file elsewhere.
    """
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(part, str) for part in weight_map.values()
    ):
        raise InputError(f"{index} has no weight_map of tensors to files")
    parts = sorted(set(weight_map.values()))
    elsewhere = [part for part in parts if Path(part).name != part or not part]
    if elsewhere or len(parts) > _MOST_PARTS:
        raise InputError(f"{index} names {elsewhere[0] if elsewhere else len(parts)!r} as a part")
    absent = [part for part in parts if not (index.parent / part).is_file()]
    if absent:
        raise InputError(f"{index} names {absent[0]}, which is not beside it")
    size = sum((index.parent / part).stat().st_size for part in parts)
    if size > MAX_BYTES:
        raise InputError(f"{index}: its parts have {size:,} bytes; at most {MAX_BYTES:,} are read")
    held = {part: read_safetensors(index.parent / part).tensors for part in parts}
    missing = sorted(name for name, part in weight_map.items() if name not in held[part])
    if missing:
        raise InputError(f"{index}: tensor {missing[0]} is not in {weight_map[missing[0]]}")
    return {name: held[part][name] for name, part in weight_map.items()}
