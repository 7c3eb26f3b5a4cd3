"""The language of labelling programs: a small subset of Python, as a tree of nodes.

A program computes one label from one input. Its inputs are whole numbers `x`, `y` and `p`, or an
image; see docs/programs.md for all of the language.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

from jaxmi.errors import InputError

UnaryOperator = Literal["-", "not"]
BinaryOperator = Literal["+", "-", "*", "/", "//", "%", "**"]
Comparison = Literal["<", "<=", ">", ">=", "==", "!="]
Connective = Literal["and", "or"]
Kind = Literal["pairs", "image"]

KINDS: dict[str, Kind] = {"transformer": "pairs", "cnn": "image"}
"""Challenge -> what its programs label."""

CHALLENGES: dict[Kind, str] = {kind: name for name, kind in KINDS.items()}
"""The other way round: the challenge whose inputs and network a kind has."""

INPUTS: dict[Kind, tuple[str, ...]] = {"pairs": ("x", "y", "p"), "image": ("image",)}
"""What a program of each kind is given."""

FUNCTIONS = {
    "int": (1, 1),
    "abs": (1, 1),
    "sqrt": (1, 1),
    "floor": (1, 1),
    "ceil": (1, 1),
    "min": (2, 16),
    "max": (2, 16),
}
"""Functions of numbers: the fewest and the most arguments each takes."""

IMAGE_FUNCTIONS = {"l1": 2, "l2": 2, "linf": 2, "dot": 2, "cosine": 2, "mean": 1}
"""Functions of images: how many each takes."""

TEMPLATE = "template"
"""`template(index)` is a training image, counted from 0."""


@dataclass(frozen=True)
class Position:
    """Where in its text a node begins."""

    line: int = 0
    """Counted from 1; 0 where there is no text."""
    column: int = 0
    """Counted from 1."""


class ProgramError(InputError):
    """A text is no program; the message begins with line and column, counted from 1."""

    def __init__(self, at: Position, message: str) -> None:
        """Takes where and why."""
        super().__init__(f"line {at.line}, column {at.column}: {message}")
        self.at = at


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """A part of a program. Nodes are equal if they say the same, wherever they stand."""

    at: Position = Position()

    def __eq__(self, other: object) -> bool:
        """Compares all but positions."""
        return type(other) is type(self) and self._said() == other._said()

    def __hash__(self) -> int:
        """Agrees with equality."""
        return hash(self._said())

    def _said(self) -> tuple[object, ...]:
        said = tuple(getattr(self, field.name) for field in fields(self) if field.name != "at")
        return (type(self), *said, *(type(part) for part in said))  # 1 == 1.0 == True


@dataclass(frozen=True, eq=False)
class Number(Node):
    """A literal: a whole number below 2**63, a finite float, or a truth value; none negative."""

    value: int | float


@dataclass(frozen=True, eq=False)
class Name(Node):
    """An input's or a variable's value."""

    name: str


@dataclass(frozen=True, eq=False)
class Unary(Node):
    """A sign or a negation."""

    operator: UnaryOperator
    operand: "Expression"


@dataclass(frozen=True, eq=False)
class Binary(Node):
    """Arithmetic."""

    operator: BinaryOperator
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, eq=False)
class Compare(Node):
    """A comparison, or a chain of them as in `a <= b < c`."""

    first: "Expression"
    rest: tuple[tuple[Comparison, "Expression"], ...]


@dataclass(frozen=True, eq=False)
class Connected(Node):
    """`and` or `or` of two or more; like Python's, it stops early and gives the last value seen."""

    connective: Connective
    operands: tuple["Expression", ...]


@dataclass(frozen=True, eq=False)
class Choice(Node):
    """`then if condition else otherwise`."""

    condition: "Expression"
    then: "Expression"
    otherwise: "Expression"


@dataclass(frozen=True, eq=False)
class Call(Node):
    """A function's value, or a template."""

    function: str
    arguments: tuple["Expression", ...]


Expression = Number | Name | Unary | Binary | Compare | Connected | Choice | Call


@dataclass(frozen=True, eq=False)
class Assign(Node):
    """`name = value`, or with an operator `name += value`."""

    name: str
    value: Expression
    operator: BinaryOperator | None = None


Branch = tuple[Expression, tuple["Statement", ...]]
"""A condition, and what is done where it holds."""


@dataclass(frozen=True, eq=False)
class If(Node):
    """`if`, any number of `elif`, and `else`, which may be empty."""

    branches: tuple[Branch, ...]
    otherwise: tuple["Statement", ...] = ()


@dataclass(frozen=True, eq=False)
class Return(Node):
    """Ends the program with its label."""

    value: Expression


Statement = Assign | If | Return


@dataclass(frozen=True, eq=False)
class Program(Node):
    """A whole labelling program."""

    kind: Kind
    body: tuple[Statement, ...]

    @property
    def size(self) -> int:
        """Its length as a description: how many statements, operators, names and numbers it has."""
        return sum(_weight(node) for node in walk(self))

    @property
    def templates(self) -> tuple[int, ...]:
        """The training images that it names, in the order of their first use."""
        found: list[int] = []
        for node in walk(self):
            match node:
                case Call(function=name, arguments=(Number(value=index),)) if name == TEMPLATE:
                    found.append(int(index))
        return tuple(dict.fromkeys(found))


def walk(node: Node) -> Iterator[Node]:
    """Yields a node and all below it, in the order of the text."""
    yield node
    for field in fields(node):
        yield from _walk_part(getattr(node, field.name))


def _walk_part(part: object) -> Iterator[Node]:
    if isinstance(part, Node):
        yield from walk(part)
    elif isinstance(part, tuple):
        for element in part:
            yield from _walk_part(element)


def _weight(node: Node) -> int:
    if isinstance(node, Compare):
        return len(node.rest)  # one for each operator
    if isinstance(node, Connected):
        return len(node.operands) - 1
    if isinstance(node, Assign):
        return 2 if node.operator else 1
    if isinstance(node, If):
        return len(node.branches) + bool(node.otherwise)
    return 0 if isinstance(node, Program) else 1
