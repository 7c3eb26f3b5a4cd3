"""Simpler forms of functions on a table: means, sums of functions of one operand, products."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Grid = Float[np.ndarray, "..."]
"""One axis per operand; further axes are taken one by one."""


def mean(values: Grid, n_operands: int) -> Grid:
    """Return the mean over all operands, everywhere."""
    axes = tuple(range(n_operands))
    return np.broadcast_to(values.mean(axis=axes, keepdims=True), values.shape)


def of_one(values: Grid, n_operands: int, operand: int) -> Grid:
    """Return the best function of one operand: the mean over all others."""
    others = tuple(axis for axis in range(n_operands) if axis != operand)
    return np.broadcast_to(values.mean(axis=others, keepdims=True), values.shape)


def additive(values: Grid, n_operands: int) -> Grid:
    """Return the best sum of one function of each operand (the main effects of an ANOVA)."""
    total = -(n_operands - 1) * mean(values, n_operands)
    for operand in range(n_operands):
        total = total + of_one(values, n_operands, operand)
    return total


def rank_one(values: Grid, n_operands: int, sweeps: int = 8) -> Grid:
    """Return the best product of one function of each operand.

    Of two operands it is the first term of the singular value decomposition. Of three there is no
    such decomposition: each function in turn is fit to the others, `sweeps` times.
    """
    fields = values.reshape(*values.shape[:n_operands], -1)
    product = np.empty_like(fields)
    for i in range(fields.shape[-1]):
        product[..., i] = outer(leading_factors(fields[..., i], sweeps))
    return product.reshape(values.shape)


def leading_factors(field: Grid, sweeps: int = 8) -> list[Float[np.ndarray, "_"]]:
    """Return one function per axis, whose product is the nearest to a table that is found.

    All but the last have norm 1.
    """
    n = field.ndim
    # The first function is fit before it is used.
    starts = [_leading(np.moveaxis(field, axis, 0)) for axis in range(1, n)]
    factors = [np.zeros(len(field)), *starts]
    for _ in range(sweeps if n > 2 else 1):
        for axis in range(n):
            rest = outer([factor for j, factor in enumerate(factors) if j != axis]).reshape(-1)
            along = np.moveaxis(field, axis, 0).reshape(field.shape[axis], -1) @ rest
            factors[axis] = along / (np.linalg.norm(along) or 1.0)
    return [*factors[:-1], (field * outer(factors)).sum() * factors[-1]]


def outer(factors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the product of one function of each axis."""
    product = factors[0]
    for factor in factors[1:]:
        product = np.multiply.outer(product, factor)
    return product


def _leading(field: np.ndarray) -> np.ndarray:
    """Return the first left singular vector of a table, whose columns are all other axes."""
    flat = field.reshape(len(field), -1)
    return np.linalg.eigh(flat @ flat.T)[1][:, -1]


def components(values: Float[np.ndarray, "n d"], count: int) -> Float[np.ndarray, "n d"]:
    """Return the values with nothing but their first principal components, about their mean."""
    middle = values.mean(axis=0)
    centred = values - middle
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :count]
    return middle + (centred @ directions) @ directions.T
