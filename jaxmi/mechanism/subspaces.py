"""Subspaces, as orthonormal directions."""

import numpy as np
from jaxtyping import Float

INDEPENDENT = 1e-6
"""A singular value below this share of the largest one is of no direction."""


def orthonormal(rows: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "r d"]:
    """Return orthonormal directions of the span of rows, as many as are independent."""
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    return directions[sizes > INDEPENDENT * sizes.max(initial=0.0)]
