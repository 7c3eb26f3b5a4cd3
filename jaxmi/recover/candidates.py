"""Programs that may be a network's, and what each costs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from jaxmi.programs import language as lang


@dataclass(frozen=True, eq=False)
class Candidate:
    """A program that may be the one that a network was trained on."""

    program: lang.Program

    labels: Bool[np.ndarray, "n"]
    """Its own, in domain order."""

    cost: int | float
    """In nats, less is better: of the program under the prior, and of the answers that it
    contradicts."""
