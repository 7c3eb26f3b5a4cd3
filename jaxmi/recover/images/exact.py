"""Conditions measured exactly, and their constants rounded: to as few digits as will do."""

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.programs.domain import ImageDomain
from jaxmi.recover.images.conditions import Band, Condition, Nearer, Threshold
from jaxmi.recover.images.formula import DIGIT_NATS

DIGITS = 3
"""The most digits that a bound may have."""

MARGIN = 0.01
"""Bounds lie between these quantiles, counted from both ends."""


def exact_scores(domain: ImageDomain, metric: str, template: int | None) -> Float[np.ndarray, "n"]:
    """Computes a metric between all images and a template."""
    arguments = (None,) if template is None else (None, template)
    return domain.call(metric, arguments).astype(np.float64)


def holds_exactly(domain: ImageDomain, condition: Condition) -> Bool[np.ndarray, "n"]:
    """Says where a condition holds."""
    match condition:
        case Nearer(metric, one, other):
            return exact_scores(domain, metric, one) < exact_scores(domain, metric, other)
        case Band(metric, template, inside, low, high):
            scores = exact_scores(domain, metric, template)
            return ((low <= scores) & (scores < high)) == inside
        case Threshold(metric, template, below, bound):
            scores = exact_scores(domain, metric, template)
            return scores < bound if below else scores > bound


def rounded(
    domain: ImageDomain, condition: Condition, gain: Float[np.ndarray, "n"]
) -> tuple[float, Condition]:
    """Chooses a condition's bounds again, exactly and with few digits.

    Args:
      domain: The images.
      condition: Its own bounds are forgotten.
      gain: In nats, what it gains if the condition holds, of each image.

    Returns:
      What it gains, less what its digits cost; and the condition.
    """
    if isinstance(condition, Nearer):
        return float(gain[holds_exactly(domain, condition)].sum()), condition
    scores = exact_scores(domain, condition.metric, condition.template)
    order = np.argsort(scores, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(gain[order])])
    bounds, digits = _round_numbers(*np.quantile(scores, (MARGIN, 1 - MARGIN)).tolist())
    above = isinstance(condition, Threshold) and not condition.below
    side = "right" if above else "left"  # at a bound, neither `<` nor `>` holds
    below = sums[np.searchsorted(scores[order], bounds, side)]
    cost = DIGIT_NATS * digits
    if isinstance(condition, Threshold):
        values = (sums[-1] - below if above else below) - cost
        best = int(values.argmax())
        return float(values[best]), condition._replace(bound=float(bounds[best]))
    sign = 1 if condition.inside else -1
    low = np.maximum.accumulate(-sign * below - cost)
    values = low + sign * below - cost
    end = int(values.argmax())
    start = int((-sign * below - cost)[: end + 1].argmax())
    whole = 0.0 if condition.inside else float(sums[-1])
    ends = {"low": float(bounds[start]), "high": float(bounds[end])}
    return whole + float(values[end]), condition._replace(**ends)


def _round_numbers(
    low: float, high: float
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """All numbers of up to three digits within bounds, sorted, and how many digits each has."""
    largest = max(abs(low), abs(high), 1e-9)
    found: dict[float, int] = {}
    for exponent in range(int(np.floor(np.log10(largest))), -5, -1):
        for digits in range(1, DIGITS + 1):
            places = digits - 1 - exponent
            first, last = 10 ** (digits - 1), 10**digits
            for whole in range(first, last):
                value = float(f"{whole}e{-places}")
                if low <= value <= high:
                    found.setdefault(value, digits)
    values = np.array(sorted(found) or [low])
    return values, np.array([found.get(value, DIGITS) for value in values], float)
