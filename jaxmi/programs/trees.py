"""How far simple rules get at labels: one band on a number, one small decision tree."""

import numpy as np
from jaxtyping import Bool, Num, UInt8


def best_band(score: Num[np.ndarray, "n"], labels: Bool[np.ndarray, "n"]) -> float:
    """Returns the best accuracy of a rule that is told one number: within a band, or outside it.

    A band that is open to one side is a threshold.
    """
    _, which = np.unique(score, return_inverse=True)
    gains = np.bincount(which.reshape(-1), np.where(labels, 1, -1))
    sums = np.concatenate([[0], np.cumsum(gains)])
    # The label 1 within the band gains what the sum gains from its start to its end.
    inside = (sums - np.minimum.accumulate(sums)).max()
    outside = (np.maximum.accumulate(sums) - sums).max()
    ones = int(labels.sum())
    return float(max(len(labels) - ones + inside, ones + outside) / len(labels))


def tree_accuracy(
    features: UInt8[np.ndarray, "n f"], labels: Bool[np.ndarray, "n"], depth: int
) -> float:
    """Returns the accuracy of a decision tree on what it was grown on.

    Grown greedily: every node takes the threshold on one feature that lowers the Gini impurity
    most. After Breiman et al., "Classification and Regression Trees" (1984).
    """
    return _right(features, labels, depth) / len(labels)


def _right(features: np.ndarray, labels: np.ndarray, depth: int) -> int:
    """How many labels a tree of some depth gets right."""
    n, ones = len(labels), int(labels.sum())
    if depth == 0 or ones in (0, n):
        return max(ones, n - ones)
    n_features, size = features.shape[1], int(features.max()) + 1
    cells = (features.astype(np.int64) + size * np.arange(n_features)).reshape(-1)
    counts = np.bincount(cells, minlength=n_features * size).reshape(n_features, size)
    weights = np.repeat(labels, n_features)
    hits = np.bincount(cells, weights, minlength=n_features * size).reshape(n_features, size)
    below, below_ones = counts.cumsum(axis=1)[:, :-1], hits.cumsum(axis=1)[:, :-1]
    above, above_ones = n - below, ones - below_ones
    with np.errstate(invalid="ignore", divide="ignore"):
        # What is left to be wrong about: twice the impurity, summed over both sides.
        left = below_ones * (below - below_ones) / below
        left = left + above_ones * (above - above_ones) / above
    left[(below == 0) | (above == 0)] = np.inf
    if not left.size or not np.isfinite(left.min()):
        return max(ones, n - ones)
    feature, threshold = np.unravel_index(left.argmin(), left.shape)
    low = features[:, feature] <= threshold
    return sum(_right(features[side], labels[side], depth - 1) for side in (low, ~low))
