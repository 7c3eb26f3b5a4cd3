"""Challenge 1's labelling program: a band on the L1 distance to one clue image, in whole numbers.

Label 1 is near or far, label 0 is the band between. The clue is MNIST training image 6. Its author
published the form of the program, not the two thresholds; those below were calibrated on the labels
that the published network gives to the 60,000 training images (see docs/challenges.md).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32, UInt8

from jaxmi.errors import InputError
from jaxmi.types import Array

CLUE_INDEX = 6
"""Position of the clue image among the MNIST training images, counted from 0."""


class Band(NamedTuple):
    """Distances low <= d < high, in summed differences of uint8 pixels (0..199,920)."""

    low: int
    high: int


CALIBRATED_BAND = Band(24_772, 34_270)
"""The distances that challenge 1 labels 0: 97.15 and 134.39 with pixels in 0..1."""


@jax.jit
def _l1_distances(images: jax.Array, clue: jax.Array) -> jax.Array:
    differences = jnp.abs(images.astype(jnp.int32) - clue.astype(jnp.int32)[None])
    return differences.sum(axis=(1, 2))


def l1_distances(
    images: UInt8[Array, "n height width"], clue: UInt8[Array, "height width"]
) -> Int32[jax.Array, "n"]:
    """Returns each image's L1 distance to the clue, in exact units of one uint8 step.

    Raises:
      InputError: if either is not uint8: distances of scaled pixels would not be whole numbers.
    """
    for name, array in (("images", images), ("clue", clue)):
        if array.dtype != np.uint8:
            raise InputError(f"{name} must be uint8 pixels (0..255), not {array.dtype}")
    return _l1_distances(images, clue)


def label_distances(
    distances: Int32[Array, "n"], band: Band = CALIBRATED_BAND
) -> Int32[jax.Array, "n"]:
    """Labels distances: 0 within the band, 1 outside."""
    distances = jnp.asarray(distances)
    return 1 - ((distances >= band.low) & (distances < band.high)).astype(jnp.int32)


def label_images(
    images: UInt8[Array, "n height width"],
    clue: UInt8[Array, "height width"],
    band: Band = CALIBRATED_BAND,
) -> Int32[jax.Array, "n"]:
    """Labels images by their L1 distance to the clue image; all 70,000 of MNIST in one call."""
    return label_distances(l1_distances(images, clue), band)
