"""A linear probe: how well a linear function of a site gives the variable on held-out inputs.

After Alain and Bengio, "Understanding intermediate layers using linear classifier probes" (2016).
The probe is a ridge regression on the number of the variable's value, learned on one half of the
inputs.

- Is it computed? R^2 on the other half.
- Which neurons? The magnitude of the probe's weight, in units of the neuron's standard deviation.
- Which explanation? The mean R^2 of its variables at the neurons.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import (
    Asked,
    ComputedQuestion,
    NeuronsQuestion,
    Question,
    Score,
)
from jaxmi.methods.side_by_side.common import answered, halves
from jaxmi.planted.key import BEFORE_MLP, NEURONS

RIDGE = {BEFORE_MLP: 1e-1, NEURONS: 1e-7}
"""Site -> penalty, as a share of the mean variance of an activation that varies; of 1e-1, 1e-2,
1e-3, 1e-4, 1e-5 and 1e-7 the best for patching, on five of the choosing seeds."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear function of a site's activations."""

    weights: Float[np.ndarray, "d"]
    bias: float

    @property
    def direction(self) -> Float[np.ndarray, "d"]:
        """The weights, in units of their length; 0 if they are 0."""
        return self.weights / (np.linalg.norm(self.weights) or 1.0)

    def __call__(self, activations: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n"]:
        """Return its value."""
        return activations @ self.weights + self.bias


def fit_probe(
    network: NetworkView, site: str, asked: Asked, rows: Int[np.ndarray, "k"] | None = None
) -> Probe:
    """Fit a variable by ridge regression on a site's activations, of some inputs or all."""
    rows = np.arange(len(asked.own)) if rows is None else rows
    x, y = network.activations[site][rows], asked.values[rows].astype(np.float64)
    centre, middle = x.mean(axis=0), float(y.mean())
    x, y = x - centre, y - middle
    gram = x.T @ x
    varying = np.diag(gram) > 1e-9 * len(x)
    penalty = RIDGE[site] * float(np.diag(gram)[varying].mean() if varying.any() else 1.0)
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), x.T @ y)
    return Probe(weights, middle - float(centre @ weights))


def probe(network: NetworkView, question: Question) -> Score:
    """Return the probe's R^2, or each neuron's weight in it."""
    return answered(network, question, _r2, _of_neurons)


def _of_neurons(network: NetworkView, question: NeuronsQuestion) -> Float[np.ndarray, "neuron"]:
    here = network.activations[NEURONS]
    fitted = fit_probe(network, NEURONS, question)
    return np.abs(fitted.weights) * here.std(axis=0)


def _r2(network: NetworkView, question: ComputedQuestion) -> float:
    here, values = network.activations[question.site], question.values
    learn, judge = halves(len(values), question.seed)
    fitted = fit_probe(network, question.site, question, learn)
    wrong = fitted(here[judge]) - values[judge]
    return 1 - float((wrong**2).mean() / (values[judge].var() or 1.0))
