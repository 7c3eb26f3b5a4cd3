"""Program -> what it shares with others that differ only in their constants, and its constants.

A skeleton has *holes* in place of literals, and *tables* in place of whatever depends on no hole,
no variable and at most one input. Both are names that no text can have: `int#0`, `float#1`,
`table#2`. So a skeleton is a program, too, one of constants and tables alone.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

from jaxmi.programs import language as lang
from jaxmi.programs.show import show

MAX_EXPONENT = 8
"""Powers of sums and the like, up to this, are products; all others are in tables or nowhere."""

_Leaf = Callable[[lang.Number, bool], Any]
_Build = Callable[[lang.Node, tuple[str, ...], list[Any]], Any]

_FIELDS = {
    kind: tuple(field.name for field in fields(kind) if field.name != "at")
    for kind in (*get_args(lang.Expression), *get_args(lang.Statement), lang.Program)
}


@dataclass(frozen=True)
class Skeleton:
    """What programs share. Equal if their texts are."""

    text: str
    """Its kind, and the program with holes."""

    kind: lang.Kind = field(compare=False)
    """What its programs label."""

    body: tuple[lang.Statement, ...] = field(compare=False, repr=False)
    """Its statements, with holes and tables."""

    tables: tuple[lang.Expression, ...] = field(compare=False, repr=False)
    """What `table#0`, `table#1` and so on stand for."""

    kinds: tuple[type[int] | type[float], ...] = field(compare=False)
    """Each hole's type."""

    holed: lang.Program = field(compare=False, repr=False)
    """The program with holes alone."""


def constants(program: lang.Program) -> tuple[Hashable, tuple[int | float, ...]]:
    """Takes a program apart quickly, to group many.

    Truth values, and literals in `template` and in powers, are not taken out, but for bases that
    might be whole numbers in powers that are short products, as in `(x - 50) ** 2`.

    Returns:
      A key, the same for programs with the same skeleton; and the constants, as in the text.
    """
    found: list[int | float] = []

    def leaf(number: lang.Number, is_open: bool) -> Hashable:
        if is_open:
            found.append(number.value)
        return type(number.value) if is_open else (type(number.value), number.value)

    return _fold(program, True, leaf, lambda node, _, parts: (type(node), *parts)), tuple(found)


def skeleton(program: lang.Program) -> Skeleton:
    """Returns what a program shares with those that have other constants of the same types."""
    kinds: list[type[int] | type[float]] = []

    def leaf(number: lang.Number, is_open: bool) -> lang.Expression:
        if not is_open:
            return number
        kinds.append(type(number.value))
        return lang.Name(f"{kinds[-1].__name__}#{len(kinds) - 1}", at=number.at)

    holed: lang.Program = _fold(program, True, leaf, _rebuilt)
    tables = _Tables(holed)
    body = tables.body(_without_aliases(holed).body)
    text = f"{program.kind}\n{show(holed)}"
    return Skeleton(text, program.kind, body, tuple(tables.found), tuple(kinds), holed)


def filled(skeleton: Skeleton, values: Sequence[int | float]) -> lang.Program:
    """Returns the program that has these constants, as many as there are holes."""
    numbers = {
        f"{kind.__name__}#{i}": kind(value)
        for i, (kind, value) in enumerate(zip(skeleton.kinds, values, strict=True))
    }

    def build(node: lang.Node, names: tuple[str, ...], parts: list[Any]) -> lang.Node:
        if isinstance(node, lang.Name) and node.name in numbers:
            return lang.Number(numbers[node.name], at=node.at)
        return _rebuilt(node, names, parts)

    return _fold(skeleton.holed, False, lambda number, _: number, build)


def _fold(part: Any, is_open: bool, leaf: _Leaf, build: _Build) -> Any:
    """Goes through a program in the order of its text; `is_open` says if literals are constants."""
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
    is_open = is_open and not (isinstance(part, lang.Call) and part.function == lang.TEMPLATE)
    return build(part, names, [_fold(getattr(part, n), is_open, leaf, build) for n in names])


def _rebuilt(node: lang.Node, names: tuple[str, ...], parts: list[Any]) -> Any:
    return replace(node, **dict(zip(names, parts, strict=True)))


def power(node: lang.Binary) -> int | None:
    """Returns the exponent of a power that is a short product, 1..8; None of anything else."""
    match node:
        case lang.Binary("**", right=lang.Number(value=int(n))) if 1 <= n <= MAX_EXPONENT:
            return int(n)
    return None


def _is_product(node: lang.Binary) -> bool:
    for part in lang.walk(node.left):
        match part:
            case lang.Number(value=float()) | lang.Binary("/") | lang.Call("sqrt"):
                return False
    return power(node) is not None


class _Tables:
    """Puts tables where they can stand, as large as possible."""

    def __init__(self, program: lang.Program) -> None:
        self.found: list[lang.Expression] = []
        assigned = {node.name for node in lang.walk(program) if isinstance(node, lang.Assign)}
        self._fixed = [name for name in lang.INPUTS[program.kind] if name not in assigned]
        self._changed = [name for name in lang.INPUTS[program.kind] if name in assigned]

    def body(self, statements: tuple[lang.Statement, ...]) -> tuple[lang.Statement, ...]:
        """Returns statements with tables. An input that is assigned to begins as a variable."""
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
            if isinstance(part, lang.Binary) and power(part):
                return replace(part, left=self._replaced(part.left))
        return _rebuilt(part, names, [self._replaced(getattr(part, name)) for name in names])

    def _is_table(self, node: lang.Expression) -> bool:
        used = {part.name for part in lang.walk(node) if isinstance(part, lang.Name)}
        return used <= set(self._fixed) and len(used - {"p"}) <= 1

    def _table(self, expression: lang.Expression) -> lang.Name:
        if expression not in self.found:
            self.found.append(expression)
        return lang.Name(f"table#{self.found.index(expression)}", at=expression.at)


def _without_aliases(program: lang.Program) -> lang.Program:
    """Puts images where their other names stand."""
    images: dict[str, lang.Expression] = {"image": lang.Name("image")}

    def build(node: lang.Node, names: tuple[str, ...], parts: list[Any]) -> Any:
        if isinstance(node, lang.Program):
            return replace(node, body=tuple(filter(None, parts[names.index("body")])))
        match _rebuilt(node, names, parts):
            case lang.Name(name=name) if name in images:
                return images[name]
            case lang.Assign(name=name, value=value) if _is_image(value):
                images[name] = value
                return None
            case other:
                return other

    return _fold(program, False, lambda number, _: number, build)


def _is_image(node: lang.Expression) -> bool:
    match node:
        case lang.Name(name="image") | lang.Call(function=lang.TEMPLATE):
            return True
    return False
