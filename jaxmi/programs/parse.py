"""Text -> program, by Python's own parser and a whitelist; no text is ever run or compiled."""

import ast
import re
import warnings
from collections.abc import Collection

from jaxmi.programs import language as lang
from jaxmi.programs.language import ProgramError
from jaxmi.programs.reader import Reader
from jaxmi.programs.show import show

MAX_CHARACTERS = 20_000
"""Length of a text; the published programs have a few hundred."""


def parse(text: str, kind: lang.Kind, extra: Collection[str] = ()) -> lang.Program:
    """Reads a program.

    Args:
      text: Statements that end in `return`, or one function of the kind's inputs.
      kind: What it labels.
      extra: Names of further numbers that it is given.

    Raises:
      ProgramError: if the text is no program of the language; names the first thing that is not.
    """
    _check_characters(text)
    tree = _python_tree(text)
    reader = Reader(kind, extra)
    program = lang.Program(kind, reader.block(reader.function_body(tree.body), depth=0))
    if not any(isinstance(node, lang.Return) for node in lang.walk(program)):
        raise ProgramError(lang.Position(1, 1), "nothing is returned")
    if len(show(program)) > MAX_CHARACTERS:  # so that what is shown can be parsed again
        message = f"with four spaces a level, it has more than {MAX_CHARACTERS:,} characters"
        raise ProgramError(lang.Position(1, 1), message)
    return program


def _check_characters(text: str) -> None:
    """Refuses what is too long, and every character that might not be what it looks like."""
    odd = re.search(r"[^\x20-\x7e\n\r\t]", text[: MAX_CHARACTERS + 1])
    if odd:
        character = odd.group()
        raise ProgramError(
            _position(text, odd.start()),
            f"character U+{ord(character):04X}; programs are written in ASCII, comments too",
        )
    if len(text) > MAX_CHARACTERS:
        raise ProgramError(
            _position(text, MAX_CHARACTERS), f"the text goes on after {MAX_CHARACTERS:,} characters"
        )


def _position(text: str, offset: int) -> lang.Position:
    before = text[:offset]
    return lang.Position(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def _python_tree(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in what is refused anyway
            return ast.parse(text)
    except SyntaxError as error:
        at = lang.Position(error.lineno or 1, max(error.offset or 1, 1))
        raise ProgramError(at, f"not Python: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError):
        raise ProgramError(lang.Position(1, 1), "nested too deeply to be read") from None
