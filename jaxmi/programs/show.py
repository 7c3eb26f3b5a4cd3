"""Program -> text that parses back to it; a canonical form of programs, and its hash."""

import hashlib
from dataclasses import replace
from typing import Any

from jaxmi.programs import language as lang

_CHOICE, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(10)
"""Precedence of Python's operators, the loosest first."""

_BINARY = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT}


def show(program: lang.Program) -> str:
    """Return a program as statements, without comments; `parse` gives the same program back."""
    return "\n".join(_block(program.body)) + "\n"


def canonical(program: lang.Program) -> lang.Program:
    """Return the program with its variables named z, z2, z3 and so on, as they first appear.

    Programs have the same canonical form if they differ only in the names of variables, in layout,
    or in spelling (`np.sqrt` or `sqrt`, `elif` or `else` with `if`, a function around the program
    or none, `x in (1, 2)` or `x == 1 or x == 2`). Inputs keep their names. No algebra is done:
    `x + 1` and `1 + x` differ.
    """
    inputs = lang.INPUTS[program.kind]
    assigned = (node.name for node in lang.walk(program) if isinstance(node, lang.Assign))
    variables = [name for name in dict.fromkeys(assigned) if name not in inputs]
    names = {name: f"z{i}" if i > 1 else "z" for i, name in enumerate(variables, start=1)}
    return _renamed(program, names)


def program_hash(program: lang.Program) -> str:
    """Return the SHA-256 of the canonical text, in hexadecimal."""
    text = f"{program.kind}\n{show(canonical(program))}"
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _renamed(part: Any, names: dict[str, str]) -> Any:
    if isinstance(part, tuple):
        return tuple(_renamed(element, names) for element in part)
    if not isinstance(part, lang.Node):
        return part
    fields = {key: value for key, value in vars(part).items() if key != "position"}
    changes = {key: _renamed(value, names) for key, value in fields.items()}
    if isinstance(part, lang.Name | lang.Assign):
        changes["name"] = names.get(part.name, part.name)
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
    """Return an expression's text, with no more parentheses than it needs."""
    return _expression(node)[0]


def _expression(node: lang.Expression) -> tuple[str, int]:
    """Return an expression's text, and the precedence of its outermost operator."""
    match node:
        case lang.Number(value=value):
            return repr(value), _ATOM
        case lang.Name(name=name):
            return name, _ATOM
        case lang.Call(function=function, arguments=arguments):
            return f"{function}({', '.join(map(show_expression, arguments))})", _ATOM
        case lang.Item(elements=elements, index=index):
            comma = "," if len(elements) == 1 else ""
            listed = ", ".join(map(show_expression, elements))
            return f"({listed}{comma})[{show_expression(index)}]", _ATOM
        case lang.Binary(operator="**", left=left, right=right):
            return f"{_wrapped(left, _ATOM)} ** {_wrapped(right, _SIGN)}", _POWER
        case lang.Binary(operator=operator, left=left, right=right):
            level = _BINARY[operator]
            return f"{_wrapped(left, level)} {operator} {_wrapped(right, level + 1)}", level
        case lang.Unary(operator="-", operand=operand):
            return f"-{_wrapped(operand, _SIGN)}", _SIGN
        case lang.Unary(operand=operand):
            return f"not {_wrapped(operand, _NOT)}", _NOT
        case lang.Compare(first=first, rest=rest):
            parts = [f" {operator} {_wrapped(part, _SUM)}" for operator, part in rest]
            return _wrapped(first, _SUM) + "".join(parts), _COMPARE
        case lang.Connected(connective=connective, operands=operands):
            level = _OR if connective == "or" else _AND
            parts = [_wrapped(operand, level + 1) for operand in operands]
            return f" {connective} ".join(parts), level
        case lang.Choice(condition=condition, then=then, otherwise=otherwise):
            parts = _wrapped(then, _OR), _wrapped(condition, _OR), _wrapped(otherwise, _CHOICE)
            return "{} if {} else {}".format(*parts), _CHOICE


def _wrapped(node: lang.Expression, level: int) -> str:
    """Return an expression's text, in parentheses if it binds more loosely than a level."""
    text, own_level = _expression(node)
    return text if own_level >= level else f"({text})"


def power(name: str, exponent: int | float) -> str:
    """Return the text of a power as a person would write it."""
    if exponent == 0.5:
        return f"sqrt({name})"
    return name if exponent == 1 else f"{name} ** {exponent}"
