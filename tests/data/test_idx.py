"""IDX bytes: round trips, and every way in which they can be broken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxmi.data.idx import decode_idx, encode_idx

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))


@given(ARRAYS)
def test_decoding_inverts_encoding(array: np.ndarray) -> None:
    decoded = decode_idx(encode_idx(array))
    assert decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)


@given(ARRAYS, st.data())
def test_every_truncation_is_refused(array: np.ndarray, data: st.DataObject) -> None:
    encoded = encode_idx(array)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ValueError, match=r"IDX|begins"):
        decode_idx(encoded[:cut])


@pytest.mark.parametrize("head", [b"", b"\x1f\x8b\x08\x00", b"\x00\x00\x0d\x01\x00\x00\x00\x00"])
def test_other_formats_are_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match="not a uint8 IDX file"):
        decode_idx(head)


def test_surplus_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        decode_idx(encode_idx(np.zeros((2, 2), np.uint8)) + b"\x00")
