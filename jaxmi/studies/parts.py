"""Challenge 2's program taken apart, to be put together otherwise.

A label depends on three sides of a boundary, and on a number that is the row's own: the residue
⌊x^1.5⌋ mod 8. Exchanging one part and keeping the others is an intervention on the labels.

Where challenge 2's labels change: which boundary it is, how far each pair is from it.

Challenge 2's labels with other rules for the rows' residues, and rows to hold out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from jaxmi.programs.domain import P

Part = np.ndarray | np.bool_ | np.integer

X, Y = np.meshgrid(np.arange(P, dtype=np.int64), np.arange(P, dtype=np.int64), indexing="ij")


@dataclass(frozen=True, eq=False)
class Parts:
    """What the label of a pair is made of; tables with row = x."""

    small_x: Bool[np.ndarray, "p p"]
    """x^4 < 40000 y, in the published program: +3."""
    small_y: Bool[np.ndarray, "p p"]
    """y^4 < 360000 x: -2."""
    below_line: Bool[np.ndarray, "p p"]
    """x + y < p + 20: +5.5, if the rest is below -3."""
    residues: Int[np.ndarray, "p"]
    """⌊x^1.5⌋ mod 8: + this, - 5."""

    @property
    def labels(self) -> Int[np.ndarray, "p p"]:
        """1 where the sum is not negative."""
        return combine(self.small_x, self.small_y, self.below_line, self.residues[:, None])


def combine(
    small_x: Part, small_y: Part, below_line: Part, residues: Part
) -> Int[np.ndarray, "*shape"]:
    """Labels pairs from their parts, which broadcast."""
    twice = 6 * small_x - 4 * small_y + 2 * (residues - 5)  # doubled: the last term is 5.5
    return np.asarray(twice + 11 * (below_line & (twice < -6)) >= 0, np.int32)


def published() -> Parts:
    """The published program's parts."""
    residues = np.array([int(x**1.5) % 8 for x in range(P)])
    return Parts(X**4 < 40_000 * Y, Y**4 < 360_000 * X, X + Y < P + 20, residues)


def straightened() -> Parts:
    """Both curves replaced by straight lines between their ends.

    x^4 = 40000 y runs from (0, 0) to (46, 112), y^4 = 360000 x from (1, 24) to (112, 80).
    """
    own = published()
    small_x = 46 * Y > 112 * X
    small_y = 111 * (Y - 24) < 56 * (X - 1)
    return Parts(small_x, small_y & (X > 0), own.below_line, own.residues)


def bent() -> Parts:
    """The straight line replaced by an arc between its ends, (21, 112) and (112, 21).

    A quarter of a circle around (113, 113), so it comes nearest to (0, 0) in its middle.
    """
    own = published()
    below = (P - X) ** 2 + (P - Y) ** 2 > (P - 21) ** 2
    return Parts(own.small_x, own.small_y, below, own.residues)


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


RESIDUES = 8
CONSTANT = 3
"""The residue with which all three sides of the program matter."""

RULES = {
    "published": "published labels",
    "residues": "residues dealt out anew",
    "shuffled": "rows in a random order",
    "constant": f"residue {CONSTANT} in every row",
}
"""What gives a row its labels. In the last, a row has nothing of its own: all that is to be known
of an unseen one follows from the others."""

ROWS_OF_EACH = 2
"""Held-out rows of each residue, in each set."""

SETS = 2


def parts_of(rule: str) -> Parts:
    """What the labels of a rule are made of; of rows in a random order, the published program's."""
    own = published()
    residues = {
        "residues": own.residues[_order()],
        "constant": np.full(P, CONSTANT),
    }.get(rule, own.residues)
    return Parts(own.small_x, own.small_y, own.below_line, residues)


def labels_of(rule: str) -> Int[np.ndarray, "p p"]:
    """The labels of a rule."""
    labels = parts_of(rule).labels
    return labels[_order()] if rule == "shuffled" else labels


def residues_of(rule: str) -> Int[np.ndarray, "p"]:
    """Each row's residue under a rule."""
    residues = parts_of(rule).residues
    return residues[_order()] if rule == "shuffled" else residues


def held_out_rows() -> Int[np.ndarray, "sets rows"]:
    """Rows to hold out, disjoint sets; each has two of each residue of the published program."""
    rng = np.random.default_rng(1)
    residues = published().residues
    drawn = [
        rng.permutation(np.flatnonzero(residues == residue))[: SETS * ROWS_OF_EACH]
        for residue in range(RESIDUES)
    ]
    sets = np.stack(drawn).reshape(RESIDUES, SETS, ROWS_OF_EACH).swapaxes(0, 1)
    return np.sort(sets.reshape(SETS, -1))


def _order() -> Int[np.ndarray, "p"]:
    """The random order that rows, or their residues, are put in."""
    return np.random.default_rng(0).permutation(P)
