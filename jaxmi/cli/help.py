"""`--help`: what tyro prints, in paragraphs that fit the terminal, and with an example.

tyro prints a docstring with its line breaks, and one usage line however long it is; it has no place
for an example.
"""

import ast
import codecs
import dataclasses
import functools
import inspect
import io
import itertools
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

from tyro.conf import Positional, arg
from tyro.constructors import (
    MISSING_NONPROP,
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

REGISTRY = ConstructorRegistry()
"""The rules by which tyro reads the dataclasses of subcommands; an argument of `tyro.cli`."""


@REGISTRY.struct_rule
def _dataclass(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Read a subcommand's dataclass: a paragraph of help per field, defaults that say something.

    A positional argument is shown by its field's name. None, False and () are not shown as
    defaults. The group of options that are common to subcommands comes last.
    """
    if not dataclasses.is_dataclass(info.type) or info.type.__module__.split(".")[0] != "jaxmi":
        return None
    hints: dict[str, Any] = get_type_hints(info.type, include_extras=True)
    fields = []
    for field in dataclasses.fields(info.type):
        hint, default = hints[field.name], field.default
        if default is dataclasses.MISSING:
            default = MISSING_NONPROP
        kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if Positional in extras:
            name = field.name.upper()
            extras.insert(0, arg(metavar=name if default is MISSING_NONPROP else f"[{name}]"))
        if default is None or default is False or default == ():
            extras.insert(0, arg(help_behavior_hint=""))
        fields.append(
            StructFieldSpec(
                name=field.name,
                type=cast(Any, Annotated[kind, *extras] if extras else kind),
                default=default,
                helptext=functools.partial(_help_of, info.type, field.name),
            )
        )
    fields.sort(key=lambda field: field.name == "common")
    return StructConstructorSpec(instantiate=info.type, fields=tuple(fields))


def _help_of(kind: type, name: str) -> str:
    return _docstrings(kind).get(name, "")


@functools.cache
def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass and of those above it, in one line."""
    found = {}
    for one in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        for field, below in itertools.pairwise(_definition(one).body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = " ".join(text.split())
    return found


def _definition(kind: type) -> ast.ClassDef:
    return cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0])


def restore_docstrings(union: Any) -> None:
    """Give the dataclasses of subcommands their docstrings, which PYTHONOPTIMIZE=2 removes.

    Args:
      union: As in `subcommands`.
    """
    kinds = [kind for _, kind in subcommands(union)]
    while kinds:
        kind = kinds.pop()
        kind.__doc__ = ast.get_docstring(_definition(kind))
        kinds += filter(dataclasses.is_dataclass, get_type_hints(kind).values())


def subcommands(union: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each subcommand's words, as in "challenge reveal", and its dataclass.

    Args:
      union: A union of `Annotated[DATACLASS, subcommand(NAME)]`; a dataclass with a field `verb` of
        such a union has subcommands of its own.
      words: The words before it.
    """
    for one in get_args(union):
        kind, about = get_args(one)
        yield " ".join(named := (*words, about.name)), kind
        if "verb" in (hints := get_type_hints(kind, include_extras=True)):
            yield from subcommands(hints["verb"], named)


class Captured(io.StringIO):
    """A stand-in for stdout that captures what is printed; tyro draws as it would on stdout."""

    def __init__(self) -> None:
        """Find out what stdout is."""
        super().__init__()
        self._encoding, self._isatty = getattr(sys.stdout, "encoding", None), sys.stdout.isatty()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Frames are drawn if it is utf-8."""
        return codecs.lookup(self._encoding or "ascii").name

    def isatty(self) -> bool:
        """Return whether stdout is a terminal that may have colours: tyro uses them there."""
        return self._isatty and not os.environ.get("NO_COLOR")


def fitted(text: str, width: int, examples: Mapping[str, str]) -> str:
    """Return tyro's help with a usage and a description that fit, and with an example at its end.

    Args:
      text: What tyro printed. Anything but help is returned as it is.
      width: Columns of the terminal.
      examples: The words of a subcommand -> a command line.
    """
    lines = text.splitlines()
    first_group = re.compile(r"╭.*| (positional arguments|options) *")
    start = next((i for i, line in enumerate(lines) if first_group.fullmatch(_plain(line))), 0)
    if not start:
        return text
    usage, *description = _plain("\n".join(lines[:start])).strip().split("\n\n")
    usage = re.sub(r"\{\S*\}$", "SUBCOMMAND ...", " ".join(usage.split()))
    found = re.match(r"usage: \S+((?: [a-z]\S*)*)", usage)
    assert found
    example = _wrapped(examples[found[1].strip()], width - 4).splitlines()
    return "\n".join(
        [
            _wrapped(usage, width, indent=" " * 7),
            *(f"\n{_wrapped(paragraph, width)}" for paragraph in description),
            "",
            *(line for line in lines[start:] if not re.fullmatch("│ *│", _plain(line))),
            "example:",
            " \\\n".join(f"  {line}" for line in example) + "\n",
        ]
    )


def _wrapped(text: str, width: int, indent: str = "") -> str:
    """Wrap a paragraph, where possible not between an option and its value, or inside brackets."""
    inseparable = r"\[[^][]*\]|--\S+ [A-Z]\S*"
    joined = re.sub(inseparable, lambda found: found[0].replace(" ", "\0"), " ".join(text.split()))
    filled = textwrap.fill(joined, width, subsequent_indent=indent, break_on_hyphens=False)
    return filled.replace("\0", " ")


def _plain(text: str) -> str:
    """Return a text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
