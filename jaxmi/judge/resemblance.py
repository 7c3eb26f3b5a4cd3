"""Inputs that resemble each other: a feature that claims nothing, as fine as one that does."""

import numpy as np
from jaxtyping import Float, Int

from jaxmi.explain.directions import pca
from jaxmi.judge.features import ImageRows, PairRows

DIRECTIONS = 8
"""Images are compared in so many principal components of their pixels."""

SAMPLE = 5000
"""The components are those of so many images."""


def points(domain: PairRows | ImageRows) -> Float[np.ndarray, "n d"]:
    """Returns where each input lies: a pair in the square, an image among images."""
    if isinstance(domain, PairRows):
        return np.stack([domain.numbers["x"], domain.numbers["y"]], axis=1).astype(np.float64)
    pixels = domain.images.reshape(len(domain.images), -1)
    basis = pca(pixels[:SAMPLE].astype(np.float64))
    basis = basis._replace(components=basis.components[:DIRECTIONS])
    parts = np.array_split(pixels, -(-len(pixels) // SAMPLE))
    return np.concatenate([basis.project(part.astype(np.float64)) for part in parts])


def cells(points: Float[np.ndarray, "n d"], depth: int) -> Int[np.ndarray, "n"]:
    """Parts inputs into 2**depth cells of near inputs, as many in each: a feature of `depth` bits.

    Every cell is halved at the median of the coordinate that varies most in it.

    Args:
      points: Where the inputs lie.
      depth: How often to halve.
    """
    parts = [np.arange(len(points))]
    for _ in range(depth):
        halves = []
        for part in parts:
            widest = points[part].var(axis=0).argmax() if len(part) else 0
            order = part[np.argsort(points[part, widest], kind="stable")]
            halves += [order[: len(order) // 2], order[len(order) // 2 :]]
        parts = halves
    cell = np.empty(len(points), np.int64)
    for number, part in enumerate(parts):
        cell[part] = number
    return cell
