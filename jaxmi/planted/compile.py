"""Labels or a program -> weights: the mechanisms, each a function that fills an empty network."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxmi.errors import InputError
from jaxmi.models.transformer import TransformerConfig
from jaxmi.planted.condition_key import entries_of
from jaxmi.planted.conditions import plant_program
from jaxmi.planted.key import Entry, Key
from jaxmi.planted.look_up import plant_look_up
from jaxmi.planted.network import Planted, X, Y
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.language import Program
from jaxmi.programs.variables import named_parts
from jaxmi.types import Params

Labels = Bool[np.ndarray, "p p"]
"""A label for each pair, row = x."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """The weights of a planted network, compiled or trained, and what they hold."""

    params: Params
    key: Key
    sizes: Mapping[str, int]
    """The sizes that are used: "d_model", "n_heads", "d_mlp"."""


def check_mechanism(mechanism: str, names: Iterable[str]) -> None:
    """Raise InputError unless a mechanism is one of some names."""
    if mechanism not in (expected := list(names)):
        raise InputError(f"mechanism {mechanism!r}: expected one of {', '.join(expected)}")


def needed_program(program: Program | None, instead: str) -> Program:
    """Return the program that "conditions" needs.

    Args:
      program: None if there are only labels.
      instead: The mechanisms that need none.

    Raises:
      InputError: if there are only labels.
    """
    if program is None:
        raise InputError(f"conditions needs a program, and there are only labels: take {instead}")
    return program


def looked_up(program: Program | None, p: int, row: str, along: str) -> list[Entry]:
    """Return the entries of a program's variables in a network that looks labels up.

    Args:
      program: None if there are only labels: these have no variables.
      p: The number of values of each operand.
      row: The operand whose embedding holds the places.
      along: The operand along which they lie.
    """
    if program is None:
        return []
    words = f"looked up: only places along {along} for each {row}"
    named = named_parts(program, PairDomain(p))
    return [Entry(one.name, one.role, "not held", words) for one in named]


def _conditions(network: Planted, labels: Labels, program: Program | None) -> list[Entry]:
    del labels
    program = needed_program(program, "rows or columns")
    return entries_of(plant_program(network, program), program)


def _rows(network: Planted, labels: Labels, program: Program | None) -> list[Entry]:
    return _look_up(network, labels, program, X)


def _columns(network: Planted, labels: Labels, program: Program | None) -> list[Entry]:
    return _look_up(network, labels.T, program, Y)


def _look_up(network: Planted, labels: Labels, program: Program | None, by: int) -> list[Entry]:
    found = plant_look_up(network, labels, by)
    row, along = ("x", "y") if by == X else ("y", "x")
    network.check_sizes("rows" if by == X else "columns")
    unit = np.eye(network.config.d_model)
    entries = looked_up(program, network.p, row, along)
    words = "the direction holds it"
    heads = network.heads_writing(found.along)
    entries.append(
        Entry(along, "operand", "number", words, directions=unit[[found.along]], heads=heads)
    )
    for k, (dim, (up, down)) in enumerate(zip(found.places, found.neurons, strict=True)):
        entries.append(
            Entry(
                f"{along} < place {k + 1} of {row}",
                "place",
                "place",
                "the direction holds the place; the neurons compare",
                directions=unit[[dim]],
                neurons={up: 1, down: -1},
                heads=network.heads_writing(dim),
            )
        )
    return entries


@dataclass(frozen=True)
class Mechanism:
    """A way in which weights can give a program's labels."""

    words: str
    """What the network does, in one sentence."""
    plant: Callable[[Planted, Labels, Program | None], list[Entry]]
    """Fills an empty network; returns what it holds. Raises InputError for what cannot be had."""


MECHANISMS: Mapping[str, Mechanism] = {
    "conditions": Mechanism(
        "It computes the program's conditions and numbers, and adds them up.", _conditions
    ),
    "rows": Mechanism(
        "It looks up, for each x, the places along y where the label changes.", _rows
    ),
    "columns": Mechanism(
        "It looks up, for each y, the places along x where the label changes.", _columns
    ),
}
"""Name -> mechanism."""


def plant(
    labels: Labels, program: Program | None, config: TransformerConfig, mechanism: str
) -> Compiled:
    """Return weights that give labels by a mechanism; they are exact except for rounding.

    Args:
      labels: The label of each pair.
      program: The program that gives them, if there is one.
      config: The sizes of the network.
      mechanism: One of `MECHANISMS`.

    Raises:
      InputError: if there is no such mechanism, the program cannot be had by it, or the network is
        too small; says what is needed and what is there.
    """
    check_mechanism(mechanism, MECHANISMS)
    network = Planted(config)
    entries = MECHANISMS[mechanism].plant(network, labels, program)
    params: Any = network.params(mechanism)
    heads = {"x": network.heads_at(X), "y": network.heads_at(Y)}
    key = Key(mechanism, MECHANISMS[mechanism].words, entries, heads)
    return Compiled(params, key, network.needs())
