"""A network as a method sees it: weights, inputs, activations, and exchanges; no key."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.mechanism.account import Run, run_network
from jaxmi.mechanism.replacement import Source
from jaxmi.mechanism.tables import LastMlp
from jaxmi.planted.key import BEFORE_MLP, NEURONS
from jaxmi.types import Params

SITES = (BEFORE_MLP, NEURONS)
"""The residual stream before the MLP, and the neurons' activations; both at the last position."""

ACTIVE = 0.01
"""A neuron is active if what it adds to the logit difference has a standard deviation of at least
this share of the largest one's. Noise of weights alone makes none active."""


@dataclass(frozen=True, eq=False)
class NetworkView:
    """A network of one block on pairs, with what a method may look at.

    Activations are computed once, in float64, on all inputs, and only at the last position.
    """

    challenge: NumberChallenge
    """Inputs, the labelling program's labels, the model."""
    params: Params
    """The network's parameters, nested dictionaries of float32 arrays."""

    @property
    def inputs(self) -> Int[np.ndarray, "n 3"]:
        """All inputs, (x, y, last token) each: input x * p + y has the operands x and y."""
        return self.challenge.inputs

    @property
    def p(self) -> int:
        """The number of values of each operand."""
        return self.challenge.p

    @cached_property
    def _run(self) -> Run:
        return run_network(self.challenge.model, self.params, self.challenge.inputs)

    @property
    def mlp(self) -> LastMlp:
        """The MLP with its read-out: input weights, and each neuron's weight in the logits."""
        return self._run.mlp

    @cached_property
    def activations(self) -> Mapping[str, Float[np.ndarray, "n d"]]:
        """Site -> activations of every input; they cannot be written to."""
        stream = self._run.resid_mid
        return {BEFORE_MLP: _fixed(stream), NEURONS: _fixed(self.mlp.neurons(stream))}

    @cached_property
    def difference(self) -> Float[np.ndarray, "n"]:
        """Logit 1 minus logit 0 of every input."""
        return _fixed(self.mlp.difference(self.activations[BEFORE_MLP]))

    @property
    def labels(self) -> Bool[np.ndarray, "n"]:
        """The network's own labels."""
        return self.difference > 0

    @cached_property
    def contributions(self) -> Float[np.ndarray, "n neuron"]:
        """What each neuron adds to the logit difference: activation times read-out weight."""
        return _fixed(self.activations[NEURONS] * self.mlp.weights)

    @cached_property
    def active(self) -> Bool[np.ndarray, "neuron"]:
        """Which neurons are active: what they add to the logits varies among the inputs."""
        spread = self.contributions.std(axis=0)
        return _fixed(spread > ACTIVE * spread.max())

    def resume(
        self, site: str, rows: Int[np.ndarray, "m"], values: Float[np.ndarray, "m d"]
    ) -> Float[np.ndarray, "m"]:
        """Return the logit differences of inputs with other activations at a site.

        Args:
          site: One of `SITES`.
          rows: The inputs.
          values: Their activations there.
        """
        if site == BEFORE_MLP:
            return self.mlp.difference(values)
        change = values - self.activations[site][rows]
        return self.difference[rows] + change @ self.mlp.weights

    @cached_property
    def source(self) -> Source:
        """The network as `jaxmi.mechanism.interchange` takes it."""
        run = self._run
        return Source(run.mlp, run.resid_mid, run.neurons, self.challenge.grid, self.difference)


def _fixed(array: np.ndarray) -> np.ndarray:
    """Return an array that cannot be written to: several methods look at it."""
    array = array.view()
    array.flags.writeable = False
    return array
