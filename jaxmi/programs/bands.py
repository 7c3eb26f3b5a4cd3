"""The band on a score that agrees best with labels: 0 within, 1 outside."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Real

from jaxmi.errors import InputError


class Band(NamedTuple):
    """Scores low <= score < high, which are labelled 0."""

    low: float
    """-inf if the band is open below."""
    high: float
    """inf if it is open above."""
    agreement: float
    """The share of examples whose label this gives, in 0..1."""


def best_band(
    scores: Real[np.ndarray, "n"], labels: Int[np.ndarray, "n"] | Bool[np.ndarray, "n"]
) -> Band:
    """Find the band on a score that agrees best with labels: exactly, among all bands.

    Edges lie on scores that occur, or at infinity. Of bands that agree equally, the one that ends
    first and begins first is returned. A score that is unrelated to the labels still agrees with
    the share of the more frequent label, or slightly more: compare with `best_band` of a randomly
    permuted score.

    Args:
      scores: One per example.
      labels: 0 or 1.

    Raises:
      InputError: if there is no example, or a score is not a number.
    """
    if len(scores) == 0:
        raise InputError("cannot fit a band to no examples: pass at least one score")
    if np.isnan(scores).any():
        raise InputError(f"cannot fit a band: {int(np.isnan(scores).sum())} scores are NaN")
    values, group = np.unique(scores, return_inverse=True)
    # Labelling every example below a value 0 gains 1 for each label 0 and loses 1 for each label 1.
    gains = np.bincount(group, weights=1 - 2 * labels.astype(np.int64))
    gain = np.concatenate([[0.0], np.cumsum(gains)])
    high = int(np.argmax(gain - np.minimum.accumulate(gain)))
    low = int(np.argmin(gain[: high + 1]))
    edges = np.concatenate([[-np.inf], values[1:].astype(np.float64), [np.inf]])
    correct = labels.sum() + gain[high] - gain[low]
    return Band(float(edges[low]), float(edges[high]), float(correct / len(labels)))
