"""PyTorch's .pt files, and other pickles of tensors, read without PyTorch: nothing in them is run.

A .pt file is a zip archive of one pickle, which says how to assemble tensors, and each tensor's
bytes; before PyTorch 1.6 it was four pickles in a row, and then the bytes. `pickle_reader` reads
the pickle. Our record is one more member of the archive, which PyTorch ignores.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from jaxmi.errors import InputError, UnavailableError
from jaxmi.files import check_regular_file
from jaxmi.storage.checkpoints import MAX_BYTES, RECORD, Tensors, make_record
from jaxmi.storage.pickle_reader import Tensor, read_pickle, read_stream, walk

MAGIC = b"PK\x03\x04"
"""The first bytes of a zip archive."""

SUFFIXES = (".pt", ".pth")
"""Endings of PyTorch's files."""

_LEGACY_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"
"""A number near the beginning of a file that PyTorch before 1.6 saved."""

WRAPPED_IN = "model"
"""The key under which the published transformer's file has its state dict."""


@dataclass(frozen=True, eq=False)
class PickledFile:
    """The content of a file, with tensors that are not assembled yet."""

    content: Any
    """As `read_pickle` gives it."""
    storages: Mapping[str, bytes]
    """The bytes of the tensors."""
    byte_order: Literal["<", ">"]
    """"<" or ">", of these bytes."""
    record: str | None
    """Our record, if there is one."""


def write_pytorch(path: Path, tensors: Tensors, about: Mapping[str, Any], wrapped: bool) -> None:
    """Write a state dict that `torch.load(path, weights_only=True)` returns.

    Args:
      path: The file; an existing one is overwritten.
      tensors: The state dict, in its order.
      about: What the record says of the network.
      wrapped: Put it under "model", as the published transformer's file has it.

    Raises:
      UnavailableError: if PyTorch is not installed.
      OSError: if the file cannot be written.
    """
    torch = import_torch()
    state = {name: torch.tensor(array) for name, array in tensors.items()}
    data = io.BytesIO()
    torch.save({WRAPPED_IN: state} if wrapped else state, data)
    with zipfile.ZipFile(data, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        member = zipfile.ZipInfo(f"{root}/{RECORD}.json")  # dated 1980, like PyTorch's members
        archive.writestr(member, make_record(tensors, about))
    path.write_bytes(data.getvalue())


def read_pytorch(path: Path) -> PickledFile:
    """Read what `torch.save` or `pickle.dump` wrote, without running anything.

    At most a few times the file's length is allocated.

    Raises:
      InputError: if the file is damaged, is larger than `MAX_BYTES`, or is something else; says
        what.
    """
    check_regular_file(path, MAX_BYTES)
    try:
        data = path.read_bytes()
        if data.startswith(MAGIC):
            return _read_zip(data)
        return _read_legacy(data) if is_legacy(data) else _read_plain(data)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def is_pickle(first_bytes: bytes) -> bool:
    """Return whether a file begins like a pickle of protocols 2 to 5."""
    return first_bytes[:1] == b"\x80" and first_bytes[1:2] in (b"\2", b"\3", b"\4", b"\5")


def is_legacy(first_bytes: bytes) -> bool:
    """Return whether a file begins like those of PyTorch before 1.6."""
    return is_pickle(first_bytes) and _LEGACY_MAGIC in first_bytes[:40]


def _read_zip(data: bytes) -> PickledFile:
    members = _read_archive(data)
    storages = {
        name.removeprefix("data/"): content
        for name, content in members.items()
        if name.startswith("data/")
    }
    record = members.get(f"{RECORD}.json")
    return PickledFile(
        read_pickle(members["data.pkl"]),
        storages,
        ">" if members.get("byteorder") == b"big" else "<",
        None if record is None else record.decode(errors="replace"),
    )


def _read_plain(data: bytes) -> PickledFile:
    return PickledFile(read_pickle(data), {}, "<", None)


def _read_legacy(data: bytes) -> PickledFile:
    """Read the form before PyTorch 1.6: four pickles, the storages' keys, and their bytes."""
    file = io.BytesIO(data)
    _, _, machine, content, keys = (read_stream(file) for _ in range(5))
    if not isinstance(keys, list) or any(type(key) is not str for key in keys):
        raise InputError("its list of storages cannot be read")
    tensors = (value for value in walk(content) if isinstance(value, Tensor))
    sizes = {one.storage.key: one.storage.dtype.itemsize for one in tensors}
    storages: dict[str, bytes] = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        length = count * sizes.get(key, 0)
        if key not in sizes or length > len(data) - file.tell():
            raise InputError(f"its storage {key} cannot be read: the file is cut or damaged")
        storages[key] = file.read(length)
    little = not isinstance(machine, dict) or machine.get("little_endian") is not False
    return PickledFile(content, storages, "<" if little else ">", None)


def _read_archive(data: bytes) -> dict[str, bytes]:
    """Return the archive's members, their checksums verified, by name below the archive's root."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_is_pytorchs([entry.filename for entry in entries])
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise InputError("is a compressed zip archive; unpack it and import what it holds")
            if sum(entry.file_size for entry in entries) > len(data):
                raise InputError("its members overlap")
            members = {entry.filename.partition("/")[2]: archive.read(entry) for entry in entries}
            if len({name.lower() for name in members}) < len(entries):
                raise InputError("has two members of one name")
    except InputError:
        raise
    except (
        zipfile.BadZipFile,  # also a wrong checksum
        EOFError,
        NotImplementedError,  # a zip version that Python does not know
        RuntimeError,  # "encrypted"
        ValueError,
    ) as error:
        raise InputError(f"is damaged, or no file of PyTorch's: {error}") from error
    return members


def _check_is_pytorchs(names: list[str]) -> None:
    """Check by its members' names that a zip archive is PyTorch's.

    Raises:
      InputError: if it is something else; says what, and what to do.
    """
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise InputError(
            "is a TorchScript program, not weights; write these with PyTorch: "
            "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt'), then import weights.pt"
        )
    if "data.pkl" not in inside:
        shown = ", ".join(sorted(names)[:3]) or "nothing"
        raise InputError(
            f"is a zip archive, but no file of PyTorch's: it has no data.pkl; it holds {shown}"
        )


def has_torch() -> bool:
    """Return whether PyTorch is installed, without importing it."""
    return find_spec("torch") is not None


def import_torch() -> Any:
    """Return the module `torch`.

    Raises:
      UnavailableError: if it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            "a .pt file needs PyTorch: pip install 'jaxmi[torch]', or use safetensors"
        ) from error
    return torch
