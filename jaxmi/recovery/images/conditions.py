"""Conditions on images, and the best of each type for a given gain per image.

A condition compares a metric between an image and a template with bounds, or compares the metric
for two templates. Its gain is the sum of the gains of the images where it holds.

Thresholds and comparisons are found in two steps. First all templates are ranked by the correlation
of a condition's score with the gain, which takes one matrix product for all of them. Then the
conditions of the highest-ranked templates are scored exactly, for all bounds by one sweep of the
sorted scores. Bands, which correlation misses, are swept for all templates on few images, then for
the best templates on many.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.recovery.images.scores import Metric


class Threshold(NamedTuple):
    """`metric(image, template) < bound`, or `>`; without a template, the image's mean."""

    metric: str
    template: int | None
    below: bool
    bound: float


class Comparison(NamedTuple):
    """`metric(image, template(first)) < metric(image, template(second))`."""

    metric: str
    first: int
    second: int


class Band(NamedTuple):
    """`low <= metric(image, template) < high`, or its negation."""

    metric: str
    template: int
    inside: bool
    low: float
    high: float


Condition = Threshold | Comparison | Band

Scores = Callable[[str, Sequence[int | None]], Float[np.ndarray, "t n"]]
"""Metric, templates -> scores of all images."""


class ScoredCondition(NamedTuple):
    """A condition and its gain in nats."""

    gain: float
    condition: Condition


def where_holds(condition: Condition, score: Scores) -> Bool[np.ndarray, "n"]:
    """Return the images where a condition holds, given a function that computes scores."""
    match condition:
        case Comparison(metric, first, second):
            scores = score(metric, (first, second))
            return scores[0] < scores[1]
        case Band(metric, template, inside, low, high):
            scores = score(metric, (template,))[0]
            return ((low <= scores) & (scores < high)) == inside
        case Threshold(metric, template, below, bound):
            scores = score(metric, (template,))[0]
            return scores < bound if below else scores > bound


# Thresholds.

SWEPT = 200
"""Templates per metric whose thresholds are swept."""


def find_thresholds(
    metric: Metric, rows: Int[np.ndarray, "r"], gain: Float[np.ndarray, "r"], top: int
) -> list[ScoredCondition]:
    """Return the thresholds of one metric that gain most, each with another template, best first.

    Args:
      metric: The metric.
      rows: Indices of the images to score.
      gain: What each of them gains in nats if the condition holds.
      top: Number of thresholds to return.
    """
    moments = _moments(metric, rows, gain, centred=True)
    sizes = np.sqrt(moments.squares) + 1e-9
    likely = _largest(np.abs(moments.products) / sizes, SWEPT)
    scores = metric.score(rows, likely)
    values, below, bounds = sweep(scores, gain)
    best = _largest(values, top)
    return [
        ScoredCondition(float(values[i]), Threshold(metric.name, int(likely[i]), bool(b), float(t)))
        for i, b, t in zip(best, below[best], bounds[best], strict=True)
    ]


def sweep(
    scores: Float[np.ndarray, "t r"], gain: Float[np.ndarray, "r"]
) -> tuple[Float[np.ndarray, "t"], Bool[np.ndarray, "t"], Float[np.ndarray, "t"]]:
    """Return each row's best threshold: its gain, whether it holds below the bound, the bound."""
    order = scores.argsort(axis=1)
    sums = np.cumsum(gain[order], axis=1)
    sides = np.stack([sums, sums[:, -1:] - sums])  # up to, and above, the score at a position
    flat = sides.transpose(1, 0, 2).reshape(len(scores), -1)
    best = flat.argmax(axis=1)
    bounds = _midpoints(scores, order, best[:, None] % scores.shape[1])[:, 0]
    return flat[np.arange(len(scores)), best], best < scores.shape[1], bounds


def _midpoints(
    scores: Float[np.ndarray, "t r"],
    order: Int[np.ndarray, "t r"],
    positions: Int[np.ndarray, "t k"],
) -> Float[np.ndarray, "t k"]:
    """Return bounds midway between the sorted scores at each position and the next."""
    following = np.minimum(positions + 1, scores.shape[1] - 1)
    rows = np.arange(len(scores))[:, None]
    return (scores[rows, order[rows, positions]] + scores[rows, order[rows, following]]) / 2


# Comparisons.

COMPARISON_STARTS = 256
"""Templates from which comparisons are searched."""

PAIRS = 32
"""Comparisons kept per metric."""

IMPROVED = 10
"""Comparisons of all metrics together that are improved by exchanging templates."""

NEAR = 200
"""Highest-ranked templates that one template of a comparison may be exchanged for."""

TURNS = 3
"""Largest number of exchanges of either template."""


def find_comparisons(
    metrics: Sequence[Metric],
    rows: Int[np.ndarray, "r"],
    gain: Float[np.ndarray, "r"],
    top: int,
    seed: int = 0,
) -> list[ScoredCondition]:
    """Return the comparisons that gain most, of any metric, best first.

    Args:
      metrics: The metrics.
      rows: Indices of the images to score.
      gain: What each of them gains in nats if the condition holds.
      top: Number of comparisons to return.
      seed: Seed of the templates from which comparisons are searched.
    """
    tried: list[tuple[float, int, tuple[int, int]]] = []
    moments = [_moments(metric, rows, gain, centred=False) for metric in metrics]
    for i, metric in enumerate(metrics):
        pairs = _likely_pairs(moments[i], seed)
        sides = [metric.score(rows, pairs[:, side]) for side in (0, 1)]
        values = (sides[0] < sides[1]).astype(np.float32) @ gain
        tried += [(float(v), i, (int(a), int(b))) for v, (a, b) in zip(values, pairs, strict=True)]
    tried.sort(reverse=True)
    best_seconds = {(i, first): (value, second) for value, i, (first, second) in reversed(tried)}
    likely = sorted(best_seconds, key=lambda key: -best_seconds[key][0])[:IMPROVED]
    gains: dict[Condition, float] = {}
    for i, first in likely:
        second = best_seconds[i, first][1]
        value, pair = _improve(metrics[i], moments[i], rows, gain, first, second)
        gains[Comparison(metrics[i].name, *pair)] = value
    order = sorted(gains, key=lambda condition: -gains[condition])[:top]
    return [ScoredCondition(gains[condition], condition) for condition in order]


def _likely_pairs(moments: "_Moments", seed: int) -> Int[np.ndarray, "pairs 2"]:
    """Return pairs whose difference in score correlates with the gain.

    From random templates with their best partners, the templates are exchanged in turn.
    """
    m = len(moments.products)
    starts = np.random.default_rng(seed).choice(m, min(COMPARISON_STARTS, m), replace=False)
    correlations = moments.correlations(starts, 1)
    best = _largest(correlations.max(axis=1), PAIRS)
    pairs = np.stack([starts[best], correlations[best].argmax(axis=1)], axis=1)
    for _ in range(TURNS):
        pairs[:, 0] = moments.correlations(pairs[:, 1], -1).argmax(axis=1)
        pairs = np.unique(pairs, axis=0)
        pairs[:, 1] = moments.correlations(pairs[:, 0], 1).argmax(axis=1)
        pairs = np.unique(pairs, axis=0)
    return pairs


def _improve(
    metric: Metric,
    moments: "_Moments",
    rows: Int[np.ndarray, "r"],
    gain: Float[np.ndarray, "r"],
    first: int,
    second: int,
) -> tuple[float, tuple[int, int]]:
    """Exchange either template for the best, by gain, until nothing improves."""
    value = -np.inf
    for _ in range(TURNS):
        likely = _largest(moments.correlations(np.array([second]), -1)[0], NEAR)
        holds = metric.score(rows, likely) < metric.score(rows, np.array([second]))
        first = int(likely[(holds.astype(np.float32) @ gain).argmax()])
        likely = _largest(moments.correlations(np.array([first]), 1)[0], NEAR)
        holds = metric.score(rows, np.array([first])) < metric.score(rows, likely)
        gains = holds.astype(np.float32) @ gain
        second = int(likely[gains.argmax()])
        if gains.max() <= value:
            break
        value = float(gains.max())
    return value, (first, second)


# Ranking of templates by correlation.

LEADING = 2 + 128
"""Leading columns of the scores' factors that the ranking uses: the first components."""


class _Moments(NamedTuple):
    """Moments of templates' scores over images weighted by their absolute gain.

    Scores are linear in the embedding: the product of two templates' rows is the weighted sum of
    the products of their scores.
    """

    embedding: Float[np.ndarray, "m d"]

    products: Float[np.ndarray, "m"]
    """Sum of score times gain."""

    squares: Float[np.ndarray, "m"]
    """Sum of squared scores."""

    def correlations(self, fixed: Int[np.ndarray, "k"], sign: int) -> Float[np.ndarray, "k m"]:
        """Return the cosine between the gain and the difference of two templates' scores.

        Args:
          fixed: Indices of the templates to compare with all others.
          sign: 1 to subtract the fixed template's score, -1 to subtract the other one's.
        """
        squares = self.squares
        cosines = self.embedding[fixed] @ self.embedding.T  # large, so changed in place
        cosines *= -2
        cosines += squares
        cosines += squares[fixed, None]
        np.maximum(cosines, 1e-3 * squares.mean(), out=cosines)
        np.sqrt(cosines, out=cosines)
        np.divide(sign * (self.products - self.products[fixed, None]), cosines, out=cosines)
        return cosines


def _moments(
    metric: Metric, rows: Int[np.ndarray, "r"], gain: Float[np.ndarray, "r"], centred: bool
) -> _Moments:
    """Return the moments of a metric's scores.

    Args:
      metric: The metric.
      rows: Indices of images.
      gain: Their gains.
      centred: True to subtract each template's mean score, for thresholds; False to drop what is
        common to all templates, for comparisons.
    """
    inputs, templates = metric.images[rows, :LEADING], metric.templates[:, :LEADING]
    share = np.where(gain > 0, gain[gain > 0].sum(), -gain[gain < 0].sum())
    signed = gain / np.maximum(share, 1e-9) / 2  # both signs have equal weight
    weight = np.abs(signed)
    if centred:
        inputs = inputs - weight @ inputs
    else:
        inputs = inputs[:, 1:]
        templates = templates[:, 1:]
        templates = templates - templates.mean(axis=0)
    second = ((inputs * weight[:, None]).T @ inputs).astype(np.float64)
    second[np.diag_indices(len(second))] += 1e-6 * np.trace(second)
    embedding = templates @ np.linalg.cholesky(second).astype(np.float32)
    products = templates @ (signed @ inputs).astype(np.float32)
    return _Moments(embedding, products, np.einsum("md,md->m", embedding, embedding))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the largest values, the largest first."""
    count = min(count, len(values))
    indices = np.argpartition(-values, count - 1)[:count]
    return indices[np.argsort(-values[indices], kind="stable")]


# Bands.

FEW_IMAGES = 1500
"""Images on which the bands of all templates are swept."""

MANY_IMAGES = 12_000
"""Images on which the bands of the best templates are swept."""

BAND_TEMPLATES = 60
"""Templates per metric that are swept on many images."""

CHUNK = 4000
"""Templates per matrix product, to limit memory."""


def find_bands(
    metric: Metric, gain: Float[np.ndarray, "n"], top: int, seed: int = 0
) -> list[ScoredCondition]:
    """Return the bands of one metric that gain most, each with another template, best first.

    Args:
      metric: The metric.
      gain: What each image gains in nats if the condition holds.
      top: Number of bands to return.
      seed: Seed of the images on which templates are swept.
    """
    rng = np.random.default_rng(seed)
    few, many = (
        rng.choice(len(gain), min(count, len(gain)), replace=False)
        for count in (FEW_IMAGES, MANY_IMAGES)
    )
    counts = np.concatenate(
        [
            _best_counts(metric.score(few, slice(first, first + CHUNK)), gain[few] > 0)
            for first in range(0, len(metric.templates), CHUNK)
        ]
    )
    best = np.argsort(-counts, kind="stable")[:BAND_TEMPLATES]
    values, inside, bounds = sweep_bands(metric.score(many, best), gain[many])
    return [
        ScoredCondition(
            float(values[i]), Band(metric.name, int(best[i]), bool(inside[i]), *bounds[i].tolist())
        )
        for i in np.argsort(-values, kind="stable")[:top]
    ]


def _best_counts(
    scores: Float[np.ndarray, "t r"], labels: Bool[np.ndarray, "r"]
) -> Int[np.ndarray, "t"]:
    """Return how many more labels than not each row's best band gets right.

    Each label replaces the last bit of its score, so that sorting numbers takes the labels along.
    """
    bits = np.ascontiguousarray(scores).view(np.int32)
    bits &= -2
    bits |= labels
    scores = np.sort(bits.view(np.float32), axis=1)
    signs = ((scores.view(np.int32) & 1) * 2 - 1).astype(np.int16)
    sums = np.cumsum(signs, axis=1, dtype=np.int16)
    inside, outside = _band_sums(sums)
    return np.maximum(inside.max(axis=1), outside.max(axis=1)).astype(np.int64)


def _band_sums(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best gain inside, and outside, of bands that end at each position.

    Args:
      sums: Cumulative sums of gains by row, in the order of the scores.
    """
    inside = sums - np.minimum.accumulate(sums, axis=1)
    outside = sums[:, -1:] + np.maximum.accumulate(sums, axis=1) - sums
    return inside, outside


def sweep_bands(
    scores: Float[np.ndarray, "t r"], gain: Float[np.ndarray, "r"]
) -> tuple[Float[np.ndarray, "t"], Bool[np.ndarray, "t"], Float[np.ndarray, "t 2"]]:
    """Return each row's best band: its gain, whether it holds inside, and its two bounds.

    This is not `programs.bands.best_band`: examples have weights, all rows are swept at once, bands
    may hold inside or outside, and bounds lie midway between scores, where they can be rounded.
    """
    order = scores.argsort(axis=1)
    sums = np.cumsum(gain[order], axis=1)
    inside, outside = _band_sums(sums)
    is_inside = inside.max(axis=1) >= outside.max(axis=1)
    values = np.where(is_inside[:, None], inside, outside)
    ends = np.empty((len(scores), 2), np.int64)
    ends[:, 1] = values.argmax(axis=1)
    for i, last in enumerate(ends[:, 1]):
        before = sums[i, : last + 1] if is_inside[i] else -sums[i, : last + 1]
        ends[i, 0] = before.argmin()
    return values.max(axis=1), is_inside, _midpoints(scores, order, ends)
