"""Features of numbers that a search tries: families of boundaries, and periodic features by axis.

A family of boundaries is all thresholds of one score: parallel lines `a * x + b * y < c` (of
triples, planes, too), or curves `x ** r < c * y` of two operands. A periodic feature is
`int(x ** e) % m` or a stripe `(a * x + b * y) // w % m`. Arrays over inputs have one entry per pair
or triple, in domain order: the last operand varies fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs.domain import NumberDomain

SLOPES = ((1, 0), (0, 1), (1, 1), (1, -1), (1, 2), (2, 1), (1, 3), (3, 1), (1, -2), (2, -1))
"""Slopes (a, b) of straight lines `a * x + b * y < c` in two operands."""

RATIOS = tuple(float(r) for r in np.exp(np.linspace(np.log(1 / 6), np.log(6), 37)))
"""Exponents r of curves `x ** r < c * y`, close enough that every curve between them is nearly the
same as one of theirs."""


@dataclass(frozen=True)
class Line:
    """The kind of the parallel lines, or planes, with given slopes."""

    slopes: tuple[int, ...]
    """The factor of each operand; the first that is not 0 is positive."""


@dataclass(frozen=True)
class Curve:
    """The kind of the curves left ** ratio = c * right."""

    left: int
    right: int
    """Indices of two operands."""

    ratio: float


@dataclass(frozen=True, eq=False)
class Family:
    """All inputs in the order of a score. A boundary lies between two with unequal scores."""

    kind: Line | Curve | None
    """The form of its boundaries; None for a set of inputs."""

    scores: Float[np.ndarray, "n"]

    order: Int[np.ndarray, "n"]
    """The inputs' indices, smallest score first."""

    rank: Int[np.ndarray, "n"]
    """The position of each input in the order."""

    ends: Bool[np.ndarray, "n"]
    """True at each position in the order after which a boundary may lie."""


def all_slopes(n_operands: int, of_two: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Return slopes of one operand, of two, and of all with factors 1 and -1.

    Args:
      n_operands: 2 or 3.
      of_two: The slopes in two operands; those in one among them.

    Returns:
      Of two operands `of_two` itself; of more, each of them for each two operands, then the others.
    """
    if n_operands == 2:
        return tuple(of_two)
    slopes: dict[tuple[int, ...], None] = {}
    for first, second in combinations(range(n_operands), 2):
        for a, b in of_two:
            slopes[tuple(a * (i == first) + b * (i == second) for i in range(n_operands))] = None
    signs = (1, -1) if any(min(two) < 0 for two in of_two) else (1,)
    for others in product(signs, repeat=n_operands - 1):
        slopes[(1, *others)] = None
    return tuple(slopes)


def weighted_sum(slopes: tuple[int, ...], domain: NumberDomain) -> Int[np.ndarray, "n"]:
    """Return the sum of the operands, each times its slope, of every input."""
    numbers = domain.columns().values()
    products = (slope * values for slope, values in zip(slopes, numbers, strict=True))
    return sum(products, np.zeros(domain.p ** len(slopes), np.int64))


def line(slopes: tuple[int, ...], domain: NumberDomain) -> Family:
    """Return the family of parallel lines, or planes, with given slopes."""
    return family(Line(slopes), weighted_sum(slopes, domain).astype(float))


@lru_cache(maxsize=2000)
def curves(curve: Curve, domain: NumberDomain) -> Family:
    """Return the family of curves left ** ratio = c * right.

    Inputs with left = 0 come first in its order, inputs with right = 0 last.
    """
    numbers = np.log(np.maximum(np.arange(domain.p), 1e-300).astype(float))
    scores = curve.ratio * numbers[:, None] - numbers[None, :]
    scores[:, 0] = np.inf
    scores[0, 1:] = -np.inf
    operands = list(domain.columns().values())
    return family(curve, scores[operands[curve.left], operands[curve.right]])


@lru_cache(maxsize=4)
def families(domain: NumberDomain) -> tuple[Family, ...]:
    """Return all families that a search tries."""
    n = len(domain.operands)
    return (
        *(line(slopes, domain) for slopes in all_slopes(n, SLOPES)),
        *(
            curves(Curve(left, right, ratio), domain)
            for left, right in combinations(range(n), 2)
            for ratio in RATIOS
        ),
    )


def family(kind: Line | Curve | None, scores: Float[np.ndarray, "n"]) -> Family:
    """Return the family of all thresholds of a score."""
    order = np.argsort(scores, kind="stable")
    sorted_scores = scores[order]
    with np.errstate(invalid="ignore"):
        ends = np.append(np.diff(sorted_scores) > 1e-9, False)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Family(kind, scores, order, rank, ends)


AXES = ((1, 0), (0, 1), (1, 1), (1, 2), (2, 1), (1, 3), (3, 1))
"""Slopes (a, b) of a * x + b * y, of which a periodic feature is a function; none is negative."""

MODULI = tuple(range(2, 11))

BAR_EXPONENTS = (1.5, 1.3, 1.7, 2, 1.1, 1.2, 1.4, 1.6, 1.8, 1.9)
BAR_WIDTHS = tuple(range(1, 25))
"""Exponents and widths of features of one operand. Of equal features the first is kept."""

STRIPE_WIDTHS = tuple(range(1, 31))
"""Widths of features of several operands."""


@dataclass(frozen=True)
class Wave:
    """The periodic feature int(v ** exponent) // width % modulus of a weighted sum v."""

    axis: tuple[int, ...]
    """The factor of each operand in v."""

    exponent: int | float
    width: int
    modulus: int


@dataclass(frozen=True, eq=False)
class Axis:
    """All periodic features along one axis, as a matrix."""

    slopes: tuple[int, ...]
    """The factor of each operand."""

    values: Int[np.ndarray, "n"]
    """The weighted sum of each input's operands."""

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
def axes(domain: NumberDomain) -> tuple[Axis, ...]:
    """Return a domain's axes, with all their features."""
    return tuple(_axis(slopes, domain) for slopes in all_slopes(len(domain.operands), AXES))


def residues(wave: Wave, values: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Return the residue of a feature at each value of its axis, in Python's arithmetic."""
    table = [
        int(v**wave.exponent) if wave.exponent != 1 else v for v in range(int(values.max()) + 1)
    ]
    return (np.array(table) // wave.width % wave.modulus)[values]


def _axis(slopes: tuple[int, ...], domain: NumberDomain) -> Axis:
    values = weighted_sum(slopes, domain)
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


def _waves(slopes: tuple[int, ...]) -> list[Wave]:
    if np.count_nonzero(slopes) == 1:
        powers = [Wave(slopes, e, 1, m) for e in BAR_EXPONENTS for m in MODULI]
        return powers + [Wave(slopes, 1, w, m) for w in BAR_WIDTHS for m in MODULI]
    return [Wave(slopes, 1, w, m) for w in STRIPE_WIDTHS for m in MODULI]
