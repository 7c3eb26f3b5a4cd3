"""Features of pairs that a search tries: families of boundaries, and periodic features by axis.

A family of boundaries is all thresholds of one score: parallel lines `a * x + b * y < c`, or curves
`x ** r < c * y`. A periodic feature is `int(x ** e) % m` or a stripe `(a * x + b * y) // w % m`.
Arrays over pairs have one entry per pair (x, y), with y varying fastest.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

SLOPES = ((1, 0), (0, 1), (1, 1), (1, -1), (1, 2), (2, 1), (1, 3), (3, 1), (1, -2), (2, -1))
"""Slopes (a, b) of straight lines `a * x + b * y < c`."""

RATIOS = tuple(float(r) for r in np.exp(np.linspace(np.log(1 / 6), np.log(6), 37)))
"""Exponents r of curves `x ** r < c * y`, close enough that every curve between them is nearly the
same as one of theirs."""


def pair_coordinates(p: int) -> Int[np.ndarray, "2 n"]:
    """Return x and y of all pairs below p, with y varying fastest; n is p * p."""
    return np.indices((p, p)).reshape(2, -1)


@dataclass(frozen=True, eq=False)
class Family:
    """All pairs in the order of a score. A boundary lies between two pairs with unequal scores."""

    kind: tuple[int | float, ...]
    """(a, b) for lines with these slopes, (r,) for curves x ** r = c * y, () for a set of pairs."""

    scores: Float[np.ndarray, "n"]

    order: Int[np.ndarray, "n"]
    """The pairs' indices, smallest score first."""

    rank: Int[np.ndarray, "n"]
    """The position of each pair in the order."""

    ends: Bool[np.ndarray, "n"]
    """True at each position in the order after which a boundary may lie."""


def line(slopes: tuple[int, int], p: int) -> Family:
    """Return the family of parallel lines a * x + b * y = c."""
    x, y = pair_coordinates(p)
    return family(slopes, (slopes[0] * x + slopes[1] * y).astype(float))


@lru_cache(maxsize=2000)
def curves(ratio: float, p: int) -> Family:
    """Return the family of curves x ** ratio = c * y.

    Pairs with x = 0 come first in its order, pairs with y = 0 last.
    """
    numbers = np.log(np.maximum(np.arange(p), 1e-300).astype(float))
    scores = ratio * numbers[:, None] - numbers[None, :]
    scores[:, 0] = np.inf
    scores[0, 1:] = -np.inf
    return family((ratio,), scores.reshape(-1))


@lru_cache(maxsize=4)
def families(p: int) -> tuple[Family, ...]:
    """Return all families that a search tries, for pairs below p."""
    return (
        *(line(slopes, p) for slopes in SLOPES),
        *(curves(ratio, p) for ratio in RATIOS),
    )


def family(kind: tuple[int | float, ...], scores: Float[np.ndarray, "n"]) -> Family:
    """Return the family of all thresholds of a score."""
    order = np.argsort(scores, kind="stable")
    sorted_scores = scores[order]
    with np.errstate(invalid="ignore"):
        ends = np.append(np.diff(sorted_scores) > 1e-9, False)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Family(kind, scores, order, rank, ends)


AXES = ((1, 0), (0, 1), (1, 1), (1, 2), (2, 1), (1, 3), (3, 1))
"""Slopes (a, b) of a * x + b * y, of which a periodic feature is a function."""

MODULI = tuple(range(2, 11))

BAR_EXPONENTS = (1.5, 1.3, 1.7, 2, 1.1, 1.2, 1.4, 1.6, 1.8, 1.9)
BAR_WIDTHS = tuple(range(1, 25))
"""Exponents and widths of features of x or y alone. Of equal features the first is kept."""

STRIPE_WIDTHS = tuple(range(1, 31))
"""Widths of features of x and y."""


@dataclass(frozen=True)
class Wave:
    """The periodic feature int(v ** exponent) // width % modulus of v = a * x + b * y."""

    axis: tuple[int, int]
    """(a, b)."""

    exponent: int | float
    width: int
    modulus: int


@dataclass(frozen=True, eq=False)
class Axis:
    """All periodic features along one axis, as a matrix."""

    slopes: tuple[int, int]
    """(a, b)."""

    values: Int[np.ndarray, "n"]
    """a * x + b * y of each pair."""

    count: int
    """Number of values, which are 0 to count - 1."""

    waves: tuple[Wave, ...]
    """The features, no two of which are equal."""

    residues: Int[np.ndarray, "waves count"]
    """Residue of each feature at each value."""

    rows: Int[np.ndarray, "waves"]
    """The first row of each feature in `members`."""

    members: Float[np.ndarray, "rows count"]
    """A row per feature and residue: 1 where the value has that residue, else 0."""


@lru_cache(maxsize=4)
def axes(p: int) -> tuple[Axis, ...]:
    """Return the axes of pairs below p, with all their features."""
    return tuple(_axis(slopes, p) for slopes in AXES)


def residues(wave: Wave, values: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Return the residue of a feature at each value of a * x + b * y, in Python's arithmetic."""
    table = [
        int(v**wave.exponent) if wave.exponent != 1 else v for v in range(int(values.max()) + 1)
    ]
    return (np.array(table) // wave.width % wave.modulus)[values]


def _axis(slopes: tuple[int, int], p: int) -> Axis:
    x, y = pair_coordinates(p)
    values = slopes[0] * x + slopes[1] * y
    count = int(values.max()) + 1
    distinct: dict[bytes, tuple[Wave, np.ndarray]] = {}
    for wave in _waves(slopes):
        residue = residues(wave, np.arange(count))
        if len(np.unique(residue)) == wave.modulus:
            distinct.setdefault(residue.astype(np.int16).tobytes(), (wave, residue))
    waves = tuple(wave for wave, _ in distinct.values())
    table = np.array([residue for _, residue in distinct.values()])
    rows = np.cumsum([0, *(wave.modulus for wave in waves)])
    members = np.zeros((rows[-1], count), np.float32)
    for first, residue in zip(rows, table, strict=False):
        members[first + residue, np.arange(count)] = 1
    return Axis(slopes, values, count, waves, table, rows[:-1], members)


def _waves(slopes: tuple[int, int]) -> list[Wave]:
    if 0 in slopes:
        powers = [Wave(slopes, e, 1, m) for e in BAR_EXPONENTS for m in MODULI]
        return powers + [Wave(slopes, 1, w, m) for w in BAR_WIDTHS for m in MODULI]
    return [Wave(slopes, 1, w, m) for w in STRIPE_WIDTHS for m in MODULI]
