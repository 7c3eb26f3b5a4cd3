"""Skeletons: what programs share that differ only in their constants.

A skeleton has *holes* in the place of literals, and *tables* in the place of every subexpression
that depends on no hole, no variable and at most one input. Holes and tables are names that no text
can contain (`int#0`, `float#1`, `table#2`), so a skeleton's body is a program like any other, whose
leaves are constants and tables.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

from jaxmi.programs import language as lang
from jaxmi.programs.show import show

MAX_EXPONENT = 8
"""Largest exponent of a power that is computed as a product; other powers must be in tables."""

_Leaf = Callable[[lang.Number, bool], Any]
_Build = Callable[[lang.Node, tuple[str, ...], list[Any]], Any]

_FIELDS = {
    kind: tuple(field.name for field in fields(kind) if field.name != "position")
    for kind in (*get_args(lang.Expression), *get_args(lang.Statement), lang.Program)
}


@dataclass(frozen=True)
class Skeleton:
    """The common part of programs that differ in constants; equal if the texts are."""

    text: str
    """The kind, and the program with holes."""

    kind: lang.Kind = field(compare=False)
    """The kind of the programs."""

    body: tuple[lang.Statement, ...] = field(compare=False, repr=False)
    """The statements, with holes and tables."""

    tables: tuple[lang.Expression, ...] = field(compare=False, repr=False)
    """The expressions of `table#0`, `table#1` and so on."""

    kinds: tuple[type[int] | type[float], ...] = field(compare=False)
    """The type of each hole."""

    holed: lang.Program = field(compare=False, repr=False)
    """The program with holes and without tables."""


def split_constants(program: lang.Program) -> tuple[Hashable, tuple[int | float, ...]]:
    """Split a program into a key of its skeleton and its constants, fast enough to group many.

    These literals are no constants and stay in the skeleton: truth values, arguments of `template`,
    of `pow` and of `round` to decimals, exponents, and bases of powers, except whole numbers in
    powers that are short products, as in `(x - 50) ** 2`.

    Returns:
      A key, equal for programs with equal skeletons; and the constants, in the order of the text.
    """
    constants: list[int | float] = []

    def leaf(number: lang.Number, is_open: bool) -> Hashable:
        if is_open:
            constants.append(number.value)
        return type(number.value) if is_open else (type(number.value), number.value)

    key = _fold(program, True, leaf, lambda node, _, parts: (type(node), *parts))
    return key, tuple(constants)


def make_skeleton(program: lang.Program) -> Skeleton:
    """Return the skeleton of a program and of all that differ from it only in their constants."""
    kinds: list[type[int] | type[float]] = []

    def leaf(number: lang.Number, is_open: bool) -> lang.Expression:
        if not is_open:
            return number
        kinds.append(type(number.value))
        return lang.Name(f"{kinds[-1].__name__}#{len(kinds) - 1}", position=number.position)

    holed: lang.Program = _fold(program, True, leaf, _rebuilt)
    tables = _Tables(holed)
    body = tables.replace_in(_without_aliases(holed).body)
    text = f"{program.kind}\n{show(holed)}"
    return Skeleton(text, program.kind, body, tuple(tables.expressions), tuple(kinds), holed)


def fill(skeleton: Skeleton, values: Sequence[int | float]) -> lang.Program:
    """Return the program of a skeleton that has these constants, one for each hole."""
    numbers = {
        f"{kind.__name__}#{i}": kind(value)
        for i, (kind, value) in enumerate(zip(skeleton.kinds, values, strict=True))
    }

    def build(node: lang.Node, names: tuple[str, ...], parts: list[Any]) -> lang.Node:
        if isinstance(node, lang.Name) and node.name in numbers:
            return lang.Number(numbers[node.name], position=node.position)
        return _rebuilt(node, names, parts)

    return _fold(skeleton.holed, False, lambda number, _: number, build)


def short_exponent(power: lang.Binary) -> int | None:
    """Return the exponent of a power that is computed as a product, 1..8; None of other nodes."""
    match power:
        case lang.Binary("**", right=lang.Number(value=int(n))) if 1 <= n <= MAX_EXPONENT:
            return int(n)
    return None


def _fold(part: Any, is_open: bool, leaf: _Leaf, build: _Build) -> Any:
    """Fold a program in the order of its text; `is_open` tells a leaf that it is a constant."""
    if isinstance(part, tuple):
        return tuple([_fold(element, is_open, leaf, build) for element in part])
    names = _FIELDS.get(type(part))
    if names is None:
        return part
    if isinstance(part, lang.Number):
        return leaf(part, is_open and type(part.value) is not bool)
    if isinstance(part, lang.Binary) and part.operator == "**":
        left = _fold(part.left, is_open and _is_product(part), leaf, build)
        return build(part, names, ["**", left, _fold(part.right, False, leaf, build)])
    is_open = is_open and not _is_closed(part)
    return build(part, names, [_fold(getattr(part, n), is_open, leaf, build) for n in names])


def _rebuilt(node: lang.Node, names: tuple[str, ...], parts: list[Any]) -> Any:
    return replace(node, **dict(zip(names, parts, strict=True)))


def _is_product(power: lang.Binary) -> bool:
    for part in lang.walk(power.left):
        match part:
            case (
                lang.Number(value=float()) | lang.Binary("/") | lang.Call("sqrt" | "float" | "fmod")
            ):
                return False
    return short_exponent(power) is not None


def _is_closed(node: lang.Node) -> bool:
    """Return whether a node's literals stay; powers and rounded numbers are exact in tables."""
    match node:
        case lang.Call(lang.TEMPLATE | "pow") | lang.Call("round", (_, _)):
            return True
    return False


class _Tables:
    """Replace the largest possible subexpressions by tables, and collect them."""

    def __init__(self, program: lang.Program) -> None:
        self.expressions: list[lang.Expression] = []
        assigned = {node.name for node in lang.walk(program) if isinstance(node, lang.Assign)}
        self._fixed = [name for name in lang.INPUTS[program.kind] if name not in assigned]
        self._changed = [name for name in lang.INPUTS[program.kind] if name in assigned]

    def replace_in(self, statements: tuple[lang.Statement, ...]) -> tuple[lang.Statement, ...]:
        """Return statements with tables. An input that is assigned to starts as a variable."""
        first = (lang.Assign(name, self._table(lang.Name(name))) for name in self._changed)
        return (*first, *self._replaced(statements))

    def _replaced(self, part: Any) -> Any:
        if isinstance(part, tuple):
            return tuple(map(self._replaced, part))
        names = _FIELDS.get(type(part))
        if names is None:
            return part
        if isinstance(part, lang.Expression):
            if self._is_table(part):
                return self._table(part)
            if isinstance(part, lang.Binary) and short_exponent(part):
                return replace(part, left=self._replaced(part.left))
        return _rebuilt(part, names, [self._replaced(getattr(part, name)) for name in names])

    def _is_table(self, node: lang.Expression) -> bool:
        names = {part.name for part in lang.walk(node) if isinstance(part, lang.Name)}
        return names <= set(self._fixed) and len(names - {"p"}) <= 1

    def _table(self, expression: lang.Expression) -> lang.Name:
        if expression not in self.expressions:
            self.expressions.append(expression)
        number = self.expressions.index(expression)
        return lang.Name(f"table#{number}", position=expression.position)


def _without_aliases(program: lang.Program) -> lang.Program:
    """Replace variables that stand for images by the images."""
    image = lang.SIGNATURES[program.kind].image
    images: dict[str, lang.Expression] = {} if image is None else {image: lang.Name(image)}

    def build(node: lang.Node, names: tuple[str, ...], parts: list[Any]) -> Any:
        if isinstance(node, lang.Program):
            return replace(node, body=tuple(filter(None, parts[names.index("body")])))
        match _rebuilt(node, names, parts):
            case lang.Name(name=name) if name in images:
                return images[name]
            case lang.Assign(name=name, value=value) if value in images.values():
                images[name] = value
                return None
            case lang.Assign(name=name, value=lang.Call(function=lang.TEMPLATE) as template):
                images[name] = template
                return None
            case rebuilt:
                return rebuilt

    return _fold(program, False, lambda number, _: number, build)
