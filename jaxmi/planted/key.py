"""The key of a planted network: which directions, neurons and heads hold which variable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

BEFORE_MLP, NEURONS, AFTER_MLP = (
    "blocks.0.hook_resid_mid",
    "blocks.0.mlp.hook_post",
    "blocks.0.hook_resid_post",
)
"""Sites of a key's directions and neurons, all at the last position."""

POSITION = 2
"""The last position of a network on pairs."""


@dataclass(frozen=True, eq=False)
class Entry:
    """What a network holds of one variable."""

    name: str
    """As `programs.variables` names it."""
    role: str
    """What it is in the program: condition, residue, term, partial sum, sum; or, in a look-up,
    place."""
    form: str
    """How it is held; "not held" if it is not."""
    words: str
    """The same in words."""
    site: str = BEFORE_MLP
    directions: Float[np.ndarray, "k d_model"] | None = None
    """Directions of the residual stream at the site, of length 1."""
    shift: int | float = 0
    """Of the form "number": the variable is what the direction holds plus this."""
    neurons: Mapping[int, int | float] | None = None
    """Neuron -> its factor: the variable is the sum of factors times activations plus `offset`."""
    offset: int | float = 0
    heads: Sequence[int] = ()
    """The heads that write into the directions."""
    full: bool = True
    """Whether setting it has every effect that the program says; not if a part that depends on it,
    through the sum so far, is folded and so keeps its value."""

    @property
    def held(self) -> bool:
        """Whether the variable is computed inside, by itself."""
        return self.directions is not None or bool(self.neurons)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON types; of a direction only the entries that are not 0."""
        directions = np.zeros((0, 0)) if self.directions is None else self.directions
        about = {"name": self.name, "role": self.role, "held": self.held, "form": self.form}
        if not self.held:
            return {**about, "words": self.words}
        return {
            **about,
            "words": self.words,
            "full": self.full,
            "site": self.site,
            "directions": [
                {str(i): float(one[i]) for i in np.flatnonzero(one)} for one in directions
            ],
            "shift": float(self.shift),
            "neurons": {str(i): float(factor) for i, factor in (self.neurons or {}).items()},
            "offset": float(self.offset),
            "heads": list(self.heads),
        }


@dataclass(frozen=True, eq=False)
class Key:
    """What a planted network holds, and how."""

    mechanism: str
    words: str
    """What the network does, in one sentence."""
    entries: Sequence[Entry]
    heads: Mapping[str, Sequence[int]]
    """Operand -> the heads that attend to it."""
    position: int | None = POSITION
    """The position of all sites; None of a network without positions."""
    neurons_at: str = NEURONS
    """The site of the neurons."""

    def to_json(self) -> dict[str, Any]:
        """Return the key as JSON types."""
        return {
            "mechanism": self.mechanism,
            "words": self.words,
            "position": self.position,
            "neurons_at": self.neurons_at,
            "heads": {name: list(heads) for name, heads in self.heads.items()},
            "variables": [entry.to_json() for entry in self.entries],
        }
