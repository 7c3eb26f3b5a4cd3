"""Strict reading of untrusted JSON: every fault raises a one-line error that names its place."""

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from jaxmi.errors import InputError
from jaxmi.files import check_regular_file

MAX_BYTES = 1_000_000
"""Largest text, in bytes or characters; the worked examples have a few thousand."""


@dataclass(frozen=True)
class Value:
    """A value in a JSON text, with its place."""

    value: Any
    """The value as `json` returns it."""
    place: str = ""
    """Path to it, such as `claims[2].feature`; "" is the whole text."""

    def fail(self, message: str) -> NoReturn:
        """Raise an error about the value that names its place.

        Raises:
          InputError: always.
        """
        raise InputError(f"{self.place or 'the submission'}: {message}")

    def member(self, key: str) -> "Value":
        """Return the value under a key that is present."""
        return Value(self.value[key], f"{self.place}.{key}" if self.place else key)

    def members(self, required: Collection[str], optional: Collection[str]) -> dict[str, "Value"]:
        """Return an object's values by key.

        Args:
          required: Keys that must be present.
          optional: Keys that may be present.

        Raises:
          InputError: if it is no object, lacks a required key, or has an unknown one.
        """
        known = (*required, *optional)
        for key in self.keys():
            if key not in known:
                self.fail(f"unknown key {shown(key)}; the keys are: {', '.join(known)}")
        for key in required:
            if key not in self.value:
                self.fail(f"{key!r} is missing")
        return {key: self.member(key) for key in self.value}

    def keys(self) -> list[str]:
        """Return an object's keys.

        Raises:
          InputError: if it is no object.
        """
        if not isinstance(self.value, dict):
            self.fail(f"expected an object, not {shown(self.value)}")
        return list(self.value)

    def elements(self, most: int) -> list["Value"]:
        """Return a list's values.

        Raises:
          InputError: if it is no list, is empty, or has more than `most` values.
        """
        if not isinstance(self.value, list):
            self.fail(f"expected a list, not {shown(self.value)}")
        if not 1 <= len(self.value) <= most:
            self.fail(f"a list of {len(self.value):,}, expected 1 to {most:,}")
        return [Value(value, f"{self.place}[{i}]") for i, value in enumerate(self.value)]

    def text(self, longest: int) -> str:
        """Return a text of one line.

        Raises:
          InputError: if it is no text, is empty, is longer than `longest` characters, or has
            characters that cannot be printed.
        """
        if not isinstance(self.value, str):
            self.fail(f"expected a text, not {shown(self.value)}")
        if not 1 <= len(self.value) <= longest:
            self.fail(f"a text of {len(self.value):,} characters, expected 1 to {longest:,}")
        if not self.value.isprintable():
            self.fail(f"expected one line of printable characters, not {shown(self.value)}")
        return self.value

    def one_of(self, choices: Sequence[str]) -> str:
        """Return a text that is one of the choices.

        Raises:
          InputError: if it is none of them.
        """
        if not isinstance(self.value, str) or self.value not in choices:
            self.fail(f"unknown: {shown(self.value)}; there are: {', '.join(choices)}")
        return self.value

    def number(self, low: int | float, high: int | float) -> float:
        """Return a number in low..high.

        Raises:
          InputError: if it is not a number (truth values are not), or out of bounds.
        """
        number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not number or not low <= self.value <= high:
            self.fail(f"expected a number in {low:g}..{high:g}, not {shown(self.value)}")
        return float(self.value)

    def position(self, size: int) -> int:
        """Return a whole number in 0..size - 1.

        Raises:
          InputError: if it is anything else.
        """
        is_whole = isinstance(self.value, int) and not isinstance(self.value, bool)
        if not is_whole or not 0 <= self.value < size:
            self.fail(f"expected a whole number in 0..{size - 1}, not {shown(self.value)}")
        return self.value


def read_json(source: str | Path, what: str = "the submission") -> Value:
    """Read JSON of at most `MAX_BYTES`, without repeated keys, NaN or infinite numbers.

    Args:
      source: The text, or the file that holds it.
      what: What messages call it.

    Raises:
      InputError: if it cannot be read, or is not such JSON.
    """
    text = _text_of(source) if isinstance(source, Path) else source
    if len(text) > MAX_BYTES:
        raise InputError(f"{what} has more than {MAX_BYTES:,} characters")
    try:
        return Value(
            json.loads(
                text,
                object_pairs_hook=partial(_object, what),
                parse_constant=partial(_refuse_constant, what),
                parse_float=partial(_finite, what),
                parse_int=partial(_whole_number, what),
            )
        )
    except json.JSONDecodeError as error:
        raise InputError(
            f"{what} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except RecursionError:
        raise InputError(f"{what} is nested too deeply to be read") from None


def shown(value: object) -> str:
    """Return a value in a form for messages: its size, or its first characters."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,}"
    text = ascii(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _text_of(path: Path) -> str:
    check_regular_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: more than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None


def _object(what: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise InputError(f"{what} has the key {shown(key)} twice in one object")
        members[key] = value
    return members


def _refuse_constant(what: str, constant: str) -> NoReturn:
    raise InputError(f"{what} has {constant}, which is not a number in JSON")


def _finite(what: str, digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise InputError(f"{what} has a number too large for a float: {digits[:40]}")
    return number


def _whole_number(what: str, digits: str) -> int:
    if len(digits) > 19:  # refused before conversion, which takes quadratic time
        raise InputError(f"{what} has a whole number of {len(digits):,} characters")
    return int(digits)
