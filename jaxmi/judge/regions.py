"""Where two labellings differ, in words: connected regions of pairs, or digits."""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Int, Integer


class Region(NamedTuple):
    """Inputs on which two labellings differ."""

    name: str
    """Where it is."""
    differing: int
    """How many inputs differ there."""
    label1: int
    """To how many of them the submission gives label 1."""


def pair_regions(
    differs: Bool[np.ndarray, "p p"], submitted: Int[np.ndarray, "p p"]
) -> list[Region]:
    """Finds regions of pairs that hang together, neighbours by a corner included, largest first.

    Args:
      differs: Where the labellings differ, row = x.
      submitted: The submission's labels.
    """
    numbered = np.empty(differs.shape, np.int32)
    scipy.ndimage.label(differs, structure=np.ones((3, 3)), output=numbered)
    found = []
    for i, (xs, ys) in enumerate(scipy.ndimage.find_objects(numbered), start=1):
        inside = numbered[xs, ys] == i
        ones = int((submitted[xs, ys][inside] == 1).sum())
        found.append(Region(f"{_span('x', xs)}, {_span('y', ys)}", int(inside.sum()), ones))
    return sorted(found, key=lambda region: -region.differing)


def digit_regions(
    differs: Bool[np.ndarray, "n"],
    submitted: Int[np.ndarray, "n"],
    digits: Integer[np.ndarray, "n"],
) -> list[Region]:
    """Sorts the images that differ by the digit that they show, most first."""
    found = []
    for digit in np.unique(digits[differs]):
        inside = differs & (digits == digit)
        name = f"images of a {digit} ({int((digits == digit).sum()):,} of them)"
        found.append(Region(name, int(inside.sum()), int((submitted[inside] == 1).sum())))
    return sorted(found, key=lambda region: -region.differing)


def _span(name: str, positions: slice) -> str:
    first, last = positions.start, positions.stop - 1
    return f"{name} = {first}" if first == last else f"{name} = {first}..{last}"
