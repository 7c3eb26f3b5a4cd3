"""Challenges whose programs label triples of numbers, for a transformer with four positions."""

from dataclasses import dataclass
from typing import ClassVar

from jaxmi.challenges.challenge import Sealing
from jaxmi.challenges.numbers import NumberChallenge, transformer_sealing
from jaxmi.programs.language import Kind


@dataclass(frozen=True, repr=False)
class TripleChallenge(NumberChallenge):
    """All triples (x, y, w) with 0 <= x, y, w < p to label, as token sequences [x, y, w, p]."""

    kind: ClassVar[Kind] = "triples"

    noun: ClassVar[str] = "triple"

    sealing: ClassVar[Sealing] = transformer_sealing(
        "z = 0\nif x ** 2 < 9 * y + w:\n    z += 3\nreturn z >= 2"
    )
