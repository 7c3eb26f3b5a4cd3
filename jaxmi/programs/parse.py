"""Text -> program, by Python's own parser and a whitelist; no text is ever run or compiled.

What of Python's tree belongs to the language, and how the rest is refused.

Python's tree -> program: a node that is not on the whitelist is refused by name and place.
"""

import ast
import math
import re
import warnings
from collections.abc import Collection
from functools import partial
from typing import Any, NoReturn

from jaxmi.programs import language as lang
from jaxmi.programs.language import ProgramError
from jaxmi.programs.show import show

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


MAX_SIZE = 1000
"""Size of a program; the published ones have 56 and 10."""

MAX_DEPTH = 30
"""How deeply statements and expressions may be nested."""

MAX_NAMES = 40
"""How many inputs and variables may have names: each may hold large numbers for every input."""

MAX_TEMPLATES = 16
"""How many images a program may name."""

TRAINING_IMAGES = 60_000
"""`template(index)` is one of MNIST's training images."""


class Reader:
    """Goes through Python's tree once, top down, and keeps account of names and size."""

    def __init__(self, kind: lang.Kind, extra: Collection[str] = ()) -> None:
        self._kind: lang.Kind = kind
        self._size = 0
        self._known = (*lang.INPUTS[kind], *extra)
        self._numbers = set(self._known) - {"image"}
        self._images = set(lang.INPUTS[kind]) & {"image"}
        self._templates: set[int] = set()

    def function_body(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Unwraps `def label(x, y): ...`, if that is what the text is."""
        body = without_docstring(body)
        if body and isinstance(body[0], ast.FunctionDef):
            function = body[0]
            if len(body) > 1:
                fail(body[1], "one function, and nothing after it")
            self._check_signature(function)
            body = without_docstring(function.body)
        if not body:
            raise ProgramError(lang.Position(1, 1), "the program is empty")
        return body

    def _check_signature(self, function: ast.FunctionDef) -> None:
        inputs, given = lang.INPUTS[self._kind], function.args
        extras = (given.vararg, given.kwarg, function.returns, *given.defaults, *given.kw_defaults)
        extras += (*given.posonlyargs, *given.kwonlyargs, *function.decorator_list)
        extras += (*(argument.annotation for argument in given.args),)
        extras += (*getattr(function, "type_params", ()),)  # of Python 3.12
        for extra in extras:
            if extra is not None:
                fail(extra, "a function takes plain arguments, without more")
        names = [argument.arg for argument in given.args]
        if not names or names != list(inputs[: len(names)]):
            fail(function, f"the function's arguments are {', '.join(inputs)}, in this order")

    def block(self, statements: list[ast.stmt], depth: int) -> tuple[lang.Statement, ...]:
        """Reads statements; `pass` is left out."""
        return tuple(self._statement(statement, depth) for statement in without_pass(statements))

    def _statement(self, node: ast.stmt, depth: int) -> lang.Statement:
        at = self._count(node, depth)
        if isinstance(node, ast.Assign):
            if len(node.targets) > 1:
                fail(node, "one name at a time is given a value")
            return self._assign(node, node.targets[0], None, depth)
        if isinstance(node, ast.AugAssign):
            operator = BINARY.get(type(node.op))
            if operator is None:
                fail(node, f"operator of {type(node.op).__name__} is not part of the language")
            return self._assign(node, node.target, operator, depth)
        if isinstance(node, ast.If):
            branches = [self._branch(node, depth)]
            otherwise = without_pass(node.orelse)
            while len(otherwise) == 1 and isinstance(otherwise[0], ast.If):  # elif
                self._count(otherwise[0], depth)
                branches.append(self._branch(otherwise[0], depth))
                otherwise = without_pass(otherwise[0].orelse)
            return lang.If(tuple(branches), self.block(otherwise, depth + 1), at=at)
        if isinstance(node, ast.Return):
            if node.value is None:
                fail(node, "return gives the label")
            return lang.Return(self._number(node.value, depth + 1), at=at)
        fail(node, f"{called(node)} is not part of the language")

    def _branch(self, node: ast.If, depth: int) -> lang.Branch:
        return self._number(node.test, depth + 1), self.block(node.body, depth + 1)

    def _assign(
        self,
        node: ast.Assign | ast.AugAssign,
        target: ast.expr,
        operator: lang.BinaryOperator | None,
        depth: int,
    ) -> lang.Assign:
        if not isinstance(target, ast.Name):
            fail(target, "only a plain name can be given a value")
        name = target.id
        if name in (*lang.FUNCTIONS, *lang.IMAGE_FUNCTIONS, lang.TEMPLATE, *MODULES):
            fail(target, f"{name} is a function and cannot be given a value")
        value, is_image = self._expression(node.value, depth + 1)
        if is_image or name in self._images:
            if not is_image or operator or depth or name in self._numbers | self._images:
                fail(node, "an image is given a new name, once, at the top level")
            self._images.add(name)
        else:
            if operator and name not in self._numbers:
                fail(target, f"{name} has no value yet")
            self._numbers.add(name)
        if len(self._numbers | self._images) > MAX_NAMES:
            fail(target, f"more than {MAX_NAMES} names for values")
        return lang.Assign(name, value, operator, at=position(node))

    def _number(self, node: ast.expr, depth: int) -> lang.Expression:
        expression, is_image = self._expression(node, depth)
        if is_image:
            fail(node, f"an image stands only in {', '.join(lang.IMAGE_FUNCTIONS)}")
        return expression

    def _expression(self, node: ast.expr, depth: int) -> tuple[lang.Expression, bool]:
        """Reads an expression; also says whether it is an image."""
        at = self._count(node, depth)
        number = partial(self._number, depth=depth + 1)
        match node:
            case ast.Constant(value=value):
                return lang.Number(literal(node, value), at=at), False
            case ast.Name(id=name):
                if name not in self._numbers | self._images:
                    known = ", ".join(self._known)
                    fail(node, f"unknown name {name[:40]!r}; the inputs are {known}")
                return lang.Name(name, at=at), name in self._images
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return number(operand), False
            case ast.UnaryOp(op=ast.USub() | ast.Not() as op, operand=operand):
                operator = "-" if isinstance(op, ast.USub) else "not"
                return lang.Unary(operator, number(operand), at=at), False
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
                return lang.Binary(BINARY[type(op)], number(left), number(right), at=at), False
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                for op in ops:
                    if type(op) not in COMPARISONS:
                        fail(node, "comparisons are < <= > >= == !=")
                first = number(left)
                names: list[lang.Comparison] = [COMPARISONS[type(op)] for op in ops]
                rest = tuple(zip(names, [number(part) for part in comparators], strict=True))
                return lang.Compare(first, rest, at=at), False
            case ast.BoolOp(op=op, values=values):
                connective = "and" if isinstance(op, ast.And) else "or"
                return lang.Connected(connective, tuple(map(number, values)), at=at), False
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                return lang.Choice(number(test), number(then), number(otherwise), at=at), False
            case ast.Call():
                return self._call(node, depth)
        fail(node, f"{called(node)} is not part of the language")

    def _call(self, node: ast.Call, depth: int) -> tuple[lang.Call, bool]:
        name, at = function_name(node.func), position(node)
        for extra in (*node.keywords, *(a for a in node.args if isinstance(a, ast.Starred))):
            fail(extra, "functions take plain arguments")
        if name == lang.TEMPLATE and self._kind == "image":
            return self._template(node), True
        if name in lang.IMAGE_FUNCTIONS and self._kind == "image":
            arguments = [self._expression(argument, depth + 1) for argument in node.args]
            wanted = lang.IMAGE_FUNCTIONS[name]
            if len(arguments) != wanted or not all(is_image for _, is_image in arguments):
                fail(node, f"{name} takes {'two images' if wanted == 2 else 'one image'}")
            return lang.Call(name, tuple(argument for argument, _ in arguments), at=at), False
        if name in lang.FUNCTIONS:
            fewest, most = lang.FUNCTIONS[name]
            if not fewest <= len(node.args) <= most:
                wanted = str(fewest) if fewest == most else f"{fewest}..{most}"
                fail(node, f"{name} takes {wanted} number{'s' * (most > 1)}")
            arguments = tuple(self._number(argument, depth + 1) for argument in node.args)
            return lang.Call(name, arguments, at=at), False
        known = [*lang.FUNCTIONS, *(lang.IMAGE_FUNCTIONS if self._kind == "image" else ())]
        fail(node, f"not one of the language's functions: {', '.join(known)}")

    def _template(self, node: ast.Call) -> lang.Call:
        match node.args:
            case [ast.Constant(value=index)] if type(index) is int and index < TRAINING_IMAGES:
                self._templates.add(index)
            case _:
                fail(node, f"template takes one whole number in 0..{TRAINING_IMAGES - 1}")
        if len(self._templates) > MAX_TEMPLATES:
            fail(node, f"a program names at most {MAX_TEMPLATES} images")
        at = position(node)
        return lang.Call(lang.TEMPLATE, (lang.Number(index, at=at),), at=at)

    def _count(self, node: ast.stmt | ast.expr, depth: int) -> lang.Position:
        """Refuses what is too large or nested too deeply before any of it is built."""
        self._size += 1
        if self._size > MAX_SIZE:
            fail(node, f"the program goes on after {MAX_SIZE:,} statements, operators and values")
        if depth > MAX_DEPTH:
            fail(node, f"nested more than {MAX_DEPTH} deep")
        return position(node)


MAX_CHARACTERS = 20_000
"""Length of a text; the published programs have a few hundred."""


def parse(text: str, kind: lang.Kind, extra: Collection[str] = ()) -> lang.Program:
    """Reads a program.

    Args:
      text: Statements that end in `return`, or one function of the kind's inputs.
      kind: What it labels.
      extra: Names of further numbers that it is given.

    Raises:
      ProgramError: if the text is no program of the language; names the first thing that is not.
    """
    _check_characters(text)
    tree = _python_tree(text)
    reader = Reader(kind, extra)
    program = lang.Program(kind, reader.block(reader.function_body(tree.body), depth=0))
    if not any(isinstance(node, lang.Return) for node in lang.walk(program)):
        raise ProgramError(lang.Position(1, 1), "nothing is returned")
    if len(show(program)) > MAX_CHARACTERS:  # so that what is shown can be parsed again
        message = f"with four spaces a level, it has more than {MAX_CHARACTERS:,} characters"
        raise ProgramError(lang.Position(1, 1), message)
    return program


def _check_characters(text: str) -> None:
    """Refuses what is too long, and every character that might not be what it looks like."""
    odd = re.search(r"[^\x20-\x7e\n\r\t]", text[: MAX_CHARACTERS + 1])
    if odd:
        character = odd.group()
        raise ProgramError(
            _position(text, odd.start()),
            f"character U+{ord(character):04X}; programs are written in ASCII, comments too",
        )
    if len(text) > MAX_CHARACTERS:
        raise ProgramError(
            _position(text, MAX_CHARACTERS), f"the text goes on after {MAX_CHARACTERS:,} characters"
        )


def _position(text: str, offset: int) -> lang.Position:
    before = text[:offset]
    return lang.Position(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def _python_tree(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in what is refused anyway
            return ast.parse(text)
    except SyntaxError as error:
        at = lang.Position(error.lineno or 1, max(error.offset or 1, 1))
        raise ProgramError(at, f"not Python: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError):
        raise ProgramError(lang.Position(1, 1), "nested too deeply to be read") from None
