"""IDX bytes <-> uint8 arrays, the file format of MNIST (yann.lecun.com/exdb/mnist)."""

import math
import struct

import numpy as np
from jaxtyping import UInt8

_UINT8 = 0x08


def decode_idx(data: bytes) -> UInt8[np.ndarray, "..."]:
    """Reads IDX bytes.

    Args:
      data: Two zero bytes, a type byte (8: uint8, the only one that MNIST uses), the number of
        dimensions, each dimension as a big-endian uint32, then the values in C order.

    Returns:
      A read-only array over the same memory.

    Raises:
      ValueError: if the header is not that of a uint8 IDX file, or the length does not match it.
    """
    if len(data) < 4 or data[0] or data[1] or data[2] != _UINT8:
        raise ValueError(f"not a uint8 IDX file: it begins with {data[:4].hex() or 'nothing'}")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise ValueError(f"IDX header cut short: {len(data)} of {start} bytes")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise ValueError(
            f"IDX data cut short or too long: {len(data) - start} bytes for the shape {shape}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def encode_idx(array: UInt8[np.ndarray, "..."]) -> bytes:
    """Writes a uint8 array as IDX bytes; the inverse of `decode_idx`."""
    header = bytes([0, 0, _UINT8, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
