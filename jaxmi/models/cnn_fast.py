"""The CNN with the batch as its last axis: the function of `cnn.py`, to train with.

With the batch last, vector units are full however few channels there are. A 2x2 block of a 3x3
convolution's outputs depends on a 4x4 window of its inputs; so a layer is one product of all
windows by a matrix that holds the kernel at the block's four places, and pooling is the maximum of
four contiguous arrays. Under `vmap` over seeds it stays a batched product and does not become a
grouped convolution.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int8, PRNGKeyArray, UInt8, UInt32

from jaxmi.models.cnn import CnnConfig
from jaxmi.types import Array, Params

READ = 26
"""Rows and columns of an image that are used, of 28. The last two affect only the 13th row and
column after the first pooling, which no block of the second pooling contains."""

Masks = tuple[Bool[jax.Array, "c b b n"], ...]
"""The units to keep, for each place in a block: top left, top right, bottom left, bottom right."""


def logits(
    params: Params,
    images: UInt8[Array, "n 28 28"],
    dropout_key: PRNGKeyArray | None = None,
    dropout: float = CnnConfig.dropout,
) -> Float[jax.Array, "n classes"]:
    """Run the network on a batch.

    Args:
      params: Parameters of `cnn.Cnn`.
      images: Pixels 0..255.
      dropout_key: Drop units as in training, from this key; None evaluates without dropout.
      dropout: Probability of dropping a unit, rounded as in `keep_masks`.

    Returns:
      Logits of the classes 0 and 1.
    """
    x = pooled(params, images, dropout_key, dropout)
    kernel = params["fc1"]["kernel"].reshape(*x.shape[1:3], len(x), -1)  # flattened h, w, c
    x = jax.nn.relu(jnp.einsum("chwn,hwcf->nf", x, kernel) + params["fc1"]["bias"][None])
    return x @ params["fc2"]["kernel"] + params["fc2"]["bias"][None]


def pooled(
    params: Params,
    images: UInt8[Array, "n 28 28"],
    dropout_key: PRNGKeyArray | None = None,
    dropout: float = CnnConfig.dropout,
) -> Float[jax.Array, "c h w n"]:
    """Return what fc1 reads, "pool2", of a batch; the arguments are those of `logits`."""
    x = jnp.transpose(images[:, :READ, :READ], (1, 2, 0))[None].astype(jnp.float32) / 255
    for number in (1, 2):
        layer = params[f"conv{number}"]
        masks, keep_probability = None, 1.0
        if dropout_key is not None:
            key = jax.random.fold_in(dropout_key, number)
            shape = (layer["bias"].size, _blocks(x), _blocks(x), len(images))
            masks, keep_probability = keep_masks(key, shape, dropout)
        x = _convolve_and_pool(layer["kernel"], layer["bias"], x, masks) / keep_probability
    return x


def keep_masks(
    key: PRNGKeyArray, shape: tuple[int, int, int, int], dropout: float
) -> tuple[Masks, float]:
    """Draw which units to keep, for the four places of every block.

    Two 32-bit words give a block's four units 16 bits each, so that a unit is dropped with
    probability `round(65536 * dropout) / 65536`: 0.2 becomes 13107/65536 = 0.199997.

    Args:
      key: Used once.
      shape: The shape of each mask.
      dropout: Probability of dropping a unit, 0 <= dropout < 1.

    Returns:
      The masks, and the exact probability that a unit is kept.
    """
    threshold = round(2**16 * dropout)
    first, second = (_hashed_counters(key, word, shape) for word in range(2))
    halves = (first & 0xFFFF, first >> 16, second & 0xFFFF, second >> 16)
    return tuple(half >= threshold for half in halves), 1 - threshold / 2**16


def _hashed_counters(
    key: PRNGKeyArray, word: int, shape: tuple[int, ...]
) -> UInt32[jax.Array, "..."]:
    """Return random words at a seventh of threefry's cost: a counter through a mixing function.

    The mixer is Chris Wellons' lowbias32 (hash-prospector). Of two words drawn from the key, one
    is the counter's start and the other is mixed in midway.
    """
    start, twist = jax.random.bits(key, (2,), jnp.uint32)
    size = int(np.prod(shape))
    x = jax.lax.iota(jnp.uint32, size).reshape(shape) + (start + jnp.uint32(word * size))
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15) ^ twist) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


@jax.custom_vjp
def _convolve_and_pool(
    kernel: Float[Array, "3 3 cin cout"],
    bias: Float[Array, "cout"],
    x: Float[jax.Array, "cin h w n"],
    masks: Masks | None,
) -> Float[jax.Array, "cout b b n"]:
    """Return the convolution, after ReLU and the maximum over the kept units of each 2x2 block."""
    return _forward(kernel, bias, x, masks)[0]


def _forward(
    kernel: Array, bias: Array, x: jax.Array, masks: Masks | None
) -> tuple[jax.Array, tuple[Array, jax.Array, Int8[jax.Array, "cout b b n"]]]:
    """Return the layer's outputs and residuals for its gradient: among them each block's winner."""
    windows = _windows(x)
    shape = windows.shape[3:]
    windows = windows.reshape(-1, math.prod(shape))
    matrix = _at_four_places(kernel).reshape(len(windows), -1)
    places = (matrix.T @ windows).reshape(4, -1, *shape)
    if masks is not None:
        places = [jnp.where(keep, unit, -jnp.inf) for keep, unit in zip(masks, places, strict=True)]
    a, b, c, d = places
    top, bottom = jnp.maximum(a, b), jnp.maximum(c, d)
    largest = jnp.maximum(top, bottom) + bias[:, None, None, None]
    # The winner is 0..3, or 4 where the ReLU is 0. It is computed as the root of its square: XLA
    # recomputes cheap values, and all of the above with them, wherever they are used; not roots.
    square = jnp.where(top >= bottom, jnp.where(a >= b, 0.0, 1.0), jnp.where(c >= d, 4.0, 9.0))
    winner = jnp.rint(jnp.sqrt(jnp.where(largest > 0, square, 16.0))).astype(jnp.int8)
    return jax.nn.relu(largest), (kernel, x, winner)


def _backward(
    saved: tuple[Array, jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    kernel, x, winner = saved
    windows = _windows(x)
    g_places = jnp.stack([jnp.where(winner == place, g, 0) for place in range(4)])
    g_places = g_places.reshape(-1, math.prod(g.shape[1:]))
    matrix, to_matrix = jax.vjp(_at_four_places, kernel)
    d_matrix = g_places @ windows.reshape(-1, g_places.shape[1]).T
    d_windows = matrix.reshape(-1, len(g_places)) @ g_places
    (d_kernel,) = to_matrix(d_matrix.T.reshape(matrix.shape))
    d_bias = jnp.where(winner < 4, g, 0).sum(axis=(1, 2, 3))
    return d_kernel, d_bias, _overlap(d_windows.reshape(windows.shape)), None


_convolve_and_pool.defvjp(_forward, _backward)


def _blocks(x: Float[jax.Array, "cin h w n"]) -> int:
    """Return the number of 2x2 blocks along a side of a convolution's outputs."""
    return (x.shape[1] - 2) // 2


def _windows(x: Float[jax.Array, "cin h w n"]) -> Float[jax.Array, "4 4 cin b b n"]:
    """Return the 4x4 windows that the blocks' outputs depend on; their stride is 2."""
    reach = 2 * _blocks(x)
    parts = [[x[:, i : i + reach : 2, j : j + reach : 2] for j in range(4)] for i in range(4)]
    return jnp.stack([jnp.stack(row) for row in parts])


def _overlap(
    windows: Float[jax.Array, "4 4 cin b b n"],
) -> Float[jax.Array, "cin h w n"]:
    """Add the windows up at their places: the transpose of `_windows`.

    It is written out because XLA's gradient of strided slices is slow on CPUs.
    """
    _, _, c_in, blocks, _, n = windows.shape
    parts = [
        sum(
            jnp.pad(windows[2 * i + row, 2 * j + column], ((0, 0), (i, 1 - i), (j, 1 - j), (0, 0)))
            for i in range(2)
            for j in range(2)
        )
        for row in range(2)
        for column in range(2)
    ]
    side = blocks + 1
    parts = jnp.stack(parts).reshape(2, 2, c_in, side, side, n)
    return parts.transpose(2, 3, 0, 4, 1, 5).reshape(c_in, 2 * side, 2 * side, n)


def _at_four_places(
    kernel: Float[Array, "3 3 cin cout"],
) -> Float[jax.Array, "4 4 cin 4 cout"]:
    """Return the kernel, padded to the 4x4 window, at each of the four places of the block."""
    places = [
        jnp.pad(kernel, ((top, 1 - top), (left, 1 - left), (0, 0), (0, 0)))
        for top in range(2)
        for left in range(2)
    ]
    return jnp.stack(places, axis=3)
