"""Maps of labels as pieces: thresholds along one operand that are polynomials of the other.

Rows of a map are values of x, columns values of y. A piece takes rows between two values of x. In
it the label changes at most `MOST_THRESHOLDS` times along y, each time at a polynomial of x. The
pieces of a map are chosen by dynamic programming, so that wrong labels and numbers cost least.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

MOST_THRESHOLDS = 3
"""Changes of the label along a row of a piece, at most."""

MOST_DEGREE = 3
"""Degree of a threshold as a polynomial of x, at most."""

MOST_BOUNDARIES = 60
"""Rows at which a piece may begin, at most; with more, every second (third, ...) is tried."""

DIGITS = range(3, 18)
"""Significant digits of coefficients: as few as leave the piece's labels as they are."""


Threshold = tuple[float, ...]
"""The coefficients of a polynomial of x, constant first; the label changes from its value on."""


class Shape(NamedTuple):
    """Form of a piece: its first label, its number of thresholds, and their degree."""

    first: int
    """The label before the first threshold."""
    thresholds: int
    degree: int

    @property
    def numbers(self) -> int:
        """Its numbers: the coefficients, the first label, and the value of x where it ends."""
        return 2 + self.thresholds * (self.degree + 1)


SHAPES = tuple(
    Shape(first, thresholds, degree)
    for first in (0, 1)
    for thresholds in range(MOST_THRESHOLDS + 1)
    for degree in (range(MOST_DEGREE + 1) if thresholds else (0,))
)


@dataclass(frozen=True)
class Piece:
    """A part of a map: thresholds that are polynomials of x."""

    end: int
    """The largest value of x in the piece."""
    first: int
    """The label below the first threshold."""
    thresholds: tuple[Threshold, ...]
    """Places along y where the label changes, in order."""

    @property
    def intervals(self) -> list[tuple[Threshold | None, Threshold | None]]:
        """Where the label is 1: from which threshold on, and before which; None: without end."""
        edges = [None] * self.first + [*self.thresholds]
        return [
            (edges[i], edges[i + 1] if i + 1 < len(edges) else None)
            for i in range(0, len(edges), 2)
        ]

    @property
    def numbers(self) -> int:
        """Its numbers: coefficients, first label, end."""
        return 2 + sum(len(threshold) for threshold in self.thresholds)


def fit_pieces(
    labels: Bool[np.ndarray, "row column"],
    rows: Int[np.ndarray, "row"],
    columns: Int[np.ndarray, "column"],
    price: float,
) -> list[Piece]:
    """Describe a map by pieces.

    Args:
      labels: The map.
      rows: The value of x in each row, increasing.
      columns: The value of y in each column, increasing.
      price: Cost of a number, in wrong labels.
    """
    n = len(rows)
    step = -(-n // MOST_BOUNDARIES)
    cuts = sorted({*range(0, n, step), n})
    starts, ends = (np.array(cuts)[i] for i in np.triu_indices(len(cuts), 1))
    costs = np.full(len(starts), np.inf)
    shapes = np.zeros(len(starts), int)
    for i, shape in enumerate(SHAPES):
        cost = _wrong(labels, rows, columns, shape, starts, ends) + price * shape.numbers
        shapes[cost < costs] = i
        costs = np.minimum(costs, cost)
    best = {0: (0.0, 0, 0)}  # end of the rows so far -> cost, start of the last piece, its shape
    for end in cuts[1:]:
        options = np.flatnonzero(ends == end)
        totals = [best[int(starts[i])][0] + costs[i] for i in options]
        i = options[int(np.argmin(totals))]
        best[end] = (min(totals), int(starts[i]), int(shapes[i]))
    pieces, end = [], n
    while end:
        _, start, i = best[end]
        pieces.append(_piece(labels, rows, columns, SHAPES[i], start, end))
        end = start
    return pieces[::-1]


def labels_of(
    pieces: Sequence[Piece], rows: Int[np.ndarray, "row"], columns: Int[np.ndarray, "column"]
) -> Bool[np.ndarray, "row column"]:
    """Return the map that pieces describe."""
    place = np.searchsorted([piece.end for piece in pieces[:-1]], rows)
    labels = np.zeros((len(rows), len(columns)), bool)
    for row, x in enumerate(rows.tolist()):
        piece = pieces[place[row]]
        for low, high in piece.intervals:
            inside = np.ones(len(columns), bool)
            if low is not None:
                inside &= columns >= np.polynomial.polynomial.polyval(x, low)
            if high is not None:
                inside &= columns < np.polynomial.polynomial.polyval(x, high)
            labels[row] |= inside
    return labels


def _wrong(
    labels: Bool[np.ndarray, "row column"],
    rows: Int[np.ndarray, "row"],
    columns: Int[np.ndarray, "column"],
    shape: Shape,
    starts: Int[np.ndarray, "interval"],
    ends: Int[np.ndarray, "interval"],
) -> Float[np.ndarray, "interval"]:
    """Return the wrong labels of the best piece of a shape in each interval of rows.

    Infinite where an interval has too few rows for the degree, or thresholds cross.
    """
    ones = np.concatenate([np.zeros((len(rows), 1), int), labels.cumsum(axis=1)], axis=1)
    lengths = ends - starts
    interval = np.repeat(np.arange(len(starts)), lengths)
    row = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths - starts, lengths)
    powers = np.vander(_scaled(rows), shape.degree + 1, increasing=True)
    curves = np.empty((len(row), shape.thresholds))
    targets = _changes(ones, columns, shape)
    moments = np.einsum("ra,rb->rab", powers, powers)
    inner = _sums(moments, starts, ends) + 1e-9 * np.eye(shape.degree + 1)
    for i in range(shape.thresholds):
        products = _sums(powers * targets[:, i, None], starts, ends)
        coefficients = np.linalg.solve(inner, products[..., None])[..., 0]
        curves[:, i] = (powers[row] * coefficients[interval]).sum(axis=1)
    places = np.searchsorted(columns, curves)
    edges = np.concatenate(
        [np.zeros((len(row), 1), int), places, np.full((len(row), 1), len(columns))], axis=1
    )
    wrong = np.zeros(len(row))
    for i in range(shape.thresholds + 1):
        low, high = edges[:, i], edges[:, i + 1]
        inside = ones[row, high] - ones[row, low]
        wrong += inside if (shape.first + i) % 2 == 0 else high - low - inside
    wrong[(np.diff(edges, axis=1) < 0).any(axis=1)] = np.inf
    total = np.bincount(interval, wrong, len(starts))
    return np.where(lengths > shape.degree, total, np.inf)


def _scaled(rows: Int[np.ndarray, "row"]) -> Float[np.ndarray, "row"]:
    """Return values of x, scaled to -1..1, for the precision of fits."""
    span = max(int(rows[-1] - rows[0]), 1)
    return 2 * (rows - rows[0]) / span - 1.0


def _sums(
    values: Float[np.ndarray, "row ..."],
    starts: Int[np.ndarray, "interval"],
    ends: Int[np.ndarray, "interval"],
) -> Float[np.ndarray, "interval ..."]:
    """Return the sums over the rows of each interval."""
    ahead = np.concatenate([np.zeros((1, *values.shape[1:])), values.cumsum(axis=0)])
    return ahead[ends] - ahead[starts]


def _changes(
    ones: Int[np.ndarray, "row edge"], columns: Int[np.ndarray, "column"], shape: Shape
) -> Float[np.ndarray, "row threshold"]:
    """Return the best changes of label in each row, as values between two columns.

    Args:
      ones: The number of labels 1 in the first columns, from none to all.
      columns: The value of y in each column.
      shape: How many changes there are, and the label before the first.
    """
    between = (columns[1:] + columns[:-1]) / 2
    edges = np.concatenate([columns[:1] - 0.5, between, columns[-1:] + 0.5])
    excess = 2 * ones - np.arange(ones.shape[1])  # wrong before an edge: with label 0 less label 1
    cost = np.zeros(excess.shape)
    choices = []
    for i in range(shape.thresholds):
        cost = cost + (excess if (shape.first + i) % 2 == 0 else -excess)
        least = np.minimum.accumulate(cost, axis=1)
        place = np.where(cost == least, np.arange(cost.shape[1]), 0)
        choices.append(np.maximum.accumulate(place, axis=1))
        cost = least
    changes = np.empty((len(ones), shape.thresholds))
    row, place = np.arange(len(ones)), np.full(len(ones), ones.shape[1] - 1)
    for i in reversed(range(shape.thresholds)):
        place = choices[i][row, place]
        changes[:, i] = edges[place]
    return changes


def _piece(
    labels: Bool[np.ndarray, "row column"],
    rows: Int[np.ndarray, "row"],
    columns: Int[np.ndarray, "column"],
    shape: Shape,
    start: int,
    end: int,
) -> Piece:
    """Return a piece of a shape that describes the rows from `start` to before `end`."""
    part = labels[start:end]
    ones = np.concatenate([np.zeros((len(part), 1), int), part.cumsum(axis=1)], axis=1)
    targets = _changes(ones, columns, shape)
    x = rows[start:end].astype(float)
    curves = [
        np.polynomial.Polynomial.fit(x, targets[:, i], shape.degree, domain=[x[0] - 1, x[-1] + 1])
        for i in range(shape.thresholds)
    ]
    exact = [curve.convert().coef for curve in curves]
    places = [np.searchsorted(columns, curve(x)) for curve in curves]
    rounded = exact
    for digits in DIGITS:
        rounded = [[float(f"{value:.{digits}g}") for value in curve] for curve in exact]
        written = [np.polynomial.polynomial.polyval(x, curve) for curve in rounded]
        if all(
            (np.searchsorted(columns, curve) == place).all()
            for curve, place in zip(written, places, strict=True)
        ):
            break
    return Piece(int(rows[end - 1]), shape.first, tuple(map(tuple, rounded)))
