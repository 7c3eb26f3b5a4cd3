"""Challenge 2's program in parts, and where its labels change.

A label depends on three sides of a boundary and on a number of its row, the residue ⌊x^1.5⌋ mod 8.
Studies exchange one part and keep the others, which is an intervention on the labels; and they
count mistakes by the part that changes the label nearby.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from jaxmi.challenges.challenge import Challenge
from jaxmi.programs.domain import P
from jaxmi.studies.study import refuse

Part = np.ndarray | np.bool_ | np.integer

X, Y = np.meshgrid(np.arange(P, dtype=np.int64), np.arange(P, dtype=np.int64), indexing="ij")


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts that make up the labels; in tables, the row is x and the column y."""

    small_x: Bool[np.ndarray, "p p"]
    """x^4 < 40000 y in the published program, which then adds 3."""
    small_y: Bool[np.ndarray, "p p"]
    """y^4 < 360000 x: subtracts 2."""
    below_line: Bool[np.ndarray, "p p"]
    """x + y < p + 20: adds 5.5, if the rest is below -3."""
    residues: Int[np.ndarray, "p"]
    """⌊x^1.5⌋ mod 8: adds this, less 5."""

    @property
    def labels(self) -> Int[np.ndarray, "p p"]:
        """1 where the sum is not negative."""
        return combine(self.small_x, self.small_y, self.below_line, self.residues[:, None])


def combine(
    small_x: Part, small_y: Part, below_line: Part, residues: Part
) -> Int[np.ndarray, "*shape"]:
    """Label pairs by their parts, which broadcast."""
    twice = 6 * small_x - 4 * small_y + 2 * (residues - 5)  # doubled, because of the 5.5
    return np.asarray(twice + 11 * (below_line & (twice < -6)) >= 0, np.int32)


def published() -> Parts:
    """Return the published program's parts."""
    residues = np.array([int(x**1.5) % 8 for x in range(P)])
    return Parts(X**4 < 40_000 * Y, Y**4 < 360_000 * X, X + Y < P + 20, residues)


def is_published(challenge: Challenge) -> bool:
    """Return whether a challenge has challenge 2's labels; split and network may be others."""
    return challenge.grid == (P, P) and bool(
        (challenge.labels == published().labels.reshape(-1)).all()
    )


def check_published(challenge: Challenge, study: str, asks: str) -> None:
    """Check that a question about the parts of challenge 2's program has a meaning.

    Args:
      challenge: The challenge that is asked about.
      study: The study's name.
      asks: What it asks about.

    Raises:
      InputError: if the challenge has other labels.
    """
    if is_published(challenge):
        return
    about = f"asks about {asks} in challenge 2's program on pairs below {P}"
    if challenge.kind != "pairs":
        raise refuse(study, challenge, about, f"is of {challenge.kind}")
    has = f"has p = {challenge.p}" if challenge.p != P else "has other labels"
    raise refuse(study, challenge, about, has)


CURVES = ("x4", "y4", "line")
"""The boundaries of the sides x^4 < 40000 y, y^4 < 360000 x and x + y < p + 20, or of those that
replace them."""

KINDS = (*CURVES, "bars")
"""All kinds of boundaries. The bars' are horizontal edges, between rows that differ by their
residue."""

INTERIOR = "interior"
"""The zone that is near no boundary."""

ZONES = (*KINDS, INTERIOR)

NEAR = 3.0
"""The distance up to which a pair is near a boundary, in steps of x or y."""

BINS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, np.inf)
"""Edges of bins of the distance to a boundary, in steps of x or y: (0, 1], (1, 2], ..."""


@dataclass(frozen=True, eq=False)
class LabelChanges:
    """The unit edges between neighbouring pairs of different labels, and each pair's distance."""

    lengths: dict[str, Int[np.ndarray, "p"]]
    """Kind -> number of unit edges in each row; an edge between two rows counts in the first."""
    distances: Float[np.ndarray, "kinds p p"]
    """The distance from each pair to the middle of the nearest edge of each kind; infinite if there
    is none."""
    zones: Int[np.ndarray, "p p"]
    """Each pair's zone: an index into `ZONES`."""


def find_changes(parts: Parts) -> LabelChanges:
    """Find where labels change, and which part of the program changes them.

    A change along a row is a curve's. One between rows is a curve's if the sides alone, with either
    row's residue on both, change the label, and the bars' otherwise. If several sides differ, the
    change is that of the first in the order of `CURVES` whose exchange alone changes the label.

    A pair's zone is that of the nearest curve's edge, if it is within `NEAR`; else the bars', if
    one of theirs is; else the interior. So each pair is in exactly one zone.
    """
    middles: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for first, second in _edges(parts.labels):
        middles[_kind(parts, first, second)].append(_middle(first, second))
    distances = np.stack([_distances(points, P) for points in middles.values()])
    zones = np.full(P * P, ZONES.index(INTERIOR))
    bars = distances[KINDS.index("bars")]
    zones[bars <= NEAR] = ZONES.index("bars")
    near = distances[: len(CURVES)].min(axis=0) <= NEAR
    zones[near] = distances[: len(CURVES)].argmin(axis=0)[near]
    lengths = {
        kind: np.bincount([int(x) for x, _ in points], minlength=P)
        for kind, points in middles.items()
    }
    return LabelChanges(lengths, distances.reshape(-1, P, P), zones.reshape(P, P))


def distance_to_change(labels: Int[np.ndarray, "p p"]) -> Float[np.ndarray, "p*p"]:
    """Return each pair's distance to the middle of the nearest edge between different labels.

    Args:
      labels: Of any program, row = x.

    Returns:
      In steps of x or y, in domain order; infinite if all labels are the same.
    """
    return _distances([_middle(*edge) for edge in _edges(labels)], len(labels))


def _edges(
    labels: Int[np.ndarray, "p p"],
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the neighbouring pairs whose labels differ, first those within a row."""
    for dx, dy in ((0, 1), (1, 0)):
        first = labels[: len(labels) - dx, : len(labels) - dy]
        for x, y in np.argwhere(first != labels[dx:, dy:]).tolist():
            yield (x, y), (x + dx, y + dy)


def _middle(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    return (first[0] + second[0]) / 2, (first[1] + second[1]) / 2


def _distances(points: list[tuple[float, float]], p: int) -> Float[np.ndarray, "{p}*{p}"]:
    """Return the distance from each pair below p to the nearest point; infinite without points."""
    if not points:
        return np.full(p * p, np.inf)
    pairs = np.stack(np.divmod(np.arange(p * p), p), axis=1)
    return KDTree(np.array(points)).query(pairs)[0]


def _kind(parts: Parts, first: tuple[int, int], second: tuple[int, int]) -> str:
    """Return the kind of the boundary between two neighbouring pairs of different labels."""
    before, after = (
        [table[pair] for table in (parts.small_x, parts.small_y, parts.below_line)]
        for pair in (first, second)
    )
    differing = [i for i in range(len(CURVES)) if before[i] != after[i]]
    for residue in parts.residues[[first[0], second[0]]]:
        label = combine(*before, residues=residue)
        if label != combine(*after, residues=residue):
            exchanged = {i: [*before[:i], after[i], *before[i + 1 :]] for i in differing}
            alone = [i for i in differing if combine(*exchanged[i], residues=residue) != label]
            return CURVES[(alone or differing)[0]]
    return "bars"


def open_pairs(
    labels: Int[np.ndarray, "p p"], is_train: Bool[np.ndarray, "p p"]
) -> Bool[np.ndarray, "p p"]:
    """Mark test pairs whose label the training pairs of their own row leave open.

    The nearest training pairs to the left and to the right, in the same row, have different labels:
    somewhere in between the label changes.
    """
    left = _nearest_to_the_left(labels, is_train)
    right = _nearest_to_the_left(labels[:, ::-1], is_train[:, ::-1])[:, ::-1]
    return ~is_train & (left != right) & (left >= 0) & (right >= 0)


def _nearest_to_the_left(labels: np.ndarray, is_train: np.ndarray) -> np.ndarray:
    """Return the label of the nearest training pair to the left, or -1."""
    columns = np.where(is_train, np.arange(labels.shape[1]), -1)
    columns = np.maximum.accumulate(columns, axis=1)
    nearest = np.take_along_axis(labels, np.maximum(columns, 0), axis=1)
    return np.where(columns < 0, -1, nearest)
