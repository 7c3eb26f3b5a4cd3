"""The language of labelling programs: a small subset of Python, as a tree of nodes.

A program computes one label from one input. The inputs are whole numbers `x`, `y` and `p`, or an
image, or `x`, `y`, `w` and `p`; docs/programs.md describes the whole language.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal

from jaxmi.errors import InputError

UnaryOperator = Literal["-", "not"]
BinaryOperator = Literal["+", "-", "*", "/", "//", "%", "**"]
Comparison = Literal["<", "<=", ">", ">=", "==", "!="]
Connective = Literal["and", "or"]

Kind = Literal["pairs", "image", "triples"]
"""What a program labels. A new kind is a name here and an entry in `SIGNATURES`."""

FUNCTIONS = {
    "int": (1, 1),
    "abs": (1, 1),
    "sqrt": (1, 1),
    "floor": (1, 1),
    "ceil": (1, 1),
    "round": (1, 2),
    "float": (1, 1),
    "isqrt": (1, 1),
    "min": (2, 16),
    "max": (2, 16),
    "where": (3, 3),
    "pow": (3, 3),
    "fmod": (2, 2),
}
"""Functions of numbers -> the fewest and the most arguments that each takes.

`where(c, a, b)` is `a if c else b`, but computes both, and so fails where either fails.
`round(a, n)` rounds to n decimals, and `pow(a, b, m)` is the remainder of a power.
"""

FREE_NAMES = ("pow", "fmod")
"""Functions whose names a variable may have: programs were written before these were functions."""

IMAGE_FUNCTIONS = {"l1": 2, "l2": 2, "linf": 2, "dot": 2, "cosine": 2, "mean": 1}
"""Functions of images -> how many images each takes."""

TEMPLATE = "template"
"""`template(index)` is a training image, counted from 0."""


@dataclass(frozen=True)
class Signature:
    """The inputs of programs of one kind, and the functions that these programs may call."""

    challenge: str
    """The published challenge that has the network of this kind: of the same architecture."""

    numbers: tuple[str, ...] = ()
    """Names of the inputs that are numbers."""

    image: str | None = None
    """Name of the input that is an image, if there is one."""

    published: bool = True
    """Whether the published challenge's own programs are of this kind."""

    @property
    def operands(self) -> tuple[str, ...]:
        """The numbers that take every value below `p`, in the order of the tokens."""
        return tuple(name for name in self.numbers if name != "p")

    @property
    def inputs(self) -> tuple[str, ...]:
        """All inputs, in the order of a function's arguments."""
        return self.numbers if self.image is None else (*self.numbers, self.image)

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of all functions; those of images only if an input is an image."""
        return (*FUNCTIONS, *(() if self.image is None else (*IMAGE_FUNCTIONS, TEMPLATE)))


SIGNATURES: Mapping[Kind, Signature] = {
    "pairs": Signature(challenge="transformer", numbers=("x", "y", "p")),
    "image": Signature(challenge="cnn", image="image"),
    "triples": Signature(challenge="transformer", numbers=("x", "y", "w", "p"), published=False),
}
"""Kind -> inputs and functions."""

KIND_OF: dict[str, Kind] = {
    signature.challenge: kind for kind, signature in SIGNATURES.items() if signature.published
}
"""Name of a published challenge -> the kind of its programs."""

PUBLISHED: dict[Kind, str] = {kind: signature.challenge for kind, signature in SIGNATURES.items()}
"""Kind -> name of the published challenge that has its network."""

INPUTS: dict[Kind, tuple[str, ...]] = {kind: entry.inputs for kind, entry in SIGNATURES.items()}
"""Kind -> names of the inputs."""


@dataclass(frozen=True)
class Position:
    """Where a node begins in the program's text."""

    line: int = 0
    """Counted from 1; 0 for nodes that come from no text."""

    column: int = 0
    """Counted from 1."""


class ProgramError(InputError):
    """A text is no program; the message begins with line and column, counted from 1."""

    def __init__(self, position: Position, message: str) -> None:
        """Put line and column before the message."""
        super().__init__(f"line {position.line}, column {position.column}: {message}")
        self.position = position


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """A part of a program. Equality compares everything but positions."""

    position: Position = Position()

    def __eq__(self, other: object) -> bool:
        """Compare everything but positions."""
        return type(other) is type(self) and self._content() == other._content()

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(self._content())

    def _content(self) -> tuple[object, ...]:
        names = [field.name for field in fields(self) if field.name != "position"]
        parts = tuple(getattr(self, name) for name in names)
        return (type(self), *parts, *(type(part) for part in parts))  # 1 == 1.0 == True


@dataclass(frozen=True, eq=False)
class Number(Node):
    """A literal: a whole number in 0..2**63 - 1, a finite float >= 0, or a truth value."""

    value: int | float


@dataclass(frozen=True, eq=False)
class Name(Node):
    """The value of an input or a variable."""

    name: str


@dataclass(frozen=True, eq=False)
class Unary(Node):
    """A minus sign or a negation."""

    operator: UnaryOperator
    operand: "Expression"


@dataclass(frozen=True, eq=False)
class Binary(Node):
    """An arithmetic operation on two numbers."""

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
    """`and` or `or` of two or more operands; as in Python, the value is the last one evaluated."""

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
    """A function call, or a template image."""

    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, eq=False)
class Item(Node):
    """`(a, b, c)[index]`: one of one or more numbers, all of which are computed."""

    elements: tuple["Expression", ...]
    index: "Expression"


Expression = Number | Name | Unary | Binary | Compare | Connected | Choice | Call | Item


@dataclass(frozen=True, eq=False)
class Assign(Node):
    """`name = value`, or with an operator `name += value`."""

    name: str
    value: Expression
    operator: BinaryOperator | None = None


Branch = tuple[Expression, tuple["Statement", ...]]
"""A condition, and the statements that run where it holds."""


@dataclass(frozen=True, eq=False)
class If(Node):
    """`if`, any number of `elif`, and `else`, whose statements may be none."""

    branches: tuple[Branch, ...]
    otherwise: tuple["Statement", ...] = ()


@dataclass(frozen=True, eq=False)
class Return(Node):
    """`return value`: the program's label."""

    value: Expression


Statement = Assign | If | Return


@dataclass(frozen=True, eq=False)
class Program(Node):
    """A labelling program."""

    kind: Kind
    body: tuple[Statement, ...]

    @property
    def size(self) -> int:
        """The description length: how many statements, operators, names and numbers there are."""
        return sum(_weight(node) for node in walk(self))

    @property
    def templates(self) -> tuple[int, ...]:
        """The training images that the program names, in the order of their first use."""
        indices: list[int] = []
        for node in walk(self):
            match node:
                case Call(function=name, arguments=(Number(value=index),)) if name == TEMPLATE:
                    indices.append(int(index))
        return tuple(dict.fromkeys(indices))


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all nodes below it, in the order of the text."""
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
        return len(node.rest)  # its operators
    if isinstance(node, Connected):
        return len(node.operands) - 1
    if isinstance(node, Assign):
        return 2 if node.operator else 1
    if isinstance(node, If):
        return len(node.branches) + bool(node.otherwise)
    return 0 if isinstance(node, Program) else 1


def names_in(node: Node) -> set[str]:
    """Return the names that occur in a part of a program."""
    return {part.name for part in walk(node) if isinstance(part, Name)}
