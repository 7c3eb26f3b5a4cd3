"""The accumulator of a labelling program: what it adds, where, and under which guard."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class Guard(NamedTuple):
    """A bound on z so far: `z < bound`, or `z > bound`."""

    below: bool
    bound: int

    def holds(self, z: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        """Says where z meets it."""
        return z < self.bound if self.below else z > self.bound


class Term(NamedTuple):
    """Adds a weight where a boundary's side is met, and the guard."""

    feature: int
    """Which boundary, counted from 0."""

    before: bool
    """On which side of it."""

    weight: int | float
    guard: Guard | None


@dataclass(frozen=True)
class Accumulator:
    """z = residues - offset, then the terms in turn; the label is z >= 0."""

    offset: int
    terms: tuple[Term, ...]
    """Those without a guard first."""
