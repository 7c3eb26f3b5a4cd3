"""Networks as other tools' files, and other tools' files as checkpoints."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxmi.errors import InputError
from jaxmi.files import takes_any_path
from jaxmi.storage import foreign
from jaxmi.storage.atomic import atomic_files, check_files
from jaxmi.storage.checkpoints import (
    Checkpoint,
    check_vacant,
    load_checkpoint,
    save_checkpoint,
)
from jaxmi.workflows.challenges import find
from jaxmi.workflows.networks import find_networks
from jaxmi.workflows.progress import track


@takes_any_path
def export_networks(
    path: Path, format_name: str, out: Path, stack: bool = False, force: bool = False
) -> list[str]:
    """Write a checkpoint, or every seed of a run, in a foreign format; all of it or nothing.

    Args:
      path: A checkpoint or a run folder.
      format_name: One of `foreign.FORMATS`.
      out: The file to write; for a run, the folder of its files.
      stack: Write a run as one .safetensors file, with an axis of seeds before each tensor's own.
      force: Replace files that exist.

    Returns:
      The files, by their paths in `out`; "" is `out` itself.

    Raises:
      InputError: if the path holds no network, the format is none for it, or a file exists.
      UnavailableError: if PyTorch is needed and not installed.
    """
    networks = {
        name: lambda folder=folder: load_checkpoint(folder)
        for name, folder in find_networks(path).items()
    }
    return write_networks(networks, format_name, out, stack, force, str(path))


@takes_any_path
def write_networks(
    networks: Mapping[str, Callable[[], Checkpoint]],
    format_name: str,
    out: Path,
    stack: bool,
    force: bool,
    source: str,
) -> list[str]:
    """Write networks in a foreign format; see `export_networks`.

    Args:
      networks: Name -> a function that loads the network; a single one is called "".
      format_name: As in `export_networks`.
      out: As in `export_networks`.
      stack: As in `export_networks`.
      force: As in `export_networks`.
      source: What messages call the networks.
    """
    single = set(networks) == {""}
    suffixes = foreign.FORMATS[format_name].suffixes
    if stack and single:
        raise InputError(f"{source} is one network; --stack is for a run folder")
    if stack and ".safetensors" not in suffixes:
        raise InputError(f"--stack writes a .safetensors file, which --to {format_name} is not")
    if stack and out.suffix != ".safetensors":
        raise InputError(f"{out}: a stack of networks is a .safetensors file")
    if single or stack:
        foreign.check_suffix(out, format_name)
        folder, names = out.parent, [out.name]
    else:
        folder, names = out, [f"{name}{suffixes[0]}" for name in networks]
        if out.suffix in suffixes:
            raise InputError(f"{source} is a run; {out} would be a folder")
    check_files(folder, names, force)
    loaded = track((load() for load in networks.values()), len(networks))
    with atomic_files(folder) as temporary:
        if stack:
            foreign.export_stack(list(loaded), format_name, temporary / names[0])
        else:
            for checkpoint, name in zip(loaded, names, strict=True):
                foreign.export_network(checkpoint, format_name, temporary / name)
    return [""] if single or stack else names


@takes_any_path
def import_file(
    file: Path,
    out: Path,
    format_name: str | None,
    challenge: str | None,
    force: bool,
    key: str | None = None,
) -> dict[str, Any]:
    """Turn another tool's file into a checkpoint.

    Args:
      file: As in `foreign.import_network`; nothing in it is run.
      out: The checkpoint folder to make.
      format_name: One of `foreign.FORMATS`; None tells it from the tensors.
      challenge: A published challenge's name, or the folder of one that a user made; None tells it
        from the file's record, or else from the tensors.
      force: Replace a checkpoint that exists.
      key: The place of the state dict in the file; None finds it.

    Returns:
      What `jaxmi import --json` prints.

    Raises:
      InputError: if the file cannot be used, or the folder exists.
    """
    check_vacant(out, force)
    named = None if challenge is None else find(challenge)
    network = foreign.import_network(file, format_name, named, key)
    save_checkpoint(out, network.params, network.config, network.metrics, force)
    imported = network.config["imported"]
    return {
        "challenge": network.challenge,
        "layout": imported["layout"],
        "has_checksums": imported["has_checksums"],
        "checkpoint": str(out),
    }
