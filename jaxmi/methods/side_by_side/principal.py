"""Principal components: how much of the best component's variance the variable gives.

The oldest look into a layer: project it onto its main directions, and colour the points by the
variable.

- Is it computed? The largest share of a component's variance that lies between the variable's
  values (the correlation ratio), among the first `COMPONENTS`.
- Which neurons? The magnitude of a neuron's loading on that component.
- Which explanation? The mean over its variables at the neurons.
"""

import numpy as np
from jaxtyping import Float

from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import (
    Asked,
    ComputedQuestion,
    NeuronsQuestion,
    Question,
    Score,
)
from jaxmi.methods.side_by_side.common import answered, between_values
from jaxmi.planted.key import NEURONS

COMPONENTS = 8
"""So many components are looked at; of 4, 8 and 16 the best on the choosing seeds."""


def principal(network: NetworkView, question: Question) -> Score:
    """Return the best component's correlation ratio, or each neuron's loading on it."""
    return answered(network, question, _best_ratio, _of_neurons)


def _of_neurons(network: NetworkView, question: NeuronsQuestion) -> Float[np.ndarray, "neuron"]:
    axes, ratios = _components(network.activations[NEURONS], question)
    return np.abs(axes[:, int(ratios.argmax())])


def _components(
    activations: Float[np.ndarray, "n d"], asked: Asked
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "k"]]:
    centred = activations - activations.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :COMPONENTS]
    total, between = between_values(centred @ axes, asked)
    return axes, np.divide(between, total, out=np.zeros_like(total), where=total > 1e-9)


def _best_ratio(network: NetworkView, question: ComputedQuestion) -> float:
    _, ratios = _components(network.activations[question.site], question)
    return float(ratios.max())
