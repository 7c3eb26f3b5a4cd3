"""The CNN as products of whole image rows: the same function as `cnn.py`, to train with.

A 3x3 convolution of few channels starves a matrix unit, and XLA's gradient of one is slow on CPUs.
Three image rows, unfolded, times a banded matrix that holds the kernel at every column is ten times
the arithmetic and yet faster. Each product gives one of the four places of every 2x2 block, so that
pooling is the maximum of four contiguous arrays. Under `vmap` over seeds all of it stays a batched
product; nothing becomes a grouped convolution.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray, UInt8, UInt32

from jaxmi.models.cnn import CnnConfig
from jaxmi.types import Array, Params

Places = tuple[jax.Array, ...]
"""Four arrays, one for each place in a 2x2 block: top left and right, bottom left and right."""


def logits(
    params: Params,
    images: UInt8[Array, "n 28 28"],
    dropout_key: PRNGKeyArray | None = None,
    dropout: float = CnnConfig.dropout,
) -> Float[jax.Array, "n classes"]:
    """Runs the network on a batch.

    Args:
      params: Parameters of `cnn.Cnn`.
      images: Pixels 0..255.
      dropout_key: Drop units as in training, from this key; None evaluates without dropout.
      dropout: Share of units to drop, made exact as `keep_masks` says.
    """
    x = jnp.asarray(images).astype(jnp.float32) / 255
    for number, convolve in enumerate((_convolve_rows, _convolve_patches), start=1):
        layer = params[f"conv{number}"]
        places = convolve(layer["kernel"], x)
        masks, kept = None, 1.0
        if dropout_key is not None:
            key = jax.random.fold_in(dropout_key, number)
            masks, kept = keep_masks(key, places[0].shape, dropout)
        columns = places[0].shape[-1] // layer["bias"].size
        bias = jnp.tile(layer["bias"], columns)[None, None]
        x = jax.nn.relu(_max_of_four(places, masks) + bias) / kept
    x = x.reshape(len(x), -1)
    x = jax.nn.relu(x @ params["fc1"]["kernel"] + params["fc1"]["bias"][None])
    return x @ params["fc2"]["kernel"] + params["fc2"]["bias"][None]


def keep_masks(
    key: PRNGKeyArray, shape: tuple[int, ...], dropout: float
) -> tuple[tuple[Bool[jax.Array, "..."], ...], float]:
    """Draws which units to keep, for the four places of every block.

    Two 32-bit words give a block's four units 16 bits each, so that a unit is dropped with
    probability `round(65536 * dropout) / 65536`: 0.2 becomes 13107/65536 = 0.199997.

    Args:
      key: Used once.
      shape: Of each mask.
      dropout: Share to drop, 0 <= dropout < 1.

    Returns:
      The masks, and the exact probability of being kept.
    """
    threshold = round(2**16 * dropout)
    first, second = (_hashed_counters(key, word, shape) for word in range(2))
    halves = (first & 0xFFFF, first >> 16, second & 0xFFFF, second >> 16)
    return tuple(half >= threshold for half in halves), 1 - threshold / 2**16


def _hashed_counters(
    key: PRNGKeyArray, word: int, shape: tuple[int, ...]
) -> UInt32[jax.Array, "..."]:
    """Random words at a seventh of threefry's cost: a counter through a mixing function.

    The mixer is Chris Wellons' lowbias32; two words drawn from the key place its counter and break
    it up midway.
    """
    start, twist = jax.random.bits(key, (2,), jnp.uint32)
    size = int(np.prod(shape))
    x = jax.lax.iota(jnp.uint32, size).reshape(shape) + (start + jnp.uint32(word * size))
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15) ^ twist) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


@jax.custom_vjp
def _max_of_four(places: Places, masks: Places | None) -> Float[jax.Array, "..."]:
    """The maximum over those places that are kept; -inf where none is, which ReLU makes 0."""
    return _winner(places, masks)[0]


def _winner(places: Places, masks: Places | None) -> tuple[jax.Array, jax.Array]:
    """The maximum, and at which place it was: all that the gradient needs, in a byte a block."""
    if masks is not None:
        places = tuple(jnp.where(m, x, -jnp.inf) for m, x in zip(masks, places, strict=True))
    a, b, c, d = places
    top, bottom = jnp.maximum(a, b), jnp.maximum(c, d)
    place = jnp.where(top >= bottom, jnp.where(a >= b, 0, 1), jnp.where(c >= d, 2, 3))
    return jnp.maximum(top, bottom), place.astype(jnp.int8)


_max_of_four.defvjp(
    _winner, lambda place, g: (tuple(jnp.where(place == i, g, 0) for i in range(4)), None)
)


def _convolve_rows(kernel: Float[Array, "3 3 cin cout"], x: Float[jax.Array, "n h wc"]) -> Places:
    """Convolves by products of three unfolded rows with the banded matrix.

    Returns:
      For each place an array (n, (h-2)//2, (w-2)//2 * cout); an odd last row or column is left out,
      which pooling does not read.
    """
    _, _, c_in, c_out = kernel.shape
    n, height, width = len(x), x.shape[1], x.shape[2] // c_in
    rows, columns = (height - 2) // 2, (width - 2) // 2
    taps = _taps(width, columns)
    band = jnp.tensordot(taps, kernel, ([0, 1], [0, 1]))  # row, w, right or left, column, cin, cout
    band = band.transpose(2, 0, 1, 4, 3, 5).reshape(2, 3 * width * c_in, columns * c_out)
    places = []
    for top in range(2):
        three = [x[:, top + i : top + i + 2 * rows : 2] for i in range(3)]
        unfolded = jnp.concatenate(three, axis=-1).reshape(n * rows, -1)
        places += [(unfolded @ side).reshape(n, rows, -1) for side in band]
    return tuple(places)


def _taps(width: int, columns: int) -> Float[np.ndarray, "3 3 3 w 2 columns"]:
    """1 where kernel tap (i, j) joins input (row i, column) to output (left or right, column)."""
    taps = np.zeros((3, 3, 3, width, 2, columns), np.float32)
    column = np.arange(columns)
    for i in range(3):
        for j in range(3):
            for side in range(2):
                taps[i, j, i, 2 * column + side + j, side, column] = 1
    return taps


@jax.custom_vjp
def _convolve_patches(
    kernel: Float[Array, "3 3 cin cout"], x: Float[jax.Array, "n h wc"]
) -> Places:
    """Does the same by products of 3x3 patches: less arithmetic, if the channels are enough.

    Only the gradient of its input is slow, the adding up of overlapping patches; so that one is
    taken of `_convolve_rows`.
    """
    places = [
        (patches @ kernel.reshape(-1, kernel.shape[-1])).reshape(len(x), patches.shape[1], -1)
        for patches in _patches(x, kernel.shape[2])
    ]
    return tuple(places)


def _convolve_patches_backward(
    saved: tuple[jax.Array, jax.Array], g: Places
) -> tuple[jax.Array, jax.Array]:
    kernel, x = saved
    _, _, c_in, c_out = kernel.shape
    d_kernel = jnp.zeros((9 * c_in, c_out))
    for patches, g_place in zip(_patches(x, c_in), g, strict=True):
        d_kernel += patches.reshape(-1, 9 * c_in).T @ g_place.reshape(-1, c_out)
    (d_x,) = jax.linear_transpose(partial(_convolve_rows, kernel), x)(g)
    return d_kernel.reshape(kernel.shape), d_x


_convolve_patches.defvjp(
    lambda kernel, x: (_convolve_patches(kernel, x), (kernel, x)), _convolve_patches_backward
)


def _patches(
    x: Float[jax.Array, "n h wc"], c_in: int
) -> list[Float[jax.Array, "n rows columns _"]]:
    """Cuts out the 3x3 patches, for each place in a block."""
    x = x.reshape(*x.shape[:2], -1, c_in)
    rows, columns = (x.shape[1] - 2) // 2, (x.shape[2] - 2) // 2
    return [
        jnp.concatenate(
            [
                x[:, top + i : top + i + 2 * rows : 2, left + j : left + j + 2 * columns : 2]
                for i in range(3)
                for j in range(3)
            ],
            axis=-1,
        )
        for top in range(2)
        for left in range(2)
    ]
