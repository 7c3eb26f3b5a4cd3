"""The expressions of a submission: features and conditions, over names that it defines."""

import keyword
import re
from collections.abc import Iterator
from dataclasses import replace

from jaxmi.judge.strict_json import Value, shown
from jaxmi.programs import language as lang
from jaxmi.programs.language import ProgramError
from jaxmi.programs.parse import parse
from jaxmi.programs.whitelist import MODULES

MAX_NAMES = 32
"""How many names an object may define."""

MAX_EXPRESSION = 2000
"""Length of an expression, in characters."""


class Expressions:
    """Reads expressions of the language, over the definitions given so far."""

    def __init__(self, kind: lang.Kind, extra: tuple[str, ...]) -> None:
        """Takes what programs label, and the names of what they are given beside."""
        self._kind: lang.Kind = kind
        self._extra = extra
        self._lines: list[str] = []

    def define(self, name: str, value: Value) -> None:
        """Takes up `name = expression`.

        Raises:
          InputError: if it is no expression of the language.
        """
        line = f"{name} = {value.text(MAX_EXPRESSION)}"
        body = self._parse([line, "return 0"], value, len(f"{name} = ")).body
        if len(body) != len(self._lines) + 2:
            value.fail("one expression, and nothing after it")
        self._lines.append(line)

    def read(self, value: Value) -> lang.Program:
        """Returns the program of an expression, with no more definitions than it needs.

        Raises:
          InputError: if it is no expression of the language.
        """
        text = value.text(MAX_EXPRESSION)
        program = self._parse([f"return {text}"], value, len("return "))
        if len(program.body) != len(self._lines) + 1:
            value.fail("one expression, and nothing after it")
        *definitions, answer = program.body
        needed, body = names_in(answer), [answer]
        for definition in reversed(definitions):
            assert isinstance(definition, lang.Assign)
            if definition.name in needed:
                needed |= names_in(definition)
                body.insert(0, definition)
        return replace(program, body=tuple(body))

    def _parse(self, lines: list[str], value: Value, before: int) -> lang.Program:
        try:
            return parse("\n".join([*self._lines, *lines]), self._kind, self._extra)
        except ProgramError as error:
            message = str(error).split(": ", 1)[1]
            value.fail(f"line 1, column {max(error.at.column - before, 1)}: {message}")


def named(
    value: Value | None, kind: lang.Kind, taken: tuple[str, ...]
) -> Iterator[tuple[str, Value]]:
    """Goes through an object whose keys are names of the submission's own: each with its value.

    Args:
      value: The object; None has no keys.
      kind: What programs label: its inputs are no free names.
      taken: Names that are given already.

    Raises:
      InputError: if it is no object, or a key is no name that is free.
    """
    keys = [] if value is None else value.keys()
    reserved = {*lang.INPUTS[kind], *lang.FUNCTIONS, *lang.IMAGE_FUNCTIONS, lang.TEMPLATE, *MODULES}
    for number, key in enumerate(keys):
        assert value is not None
        if number >= MAX_NAMES:
            value.fail(f"{len(keys):,} names, expected at most {MAX_NAMES}")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", key) or keyword.iskeyword(key):
            value.fail(f"{shown(key)} is no name: letters, digits and _, at most 40")
        if key in reserved or key in taken:
            value.fail(f"the name {key!r} is taken")
        yield key, value.member(key)


def names_in(node: lang.Node) -> set[str]:
    """Returns the names that stand in a part of a program."""
    return {part.name for part in lang.walk(node) if isinstance(part, lang.Name)}
