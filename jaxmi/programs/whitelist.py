"""What of Python's tree belongs to the language, and how the rest is refused."""

import ast
import math
from typing import Any, NoReturn

from jaxmi.programs import language as lang
from jaxmi.programs.language import ProgramError

MODULES = ("np", "numpy", "math")
"""Functions may be written with these before them, as in `np.sqrt`; it is the same function."""

BINARY: dict[type[ast.operator], lang.BinaryOperator] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
COMPARISONS: dict[type[ast.cmpop], lang.Comparison] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


_WORDS: dict[type[ast.AST], str] = {
    ast.AnnAssign: "an annotation",
    ast.Attribute: "an attribute",
    ast.ClassDef: "a class",
    ast.Dict: "a dictionary",
    ast.DictComp: "a comprehension",
    ast.Expr: "an expression whose value is not used",
    ast.For: "a loop",
    ast.FunctionDef: "a function inside the program",
    ast.GeneratorExp: "a comprehension",
    ast.JoinedStr: "an f-string",
    ast.Lambda: "a lambda",
    ast.List: "a list",
    ast.ListComp: "a comprehension",
    ast.NamedExpr: "an assignment inside an expression",
    ast.Set: "a set",
    ast.SetComp: "a comprehension",
    ast.Subscript: "a subscript",
    ast.Tuple: "a tuple",
    ast.While: "a loop",
}


def fail(node: ast.AST | lang.Position, message: str) -> NoReturn:
    """Refuses a node.

    Raises:
      ProgramError: always.
    """
    raise ProgramError(node if isinstance(node, lang.Position) else position(node), message)


def position(node: Any) -> lang.Position:
    """Returns where a node begins."""
    return lang.Position(getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)


def without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """Returns statements without a text that stands before them."""
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body


def without_pass(body: list[ast.stmt]) -> list[ast.stmt]:
    """Returns statements without those that do nothing."""
    return [statement for statement in body if not isinstance(statement, ast.Pass)]


def function_name(function: ast.expr) -> str:
    """Returns the name of what is called, without its module; "" if that is no plain name."""
    match function:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in MODULES:
            return name if name in lang.FUNCTIONS and name not in ("int", "min", "max") else ""
    return ""


def literal(node: ast.Constant, value: object) -> int | float:
    """Returns a literal's number.

    Raises:
      ProgramError: if it is none, or too large.
    """
    if isinstance(value, int) and value < 2**63:  # truth values too
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int | float):
        fail(node, "the number is too large: whole numbers below 2**63, or finite ones")
    kinds = {str: "a str", bytes: "bytes", complex: "a complex number", type(None): "None"}
    fail(node, f"{kinds.get(type(value), '...')} is not part of the language")


def called(node: ast.AST) -> str:
    """What a reader of Python calls a piece of it."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return "import (np.sqrt, math.floor and the like need none)"
        case ast.BinOp() | ast.UnaryOp():
            return f"operator {type(node.op).__name__}"
    return _WORDS.get(type(node), f"Python's {type(node).__name__}")
