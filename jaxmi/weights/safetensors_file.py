"""safetensors files: named tensors and a text for a header, no code that could run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxmi.errors import InputError
from jaxmi.weights.tensors import RECORD, Contents, Tensors, check_length, seal, unseal

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
