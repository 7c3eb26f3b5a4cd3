"""PyTorch's .pt files, checked completely before PyTorch loads them with `weights_only`.

A .pt file is a zip archive of one pickle, which says how to assemble tensors, and each tensor's
bytes. `torch.load` ignores the archive's checksums, and reads some archives differently from
`zipfile`; so the checked members are written to a new archive for it. Our record is one more
member, which PyTorch ignores.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.errors import InputError, UnavailableError
from jaxmi.files import check_regular_file
from jaxmi.storage.checkpoints import (
    MAX_BYTES,
    RECORD,
    Contents,
    Tensors,
    check_record,
    make_record,
)
from jaxmi.storage.pickle_reader import check_pickle

MAGIC = b"PK\x03\x04"
"""The first bytes of a zip archive."""

WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Keys under which training scripts save the state dict beside other things; the published
transformer's file has the first."""


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
    torch.save({WRAPPERS[0]: state} if wrapped else state, data)
    with zipfile.ZipFile(data, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        member = zipfile.ZipInfo(f"{root}/{RECORD}.json")  # dated 1980, like PyTorch's members
        archive.writestr(member, make_record(tensors, about))
    path.write_bytes(data.getvalue())


def read_pytorch(path: Path) -> Contents:
    """Read a state dict, plain or wrapped, and check it against the record if there is one.

    Nothing in the file is run, and at most a few times the file's length is allocated.

    Raises:
      InputError: if the file is damaged, is larger than `MAX_BYTES`, is no state dict of tensors,
        or its pickle calls anything else; names the first call or tensor that is wrong.
      UnavailableError: if PyTorch is not installed.
    """
    check_regular_file(path, MAX_BYTES)
    try:
        members = _read_archive(path.read_bytes())
        state = _load(members)
        tensors = {name: _array(name, value) for name, value in state.items()}
        record = members.get(f"{RECORD}.json")
        text = None if record is None else record.decode(errors="replace")
        return Contents(tensors, check_record(text, tensors))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_archive(data: bytes) -> dict[str, bytes]:
    """Return the archive's members, their checksums verified, by name below the archive's root."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise InputError("is compressed, which no file of PyTorch's is")
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
    if "data.pkl" not in members:
        raise InputError("is a zip archive, but no file of PyTorch's: it has no data.pkl")
    return members


def _load(members: Mapping[str, bytes]) -> Mapping[Any, Any]:
    """Return the state dict of an archive, unwrapped."""
    torch = import_torch()
    data = {name: content for name, content in members.items() if name.startswith("data/")}
    lengths = {name.removeprefix("data/"): len(content) for name, content in data.items()}
    check_pickle(members["data.pkl"], lengths)
    checked = io.BytesIO()
    with zipfile.ZipFile(checked, "w") as archive:
        for name in ("data.pkl", "byteorder", "version", *data):
            if name in members:
                archive.writestr(f"archive/{name}", members[name])
    checked.seek(0)
    try:
        loaded = torch.load(checked, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch may raise anything
        raise InputError(f"PyTorch cannot load it: {error!r:.200}") from error
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"holds a {type(loaded).__name__}, no state dict")
    wrapped = (loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), Mapping))
    return next(wrapped, loaded)


def _array(name: Any, value: Any) -> np.ndarray:
    torch = import_torch()
    if not isinstance(name, str):
        raise InputError(f"{name!r:.40} is no tensor's name")
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{name} is a {type(value).__name__}, no tensor")
    if value.dtype is torch.bfloat16:
        raise InputError(f"tensor {name} is {value.dtype}; convert it to float32")
    return value.detach().numpy()


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
