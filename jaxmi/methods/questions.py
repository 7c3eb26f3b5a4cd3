"""The three questions, as a method sees them: without the truth.

A method is a function `(network, question) -> score`. Of a `ComputedQuestion` and of an
`ExplanationQuestion` the score is a number, larger for yes; of a `NeuronsQuestion` it is an array
with a number for each neuron, larger for those that carry the variable. A method that has no answer
to a kind of question returns None.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.mechanism.interchange import KINDS, Pairs, draw_pairs
from jaxmi.methods.network import NetworkView
from jaxmi.programs.variables import Variable

Kind = Literal["computed", "neurons", "explanation"]
"""The names of the questions in results."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A variable of a causal model, and the labels of that model."""

    variable: Variable
    """Its value on every input (`values`), and the label of every input if it had each of its
    values (`counterfactual`)."""
    own: Bool[np.ndarray, "n"]
    """The model's label of every input."""

    @property
    def values(self) -> Int[np.ndarray, "n"]:
        """The number of its value, among its distinct values in ascending order, of each input."""
        return self.variable.values

    def labels(
        self, bases: Int[np.ndarray, "m"], sources: Int[np.ndarray, "m"]
    ) -> Bool[np.ndarray, "m"]:
        """Return the label of each base if the variable had the value that it has on the source."""
        return self.variable.labels(bases, sources)

    def pairs(
        self,
        most: int,
        rng: np.random.Generator,
        inputs: Int[np.ndarray, "k"] | None = None,
    ) -> Pairs:
        """Draw bases and sources: strict, keep and follow pairs, as docs/variables.md has them.

        Args:
          most: Most pairs of each kind.
          rng: Draws them.
          inputs: The inputs to draw from; None: all.
        """
        inputs = np.arange(len(self.own)) if inputs is None else inputs
        return draw_pairs(self.labels, self.own, inputs, most, rng)

    def strict(
        self,
        most: int,
        rng: np.random.Generator,
        inputs: Int[np.ndarray, "k"] | None = None,
    ) -> Pairs:
        """Draw strict pairs only: the label differs from both the base's and the source's."""
        pairs = self.pairs(most, rng, inputs)
        return pairs.part(np.flatnonzero(pairs.kinds == KINDS.index("strict")))


@dataclass(frozen=True, eq=False)
class ComputedQuestion(Asked):
    """Is the variable computed at a site, at the last position?

    It is if the site has a part that holds it: exchanging that part between any two inputs gives
    the label that the model says.
    """

    site: str
    """One of `jaxmi.methods.network.SITES`."""
    seed: int
    """Draws whatever a method draws."""


@dataclass(frozen=True, eq=False)
class NeuronsQuestion(Asked):
    """Which neurons carry the variable, which the network does compute?"""

    candidates: Bool[np.ndarray, "neuron"]
    """The neurons that count: those that vary."""
    seed: int
    """Draws whatever a method draws."""


@dataclass(frozen=True, eq=False)
class ExplanationQuestion:
    """Is this causal model the network's own?

    Each is asked together with another model that has the same labels, and of the two the right one
    should have the larger score. A method sees one at a time.
    """

    variables: tuple[Asked, ...]
    """The model's variables, at least one."""
    seed: int
    """Draws whatever a method draws."""

    def parts(self, site: str) -> list[ComputedQuestion]:
        """Return the question of each variable: is it computed at a site?"""
        return [
            ComputedQuestion(one.variable, one.own, site, self.seed + i)
            for i, one in enumerate(self.variables)
        ]


Question = ComputedQuestion | NeuronsQuestion | ExplanationQuestion

Score = int | float | Float[np.ndarray, "neuron"] | None

Method = Callable[[NetworkView, Question], Score]
"""A method: larger scores for yes; None where it has no answer."""
