"""A program's parts as expressions of its inputs, by definitions in the place of assignments.

Submitted explanations name features by expressions and definitions; programs assign to variables.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxmi.programs import language as lang
from jaxmi.programs.parse import RESERVED
from jaxmi.programs.show import show_expression

MAX_NAME = 30
"""Longest part of a variable's name that the names of definitions begin with."""


@dataclass(frozen=True, eq=False)
class Expressions:
    """The parts of a program, and the values that its variables take on the way."""

    parts: Sequence[tuple[str, lang.Expression]]
    """Each part's text in the program, or a variable's name, and an expression that gives it.
    Several may have one text: the same condition in two places, say."""
    definitions: Mapping[str, lang.Expression]
    """Name -> expression of the inputs and of definitions before it."""

    def needed(self, *expressions: lang.Expression) -> dict[str, lang.Expression]:
        """Return the definitions that some expressions need, in order."""
        names = {name for expression in expressions for name in lang.names_in(expression)}
        for name, expression in reversed(list(self.definitions.items())):
            if name in names:
                names |= lang.names_in(expression)
        return {name: one for name, one in self.definitions.items() if name in names}


Values = Mapping[str, lang.Expression]
"""Variable -> its value, as an expression of inputs and definitions."""


def expressions_of(program: lang.Program) -> Expressions:
    """Return the parts of a program that are computed outside of branches, and its variables.

    The branches of `if` become choices, so a part stands for its value on every input; what comes
    after a `return` in a branch is wrong where the branch is taken. Within branches only those
    parts are found that depend on the inputs alone.
    """
    assigned = {node.name for node in lang.walk(program) if isinstance(node, lang.Assign)}
    inputs = set(lang.INPUTS[program.kind]) - assigned
    taken = {*assigned, *lang.INPUTS[program.kind], *RESERVED}
    parts: dict[tuple[str, lang.Expression], None] = {}
    definitions: dict[str, lang.Expression] = {}
    values: Values = {}
    for statement in program.body:
        for node in _read_at_start(statement):
            parts[show_expression(node), _set(node, values)] = None
        for node in lang.walk(statement):
            if isinstance(node, lang.Expression) and lang.names_in(node) <= inputs:
                parts[show_expression(node), node] = None
        if isinstance(statement, lang.If):
            tests = [_set(test, values) for test, _ in statement.branches]
            for i, (test, _) in enumerate(statement.branches):
                before = tuple(lang.Unary("not", one) for one in tests[:i])
                if before:
                    reached = lang.Connected("and", (*before, tests[i]))
                    parts[show_expression(test), reached] = None
        after = _run((statement,), values)
        for name, value in after.items():
            if value == values.get(name) or isinstance(value, lang.Name | lang.Number):
                values = {**values, name: value}
                continue
            new = next(n for k in range(len(taken) + 1) if (n := _numbered(name, k)) not in taken)
            taken.add(new)
            definitions[new] = value
            values = {**values, name: lang.Name(new)}
    for name, value in values.items():
        parts[name, value] = None
    return Expressions(list(parts), definitions)


def _numbered(name: str, number: int) -> str:
    return f"{name[:MAX_NAME]}_{number + 1}"


def _read_at_start(statement: lang.Statement) -> Iterator[lang.Expression]:
    """Yield the expressions whose variables have the values that they have before a statement."""
    match statement:
        case lang.If(branches=branches):
            tops = [test for test, _ in branches]
        case lang.Assign(value=value) | lang.Return(value=value):
            tops = [value]
    for top in tops:
        yield from (node for node in lang.walk(top) if isinstance(node, lang.Expression))


def _run(block: Sequence[lang.Statement], values: Values) -> Values:
    """Return the variables' values after some statements."""
    for statement in block:
        match statement:
            case lang.Assign(name=name, value=value, operator=None):
                values = {**values, name: _set(value, values)}
            case lang.Assign(name=name, value=value, operator=operator):
                assert operator is not None  # that case is above
                old = values.get(name, lang.Name(name))
                values = {**values, name: lang.Binary(operator, old, _set(value, values))}
            case lang.If(branches=branches, otherwise=otherwise):
                after = _run(otherwise, values)
                for test, body in reversed(branches):
                    after = _either(_set(test, values), _run(body, values), after)
                values = after
    return values


def _either(condition: lang.Expression, then: Values, otherwise: Values) -> Values:
    merged = {}
    for name in dict.fromkeys((*then, *otherwise)):
        one, other = then.get(name), otherwise.get(name)
        if one is None or other is None or one == other:
            merged[name] = one if one is not None else otherwise[name]
        else:
            merged[name] = lang.Choice(condition, one, other)
    return merged


def _set(part: Any, values: Values) -> Any:
    """Return a part of a program with its variables' values in the place of their names."""
    if isinstance(part, tuple):
        return tuple(_set(element, values) for element in part)
    if isinstance(part, lang.Name):
        return values.get(part.name, part)
    if not isinstance(part, lang.Node):
        return part
    return replace(part, **{name: _set(value, values) for name, value in vars(part).items()})
