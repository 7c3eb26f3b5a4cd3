"""Few neurons that give a network's labels: chosen without labels, by the network's own logits.

Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad, 1993) takes, one after the other,
the neuron that lowers the squared error of the logit difference most, and refits all weights each
time. Inputs near the boundary weigh most, since only there the label is in doubt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit

SOFTNESS = 0.03
"""Half-width of the boundary, in standard deviations of the logit difference."""

FLOOR = 1e-3
"""Weight of an input far from the boundary; on the boundary it is 1."""

RIDGE = 1e-7
"""Added to the diagonal, for neurons that hardly differ."""


@dataclass(frozen=True)
class Fit:
    """Neurons with a read-out that was fit to a network's logit difference."""

    neurons: Int[np.ndarray, "k"]
    """Their numbers, in the order in which they were chosen."""
    weights: Float[np.ndarray, "k"]
    bias: float

    def difference(self, activations: Float[np.ndarray, "n neuron"]) -> Float[np.ndarray, "n"]:
        """Return the logit difference that these neurons give."""
        return activations[:, self.neurons] @ self.weights + self.bias


class Pursuit:
    """Activations and a target, prepared for choosing few neurons that give the target."""

    def __init__(
        self,
        activations: Float[np.ndarray, "n neuron"],
        difference: Float[np.ndarray, "n"],
        rows: Int[np.ndarray, "m"] | None = None,
    ) -> None:
        """Prepare.

        Args:
          activations: The neurons' activations, of this network or another.
          difference: The logit difference to reproduce.
          rows: The inputs to choose and fit on; None: all.
        """
        rows = np.arange(len(difference)) if rows is None else rows
        target = difference[rows]
        weight = np.sqrt(nearness(target))
        chosen = activations[rows].astype(np.float64)
        spread = chosen.std(axis=0)
        self._scale = np.where(spread > 1e-6 * spread.max(initial=0), spread, np.inf)
        # In float64, so that rounding does not decide between neurons that are nearly alike.
        columns = np.concatenate([chosen / self._scale, np.ones((len(rows), 1))], axis=1)
        columns *= weight[:, None]
        self._gram = columns.T @ columns
        self._products = columns.T @ (target * weight)

    def best(self, counts: Sequence[int]) -> dict[int, Fit]:
        """Choose neurons greedily.

        Args:
          counts: How many to choose; a count above the number of neurons is left out.

        Returns:
          Count -> the first so many neurons, with the read-out that fits these.
        """
        gram, constant = self._gram, len(self._gram) - 1
        chosen, fits = [constant], {}
        usable = np.isfinite(self._scale)
        norms = np.diag(gram)
        coefficients = self._solve(chosen)
        for count in range(1, min(max(counts), int(usable.sum())) + 1):
            residual = self._products - gram[:, chosen] @ coefficients
            inner = gram[np.ix_(chosen, chosen)] + RIDGE * np.eye(len(chosen))
            explained = (gram[chosen] * np.linalg.solve(inner, gram[chosen])).sum(axis=0)
            gain = residual**2 / np.maximum(norms - explained, FLOOR * norms + 1e-9)
            gain[chosen] = -1
            gain[:constant][~usable] = -1
            chosen.append(int(gain.argmax()))
            coefficients = self._solve(chosen)
            if count in counts:
                fits[count] = self._fit(chosen[1:], np.r_[coefficients[1:], coefficients[0]])
        return fits

    def refit(self, neurons: Int[np.ndarray, "k"]) -> Fit:
        """Fit the read-out of given neurons."""
        chosen = [*neurons.tolist(), len(self._gram) - 1]
        return self._fit(chosen[:-1], self._solve(chosen))

    def _solve(self, chosen: Sequence[int]) -> np.ndarray:
        inner = self._gram[np.ix_(chosen, chosen)]
        ridge = RIDGE * np.trace(inner) / len(inner)
        return np.linalg.solve(inner + ridge * np.eye(len(inner)), self._products[chosen])

    def _fit(self, neurons: Sequence[int], coefficients: np.ndarray) -> Fit:
        numbers = np.array(neurons)
        return Fit(numbers, coefficients[:-1] / self._scale[numbers], float(coefficients[-1]))


def nearness(difference: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Return the weight of each input: 1 on the boundary, `FLOOR` far from it."""
    middle = expit(difference / (SOFTNESS * (difference.std() or 1.0)))
    return 4 * middle * (1 - middle) + FLOOR


def in_doubt(activations: Float[np.ndarray, "n neuron"]) -> Bool[np.ndarray, "neuron"]:
    """Return which neurons are active on some inputs and not on others: 5 to 95 % of them."""
    share = (activations > 0).mean(axis=0)
    return (share > 0.05) & (share < 0.95)
