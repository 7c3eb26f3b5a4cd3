"""Sealed challenges: the commitment to a program that nobody has seen, and the key that opens it.

The commitment binds: whoever publishes it can later reveal this program only, since another with
the same SHA-256 cannot be found. It also hides: 256 random bits are hashed with the program, so
that no candidate can be tried against it. docs/commitment.md gives the details.
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
"""First line of the text that is hashed; salt, kind and the canonical program follow."""


@dataclass(frozen=True)
class Key:
    """The key of a sealed challenge: its program and a salt."""

    program: lang.Program
    """The program in canonical form."""

    salt: str
    """64 hexadecimal digits: 256 random bits."""

    @property
    def commitment(self) -> str:
        """The SHA-256 that is published, in hexadecimal."""
        return commit(SCHEME, self.salt, self.program.kind, show(self.program))

    def to_json(self) -> dict[str, Any]:
        """Return the key and its commitment as JSON types."""
        return {
            "kind": self.program.kind,
            "program": show(self.program),
            "salt": self.salt,
            "commitment": self.commitment,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Key":
        """Read a key from JSON types, as `to_json` returns them.

        Raises:
          InputError: if a part is missing or malformed, or the commitment is another key's.
        """
        kind, text = (value.get(name) for name in ("kind", "program"))
        if kind not in tuple(lang.PUBLISHED) or not isinstance(text, str):
            kinds = ", ".join(lang.PUBLISHED)
            raise InputError(f"a key needs a `program` and its `kind`, one of {kinds}")
        if "task" in value:
            raise InputError(f"it is no key of a program: `task` is {value['task']!r}")
        key = cls(canonical(parse(text, kind)), check_salt(value))
        if value.get("commitment") != key.commitment:
            raise InputError("the key was altered: its program and salt have another commitment")
        return key


def commit(*lines: str) -> str:
    """Return the SHA-256 of lines, joined by line feeds, in hexadecimal."""
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()


def check_salt(key: Mapping[str, Any]) -> str:
    """Return a key's salt.

    Raises:
      InputError: if it has none of 256 bits.
    """
    salt = key.get("salt")
    if not isinstance(salt, str) or not re.fullmatch("[0-9a-f]{64}", salt):
        raise InputError("a key needs a `salt` of 64 hexadecimal digits")
    return salt


def seal(program: lang.Program) -> Key:
    """Return a key for a program, with a salt from the operating system's entropy."""
    return Key(canonical(program), secrets.token_hex(32))


def posed(challenge: Challenge, program: lang.Program) -> Challenge:
    """Return a challenge with the same inputs, split and network, and a program's labels.

    Raises:
      InputError: if the program cannot label the inputs.
    """
    return challenge.relabelled(program, f"Sealed challenge: {program.kind}")
