"""Text -> program, by Python's own parser and a whitelist; no text is ever run or compiled.

`parse` checks the characters, lets Python's `ast` build a tree, and goes through the tree once. It
refuses every node that is not in the language by name, line and column, and limits size, depth and
names before it builds anything.
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
"""Modules that may stand before a function, as in `np.sqrt`; it is the same function as `sqrt`."""

MAX_CHARACTERS = 20_000
"""Length of a text; the published programs have a few hundred characters."""

MAX_SIZE = 1000
"""Size of a program in statements, operators and values; the published programs have 56 and 10."""

MAX_DEPTH = 30
"""Nesting depth of statements and expressions."""

MAX_NAMES = 40
"""Number of inputs and variables: each may hold a large number for every input."""

MAX_TEMPLATES = 16
"""Number of images that a program may name."""

TRAINING_IMAGES = 60_000
"""Number of MNIST's training images: the range of `template(index)`."""


def parse(text: str, kind: lang.Kind, extra: Collection[str] = ()) -> lang.Program:
    """Parse a program.

    Args:
      text: Statements that end in `return`, or one function of the kind's inputs.
      kind: What the program labels.
      extra: Names of further numbers that the program is given as inputs.

    Raises:
      ProgramError: if the text is no program of the language; the message gives line, column and
        reason of the first fault.
    """
    _check_characters(text)
    tree = _python_tree(text)
    reader = _Reader(kind, extra)
    program = lang.Program(kind, reader.block(reader.function_body(tree.body), depth=0))
    if not any(isinstance(node, lang.Return) for node in lang.walk(program)):
        message = "nothing is returned; a program ends in `return` with the label"
        raise ProgramError(lang.Position(1, 1), message)
    if len(show(program)) > MAX_CHARACTERS:  # the printed text must parse, too
        message = f"with four spaces a level, it has more than {MAX_CHARACTERS:,} characters"
        raise ProgramError(lang.Position(1, 1), message)
    return program


def _check_characters(text: str) -> None:
    """Refuse texts that are too long, and characters that may look like others."""
    odd = re.search(r"[^\x20-\x7e\n\r\t]", text[: MAX_CHARACTERS + 1])
    if odd:
        message = f"character U+{ord(odd.group()):04X}; programs are plain ASCII, comments too"
        raise ProgramError(_text_position(text, odd.start()), message)
    if len(text) > MAX_CHARACTERS:
        message = f"the text has more than {MAX_CHARACTERS:,} characters"
        raise ProgramError(_text_position(text, MAX_CHARACTERS), message)


def _text_position(text: str, offset: int) -> lang.Position:
    before = text[:offset]
    return lang.Position(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def _python_tree(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings, which are refused anyway
            return ast.parse(text)
    except SyntaxError as error:
        position = lang.Position(error.lineno or 1, max(error.offset or 1, 1))
        raise ProgramError(position, f"not Python: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError):
        raise ProgramError(lang.Position(1, 1), "nested too deeply to be read") from None


class _Reader:
    """Read Python's tree once, top down, and keep account of names and size."""

    def __init__(self, kind: lang.Kind, extra: Collection[str]) -> None:
        self._signature = lang.SIGNATURES[kind]
        self._inputs = (*self._signature.inputs, *extra)
        self._numbers = {*self._signature.numbers, *extra}
        self._images = {name for name in (self._signature.image,) if name is not None}
        self._templates: set[int] = set()
        self._size = 0

    def function_body(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Unwrap `def label(x, y): ...` if the text is one function."""
        body = _without_docstring(body)
        if body and isinstance(body[0], ast.FunctionDef):
            function = body[0]
            if len(body) > 1:
                _fail(body[1], "one function, and nothing after it")
            self._check_parameters(function)
            body = _without_docstring(function.body)
        if not body:
            message = "the program is empty; it ends in `return` with the label"
            raise ProgramError(lang.Position(1, 1), message)
        return body

    def _check_parameters(self, function: ast.FunctionDef) -> None:
        inputs, parameters = self._signature.inputs, function.args
        extras = (parameters.vararg, parameters.kwarg, function.returns)
        extras += (*parameters.defaults, *parameters.kw_defaults)
        extras += (*parameters.posonlyargs, *parameters.kwonlyargs, *function.decorator_list)
        extras += (*(parameter.annotation for parameter in parameters.args),)
        extras += (*getattr(function, "type_params", ()),)  # Python 3.12 and later
        for extra in extras:
            if extra is not None:
                _fail(extra, "a function takes plain arguments, without more")
        names = [parameter.arg for parameter in parameters.args]
        if not names or names != list(inputs[: len(names)]):
            _fail(function, f"the function's arguments are {', '.join(inputs)}, in this order")

    def block(self, statements: list[ast.stmt], depth: int) -> tuple[lang.Statement, ...]:
        """Read statements; `pass` is left out."""
        return tuple(self._statement(statement, depth) for statement in _without_pass(statements))

    def _statement(self, node: ast.stmt, depth: int) -> lang.Statement:
        position = self._count(node, depth)
        if isinstance(node, ast.Assign):
            if len(node.targets) > 1:
                _fail(node, "one name at a time is given a value; write two statements")
            return self._assign(node, node.targets[0], None, depth)
        if isinstance(node, ast.AugAssign):
            operator = _BINARY.get(type(node.op))
            if operator is None:
                _fail(node, f"{_name_of(node)} is not part of the language")
            return self._assign(node, node.target, operator, depth)
        if isinstance(node, ast.If):
            branches = [self._branch(node, depth)]
            otherwise = _without_pass(node.orelse)
            while len(otherwise) == 1 and isinstance(otherwise[0], ast.If):  # elif
                self._count(otherwise[0], depth)
                branches.append(self._branch(otherwise[0], depth))
                otherwise = _without_pass(otherwise[0].orelse)
            rest = self.block(otherwise, depth + 1)
            return lang.If(tuple(branches), rest, position=position)
        if isinstance(node, ast.Return):
            if node.value is None:
                _fail(node, "return has no value; it must give the label, as in `return z > 0`")
            return lang.Return(self._number(node.value, depth + 1), position=position)
        _fail(node, f"{_name_of(node)} is not part of the language")

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
            _fail(target, "only a plain name can be given a value")
        name = target.id
        if name in (*lang.FUNCTIONS, *lang.IMAGE_FUNCTIONS, lang.TEMPLATE, *MODULES):
            _fail(target, f"{name} is a function and cannot be given a value; use another name")
        value, is_image = self._expression(node.value, depth + 1)
        if is_image or name in self._images:
            if not is_image or operator or depth or name in self._numbers | self._images:
                _fail(node, "an image is given a new name, once, at the top level")
            self._images.add(name)
        else:
            if operator and name not in self._numbers:
                _fail(target, f"{name} has no value yet; assign one first, as in `{name} = 0`")
            self._numbers.add(name)
        if len(self._numbers | self._images) > MAX_NAMES:
            _fail(target, f"more than {MAX_NAMES} names for values")
        return lang.Assign(name, value, operator, position=_position(node))

    def _number(self, node: ast.expr, depth: int) -> lang.Expression:
        expression, is_image = self._expression(node, depth)
        if is_image:
            _fail(node, f"an image stands only in {', '.join(lang.IMAGE_FUNCTIONS)}")
        return expression

    def _expression(self, node: ast.expr, depth: int) -> tuple[lang.Expression, bool]:
        """Read an expression; also return whether it is an image."""
        position = self._count(node, depth)
        number = partial(self._number, depth=depth + 1)
        match node:
            case ast.Constant(value=value):
                return lang.Number(_literal(node, value), position=position), False
            case ast.Name(id=name):
                if name not in self._numbers | self._images:
                    inputs = ", ".join(self._inputs)
                    _fail(node, f"unknown name {name[:40]!r}; the inputs are {inputs}")
                return lang.Name(name, position=position), name in self._images
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return number(operand), False
            case ast.UnaryOp(op=ast.USub() | ast.Not() as op, operand=operand):
                operator = "-" if isinstance(op, ast.USub) else "not"
                return lang.Unary(operator, number(operand), position=position), False
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                operands = number(left), number(right)
                return lang.Binary(_BINARY[type(op)], *operands, position=position), False
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                for op in ops:
                    if type(op) not in _COMPARISONS:
                        _fail(node, f"comparisons are {' '.join(_COMPARISONS.values())}")
                first = number(left)
                symbols: list[lang.Comparison] = [_COMPARISONS[type(op)] for op in ops]
                rest = tuple(zip(symbols, [number(part) for part in comparators], strict=True))
                return lang.Compare(first, rest, position=position), False
            case ast.BoolOp(op=op, values=values):
                connective = "and" if isinstance(op, ast.And) else "or"
                operands = tuple(map(number, values))
                return lang.Connected(connective, operands, position=position), False
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                parts = number(test), number(then), number(otherwise)
                return lang.Choice(*parts, position=position), False
            case ast.Call():
                return self._call(node, depth)
        _fail(node, f"{_name_of(node)} is not part of the language")

    def _call(self, node: ast.Call, depth: int) -> tuple[lang.Call, bool]:
        name, position = _function_name(node.func), _position(node)
        for extra in (*node.keywords, *(a for a in node.args if isinstance(a, ast.Starred))):
            _fail(extra, "functions take plain arguments")
        if name not in self._signature.functions:
            functions = ", ".join(self._signature.functions)
            _fail(node, f"not one of the language's functions: {functions}")
        if name == lang.TEMPLATE:
            return self._template(node), True
        if name in lang.IMAGE_FUNCTIONS:
            parts = [self._expression(argument, depth + 1) for argument in node.args]
            expected = lang.IMAGE_FUNCTIONS[name]
            if len(parts) != expected or not all(is_image for _, is_image in parts):
                _fail(node, f"{name} takes {'two images' if expected == 2 else 'one image'}")
            images = tuple(image for image, _ in parts)
            return lang.Call(name, images, position=position), False
        fewest, most = lang.FUNCTIONS[name]
        if not fewest <= len(node.args) <= most:
            expected = str(fewest) if fewest == most else f"{fewest}..{most}"
            _fail(node, f"{name} takes {expected} number{'s' * (most > 1)}, not {len(node.args)}")
        arguments = tuple(self._number(argument, depth + 1) for argument in node.args)
        return lang.Call(name, arguments, position=position), False

    def _template(self, node: ast.Call) -> lang.Call:
        match node.args:
            case [ast.Constant(value=index)] if type(index) is int and index < TRAINING_IMAGES:
                self._templates.add(index)
            case _:
                _fail(node, f"template takes one whole number in 0..{TRAINING_IMAGES - 1}")
        if len(self._templates) > MAX_TEMPLATES:
            _fail(node, f"a program names at most {MAX_TEMPLATES} images")
        position = _position(node)
        return lang.Call(lang.TEMPLATE, (lang.Number(index, position=position),), position=position)

    def _count(self, node: ast.stmt | ast.expr, depth: int) -> lang.Position:
        """Return a node's position; refuse what is too large or deep before building any of it."""
        self._size += 1
        if self._size > MAX_SIZE:
            _fail(node, f"the program has more than {MAX_SIZE:,} statements, operators and values")
        if depth > MAX_DEPTH:
            _fail(node, f"nested more than {MAX_DEPTH} deep")
        return _position(node)


_BINARY: dict[type[ast.operator], lang.BinaryOperator] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}

_COMPARISONS: dict[type[ast.cmpop], lang.Comparison] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}

_REFUSED_OPERATORS: dict[type[ast.operator] | type[ast.unaryop], str] = {
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Invert: "~",
    ast.LShift: "<<",
    ast.MatMult: "@",
    ast.RShift: ">>",
}

_REFUSED_NODES: dict[type[ast.AST], str] = {
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


def _fail(node: ast.AST, message: str) -> NoReturn:
    raise ProgramError(_position(node), message)


def _position(node: Any) -> lang.Position:
    return lang.Position(getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)


def _name_of(node: ast.AST) -> str:
    """Return what Python's users call a node."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return "import (np.sqrt, math.floor and the like need none)"
        case ast.BinOp() | ast.UnaryOp() | ast.AugAssign():
            return f"operator {_REFUSED_OPERATORS[type(node.op)]}"
    return _REFUSED_NODES.get(type(node), f"Python's {type(node).__name__}")


def _function_name(function: ast.expr) -> str:
    """Return the name of a called function without its module, or "" if it is no plain name."""
    match function:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in MODULES:
            return name if name in lang.FUNCTIONS and name not in ("int", "min", "max") else ""
    return ""


def _literal(node: ast.Constant, value: object) -> int | float:
    """Return a literal's number."""
    if isinstance(value, int) and value < 2**63:  # truth values too
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int | float):
        _fail(node, "the number is too large; use whole numbers below 2**63 or finite floats")
    types = {str: "a str", bytes: "bytes", complex: "a complex number", type(None): "None"}
    _fail(node, f"{types.get(type(value), '...')} is not part of the language")


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body


def _without_pass(body: list[ast.stmt]) -> list[ast.stmt]:
    return [statement for statement in body if not isinstance(statement, ast.Pass)]
