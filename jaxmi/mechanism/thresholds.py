"""Thresholds per row: a description of labels that has few numbers and says nothing of how.

In each row all operands but the last are the same. Along it the labels are replaced by at most two
changes of label. It is fitted to a network's labels directly, and stands beside the smaller
networks as a trap: few numbers that give the labels are no evidence of mechanism.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True)
class RowThresholds:
    """Labels with at most two changes in each row."""

    labels: Bool[np.ndarray, "row p"]
    n_thresholds: int
    """The number of changes, in all rows."""

    @property
    def numbers(self) -> int:
        """The count of its numbers: the changes, and the first label of each row."""
        return self.n_thresholds + len(self.labels)


def row_thresholds(labels: Bool[np.ndarray, "row p"]) -> RowThresholds:
    """Fit at most two thresholds to each row, as few as give the most labels."""
    n_rows, p = labels.shape
    signs = np.where(labels, 1, -1)
    ahead = np.concatenate([np.zeros((n_rows, 1), int), signs.cumsum(axis=1)], axis=1)
    # A row is one label but for a segment [start, end); a segment at an edge needs one threshold.
    starts, ends = np.triu_indices(p + 1)
    inside = ahead[:, ends] - ahead[:, starts]
    changes = ((starts > 0) & (starts < ends)).astype(int) + ((ends < p) & (starts < ends))
    score = 2 * inside - ahead[:, -1:]  # of label 1 inside and 0 outside
    cost = changes - (p + 1) * np.abs(score) * 3
    best = cost.argmin(axis=1)
    rows = np.arange(n_rows)
    places = np.arange(p)
    within = (places >= starts[best, None]) & (places < ends[best, None])
    return RowThresholds(within == (score[rows, best] > 0)[:, None], int(changes[best].sum()))
