"""Periodic features of pairs: int(x ** e) % m, and stripes (a * x + b * y) // w % m.

Families of boundaries between pairs: all thresholds of a score, as of x against c * y ** r.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

EXPONENTS = (0.5, 1, 1.5, 2, 3)
"""Powers that are usual in a curve `x ** i < c * y ** j`."""

RARER_EXPONENTS = tuple(round(0.1 * i, 1) for i in range(3, 31) if i not in (5, 10, 15, 20, 30))
"""Others that it may have."""

SLOPES = ((1, 0), (0, 1), (1, 1), (1, -1), (1, 2), (2, 1), (1, 3), (3, 1), (1, -2), (2, -1))
"""Straight lines `a * x + b * y < c`."""

RATIOS = tuple(float(r) for r in np.exp(np.linspace(np.log(1 / 6), np.log(6), 37)))
"""Curves of i / j, close enough to each other that none between them is missed."""


@dataclass(frozen=True, eq=False)
class Family:
    """Pairs in the order of a score; a boundary lies between two that differ."""

    kind: tuple[int | float, ...]
    """(a, b): a line of these slopes. (r,): curves x ** r against c * y."""

    scores: Float[np.ndarray, "n"]
    order: Int[np.ndarray, "n"]
    """Of all pairs, least score first."""

    rank: Int[np.ndarray, "n"]
    """Of each pair, where it stands in the order."""

    ends: Bool[np.ndarray, "n"]
    """Where in the order a boundary may lie: after this pair."""


def line(slopes: tuple[int, int], p: int) -> Family:
    """Makes the family of parallel lines a * x + b * y = c."""
    x, y = np.indices((p, p)).reshape(2, -1)
    return family(slopes, (slopes[0] * x + slopes[1] * y).astype(float))


@lru_cache(maxsize=2000)
def curves(ratio: float, p: int) -> Family:
    """Makes the family of curves x ** ratio = c * y; x = 0 comes first, y = 0 last."""
    numbers = np.log(np.maximum(np.arange(p), 1e-300).astype(float))
    scores = ratio * numbers[:, None] - numbers[None, :]
    scores[:, 0] = np.inf
    scores[0, 1:] = -np.inf
    return family((ratio,), scores.reshape(-1))


@lru_cache(maxsize=4)
def families(p: int) -> tuple[Family, ...]:
    """Makes all families that a search tries first."""
    return (
        *(line(slopes, p) for slopes in SLOPES),
        *(curves(ratio, p) for ratio in RATIOS),
    )


def family(kind: tuple[int | float, ...], scores: Float[np.ndarray, "n"]) -> Family:
    """Makes the family of all thresholds of a score."""
    order = np.argsort(scores, kind="stable")
    sorted_scores = scores[order]
    with np.errstate(invalid="ignore"):
        ends = np.append(np.diff(sorted_scores) > 1e-9, False)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Family(kind, scores, order, rank, ends)


AXES = ((1, 0), (0, 1), (1, 1), (1, 2), (2, 1), (1, 3), (3, 1))
"""What a periodic feature is a function of: a * x + b * y."""

BAR_EXPONENTS = (1.5, 1.3, 1.7, 2, 1.1, 1.2, 1.4, 1.6, 1.8, 1.9)
MODULI = tuple(range(2, 11))
BAR_WIDTHS = tuple(range(1, 25))
WIDTHS = tuple(range(1, 31))


@dataclass(frozen=True)
class Wave:
    """A periodic feature: of v = a * x + b * y, int(v ** exponent) // width % modulus."""

    axis: tuple[int, int]
    exponent: int | float
    width: int
    modulus: int


@dataclass(frozen=True, eq=False)
class Axis:
    """All periodic features along one axis, as a matrix."""

    slopes: tuple[int, int]
    values: Int[np.ndarray, "n"]
    """Of each pair, a * x + b * y."""

    count: int
    """How many values there are, from 0."""

    waves: tuple[Wave, ...]
    residues: Int[np.ndarray, "waves count"]
    """Of each feature at each value."""

    rows: Int[np.ndarray, "waves"]
    """Where in `members` each feature's residues begin."""

    members: Float[np.ndarray, "rows count"]
    """A row per feature and residue: 1 where the value has that residue."""


@lru_cache(maxsize=4)
def axes(p: int) -> tuple[Axis, ...]:
    """Lists the axes of pairs below p, with all their features."""
    return tuple(_axis(slopes, p) for slopes in AXES)


def residues(wave: Wave, values: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Computes a feature of values a * x + b * y, as Python does."""
    table = [
        int(v**wave.exponent) if wave.exponent != 1 else v for v in range(int(values.max()) + 1)
    ]
    return (np.array(table) // wave.width % wave.modulus)[values]


def _axis(slopes: tuple[int, int], p: int) -> Axis:
    x, y = np.indices((p, p)).reshape(2, -1)
    values = slopes[0] * x + slopes[1] * y
    count = int(values.max()) + 1
    found: dict[bytes, tuple[Wave, np.ndarray]] = {}
    for wave in _waves(slopes):
        residue = residues(wave, np.arange(count))
        if len(np.unique(residue)) == wave.modulus:
            found.setdefault(residue.astype(np.int16).tobytes(), (wave, residue))
    waves = tuple(wave for wave, _ in found.values())
    table = np.array([residue for _, residue in found.values()])
    rows = np.cumsum([0, *(wave.modulus for wave in waves)])
    members = np.zeros((rows[-1], count), np.float32)
    for first, residue in zip(rows, table, strict=False):
        members[first + residue, np.arange(count)] = 1
    return Axis(slopes, values, count, waves, table, rows[:-1], members)


def _waves(slopes: tuple[int, int]) -> list[Wave]:
    if 0 in slopes:
        powers = [Wave(slopes, e, 1, m) for e in BAR_EXPONENTS for m in MODULI]
        return powers + [Wave(slopes, 1, w, m) for w in BAR_WIDTHS for m in MODULI]
    return [Wave(slopes, 1, w, m) for w in WIDTHS for m in MODULI]
