"""A program on pairs as a search handles it: boundaries, periodic features, an accumulator."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.recover.pairs.tables import Boundary, Features, Periodic
from jaxmi.recover.pairs.terms import Accumulator, Guard


class Placed(NamedTuple):
    """A term: adds a weight on one side of a boundary, where the guard holds."""

    boundary: Boundary
    before: bool
    weight: int | float
    guard: Guard | None

    def fires(self, z: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Says where it counts, given z before it."""
        return (self.boundary.before == self.before) & self.guarded(z)

    def guarded(self, z: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Says where its guard holds."""
        return np.ones(len(z), bool) if self.guard is None else self.guard.holds(z)


@dataclass(frozen=True)
class Model:
    """z = residues - offset, then the terms in turn; the label is z >= 0."""

    offset: int
    periodic: tuple[Periodic, ...]
    terms: tuple[Placed, ...]

    @property
    def features(self) -> Features:
        """What it looks at."""
        return Features(tuple(term.boundary for term in self.terms), self.periodic)

    def start(self, n: int) -> Float[np.ndarray, "n"]:
        """Computes z before the first term."""
        return sum((one.values for one in self.periodic), np.zeros(n)) - self.offset

    def labels(self, n: int) -> Bool[np.ndarray, "n"]:
        """Computes the labels."""
        return self._rest(0, self.start(n)) >= 0

    def gains(self, at: int, signed: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Says what is gained, input by input, if a term counts there; all else as it is.

        Args:
          at: Which term.
          signed: Each answer's worth, positive if it is 1.
        """
        z = self.start(len(signed))
        for term in self.terms[:at]:
            z = z + term.weight * term.fires(z)
        term = self.terms[at]
        with_it = self._rest(at + 1, z + term.weight * term.guarded(z)) >= 0
        without = self._rest(at + 1, z) >= 0
        return signed * (with_it.astype(float) - without)

    def replaced(self, at: int, term: Placed) -> "Model":
        """Changes one term."""
        return replace(self, terms=(*self.terms[:at], term, *self.terms[at + 1 :]))

    def without(self, at: int) -> "Model":
        """Leaves one term out."""
        return replace(self, terms=(*self.terms[:at], *self.terms[at + 1 :]))

    def inserted(self, at: int, term: Placed) -> "Model":
        """Adds a term before that one."""
        return replace(self, terms=(*self.terms[:at], term, *self.terms[at:]))

    def shorter(self) -> Iterator["Model"]:
        """Yields the model without each term, and without each guard."""
        for i, term in enumerate(self.terms):
            yield self.without(i)
            if term.guard is not None:
                yield self.replaced(i, term._replace(guard=None))

    def _rest(self, first: int, z: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        for term in self.terms[first:]:
            z = z + term.weight * term.fires(z)
        return z


def assemble(features: Features, accumulator: Accumulator) -> Model:
    """Puts features and the accumulator that was found for them together."""
    terms = (
        Placed(features.boundaries[term.feature], term.before, term.weight, term.guard)
        for term in accumulator.terms
    )
    return Model(accumulator.offset, features.periodic, tuple(terms))


def wrong_cost(labels: Bool[np.ndarray, "n"], signed: Float[np.ndarray, "n"]) -> float:
    """Adds up the worth of the answers that labels contradict, in nats."""
    return float(np.abs(signed[labels != (signed > 0)]).sum())
