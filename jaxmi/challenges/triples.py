"""Challenges whose programs label triples of numbers, for a transformer with four positions."""

from dataclasses import dataclass
from typing import ClassVar

from jaxmi.challenges.challenge import Sealing
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.numbers import (
    NumberChallenge,
    build_numbers,
    number_model,
    transformer_sealing,
)
from jaxmi.models.transformer import Transformer
from jaxmi.programs.language import Kind


@dataclass(frozen=True, repr=False)
class TripleChallenge(NumberChallenge):
    """All triples (x, y, w) with 0 <= x, y, w < p to label, as token sequences [x, y, w, p]."""

    kind: ClassVar[Kind] = "triples"

    noun: ClassVar[str] = "triple"

    sealing: ClassVar[Sealing] = transformer_sealing(
        "z = 0\nif x ** 2 < 9 * y + w:\n    z += 3\nreturn z >= 2"
    )


def build_triples(definition: Definition) -> TripleChallenge:
    """Build a challenge on all triples below p.

    Raises:
      InputError: if a number cannot be used, or the program fails on a triple.
    """
    return build_numbers(TripleChallenge, definition)


def triple_model(definition: Definition) -> Transformer:
    """Return the network of a challenge on triples; nothing large is computed.

    Raises:
      InputError: as `number_model`.
    """
    return number_model(TripleChallenge, definition)
