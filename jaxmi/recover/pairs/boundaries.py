"""Families of boundaries between pairs: all thresholds of a score, as of x against c * y ** r."""

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
