"""PyTorch's .pt files, without trust: the only module that opens one, and with `weights_only`.

A .pt file is a zip archive of one pickle, which says how to put tensors together, and each tensor's
bytes. `torch.load` checks neither the archive's checksums nor what a pickle would allocate, so both
are checked first. Our record is one member more, which PyTorch passes over.
"""

import io
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.errors import InputError, UnavailableError
from jaxmi.weights.tensors import RECORD, Contents, Tensors, seal, unseal

MAGIC = b"PK\x03\x04"
"""How a zip archive begins."""

WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Under one of these keys a training script's file holds the state dict, beside what else it saved;
the published transformer's under the first."""

_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_CALLS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {name}Storage" for name in _STORAGES),
}
"""Everything that a state dict's pickle calls, as the opcode GLOBAL spells it."""


def write_pytorch(path: Path, tensors: Tensors, about: Mapping[str, Any], wrapped: bool) -> None:
    """Writes a state dict that `torch.load(path, weights_only=True)` gives back.

    Args:
      path: The file; what is there is overwritten.
      tensors: The state dict, in its order.
      about: What the record says of it.
      wrapped: Put it under "model", as the published transformer's file has it.

    Raises:
      UnavailableError: if PyTorch is not installed.
      OSError: if the file cannot be written.
    """
    torch = _import_torch()
    state = {name: torch.tensor(array) for name, array in tensors.items()}
    data = io.BytesIO()
    torch.save({WRAPPERS[0]: state} if wrapped else state, data)
    with zipfile.ZipFile(data, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        member = zipfile.ZipInfo(f"{root}/{RECORD}.json")  # of 1980, like PyTorch's members
        archive.writestr(member, seal(tensors, about))
    path.write_bytes(data.getvalue())


def read_pytorch(path: Path) -> Contents:
    """Reads a state dict, plain or wrapped, and checks it against the record if there is one.

    Nothing in the file is run, and no more is allocated than it is long.

    Raises:
      InputError: if the file is damaged, is no state dict of tensors, or its pickle wants to call
        anything; names the first offender.
      UnavailableError: if PyTorch is not installed.
    """
    try:
        data = path.read_bytes()
        record = _check_archive(data)
        state = _load(data)
        tensors = {name: _array(name, value, len(data)) for name, value in state.items()}
        return Contents(tensors, unseal(record, tensors))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check_archive(data: bytes) -> str | None:
    """Checks every member's checksum, and what the pickle calls; returns our record."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise InputError("is compressed, which no file of PyTorch's is")
            if sum(member.file_size for member in members) > len(data):
                raise InputError("its members overlap")
            contents = {member.filename: archive.read(member) for member in members}
    except InputError:
        raise
    except (
        zipfile.BadZipFile,  # a checksum that is wrong, too
        EOFError,
        NotImplementedError,
        RuntimeError,  # "encrypted"
        ValueError,
    ) as error:
        raise InputError(f"is damaged, or no file of PyTorch's: {error}") from error
    if len(contents) < len(members):
        raise InputError("has two members of one name")
    for name, content in contents.items():
        if name.endswith(".pkl"):
            _check_pickle(content)
    for name, content in contents.items():
        if name.endswith(f"/{RECORD}.json"):
            return content.decode(errors="replace")
    return None


def _check_pickle(pickled: bytes) -> None:
    """Refuses a pickle that calls anything but what puts tensors together."""
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "GLOBAL" and argument not in _CALLS:
                called = str(argument).replace(" ", ".")
                raise InputError(
                    f"its pickle wants to call {called}, which no state dict needs; save "
                    "model.state_dict() alone"
                )
            if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
                raise InputError(f"its pickle has the opcode {opcode.name}, which PyTorch's lack")
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"its pickle cannot be read: {error}") from error


def _load(data: bytes) -> Mapping[Any, Any]:
    torch = _import_torch()
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle can make PyTorch raise anything
        raise InputError(f"PyTorch cannot load it: {error!r:.200}") from error
    state = loaded
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            state = loaded[wrapper]
            break
    if not isinstance(state, Mapping) or not state:
        raise InputError(f"holds a {type(loaded).__name__}, no state dict")
    return state


def _array(name: Any, value: Any, limit: int) -> np.ndarray:
    """A tensor as an array; `limit` is how many bytes it may have."""
    torch = _import_torch()
    if not isinstance(name, str):
        raise InputError(f"{name!r} is no tensor's name")
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{name} is a {type(value).__name__}, no tensor")
    if value.dtype is torch.bfloat16:
        raise InputError(f"tensor {name} is {value.dtype}; convert it to float32")
    if value.nelement() * value.element_size() > limit:
        raise InputError(f"tensor {name} is {list(value.shape)}, more than the file holds")
    return value.detach().numpy()


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            "a .pt file needs PyTorch: pip install 'jaxmi[torch]', or use safetensors"
        ) from error
    return torch
