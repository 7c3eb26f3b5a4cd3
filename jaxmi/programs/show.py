"""Program -> text that parses back to it; the canonical form, and its hash."""

import hashlib
from dataclasses import replace
from typing import Any

from jaxmi.programs import language as lang

_CHOICE, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(10)
"""How tightly Python's operators bind."""

_BINARY = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT}


def show(program: lang.Program) -> str:
    """Writes a program as statements, without comments; `parse` gives the same program back."""
    return "\n".join(_block(program.body)) + "\n"


def canonical(program: lang.Program) -> lang.Program:
    """Returns the program with its variables named z, z2, z3 and so on, as they first appear.

    Two programs that differ only in such names, in layout, or in how Python lets one write the same
    (`np.sqrt`, `elif`, a function around it all), have the same canonical form. Inputs keep their
    names. No algebra is done.
    """
    inputs = lang.INPUTS[program.kind]
    assigned = (node.name for node in lang.walk(program) if isinstance(node, lang.Assign))
    variables = [name for name in dict.fromkeys(assigned) if name not in inputs]
    new = {name: f"z{i}" if i > 1 else "z" for i, name in enumerate(variables, start=1)}
    return _renamed(program, new)


def program_hash(program: lang.Program) -> str:
    """Returns the SHA-256 of the canonical text, in hexadecimal."""
    text = f"{program.kind}\n{show(canonical(program))}"
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _renamed(part: Any, new: dict[str, str]) -> Any:
    if isinstance(part, tuple):
        return tuple(_renamed(element, new) for element in part)
    if not isinstance(part, lang.Node):
        return part
    changes = {name: _renamed(value, new) for name, value in vars(part).items() if name != "at"}
    if isinstance(part, lang.Name | lang.Assign):
        changes["name"] = new.get(part.name, part.name)
    return replace(part, **changes)


def _block(statements: tuple[lang.Statement, ...]) -> list[str]:
    return [line for statement in statements for line in _statement(statement)] or ["pass"]


def _statement(node: lang.Statement) -> list[str]:
    match node:
        case lang.Assign(name=name, value=value, operator=operator):
            return [f"{name} {operator or ''}= {show_expression(value)}"]
        case lang.Return(value=value):
            return [f"return {show_expression(value)}"]
        case lang.If(branches=branches, otherwise=otherwise):
            lines = []
            for i, (test, body) in enumerate(branches):
                lines.append(f"{'elif' if i else 'if'} {show_expression(test)}:")
                lines += _indented(body)
            return [*lines, "else:", *_indented(otherwise)] if otherwise else lines


def _indented(statements: tuple[lang.Statement, ...]) -> list[str]:
    return [f"    {line}" for line in _block(statements)]


def show_expression(node: lang.Expression) -> str:
    """Writes an expression with no more parentheses than it needs."""
    return _expression(node)[0]


def _expression(node: lang.Expression) -> tuple[str, int]:
    """An expression's text, and how tightly its outermost operator binds."""
    match node:
        case lang.Number(value=value):
            return repr(value), _ATOM
        case lang.Name(name=name):
            return name, _ATOM
        case lang.Call(function=function, arguments=arguments):
            return f"{function}({', '.join(map(show_expression, arguments))})", _ATOM
        case lang.Binary(operator="**", left=left, right=right):
            return f"{_at_least(left, _ATOM)} ** {_at_least(right, _SIGN)}", _POWER
        case lang.Binary(operator=operator, left=left, right=right):
            level = _BINARY[operator]
            return f"{_at_least(left, level)} {operator} {_at_least(right, level + 1)}", level
        case lang.Unary(operator="-", operand=operand):
            return f"-{_at_least(operand, _SIGN)}", _SIGN
        case lang.Unary(operand=operand):
            return f"not {_at_least(operand, _NOT)}", _NOT
        case lang.Compare(first=first, rest=rest):
            parts = [f" {operator} {_at_least(part, _SUM)}" for operator, part in rest]
            return _at_least(first, _SUM) + "".join(parts), _COMPARE
        case lang.Connected(connective=connective, operands=operands):
            level = _OR if connective == "or" else _AND
            parts = [_at_least(operand, level + 1) for operand in operands]
            return f" {connective} ".join(parts), level
        case lang.Choice(condition=condition, then=then, otherwise=otherwise):
            parts = _at_least(then, _OR), _at_least(condition, _OR), _at_least(otherwise, _CHOICE)
            return "{} if {} else {}".format(*parts), _CHOICE


def _at_least(node: lang.Expression, level: int) -> str:
    text, own = _expression(node)
    return text if own >= level else f"({text})"
