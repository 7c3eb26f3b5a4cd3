"""Approximate scores between all images and all templates, as matrix products.

For each metric, `score(image, template)` is approximated by the product of two vectors: principal
components, and one number each for what depends on the image or the template alone. Candidates
found with these scores are measured exactly afterwards.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxmi.programs.domain import ImageDomain

METRICS = ("l1", "l2", "dot", "cosine")
"""Metrics between images that programs use. `l2` is squared here, which keeps scores' order."""

COMPONENTS = 256
"""Number of principal components of the pixels, and of the functions of pixels that `l1` needs."""

POWER_STEPS = 3
"""Steps of the power iteration that finds them; after two the remainder is small."""

SHADES = 2
"""Number of functions of a pixel whose products approximate min(a, b)."""

SAMPLE, SHADE_SAMPLE = 6_000, 2_000
"""Approximate number of images from which components, and functions of pixels, are computed."""

CHUNK = 4_000
"""Approximate number of images per matrix product, to limit memory."""


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric's factors."""

    name: str

    images: Float[np.ndarray, "n d"]
    """Row per image: what depends on it alone, 1, and components."""

    templates: Float[np.ndarray, "m d"]
    """Row per template: 1, what depends on it alone, and components."""

    def score(
        self, rows: Int[np.ndarray, "r"] | slice, templates: Int[np.ndarray, "t"] | slice
    ) -> Float[np.ndarray, "t r"]:
        """Return the scores between images and templates, with a row per template.

        Args:
          rows: Indices of the images.
          templates: Indices of the templates.
        """
        return self.templates[templates] @ self.images[rows].T


def make_metrics(domain: ImageDomain) -> tuple[Metric, ...]:
    """Return the factors of all `METRICS` on a domain, in that order, with pixels in 0..1."""
    images, m = domain.images.reshape(len(domain.images), -1), len(domain.templates)
    if not np.array_equal(domain.images[:m], domain.templates):
        images = np.concatenate([domain.templates.reshape(m, -1), images])
    sums = images.sum(axis=1, dtype=np.int64).astype(np.float32) / 255
    dots = _components(images, np.arange(256, dtype=np.float32)[:, None] / 255)
    squares = _squared_lengths(images)
    shades = _components(images, _shade_functions(images))
    directions = dots / np.sqrt(squares)[:, None]
    zeros = np.zeros_like(sums)
    terms = {
        "l1": (sums, shades, -2),
        "l2": (squares, dots, -2),
        "dot": (zeros, dots, 1),
        "cosine": (zeros, directions, 1),
    }
    first = len(images) - len(domain.images)
    return tuple(_metric(name, first, m, *terms[name]) for name in METRICS)


def _metric(
    name: str,
    first: int,
    m: int,
    own: Float[np.ndarray, "_"],
    components: Float[np.ndarray, "_ d"],
    factor: int,
) -> Metric:
    """Return the metric own(image) + own(template) + factor * components(image) @ components(...).

    The images begin at row `first`; the templates are the first m rows.
    """
    ones = np.ones_like(own)
    images = np.column_stack([own[first:], ones[first:], components[first:]])
    templates = np.column_stack([ones[:m], own[:m], factor * components[:m]])
    return Metric(name, images, templates)


def _squared_lengths(images: UInt8[np.ndarray, "n p"]) -> Float[np.ndarray, "n"]:
    floats = [chunk.astype(np.float32) / 255 for chunk in _chunks(images)]
    return np.maximum(np.concatenate([np.einsum("ij,ij->i", f, f) for f in floats]), 1e-9)


def _components(
    images: UInt8[np.ndarray, "n p"], table: Float[np.ndarray, "256 s"]
) -> Float[np.ndarray, "n d"]:
    """Look every pixel up in a table, and return the principal components of the result."""
    sample = _look_up(images[:: max(1, len(images) // SAMPLE)], table)
    width = sample.shape[1]
    axes = np.random.default_rng(0).normal(size=(width, min(COMPONENTS, width))).astype(np.float32)
    for _ in range(POWER_STEPS):
        axes = np.linalg.qr(sample.T @ (sample @ axes))[0]
    small = sample @ axes
    axes = axes @ np.linalg.eigh(small.T @ small)[1][:, ::-1]  # the largest first
    return np.concatenate([_look_up(chunk, table) @ axes for chunk in _chunks(images)])


def _chunks(images: UInt8[np.ndarray, "n p"]) -> list[UInt8[np.ndarray, "_ p"]]:
    return np.array_split(images, max(1, len(images) // CHUNK))


def _look_up(
    images: UInt8[np.ndarray, "n p"], table: Float[np.ndarray, "256 s"]
) -> Float[np.ndarray, "n _"]:
    return np.concatenate([np.take(column, images) for column in table.T], axis=1)


def _shade_functions(images: UInt8[np.ndarray, "n p"]) -> Float[np.ndarray, "256 s"]:
    """Return functions of pixels whose products sum to about min(a, b); |a - b| = a + b - 2 min.

    They are the leading eigenfunctions of min(a, b), weighted by how often each shade occurs.
    """
    sample = images[:: max(1, len(images) // SHADE_SAMPLE)]
    share = np.sqrt(np.bincount(sample.reshape(-1), minlength=256)[1:] + 1.0)
    shades = np.arange(1, 256) / 255
    values, vectors = np.linalg.eigh(np.minimum.outer(shades, shades) * np.outer(share, share))
    table = np.zeros((256, SHADES), np.float32)  # 0 for background
    table[1:] = (vectors * np.sqrt(np.abs(values)))[:, -SHADES:] / share[:, None]
    return table
