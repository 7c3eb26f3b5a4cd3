"""The check of tensors: whatever differs is named in one line, and nothing else is refused."""

from collections.abc import Callable

import chex
import jax
import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.models.trees import check_tensors, leaves_by_path

TREE = {"b": {"w": np.zeros((2, 3), np.float32)}, "a": np.zeros(3, np.int32)}
EXPECTED = {
    "b.w": jax.ShapeDtypeStruct((2, 3), np.float32),
    "a": jax.ShapeDtypeStruct((3,), np.int32),
}


def test_leaves_have_the_paths_of_the_tree_in_sorted_order() -> None:
    leaves = leaves_by_path(TREE)
    assert list(leaves) == ["a", "b.w"]
    assert leaves["b.w"] is TREE["b"]["w"]
    check_tensors(EXPECTED, leaves)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("a"), "tensor a is missing"),
        (lambda t: t.update({"b": t.pop("b.w")}), "unexpected tensor b"),
        (lambda t: t.update({"a": t["a"][:2]}), "tensor a is int32[2], expected int32[3]"),
        (lambda t: t.update({"b.w": t["b.w"].T}), "tensor b.w is float32[3, 2]"),
        (lambda t: t.update({"b.w": t["b.w"][None]}), "tensor b.w is float32[1, 2, 3]"),
        (lambda t: t.update({"a": t["a"].astype("i8")}), "tensor a is int64[3]"),
        (lambda t: t.update({"a": t["a"].astype(">i4")}), "tensor a is >i4[3]"),
        (lambda t: t.clear(), "tensor a is missing"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(
    change: Callable[[dict], None], message: str
) -> None:
    tensors = leaves_by_path(TREE)
    change(tensors)
    with pytest.raises(InputError) as caught:
        check_tensors(EXPECTED, tensors)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, AssertionError), "chex has compared"


def test_chex_compares_arrays_with_shapes() -> None:
    """The control: chex itself finds the difference, in more than a line, and no equality."""
    chex.assert_trees_all_equal_shapes_and_dtypes(EXPECTED, leaves_by_path(TREE))
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal_shapes_and_dtypes(EXPECTED, {})
