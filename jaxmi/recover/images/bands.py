"""The best bands of one distance, by brute force over all templates and metrics."""

import numpy as np
from jaxtyping import Float, Int

from jaxmi.recover.images.conditions import Band, Found
from jaxmi.recover.images.scores import Metric

FEW = 1500
"""Images on which all templates are tried."""

MANY = 12_000
"""Images on which the best of them are."""

KEPT = 60
"""Templates of each metric that are tried again."""

CHUNK = 4000
"""Templates at a time."""


def find_bands(
    metric: Metric, gain: Float[np.ndarray, "n"], top: int, seed: int = 0
) -> list[Found]:
    """Finds the templates whose bands gain most, each with its best band.

    Args:
      metric: The distance.
      gain: What it gains to call each image 1 rather than 0.
      top: How many to return.
      seed: Of the images that are tried.
    """
    rng = np.random.default_rng(seed)
    few, many = (rng.choice(len(gain), min(k, len(gain)), replace=False) for k in (FEW, MANY))
    counts = np.concatenate(
        [
            _best_counts(metric.score(few, slice(first, first + CHUNK)), gain[few] > 0)
            for first in range(0, len(metric.templates), CHUNK)
        ]
    )
    kept = np.argsort(-counts, kind="stable")[:KEPT]
    values, inside, bounds = sweep_bands(metric.score(many, kept), gain[many])
    return [
        Found(
            float(values[i]), Band(metric.name, int(kept[i]), bool(inside[i]), *bounds[i].tolist())
        )
        for i in np.argsort(-values, kind="stable")[:top]
    ]


def _best_counts(scores: Float[np.ndarray, "t r"], ones: np.ndarray) -> Int[np.ndarray, "t"]:
    """How many labels each row's best band gets right, less those it gets wrong.

    Each label is the last bit of its score, so that sorting numbers will do.
    """
    bits = np.ascontiguousarray(scores).view(np.int32)
    bits &= -2
    bits |= ones
    scores = np.sort(bits.view(np.float32), axis=1)
    signs = ((scores.view(np.int32) & 1) * 2 - 1).astype(np.int16)
    sums = np.cumsum(signs, axis=1, dtype=np.int16)
    inside = (sums - np.minimum.accumulate(sums, axis=1)).max(axis=1)
    outside = sums[:, -1] + (np.maximum.accumulate(sums, axis=1) - sums).max(axis=1)
    return np.maximum(inside, outside).astype(np.int64)


def sweep_bands(
    scores: Float[np.ndarray, "t r"], gain: Float[np.ndarray, "r"]
) -> tuple[Float[np.ndarray, "t"], Int[np.ndarray, "t"], Float[np.ndarray, "t 2"]]:
    """Finds each row's best band: its gain, if it is the inside that is 1, and its two ends."""
    order = scores.argsort(axis=1)
    sums = np.cumsum(gain[order], axis=1)
    inside = sums - np.minimum.accumulate(sums, axis=1)
    outside = sums[:, -1:] + np.maximum.accumulate(sums, axis=1) - sums
    is_inside = inside.max(axis=1) >= outside.max(axis=1)
    drop = np.where(is_inside[:, None], inside, outside)
    end = drop.argmax(axis=1)
    values, bounds = drop.max(axis=1), np.empty((len(scores), 2))
    for i, last in enumerate(end):
        before = sums[i, : last + 1] if is_inside[i] else -sums[i, : last + 1]
        ends = np.array([before.argmin(), last])
        after = np.minimum(ends + 1, scores.shape[1] - 1)
        bounds[i] = (scores[i, order[i, ends]] + scores[i, order[i, after]]) / 2
    return values, is_inside.astype(np.int64), bounds
