"""All distances between many images and all templates, as matrix products.

Of each metric, `score(image, template)` is a product of two rows of some hundred numbers: principal
components, and one number each that holds what depends on the image or the template alone. This is
close, not exact: it finds candidates, which are then measured exactly.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxmi.programs.domain import ImageDomain

METRICS = ("l1", "l2", "dot", "cosine")
"""What programs measure between images; `l2` stands for its square here, which is as good."""

COMPONENTS = 256
"""Principal components that are kept, of the pixels and of what `l1` needs."""

POWER_STEPS = 3
"""Of the iteration that finds them; what is left out is small after two."""

SHADES = 2
"""How many functions of a pixel stand for its absolute difference to another."""


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric's factors."""

    name: str

    images: Float[np.ndarray, "n d"]
    """Of each image: what depends on it alone, 1, and components."""

    templates: Float[np.ndarray, "m d"]
    """Of each template: 1, what depends on it alone, and components."""

    def score(
        self, rows: Int[np.ndarray, "r"] | slice, templates: Int[np.ndarray, "t"] | slice
    ) -> Float[np.ndarray, "t r"]:
        """Computes scores, the templates' in rows."""
        return self.templates[templates] @ self.images[rows].T


def make_metrics(domain: ImageDomain) -> tuple[Metric, ...]:
    """Prepares all metrics on a domain; pixels count from 0 to 1."""
    images, m = domain.images.reshape(len(domain.images), -1), len(domain.templates)
    if not np.array_equal(domain.images[:m], domain.templates):
        images = np.concatenate([domain.templates.reshape(m, -1), images])
    sums = images.sum(axis=1, dtype=np.int64).astype(np.float32) / 255
    dots = _components(images, np.arange(256, dtype=np.float32)[:, None] / 255)
    squares = _squares(images)
    shaded = _components(images, _shades(images))
    scaled = dots / np.sqrt(squares)[:, None]
    zeros = np.zeros_like(sums)
    first = len(images) - len(domain.images)
    factors = (("l1", sums, shaded, -2), ("l2", squares, dots, -2), ("dot", zeros, dots, 1))
    return tuple(_metric(first, m, *f) for f in (*factors, ("cosine", zeros, scaled, 1)))


def _squares(images: UInt8[np.ndarray, "n p"]) -> Float[np.ndarray, "n"]:
    chunks = np.array_split(images, max(1, len(images) // 4_000))
    floats = [chunk.astype(np.float32) / 255 for chunk in chunks]
    return np.maximum(np.concatenate([np.einsum("ij,ij->i", f, f) for f in floats]), 1e-9)


def _metric(first: int, m: int, name: str, alone: np.ndarray, factor: np.ndarray, times: int):
    """Images begin at row `first`, templates are the first m rows."""
    one = np.ones_like(alone)
    images = np.column_stack([alone[first:], one[first:], factor[first:]])
    return Metric(name, images, np.column_stack([one[:m], alone[:m], times * factor[:m]]))


def _components(
    images: UInt8[np.ndarray, "n p"], table: Float[np.ndarray, "256 s"]
) -> Float[np.ndarray, "n d"]:
    """Looks every pixel up in a table, and returns the principal components of what is found."""
    some = _looked_up(images[:: max(1, len(images) // 6_000)], table)
    width = some.shape[1]
    axes = np.random.default_rng(0).normal(size=(width, min(COMPONENTS, width))).astype(np.float32)
    for _ in range(POWER_STEPS):
        axes = np.linalg.qr(some.T @ (some @ axes))[0]
    small = some @ axes
    axes = axes @ np.linalg.eigh(small.T @ small)[1][:, ::-1]  # the largest first
    chunks = np.array_split(images, max(1, len(images) // 4_000))
    return np.concatenate([_looked_up(chunk, table) @ axes for chunk in chunks])


def _looked_up(
    images: UInt8[np.ndarray, "n p"], table: Float[np.ndarray, "256 s"]
) -> Float[np.ndarray, "n _"]:
    return np.concatenate([np.take(column, images) for column in table.T], axis=1)


def _shades(images: UInt8[np.ndarray, "n p"]) -> Float[np.ndarray, "256 s"]:
    """Functions of pixels whose products sum up to about min(a, b), as |a - b| = a + b - 2 min.

    They are the eigenfunctions of min(a, b) that matter most for the shades that occur.
    """
    some = images[:: max(1, len(images) // 2_000)]
    share = np.sqrt(np.bincount(some.reshape(-1), minlength=256)[1:] + 1.0)
    shades = np.arange(1, 256) / 255
    values, vectors = np.linalg.eigh(np.minimum.outer(shades, shades) * np.outer(share, share))
    table = np.zeros((256, SHADES), np.float32)  # 0 for background
    table[1:] = (vectors * np.sqrt(np.abs(values)))[:, -SHADES:] / share[:, None]
    return table
