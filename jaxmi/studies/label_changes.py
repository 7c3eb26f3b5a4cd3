"""Where challenge 2's labels change: which boundary it is, how far each pair is from it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from jaxmi.programs.domain import P
from jaxmi.studies.parts import Parts, combine

CURVES = ("x4", "y4", "line")
"""The sides x^4 < 40000 y, y^4 < 360000 x, x + y < p + 20, or what stands in their place."""

KINDS = (*CURVES, "bars")
"""And the horizontal edges of the bars, between rows that differ by their residue."""

INTERIOR = "interior"
"""Near none of them."""

NEAR = 3.0
"""In steps of x or y: up to here a pair is near a boundary."""


BINS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, np.inf)
"""Distances to the nearest change of the label, in steps of x or y: (0, 1], (1, 2], ..."""


@dataclass(frozen=True, eq=False)
class LabelChanges:
    """The unit edges between neighbouring pairs of different labels, and each pair's distance."""

    lengths: dict[str, Int[np.ndarray, "p"]]
    """Kind -> unit edges in each row; between two rows, in the first."""
    distances: Float[np.ndarray, "kinds p p"]
    """From each pair to the middle of the nearest edge of each kind; infinite if there is none."""
    zones: Int[np.ndarray, "p p"]
    """Each pair's zone: an index into `ZONES`."""


ZONES = (*KINDS, INTERIOR)


def find_changes(parts: Parts) -> LabelChanges:
    """Finds where labels change, and by which part of the program.

    A change along a row is a curve's. One between rows is a curve's if the sides alone, with either
    row's residue on both, change the label, and else the bars'. Of several sides that differ, the
    first in the order of `CURVES` whose exchange alone changes the label is named.

    A pair's zone is that of the nearest curve's edge, if it is within `NEAR`; else the bars', if
    one of theirs is; else the interior. So the zones part the domain.
    """
    middles: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    labels = parts.labels
    for dx, dy in ((0, 1), (1, 0)):
        first = labels[: P - dx, : P - dy]
        for x, y in np.argwhere(first != labels[dx:, dy:]).tolist():
            kind = _kind(parts, (x, y), (x + dx, y + dy))
            middles[kind].append((x + dx / 2, y + dy / 2))
    pairs = np.stack(np.meshgrid(np.arange(P), np.arange(P), indexing="ij"), axis=-1)
    pairs = pairs.reshape(-1, 2)
    distances = np.full((len(KINDS), P * P), np.inf)
    for row, points in zip(distances, middles.values(), strict=True):
        if points:
            row[:] = KDTree(np.array(points)).query(pairs)[0]
    zones = np.full(P * P, len(KINDS))
    bars = distances[KINDS.index("bars")]
    zones[bars <= NEAR] = KINDS.index("bars")
    near = distances[: len(CURVES)].min(axis=0) <= NEAR
    zones[near] = distances[: len(CURVES)].argmin(axis=0)[near]
    lengths = {
        kind: np.bincount([int(x) for x, _ in points], minlength=P)
        for kind, points in middles.items()
    }
    return LabelChanges(lengths, distances.reshape(-1, P, P), zones.reshape(P, P))


def _kind(parts: Parts, one: tuple[int, int], other: tuple[int, int]) -> str:
    """Which part of the program changes the label between two pairs."""
    before, after = (
        [table[pair] for table in (parts.small_x, parts.small_y, parts.below_line)]
        for pair in (one, other)
    )
    differing = [i for i in range(len(CURVES)) if before[i] != after[i]]
    for residue in parts.residues[[one[0], other[0]]]:
        label = combine(*before, residues=residue)
        if label != combine(*after, residues=residue):
            exchanged = {i: [*before[:i], after[i], *before[i + 1 :]] for i in differing}
            alone = [i for i in differing if combine(*exchanged[i], residues=residue) != label]
            return CURVES[(alone or differing)[0]]
    return "bars"


def unpinned(
    labels: Int[np.ndarray, "p p"], is_train: Bool[np.ndarray, "p p"]
) -> Bool[np.ndarray, "p p"]:
    """Marks test pairs whose label the training pairs of their own row leave open.

    Their nearest training pairs to the left and to the right, in the same row, have different
    labels: somewhere in between the label changes.
    """
    left = _nearest(labels, is_train)
    right = _nearest(labels[:, ::-1], is_train[:, ::-1])[:, ::-1]
    return ~is_train & (left != right) & (left >= 0) & (right >= 0)


def _nearest(labels: np.ndarray, is_train: np.ndarray) -> np.ndarray:
    """The label of the nearest training pair to the left, or -1."""
    places = np.where(is_train, np.arange(labels.shape[1]), -1)
    places = np.maximum.accumulate(places, axis=1)
    found = np.take_along_axis(labels, np.maximum(places, 0), axis=1)
    return np.where(places < 0, -1, found)
