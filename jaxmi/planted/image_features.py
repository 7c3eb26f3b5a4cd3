"""What a planted CNN's convolutions pass on: blurred pixels, as maxima and minima of small blocks.

Max pooling can't hand a pixel on: it loses which pixel of a block was the largest. The maximum of
a block and its minimum, the maximum of minus the image, differ little from their mean where the
image is smooth. So the first convolution blurs, with both signs and at four places of a block;
the second averages maxima and minima around points of a grid, and pooling does the rest.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxmi.models.cnn import CnnConfig
from jaxmi.models.cnn_fast import pooled
from jaxmi.types import Params

PLACES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Places of the first kernels' centres in a block of pooling; fewer channels take the first."""

BLUR = (0.8, 1.2)
"""Standard deviations of the two convolutions' kernels, in pixels of the image."""

GRID = 4
"""The second convolution's kernels have GRID x GRID centres: one for each pixel of a cell."""

REACH = 6
"""Pixels along a side that a second kernel reads: three blocks of two."""

USED = (2 * len(PLACES), 2 * GRID * GRID)
"""Channels that are used of a larger network: more would repeat these."""

CHUNK = 800
"""Images to compute at once."""


def convolutions(config: CnnConfig) -> dict[str, Any]:
    """Return the parameters of both convolutions, float32; channels beyond `USED` are empty."""
    first, second = config.channels
    kernel = np.zeros((3, 3, 1, first))
    index = np.arange(3)
    for channel in range(min(first, USED[0])):
        place, sign = PLACES[channel // 2], 1 - 2 * (channel % 2)
        kernel[:, :, 0, channel] = sign * _bump(index, index, [0.5 + at for at in place], BLUR[0])
    return {
        "conv1": _with_bias(kernel),
        "conv2": _with_bias(_second(min(first, USED[0]), first, second)),
    }


def _second(used: int, first: int, second: int) -> Float[np.ndarray, "3 3 first second"]:
    kernel = np.zeros((3, 3, first, second))
    count = min(second, GRID * GRID)
    side = int(np.ceil(np.sqrt(count)))
    centres = np.linspace(0, REACH - 1, side) if side > 1 else np.array([(REACH - 1) / 2])
    pixels = np.arange(REACH)
    for channel in range(min(second, USED[1])):
        row, column = divmod(channel % count, side)
        sign = 1 if (row + column + channel // count) % 2 == 0 else -1
        weights = sign * _bump(pixels, pixels, (centres[row], centres[column]), BLUR[1])
        for i in pixels:
            for j in pixels:
                at = 2 * PLACES.index((i % 2, j % 2))
                at = at if at < used else 0
                both = at + 1 < used  # the channel of minima: minus the maxima of minus the image
                kernel[i // 2, j // 2, at, channel] += weights[i, j] / (2 if both else 1)
                if both:
                    kernel[i // 2, j // 2, at + 1, channel] -= weights[i, j] / 2
    return kernel


def _bump(rows: np.ndarray, columns: np.ndarray, centre: Any, width: float) -> np.ndarray:
    """Return Gaussian weights around a centre; they sum to 1."""
    squares = (rows[:, None] - centre[0]) ** 2 + (columns[None] - centre[1]) ** 2
    weights = np.exp(-squares / (2 * width**2))
    return weights / weights.sum()


def _with_bias(kernel: np.ndarray) -> dict[str, np.ndarray]:
    """Add the bias by which no unit is below 0 where the inputs lie in 0..1: ReLU cuts nothing."""
    bias = -np.minimum(kernel, 0).sum(axis=(0, 1, 2))
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}


def features(params: Params, images: UInt8[np.ndarray, "n 28 28"]) -> Float[np.ndarray, "n d"]:
    """Return what fc1 reads of each image, float32, flattened as the network flattens it."""
    convolved = {name: params[name] for name in ("conv1", "conv2")}
    with jax.default_matmul_precision("float32"):
        parts = range(0, len(images), CHUNK)
        return np.concatenate(
            [np.asarray(_flat(convolved, images[at : at + CHUNK])) for at in parts]
        )


@jax.jit
def _flat(params: Params, images: UInt8[jax.Array, "n 28 28"]) -> Float[jax.Array, "n d"]:
    return jnp.transpose(pooled(params, images), (3, 1, 2, 0)).reshape(images.shape[0], -1)
