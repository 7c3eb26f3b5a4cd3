"""Trees of arrays: their leaves by path, and the check that they are the expected ones."""

from collections.abc import Mapping
from typing import Any

import chex
import jax

from jaxmi.errors import InputError
from jaxmi.types import Array


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Return a tree's leaves under their paths, as in "attn.W_Q"; siblings in sorted order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def check_tensors(
    expected: Mapping[str, jax.ShapeDtypeStruct], tensors: Mapping[str, Array]
) -> None:
    """Check the names, shapes and types of tensors.

    chex compares; `chex.disable_asserts` therefore turns this check off.

    Args:
      expected: Name -> shape and type.
      tensors: Name -> array.

    Raises:
      InputError: naming the first tensor, in alphabetical order, that is missing, unexpected, or of
        another shape or type.
    """
    try:
        chex.assert_trees_all_equal_shapes_and_dtypes(dict(expected), dict(tensors))
    except AssertionError as error:
        raise InputError(_first_misfit(expected, tensors)) from error


def _first_misfit(
    expected: Mapping[str, jax.ShapeDtypeStruct], tensors: Mapping[str, Array]
) -> str:
    """Say in one line which tensor does not fit; chex's message names none if the names differ."""
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            return f"tensor {name} is missing"
        if name not in expected:
            return f"unexpected tensor {name}"
        if _shown(tensors[name]) != _shown(expected[name]):
            return f"tensor {name} is {_shown(tensors[name])}, expected {_shown(expected[name])}"
    raise AssertionError("every tensor fits")


def _shown(array: Array | jax.ShapeDtypeStruct) -> str:
    return f"{array.dtype}{list(array.shape)}"
