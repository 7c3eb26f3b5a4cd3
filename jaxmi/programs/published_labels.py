"""The published labelling programs in JAX: exact integer arithmetic on whole arrays.

**Challenge 2** labels a pair (x, y). Its author wrote the program in floating point (Casper, EIS
VII, 2023)::

    z = 0
    if x**2 < 200 * sqrt(y): z += 3
    if y**2 < 600 * sqrt(x): z -= 2
    z += int(x**1.5) % 8 - 5
    if y < p - x + 20 and z < -3: z += 5.5
    label = z >= 0

Floats would give other labels: at a perfect square `x**1.5` is a whole number, and float32, on a
backend that computes powers by logarithms, falls just below it. Here every comparison is one of
integers that fit 32 bits, so labels are the same on every backend, without x64.

**Challenge 1** labels an image by its L1 distance to a clue image, MNIST training image 6: label 0
within a band of distances, label 1 nearer and farther. The author published the form of the
program and not the two thresholds; those below are calibrated on the labels that the published
network gives to the 60,000 training images (docs/challenges.md).
"""

from importlib import resources
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32, UInt8

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.domain import P
from jaxmi.programs.parse import parse
from jaxmi.types import Array

MAX_P = 1291
"""Largest p for which every integer of the program fits int32: 1290**3 < 46340**2 < 2**31."""


def published_program(kind: lang.Kind) -> lang.Program:
    """Return the program of challenge 2 ("pairs") or challenge 1 ("image"), from its text."""
    text = resources.files("jaxmi.programs").joinpath(f"published/{lang.PUBLISHED[kind]}.txt")
    return parse(text.read_text(encoding="utf-8"), kind)


def label_table(p: int = P) -> Int32[jax.Array, "{p} {p}"]:
    """Label all pairs: entry [x, y] is the label of the pair (x, y).

    Raises:
      InputError: as `label_pairs`.
    """
    _check_p(p)
    x, y = jnp.meshgrid(jnp.arange(p), jnp.arange(p), indexing="ij")
    return label_pairs(x, y, p)


def label_pairs(
    x: Int32[jax.Array, "*dims"], y: Int32[jax.Array, "*dims"], p: int = P
) -> Int32[jax.Array, "*dims"]:
    """Label pairs by challenge 2's program.

    Args:
      x: First numbers, 0 <= x < p. They are not checked, so that JAX can trace the function.
      y: Second numbers, 0 <= y < p.
      p: The number of values that x and y take; the program's last condition depends on it.

    Returns:
      The labels, 0 or 1.

    Raises:
      InputError: if p is not in 1..1291 (beyond that, 32-bit integers would overflow).
    """
    _check_p(p)
    # For a >= 0 and whole N > 0: a**4 < N iff a**2 <= isqrt(N - 1). For N = 0 it never holds.
    small_x = (y > 0) & (x * x <= isqrt(jnp.maximum(40_000 * y - 1, 0)))
    small_y = (x > 0) & (y * y <= isqrt(jnp.maximum(360_000 * x - 1, 0)))
    bars = isqrt(x * x * x) % 8
    twice_z = 6 * small_x - 4 * small_y + 2 * (bars - 5)  # doubled: the last term is 5.5
    rescued = (x + y < p + 20) & (twice_z < -6)
    return (twice_z + 11 * rescued >= 0).astype(jnp.int32)


def isqrt(n: Int32[jax.Array, "*dims"]) -> Int32[jax.Array, "*dims"]:
    """Return the floor of the square root, exactly, for 0 <= n < 46340**2.

    The error of a float32 root of such an n is much less than 1. So its floor is off by at most 1,
    which one comparison each way corrects.
    """
    root = jnp.floor(jnp.sqrt(n.astype(jnp.float32))).astype(jnp.int32)
    root = jnp.where(root * root > n, root - 1, root)
    return jnp.where((root + 1) * (root + 1) <= n, root + 1, root)


def _check_p(p: int) -> None:
    if not 1 <= p <= MAX_P:
        raise InputError(f"p = {p}: expected 1 <= p <= {MAX_P}, or 32-bit integers overflow")


CLUE_INDEX = 6
"""Index of the clue image among the MNIST training images, counted from 0."""


class Band(NamedTuple):
    """Distances low <= d < high, in sums of differences of uint8 pixels (0..199,920)."""

    low: int
    high: int


CALIBRATED_BAND = Band(24_772, 34_270)
"""Distances with label 0 in challenge 1: from 97.15 to 134.39 with pixels scaled to 0..1."""


def label_images(
    images: UInt8[Array, "n height width"],
    clue: UInt8[Array, "height width"],
    band: Band = CALIBRATED_BAND,
) -> Int32[jax.Array, "n"]:
    """Label images by their L1 distance to the clue image; one call takes all 70,000 of MNIST."""
    return label_distances(l1_distances(images, clue), band)


def label_distances(
    distances: Int32[Array, "n"], band: Band = CALIBRATED_BAND
) -> Int32[jax.Array, "n"]:
    """Label distances: 0 within the band, 1 outside."""
    distances = jnp.asarray(distances)
    return 1 - ((distances >= band.low) & (distances < band.high)).astype(jnp.int32)


def l1_distances(
    images: UInt8[Array, "n height width"], clue: UInt8[Array, "height width"]
) -> Int32[jax.Array, "n"]:
    """Return each image's L1 distance to the clue, exactly, in uint8 steps.

    Raises:
      InputError: if the pixels of either are not uint8: distances of scaled pixels would not be
        whole numbers.
    """
    for name, array in (("images", images), ("clue", clue)):
        if array.dtype != np.uint8:
            raise InputError(f"{name} must be uint8 pixels (0..255), not {array.dtype}")
    return _l1_distances(images, clue)


@jax.jit
def _l1_distances(images: jax.Array, clue: jax.Array) -> jax.Array:
    differences = jnp.abs(images.astype(jnp.int32) - clue.astype(jnp.int32)[None])
    return differences.sum(axis=(1, 2))
