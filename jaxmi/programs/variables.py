"""Variables of a program: the values that it computes on its way from an input to a label.

Each can be set: what would the label be if this condition, this residue, this partial sum had
another value, and all else stayed? An intervention on a network is compared with such
counterfactual labels (Geiger et al., "Causal abstractions of neural networks", 2021).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs import language as lang
from jaxmi.programs.domain import NumberDomain, SetDomain
from jaxmi.programs.evaluate import EvaluationError, evaluate, label
from jaxmi.programs.show import show, show_expression

Role = Literal["condition", "residue", "term", "partial sum", "operand"]

MAX_VALUES = 600
"""A variable with more values than this is left out."""

MAX_LABELS = 2**26
"""A variable with more counterfactual labels than this is left out: values times inputs."""

FACTORS = (0.25, 0.5, 0.7, 0.85, 1.2, 1.5, 2.0, 4.0)
"""Factors by which a constant of a comparison is moved."""

OFFSETS = (2, 5, 10, 20, 50, 100, 200, 1000)
"""What is added to the left side of a comparison without constants, to move it."""

MOVED_SHARE = 0.15
"""Share of the inputs on which a moved comparison should differ: the nearest is taken."""

LEAST_MOVED, MOST_MOVED = 0.02, 0.4
"""Least and largest share of the inputs on which a moved comparison may differ."""


@dataclass(frozen=True, eq=False)
class Variable:
    """One value that a program computes, on every input of a domain."""

    name: str
    """The part of the program that computes it, as the program writes it."""
    role: Role
    values: Int[np.ndarray, "n"]
    """The number of its value, among its distinct values, of each input."""
    counterfactual: Bool[np.ndarray, "k n"]
    """The label of each input if the variable had each of its distinct values."""

    def labels(
        self, bases: Int[np.ndarray, "m"], sources: Int[np.ndarray, "m"]
    ) -> Bool[np.ndarray, "m"]:
        """Return the labels of base inputs if the variable had its values of source inputs."""
        return self.counterfactual[self.values[sources], bases]

    def at(self, rows: Int[np.ndarray, "m"]) -> "Variable":
        """Return the variable on some inputs only, in this order."""
        return replace(self, values=self.values[rows], counterfactual=self.counterfactual[:, rows])


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A variable, the labels of the program that it is of, and a program that is wrong about it."""

    variable: Variable
    own: Bool[np.ndarray, "n"]
    """The program's labels."""
    moved: "Hypothesis | None" = None
    """The same variable of the program with one constant moved; None if none can be."""

    def at(self, rows: Int[np.ndarray, "m"]) -> "Hypothesis":
        """Return the hypothesis about some inputs only, in this order."""
        moved = None if self.moved is None else self.moved.at(rows)
        return Hypothesis(self.variable.at(rows), self.own[rows], moved)

    def with_values(self, values: Int[np.ndarray, "n"]) -> "Hypothesis":
        """Return a wrong hypothesis: the variable has the values of other inputs."""
        return Hypothesis(replace(self.variable, values=values), self.own)


@dataclass(frozen=True)
class _Part:
    """A place in a program: an expression, or a sum before a statement."""

    name: str
    role: Role
    node: lang.Expression
    """The expression; for a partial sum its name."""
    at: int | None = None
    """The statement, of the program's own, that it stands in; None if it needs no state."""
    added_to: str = ""
    """Of a term, the variable that it is added to."""


def hypotheses(program: lang.Program, domain: NumberDomain) -> list[Hypothesis]:
    """Return a program's variables, in the order of its text, then the operands themselves.

    These are comparisons, remainders, terms that are added to a variable, and the sum so far before
    a statement that compares it. Those that depend on an assigned variable are looked for outside
    of branches only. A variable that cannot be computed everywhere is left out, as is one with more
    than `MAX_VALUES` values, and one whose value never changes the label.

    Args:
      program: A program on numbers.
      domain: Its inputs.

    Raises:
      InputError: if the program is of another kind, or fails on an input.
    """
    own = label(program, domain).astype(bool)
    found = []
    for part in _parts(program):
        variable = _variable(part, program, domain)
        if variable is not None and (variable.counterfactual != own).any():
            found.append(Hypothesis(variable, own, _moved(part, program, domain)))
    tables = own.reshape(domain.shape)
    for axis, (name, values) in enumerate(domain.columns().items()):
        if domain.p * own.size > MAX_LABELS:
            break
        others = np.expand_dims(np.moveaxis(tables, axis, 0), axis + 1)
        labels = np.broadcast_to(others, (domain.p, *domain.shape)).reshape(domain.p, -1)
        if (labels != own).any():
            found.append(Hypothesis(Variable(name, "operand", values, labels), own))
    return found


@dataclass(frozen=True, eq=False)
class Named:
    """A part of a program that computes a variable, by the variable's name."""

    name: str
    role: Role
    expression: lang.Expression
    values: Float[np.ndarray, "n"]
    """What it computes on each input, truth values as 0 and 1."""
    at: int | None = None
    """The statement, counted from 0, before which it is computed; None if it needs no variable."""


def named_parts(program: lang.Program, domain: NumberDomain) -> list[Named]:
    """Return the parts of a program that compute variables, in the order of its text.

    They have the names that `hypotheses` gives, and are more: also those whose value never changes
    the label are here. A part that cannot be computed everywhere is left out.
    """
    found = []
    for part in _parts(program):
        with suppress(EvaluationError):
            values = evaluate(_computing(part, program), domain).astype(np.float64)
            found.append(Named(part.name, part.role, part.node, values, part.at))
    return found


def _parts(program: lang.Program) -> list[_Part]:
    """Return the places of a program's variables, each once, under names of their own."""
    assigned = {node.name for node in lang.walk(program) if isinstance(node, lang.Assign)}
    inputs = set(lang.INPUTS[program.kind]) - assigned
    parts: dict[tuple[str, int | None], _Part] = {}
    has_state = True
    for i, statement in enumerate(program.body):
        stateful = set(map(id, _read_at_start(statement))) if has_state else set()
        for node in lang.walk(statement):
            names = lang.names_in(node)
            if not names or _is_label(node, statement):
                continue
            found = []
            pure = names <= inputs
            if isinstance(node, lang.Assign) and _is_term(node, inputs):
                operator, value = addition(node) or ("", node.value)
                name = f"{node.name} {operator}= {show_expression(value)}"
                found.append(_Part(name, "term", value, added_to=node.name))
            elif isinstance(node, lang.Compare | lang.Binary) and _is_value(node):
                if not pure and id(node) not in stateful:
                    continue
                is_condition = isinstance(node, lang.Compare)
                if is_condition and not pure:
                    found += _sums(names, program, i)
                role: Role = "condition" if is_condition else "residue"
                found.append(_Part(show_expression(node), role, node, None if pure else i))
            for part in found:
                parts.setdefault((part.name, part.at), part)
        has_state = has_state and not any(isinstance(n, lang.Return) for n in lang.walk(statement))
    counts = Counter(part.name for part in parts.values())
    return [
        replace(part, name=f"{part.name} at line {_line(program, part.at)}")
        if part.at is not None and counts[part.name] > 1
        else part
        for part in parts.values()
    ]


def _line(program: lang.Program, at: int) -> int:
    """Return the line, of the program as `show` writes it, at which a statement begins."""
    return len(show(replace(program, body=program.body[:at])).splitlines()) * bool(at) + 1


def _read_at_start(statement: lang.Statement) -> Iterator[lang.Node]:
    """Yield the nodes whose variables have the values that they have before the statement."""
    match statement:
        case lang.If(branches=branches):
            for condition, _ in branches:
                yield from lang.walk(condition)
        case lang.Assign(value=value) | lang.Return(value=value):
            yield from lang.walk(value)


def _is_label(node: lang.Node, statement: lang.Statement) -> bool:
    """Return whether a node is all that a statement returns: the label is no variable."""
    return isinstance(statement, lang.Return) and node is statement.value


def _is_value(node: lang.Node) -> bool:
    """Return whether a node is a comparison or a remainder."""
    return isinstance(node, lang.Compare) or (
        isinstance(node, lang.Binary) and node.operator == "%"
    )


def addition(node: lang.Assign) -> tuple[str, lang.Expression] | None:
    """Return "+" or "-" and what is added to the variable itself; None if it is assigned anew."""
    if node.operator in ("+", "-"):
        return node.operator, node.value
    match node:
        case lang.Assign(
            name=name,
            operator=None,
            value=lang.Binary(operator="+" | "-" as operator, left=lang.Name(name=left)) as value,
        ) if left == name:
            return operator, value.right
    return None


def _is_term(node: lang.Assign, inputs: set[str]) -> bool:
    """Return whether an assignment adds what has no comparison and no remainder in it."""
    if (added := addition(node)) is None:
        return False
    _, value = added
    names = lang.names_in(value)
    return bool(names) and names <= inputs and not any(map(_is_value, lang.walk(value)))


def _sums(names: set[str], program: lang.Program, at: int) -> list[_Part]:
    """Return the sums so far, before a statement, of the variables that it compares."""
    return [
        _Part(f"{name} before line {_line(program, at)}", "partial sum", lang.Name(name), at)
        for name in sorted(names)
        if any(
            isinstance(node, lang.Assign) and node.name == name and addition(node)
            for statement in program.body[:at]
            for node in lang.walk(statement)
        )
    ]


def _variable(part: _Part, program: lang.Program, domain: NumberDomain) -> Variable | None:
    """Return the variable at a place; None if it is left out."""
    try:
        values = evaluate(_computing(part, program), domain)
        distinct, first, numbers = np.unique(
            values.astype(np.float64), return_index=True, return_inverse=True
        )
        if not 1 < len(distinct) <= MAX_VALUES or len(distinct) * len(values) > MAX_LABELS:
            return None
        setting = _free_name(program)
        settings = SetDomain(domain, setting, values[first])
        labels = label(_with(part, program, lang.Name(setting)), settings)
    except EvaluationError:
        return None
    return Variable(
        part.name,
        part.role,
        numbers.reshape(-1),
        labels.astype(bool).reshape(len(distinct), len(values)),
    )


def _computing(part: _Part, program: lang.Program) -> lang.Program:
    """Return a program that returns what is computed at a place."""
    before = () if part.at is None else program.body[: part.at]
    return replace(program, body=(*before, lang.Return(part.node)))


def _with(part: _Part, program: lang.Program, other: lang.Expression) -> lang.Program:
    """Return the program with another expression at a place."""

    def same(node: lang.Node) -> lang.Node | None:
        return other if node == part.node else None

    def same_term(node: lang.Node) -> lang.Node | None:
        if not isinstance(node, lang.Assign) or node.name != part.added_to:
            return None
        if (added := addition(node)) is None or added[1] != part.node:
            return None
        if node.operator:
            return replace(node, value=other)
        assert isinstance(node.value, lang.Binary)
        return replace(node, value=replace(node.value, right=other))

    body = program.body
    if part.role == "term":
        return replace(program, body=_changed(body, same_term))
    if part.at is None:
        return replace(program, body=_changed(body, same))
    before, statement, after = body[: part.at], body[part.at], body[part.at + 1 :]
    if part.role == "partial sum":
        assert isinstance(part.node, lang.Name)
        return replace(
            program, body=(*before, lang.Assign(part.node.name, other), statement, *after)
        )
    if isinstance(statement, lang.If):
        # Only the conditions: within the branches variables may have other values.
        branches = tuple((_changed(test, same), then) for test, then in statement.branches)
        statement = replace(statement, branches=branches)
    else:
        statement = replace(statement, value=_changed(statement.value, same))
    return replace(program, body=(*before, statement, *after))


def _changed(part: Any, change: Callable[[lang.Node], lang.Node | None]) -> Any:
    """Return a part of a program with some nodes replaced: those that `change` returns one for."""
    if isinstance(part, tuple):
        return tuple(_changed(element, change) for element in part)
    if not isinstance(part, lang.Node):
        return part
    if (other := change(part)) is not None:
        return other
    return replace(part, **{name: _changed(value, change) for name, value in vars(part).items()})


def _free_name(program: lang.Program) -> str:
    """Return a name that the program does not use."""
    taken = lang.names_in(program) | set(lang.INPUTS[program.kind])
    taken |= {node.name for node in lang.walk(program) if isinstance(node, lang.Assign)}
    return next(name for n in range(len(taken) + 1) if (name := f"setting{n}") not in taken)


def _moved(part: _Part, program: lang.Program, domain: NumberDomain) -> Hypothesis | None:
    """Return the hypothesis with a constant moved that changes about `MOVED_SHARE` of the values.

    A remainder gets the next larger modulus instead.
    """
    right = evaluate(_computing(part, program), domain)
    best: tuple[float, _Part, lang.Program] | None = None
    for node in _moves(part):
        wrong = replace(part, node=node, name=show_expression(node))
        moved = _with(part, program, node)
        try:
            values = evaluate(_computing(wrong, program), domain)
        except EvaluationError:
            continue
        share = float((values != right).mean())
        if (values == values[0]).all():
            continue
        if part.role != "residue" and not LEAST_MOVED <= share <= MOST_MOVED:
            continue
        if best is None or abs(share - MOVED_SHARE) < abs(best[0] - MOVED_SHARE):
            best = share, wrong, moved
    if best is None:
        return None
    _, wrong, moved = best
    try:
        own = label(moved, domain).astype(bool)
    except EvaluationError:
        return None
    variable = _variable(wrong, moved, domain)
    return None if variable is None else Hypothesis(variable, own)


def _moves(part: _Part) -> Iterator[lang.Expression]:
    """Yield a place's expression with one constant moved."""
    node = part.node
    if part.role == "residue" and isinstance(node, lang.Binary):
        if isinstance(node.right, lang.Number):
            yield replace(node, right=replace(node.right, value=node.right.value + 1))
    elif part.role == "condition":
        constants = list(_constants(node))
        for number in constants:
            for factor in FACTORS:
                value = number.value * factor
                whole = isinstance(number.value, int)
                other = replace(number, value=round(value) if whole else value)
                if other.value != number.value:
                    yield _changed(node, lambda one, it=number, to=other: to if one is it else None)
        if not constants and isinstance(node, lang.Compare):
            for offset in OFFSETS:
                yield replace(node, first=lang.Binary("+", node.first, lang.Number(offset)))


def _constants(node: lang.Expression) -> Iterator[lang.Number]:
    """Yield the constants in an expression that can be moved: not 0, and no exponents."""
    exponents = {
        id(power.right)
        for power in lang.walk(node)
        if isinstance(power, lang.Binary) and power.operator == "**"
    }
    for part in lang.walk(node):
        if not isinstance(part, lang.Number) or isinstance(part.value, bool):
            continue
        if part.value and id(part) not in exponents:
            yield part
