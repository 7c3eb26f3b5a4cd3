"""Subspaces: only independent directions count."""

import numpy as np
import pytest

from jaxmi.mechanism.subspaces import orthonormal


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_dependent_rows_give_no_further_direction(scale: float) -> None:
    rows = scale * np.random.default_rng(0).normal(size=(2, 7))
    basis = orthonormal(np.stack([rows[0], 2 * rows[0], rows[1], rows[0] - rows[1]]))
    assert basis.shape == (2, 7)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(rows @ basis.T @ basis, rows, atol=1e-9 * scale)
    assert orthonormal(rows).shape == (2, 7)  # the control: independent ones do


def test_zeros_span_nothing() -> None:
    assert orthonormal(np.zeros((2, 5))).shape == (0, 5)
