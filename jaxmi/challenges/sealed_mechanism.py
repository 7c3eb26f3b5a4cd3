"""Sealed mechanisms: the commitment to a program and to what holds its variables, and its key.

As of a sealed program (`challenges.sealed`), with the planted network's key in the hashed text.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxmi.challenges.sealed import check_salt, commit
from jaxmi.errors import InputError
from jaxmi.planted.compile import MECHANISMS
from jaxmi.programs import language as lang
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.parse import parse
from jaxmi.programs.show import canonical, show

MECHANISM_SCHEME = "jaxmi sealed mechanism, version 1"
"""First line of the text that is hashed; salt, kind, program and the planted network's key follow,
the key as JSON in one line: keys sorted, no spaces."""

TASK = "mechanism"
"""The task of these challenges, as `challenge.json` and the key name it."""


@dataclass(frozen=True)
class MechanismKey:
    """The key of a sealed mechanism: its program, what the network holds, and a salt."""

    program: lang.Program
    """The program in canonical form."""
    mechanism: Mapping[str, Any]
    """The planted network's key, as `mechanism.json` has it."""
    salt: str
    """64 hexadecimal digits: 256 random bits."""

    @property
    def commitment(self) -> str:
        """The SHA-256 that is published, in hexadecimal."""
        held = json.dumps(self.mechanism, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return commit(MECHANISM_SCHEME, self.salt, self.program.kind, show(self.program), held)

    def to_json(self) -> dict[str, Any]:
        """Return the key and its commitment as JSON types."""
        return {
            "kind": self.program.kind,
            "task": TASK,
            "program": show(self.program),
            "mechanism": dict(self.mechanism),
            "salt": self.salt,
            "commitment": self.commitment,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "MechanismKey":
        """Read a key from JSON types, as `to_json` returns them.

        Raises:
          InputError: if it is the key of a sealed program, a part is missing or malformed, or the
            commitment is another key's.
        """
        if value.get("task") != TASK:
            raise InputError(f"it is no key of a mechanism: `task` is {value.get('task')!r}")
        text, held = value.get("program"), value.get("mechanism")
        if value.get("kind") != PairDomain.kind or not isinstance(text, str):
            raise InputError(f"a key needs a `program` and its `kind`, {PairDomain.kind}")
        if not isinstance(held, dict) or held.get("mechanism") not in list(MECHANISMS):
            raise InputError("a key needs a `mechanism` as `mechanism.json` has it")
        key = cls(canonical(parse(text, "pairs")), held, check_salt(value))
        try:
            commitment = key.commitment
        except ValueError as error:
            raise InputError("a key's numbers are finite") from error
        if value.get("commitment") != commitment:
            raise InputError(
                "the key was altered: its program, mechanism and salt have another commitment"
            )
        return key


def seal_mechanism(program: lang.Program, mechanism: Mapping[str, Any]) -> MechanismKey:
    """Return a key, with a salt from the operating system's entropy.

    Args:
      program: The program that was compiled.
      mechanism: What the network holds, in JSON types.
    """
    held = json.loads(json.dumps(mechanism, allow_nan=False))  # as it is read again
    return MechanismKey(canonical(program), held, secrets.token_hex(32))
