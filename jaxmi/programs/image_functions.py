"""Functions of images, exact: sums of whole numbers, and at most one rounding after them."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Num, UInt8

Images = UInt8[np.ndarray, "_ height width"]

CHUNK = 4096
"""Images to compute at once: few enough for a CPU's caches, and no copy of all of them."""


def image_function(function: str, stacks: Sequence[Images]) -> Num[np.ndarray, "n"]:
    """Computes a function image by image.

    `l1` is the sum of absolute differences of pixels (0..255), `linf` the largest, `l2` the square
    root of the sum of their squares; `dot` is the sum of products, `cosine` that of the images
    scaled to length 1 (not a number if one of them is black), `mean` the average pixel.

    Args:
      function: One of `language.IMAGE_FUNCTIONS`.
      stacks: An argument each; a stack of one image stands for as many as needed.

    Returns:
      int64 for l1, linf and dot; float64 for the others, the same as Python's own arithmetic gives.
    """
    n = max(len(stack) for stack in stacks)
    parts = []
    for first in range(0, n, CHUNK):
        rows = [s if len(s) == 1 else s[first : first + CHUNK] for s in stacks]
        parts.append(_FUNCTIONS[function](*(images.reshape(len(images), -1) for images in rows)))
    return np.concatenate(parts)


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a.astype(np.int32) - b


def _l1(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (np.maximum(a, b) - np.minimum(a, b)).sum(axis=1, dtype=np.int64)  # stays in uint8


def _linf(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (np.maximum(a, b) - np.minimum(a, b)).max(axis=1).astype(np.int64)


def _l2(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt((_difference(a, b) ** 2).sum(axis=1, dtype=np.int64).astype(np.float64))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Products are below 2**16 and sums below 2**53, so that floats hold them exactly.
    return np.einsum("np,np->n", *np.broadcast_arrays(a.astype(np.float64), b)).astype(np.int64)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = _dot(a, a) * _dot(b, b)  # below 2**53 for images of up to 1,400 pixels
    with np.errstate(invalid="ignore"):
        return _dot(a, b) / np.sqrt(lengths.astype(np.float64))


def _mean(a: np.ndarray) -> np.ndarray:
    return a.sum(axis=1, dtype=np.int64) / a.shape[1]


_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "l1": _l1,
    "l2": _l2,
    "linf": _linf,
    "dot": _dot,
    "cosine": _cosine,
    "mean": _mean,
}
