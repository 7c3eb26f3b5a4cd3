"""A set of neurons whose exchange gives the labels of a hypothesis.

The logit difference is a sum of the neurons' contributions, activation times read-out weight.
Exchanging a set of neurons between two inputs exchanges their contributions. With a weight in 0..1
for each neuron, 1 for those that are exchanged, the loss of the labels that follow is convex. So
the weights are found by Newton's method within the box, by a barrier; then they are rounded, and
neurons are put in or out while that lowers the loss. Two neurons that nearly cancel, as the two of
a step do, are also put in or out together. Nothing depends on the scale of a neuron.

Learning which neurons to exchange by gradient is differential binary masking (De Cao et al.,
"Sparse interventions in language models with differentiable masking", 2022).
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.special import expit

MOST = 192
"""Only so many neurons, those with the most varying contributions, can be in a set."""

VARIES = 1e-9
"""A neuron varies if its contribution does, by this share of the one that varies most."""

PENALTIES = (1e-3, 1e-5)
"""Penalties on the sum of the weights, in nats: each is tried, and the set with less loss taken."""

FEW = 100
"""With more neurons than this only the first penalty is tried."""

BARRIER, LEAST_BARRIER, BARRIER_FACTOR = 0.1, 1e-6, 6.0
"""Weight of the barrier at first, at last, and by what it is divided in between."""

ITERATIONS = 40
"""Most Newton steps."""

DECREMENT = 0.3
"""The barrier is lowered when a step promises less than this share of it."""

CERTAIN = 1e-5
"""A pair whose label is more certain than this has no curvature to speak of."""

MOVES = 30
"""Most exchanges of neurons after rounding."""

GAIN = 1e-4
"""Least share of the loss that an exchange must save."""


class NeuronSets:
    """The neurons of a layer, prepared for looking for sets of them."""

    def __init__(
        self,
        contributions: Float[np.ndarray, "n neuron"],
        differences: Float[np.ndarray, "n"],
        unit: float,
        most: int = MOST,
    ) -> None:
        """Choose the neurons that vary most, and each one's partner.

        Args:
          contributions: Activation times weight in the logit difference, on each input.
          differences: The logit difference of each input.
          unit: Logit differences are learned in units of this.
          most: Most neurons that can be in a set.
        """
        spread = contributions.std(axis=0)
        order = np.argsort(-spread, kind="stable")[:most]
        self._used = order[spread[order] > VARIES * max(float(spread.max(initial=0)), 1e-30)]
        self._columns = (contributions[:, self._used] / unit).astype(np.float32)
        self._differences = (differences / unit).astype(np.float32)
        self._count = contributions.shape[1]
        self._movable = _movable(self._columns)
        self._known: dict[bytes, np.ndarray] = {}

    def learn(
        self,
        bases: Int[np.ndarray, "m"],
        sources: Int[np.ndarray, "m"],
        labels: Bool[np.ndarray, "m"],
    ) -> Bool[np.ndarray, "neuron"]:
        """Find the set whose exchange between these inputs gives these labels best.

        The same pairs are not learned from twice.
        """
        key = b"".join(array.tobytes() for array in (bases, sources, labels))
        if key not in self._known:
            self._known[key] = self._learn(bases, sources, labels)
        return self._known[key]

    def _learn(self, bases: np.ndarray, sources: np.ndarray, labels: np.ndarray) -> np.ndarray:
        sign = np.where(labels, 1, -1).astype(np.float32)
        change = (self._columns[sources] - self._columns[bases]) * sign[:, None]
        start = self._differences[bases] * sign
        chosen, least = np.zeros(len(self._used)), float(_losses(start[:, None])[0])
        count = len(self._used)
        for penalty in PENALTIES[: (count > 0) + (0 < count <= FEW)]:
            rounded = (_weights(change, start, penalty) > 0.5).astype(np.float64)
            found, loss = self._refine(change, start, rounded)
            if loss < least:
                chosen, least = found, loss
        mask = np.zeros(self._count, bool)
        mask[self._used] = chosen > 0
        return mask

    def _refine(
        self, change: np.ndarray, start: np.ndarray, chosen: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Put neurons in or out, one or two at a time, while the loss falls."""
        margins = start + change @ chosen.astype(np.float32)
        loss = float(_losses(margins[:, None])[0])
        for _ in range(MOVES):
            sign = (1 - 2 * chosen).astype(np.float32)
            losses = _losses(margins[:, None] + change @ (self._movable * sign).T)
            best = int(losses.argmin())
            if losses[best] >= (1 - GAIN) * loss - 1e-6:
                break
            margins = margins + change @ (self._movable[best] * sign)
            chosen, loss = np.abs(chosen - self._movable[best]), float(losses[best])
        return chosen, loss


def _losses(margins: Float32[np.ndarray, "m k"]) -> Float32[np.ndarray, "k"]:
    return np.logaddexp(0, -margins).mean(axis=0)


def _movable(columns: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "s k"]:
    """Return the sets that are put in or out at once: each neuron, and each with its partner.

    The partner is the neuron that cancels most of its variance.
    """
    count = columns.shape[1]
    single = np.eye(count, dtype=np.float32)
    if count < 2:
        return single
    covariance = np.cov(columns.T.astype(np.float64))
    variance = np.diag(covariance)
    together = variance[:, None] + variance + 2 * covariance
    np.fill_diagonal(together, np.inf)
    pairs = np.unique(single + single[together.argmin(axis=1)], axis=0)
    return np.concatenate([single, pairs])


def _weights(
    change: Float32[np.ndarray, "m k"], start: Float32[np.ndarray, "m"], penalty: float
) -> Float[np.ndarray, "k"]:
    """Minimise the mean of log(1 + exp(-(start + change w))) + penalty * sum w over 0 < w < 1."""
    m, k = change.shape
    weights, barrier = np.full(k, 0.5), BARRIER
    margins = start + change @ weights.astype(np.float32)

    def cost(weights: np.ndarray, margins: np.ndarray, barrier: float) -> float:
        inside = np.log(weights).sum() + np.log1p(-weights).sum()
        loss = float(np.logaddexp(0, -margins).mean(dtype=np.float64))
        return loss + penalty * float(weights.sum()) - barrier / k * float(inside)

    for _ in range(ITERATIONS):
        doubt = expit(-margins)
        gradient = penalty - doubt @ change / m - barrier / k * (1 / weights - 1 / (1 - weights))
        curved = doubt * (1 - doubt)
        counted = np.flatnonzero(curved > CERTAIN)
        root = change[counted] * np.sqrt(curved[counted] / m)[:, None]
        hessian = (root.T @ root).astype(np.float64)
        hessian[np.diag_indices(k)] += (
            barrier / k * (1 / weights**2 + 1 / (1 - weights) ** 2) + 1e-10
        )
        step = -np.linalg.solve(hessian, gradient)
        room = np.where(step < 0, weights, 1 - weights)
        length = min(1.0, 0.99 / max(float((np.abs(step) / room).max()), 1e-12))
        slope, along = float(gradient @ step), change @ step.astype(np.float32)
        before = cost(weights, margins, barrier)
        while length > 1e-6 and not (
            cost(weights + length * step, margins + np.float32(length) * along, barrier)
            <= before + 1e-4 * length * slope
        ):
            length /= 2
        weights = weights + length * step
        margins = start + change @ weights.astype(np.float32)
        if -slope < DECREMENT * barrier:
            if barrier <= LEAST_BARRIER:
                break
            barrier = max(barrier / BARRIER_FACTOR, LEAST_BARRIER)
    return weights
