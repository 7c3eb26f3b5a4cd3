"""Sealed challenges: a program that nobody has seen, committed to by a hash, and its reveal.

Whoever publishes the commitment can later reveal one program only: another with the same SHA-256
cannot be found. And nobody can learn the program from it: 256 random bits are hashed along.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.parse import parse
from jaxmi.programs.show import canonical, show

SCHEME = "jaxmi sealed challenge, version 1"
"""The first line of what is hashed; the next are salt, kind, and the canonical program."""


@dataclass(frozen=True)
class Answer:
    """What opens a sealed challenge."""

    program: lang.Program
    """Canonical."""

    salt: str
    """64 hexadecimal digits: 256 random bits."""

    @property
    def commitment(self) -> str:
        """The SHA-256 that is published, in hexadecimal."""
        lines = (SCHEME, self.salt, self.program.kind, show(self.program))
        return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON types."""
        return {
            "kind": self.program.kind,
            "program": show(self.program),
            "salt": self.salt,
            "commitment": self.commitment,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Answer":
        """Reads what `to_json` returned.

        Raises:
          InputError: if it is something else.
        """
        kind, text, salt = (value.get(name) for name in ("kind", "program", "salt"))
        if kind not in tuple(lang.CHALLENGES) or not isinstance(text, str):
            raise InputError("an answer has a kind (pairs, image) and a program")
        if not isinstance(salt, str) or not re.fullmatch("[0-9a-f]{64}", salt):
            raise InputError("an answer has a salt of 64 hexadecimal digits")
        answer = cls(canonical(parse(text, kind)), salt)
        if value.get("commitment") != answer.commitment:
            raise InputError("the answer was altered: it does not give its own commitment")
        return answer


def seal(program: lang.Program) -> Answer:
    """Draws a salt for a program, from the operating system's entropy."""
    return Answer(canonical(program), secrets.token_hex(32))


def posed(challenge: Challenge, program: lang.Program) -> Challenge:
    """Return a challenge with the same inputs, split and network, and a program's labels.

    Raises:
      InputError: if the program cannot label the inputs.
    """
    return challenge.relabelled(program, f"Sealed challenge: {program.kind}")
