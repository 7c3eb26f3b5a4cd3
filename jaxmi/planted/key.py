"""The key of a planted network: which directions, neurons and heads hold which variable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float


def before_mlp(block: int) -> str:
    """Return the name of the site before a block's MLP, where its neurons read."""
    return f"blocks.{block}.hook_resid_mid"


def neurons_of(block: int) -> str:
    """Return the name of the site of a block's neurons."""
    return f"blocks.{block}.mlp.hook_post"


def after_mlp(block: int) -> str:
    """Return the name of the site after a block's MLP."""
    return f"blocks.{block}.hook_resid_post"


def block_of(site: str) -> int:
    """Return the block of a site."""
    return int(site.split(".")[1])


BEFORE_MLP, NEURONS, AFTER_MLP = before_mlp(0), neurons_of(0), after_mlp(0)
"""Sites of the first block. All that a key names is at the last position."""

POSITION = 2
"""The last position of a network on pairs."""


@dataclass(frozen=True, eq=False)
class Place:
    """A further site at which a network holds a variable of an entry."""

    form: str
    """"truth": each direction holds its truth value; "number": the first direction holds it."""
    site: str
    directions: Float[np.ndarray, "k d_model"]
    """Of length 1."""
    factor: int | float = 1
    shift: int | float = 0
    """The variable is `factor` times what the first direction holds, plus this."""
    full: bool = True
    """As `Entry.full`; also not if another part was computed from it before this site."""

    def to_json(self) -> dict[str, Any]:
        """Return the place as JSON types; of a direction only the entries that are not 0."""
        return {
            "form": self.form,
            "full": self.full,
            "site": self.site,
            "directions": _sparse(self.directions),
            "factor": float(self.factor),
            "shift": float(self.shift),
        }


@dataclass(frozen=True, eq=False)
class Entry:
    """What a network holds of one variable."""

    name: str
    """As `programs.variables` names it."""
    role: str
    """What it is in the program: condition, residue, term, partial sum, sum; in a look-up also
    operand and place; of images condition and score, and label in a look-up."""
    form: str
    """How it is held; "not held" if it is not."""
    words: str
    """The same in words."""
    site: str = BEFORE_MLP
    directions: Float[np.ndarray, "k d_model"] | None = None
    """Directions of the residual stream at the site, of length 1."""
    shift: int | float = 0
    """Of the form "number": the variable is `factor` times what the first direction holds, plus
    this."""
    neurons: Mapping[int, int | float] | None = None
    """Neuron -> its factor: the variable is the sum of factors times activations plus `offset`."""
    offset: int | float = 0
    heads: Sequence[int] = ()
    """The heads that write into the directions."""
    full: bool = True
    """Whether setting it has every effect that the program says; not if a part that depends on it,
    through the sum so far, is folded and so keeps its value."""
    factor: int | float = 1
    neurons_at: str = NEURONS
    """The site of the neurons."""
    also: Sequence[Place] = ()
    """Further sites that hold it."""
    fit: float | None = None
    """Of the form "trained": R^2 of the variable as the sum of factors times activations, which
    least squares gave. All these neurons together carry it."""
    interchange: Mapping[str, Any] | None = None
    """Of the form "trained": "directions" and "neurons" -> the shares of held-out exchanges there
    that get the label that the variable's exchange says."""

    @property
    def held(self) -> bool:
        """Whether the variable is computed inside, by itself."""
        return self.directions is not None or bool(self.neurons)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON types; of a direction only the entries that are not 0."""
        about = {"name": self.name, "role": self.role, "held": self.held, "form": self.form}
        if not self.held:
            return {**about, "words": self.words}
        measured: dict[str, Any] = {}
        if self.interchange is not None:
            measured["interchange"] = dict(self.interchange)
        if self.fit is not None:
            measured["fit"] = self.fit
        return {
            **about,
            "words": self.words,
            "full": self.full,
            "site": self.site,
            "directions": [] if self.directions is None else _sparse(self.directions),
            "factor": float(self.factor),
            "shift": float(self.shift),
            "neurons": {str(i): float(factor) for i, factor in (self.neurons or {}).items()},
            "offset": float(self.offset),
            "neurons_at": self.neurons_at,
            "also": [place.to_json() for place in self.also],
            "heads": list(self.heads),
            **measured,
        }


def _sparse(directions: Float[np.ndarray, "k d_model"]) -> list[dict[str, float]]:
    return [{str(i): float(one[i]) for i in np.flatnonzero(one)} for one in directions]


@dataclass(frozen=True, eq=False)
class Decoys:
    """Parts of a network that look active and have no effect on any logit, for one block."""

    block: int
    cancelling: Sequence[tuple[int, int]] = ()
    """Pairs of neurons whose outputs cancel."""
    idle_heads: Sequence[int] = ()
    """Heads that write only where nothing reads."""

    def to_json(self) -> dict[str, Any]:
        """Return the decoys as JSON types."""
        return {
            "block": self.block,
            "cancelling": [list(pair) for pair in self.cancelling],
            "idle_heads": list(self.idle_heads),
        }


@dataclass(frozen=True, eq=False)
class Key:
    """What a planted network holds, and how."""

    mechanism: str
    words: str
    """What the network does, in one sentence."""
    entries: Sequence[Entry]
    heads: Mapping[str, Sequence[int]]
    """Operand -> the heads of the first block that attend to it."""
    decoys: Sequence[Decoys] = ()
    """Parts of each block that look active and have no effect."""
    position: int | None = POSITION
    """The position of all sites; None of a network without positions."""
    neurons_at: str = NEURONS
    """The site of the first block's neurons; `Entry.neurons_at` says it of each variable."""

    def to_json(self) -> dict[str, Any]:
        """Return the key as JSON types."""
        return {
            "mechanism": self.mechanism,
            "words": self.words,
            "position": self.position,
            "neurons_at": self.neurons_at,
            "heads": {name: list(heads) for name, heads in self.heads.items()},
            "decoys": [decoys.to_json() for decoys in self.decoys],
            "variables": [entry.to_json() for entry in self.entries],
        }
