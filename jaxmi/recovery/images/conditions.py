"""The best bands of one distance, by brute force over all templates and metrics.

The best conditions for a gain per image: distances against thresholds, and two compared.

A condition is worth the sum of the gains of the images where it holds. All templates are first
ranked by how well a condition's two sides, as a number, go along with the gain, which costs one
matrix product for all of them; then the best of them are swept.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.recovery.images.scores import Metric

LEADING = 2 + 128
"""Columns of scores' factors that the ranking uses: the first components."""

SHORT = 200
"""Templates of each metric whose thresholds are swept."""

STARTS = 256
"""Templates from which a comparison is looked for."""

PAIRS = 32
"""Comparisons of each metric that are kept of them."""

IMPROVED = 10
"""Comparisons, of all metrics together, that are improved in turn."""

NEAR = 200
"""The most likely other templates that one of a comparison may be exchanged for."""


class Threshold(NamedTuple):
    """`metric(image, template) < bound`, or `>`; of no template: the mean."""

    metric: str
    template: int | None
    below: bool
    bound: float


class Nearer(NamedTuple):
    """`metric(image, one) < metric(image, other)`."""

    metric: str
    one: int
    other: int


class Band(NamedTuple):
    """`low <= metric(image, template) < high`, or not."""

    metric: str
    template: int
    inside: bool
    low: float
    high: float


Condition = Threshold | Nearer | Band


class Found(NamedTuple):
    """A condition, and what it gains on the images that it was looked for on."""

    value: float
    condition: Condition


class Moments(NamedTuple):
    """What the ranking needs: products of two templates' scores, summed over weighted images."""

    embedded: Float[np.ndarray, "m d"]
    """Of each template; products of two rows are the sums."""
    along: Float[np.ndarray, "m"]
    """Each template's sum of score times gain."""
    squares: Float[np.ndarray, "m"]
    """Of `embedded`."""


def find_thresholds(
    metric: Metric, rows: Int[np.ndarray, "r"], gain: Float[np.ndarray, "r"], top: int
) -> list[Found]:
    """Finds the best thresholds of one metric, each with another template."""
    moments = _moments(metric, rows, gain, centred=True)
    sizes = np.sqrt(moments.squares) + 1e-9
    likely = _largest(np.abs(moments.along) / sizes, SHORT)
    scores = metric.score(rows, likely)
    values, below, bounds = sweep(scores, gain)
    best = _largest(values, top)
    return [
        Found(float(values[i]), Threshold(metric.name, int(likely[i]), bool(b), float(t)))
        for i, b, t in zip(best, below[best], bounds[best], strict=True)
    ]


def sweep(
    scores: Float[np.ndarray, "t r"], gain: Float[np.ndarray, "r"]
) -> tuple[Float[np.ndarray, "t"], Bool[np.ndarray, "t"], Float[np.ndarray, "t"]]:
    """Finds each row's best threshold: its gain, on which side of it, and where it is."""
    order = scores.argsort(axis=1)
    sums = np.cumsum(gain[order], axis=1)
    either = np.stack([sums, sums[:, -1:] - sums])  # below, above the score at a place
    flat = either.transpose(1, 0, 2).reshape(len(scores), -1)
    at = flat.argmax(axis=1)
    place = at % scores.shape[1]
    rows = np.arange(len(scores))
    after = np.minimum(place + 1, scores.shape[1] - 1)
    bounds = (scores[rows, order[rows, place]] + scores[rows, order[rows, after]]) / 2
    return flat[rows, at], at < scores.shape[1], bounds


def find_nearer(
    metrics: Sequence[Metric],
    rows: Int[np.ndarray, "r"],
    gain: Float[np.ndarray, "r"],
    top: int,
    seed: int = 0,
) -> list[Found]:
    """Finds the best comparisons of two templates in one metric, whichever it is."""
    tried: list[tuple[float, int, tuple[int, int]]] = []
    moments = [_moments(metric, rows, gain, centred=False) for metric in metrics]
    for i, metric in enumerate(metrics):
        pairs = _likely_pairs(moments[i], seed)
        sides = [metric.score(rows, pairs[:, side]) for side in (0, 1)]
        values = (sides[0] < sides[1]).astype(np.float32) @ gain
        tried += [(float(v), i, (int(a), int(b))) for v, (a, b) in zip(values, pairs, strict=True)]
    tried.sort(reverse=True)
    found: dict[Condition, float] = {}
    firsts = {(i, one): (value, other) for value, i, (one, other) in reversed(tried)}
    likely = sorted(firsts, key=lambda first: -firsts[first][0])[:IMPROVED]
    for i, one in likely:
        other = firsts[i, one][1]
        value, pair = _improved(metrics[i], moments[i], rows, gain, one, other)
        found[Nearer(metrics[i].name, *pair)] = value
    order = sorted(found, key=lambda condition: -found[condition])[:top]
    return [Found(found[condition], condition) for condition in order]


def _likely_pairs(moments: Moments, seed: int) -> Int[np.ndarray, "pairs 2"]:
    """Pairs whose difference in score goes along with the gain, by turns of exchanging one."""
    m = len(moments.along)
    starts = np.random.default_rng(seed).choice(m, min(STARTS, m), replace=False)
    merit = _pair_merit(moments, starts)
    best = _largest(merit.max(axis=1), PAIRS)
    pairs = np.stack([starts[best], merit[best].argmax(axis=1)], axis=1)
    for _ in range(3):
        pairs[:, 0] = _other_merit(moments, pairs[:, 1]).argmax(axis=1)
        pairs = np.unique(pairs, axis=0)
        pairs[:, 1] = _pair_merit(moments, pairs[:, 0]).argmax(axis=1)
        pairs = np.unique(pairs, axis=0)
    return pairs


def _improved(
    metric: Metric,
    moments: Moments,
    rows: Int[np.ndarray, "r"],
    gain: Float[np.ndarray, "r"],
    one: int,
    other: int,
) -> tuple[float, tuple[int, int]]:
    """Exchanges one for the best other, by gain, until nothing changes."""
    value = -np.inf
    for _ in range(3):
        likely = _largest(_other_merit(moments, np.array([other]))[0], NEAR)
        met = metric.score(rows, likely) < metric.score(rows, np.array([other]))
        one = int(likely[(met.astype(np.float32) @ gain).argmax()])
        likely = _largest(_pair_merit(moments, np.array([one]))[0], NEAR)
        met = metric.score(rows, np.array([one])) < metric.score(rows, likely)
        gains = met.astype(np.float32) @ gain
        other = int(likely[gains.argmax()])
        if gains.max() <= value:
            break
        value = float(gains.max())
    return value, (one, other)


def _moments(
    metric: Metric, rows: Int[np.ndarray, "r"], gain: Float[np.ndarray, "r"], centred: bool
) -> Moments:
    """Moments of scores; what is common to all templates is left out where two are compared."""
    inputs, templates = metric.images[rows, :LEADING], metric.templates[:, :LEADING]
    share = np.where(gain > 0, gain[gain > 0].sum(), -gain[gain < 0].sum())
    signed = gain / np.maximum(share, 1e-9) / 2  # both signs count alike
    weight = np.abs(signed)
    if centred:
        inputs = inputs - weight @ inputs
    else:
        inputs = inputs[:, 1:]
        templates = templates[:, 1:]
        templates = templates - templates.mean(axis=0)
    products = ((inputs * weight[:, None]).T @ inputs).astype(np.float64)
    products[np.diag_indices(len(products))] += 1e-6 * np.trace(products)
    root = np.linalg.cholesky(products).astype(np.float32)
    along = templates @ (signed @ inputs).astype(np.float32)
    embedded = templates @ root
    return Moments(embedded, along, np.einsum("md,md->m", embedded, embedded))


def _pair_merit(moments: Moments, ones: Int[np.ndarray, "ones"]) -> Float[np.ndarray, "ones m"]:
    """The cosine between gain and score(other) - score(one)."""
    return _merit(moments, ones, 1)


def _other_merit(
    moments: Moments, others: Int[np.ndarray, "others"]
) -> Float[np.ndarray, "others m"]:
    return _merit(moments, others, -1)


def _merit(
    moments: Moments, fixed: Int[np.ndarray, "fixed"], sign: int
) -> Float[np.ndarray, "fixed m"]:
    embedded = moments.embedded
    squares = moments.squares
    merit = embedded[fixed] @ embedded.T
    merit *= -2
    merit += squares
    merit += squares[fixed, None]
    np.maximum(merit, 1e-3 * squares.mean(), out=merit)
    np.sqrt(merit, out=merit)
    np.divide(sign * (moments.along - moments.along[fixed, None]), merit, out=merit)
    return merit


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """The places of the largest values, the largest first."""
    count = min(count, len(values))
    some = np.argpartition(-values, count - 1)[:count]
    return some[np.argsort(-values[some], kind="stable")]


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
