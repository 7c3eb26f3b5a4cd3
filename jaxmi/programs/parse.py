"""Text -> program, by Python's own parser and a whitelist; no text is ever run or compiled.

`parse` takes off the wrapping (wrapping.py), lets Python's `ast` build a tree, and goes through the
tree once. It refuses every node that is not in the language by name, line and column, and limits
size, depth and names before it builds anything. What people write in several ways, such as
`np.where(c, a, b)` or `x in (0, 3)`, becomes the language's own form here; spellings.py has the
names.
"""

import ast
import math
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial, reduce
from itertools import count, islice
from typing import Literal, NoReturn

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.cleaning import Source, clean, text_position
from jaxmi.programs.facts import INPUT, MODULUS, Facts, facts, join
from jaxmi.programs.language import ProgramError
from jaxmi.programs.show import show
from jaxmi.programs.spellings import ARGUMENTS, CONSTANTS, KNOWN, NEAREST
from jaxmi.programs.wrapping import (
    MODULES,
    RESERVED,
    Unwrapped,
    check_annotation,
    dotted,
    fail,
    names_in,
    position_of,
    unwrap,
    without_strings,
)

__all__ = [
    "MAX_CHARACTERS",
    "MAX_DEPTH",
    "MAX_NAMES",
    "MAX_SIZE",
    "MAX_TEMPLATES",
    "MODULES",
    "RESERVED",
    "TRAINING_IMAGES",
    "parse",
]

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
      text: Statements that end in `return`; or a Python file with one function or lambda of the
        kind's inputs, or with one expression at its end.
      kind: What the program labels.
      extra: Names of further numbers that the program is given as inputs.

    Raises:
      ProgramError: if the text is no program of the language; the message gives line, column and
        reason of the first fault.
    """
    if len(text) > MAX_CHARACTERS:
        message = f"the text has more than {MAX_CHARACTERS:,} characters"
        raise ProgramError(text_position(text, MAX_CHARACTERS), message)
    source = clean(text)
    unwrapped = unwrap(_python_tree(source), kind)
    if unwrapped.is_bare and source.fault is not None:
        raise source.fault
    reader = _Reader(kind, extra, unwrapped)
    program = lang.Program(kind, reader.block(unwrapped.body, depth=0))
    if not any(isinstance(node, lang.Return) for node in lang.walk(program)):
        message = "nothing is returned; a program ends in `return` with the label"
        raise ProgramError(lang.Position(1, 1), message)
    printed = show(program)
    if len(printed) > MAX_CHARACTERS:  # the printed text must parse, too
        message = f"with four spaces a level, it has more than {MAX_CHARACTERS:,} characters"
        raise ProgramError(lang.Position(1, 1), message)
    if reader.is_rewritten and printed != text:
        try:
            parse(printed, kind, extra)
        except ProgramError as error:
            reason = str(error).split(": ", 1)[1]
            message = f"in the language's own form: {reason}"
            raise ProgramError(lang.Position(1, 1), message) from None
    return program


def _python_tree(source: Source) -> ast.Module:
    """Return Python's tree of a text, whose nodes stand where they stand in the user's text."""
    text = source.text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings, which are refused anyway
            tree = ast.parse(text)
    except SyntaxError as error:
        line, column = max(error.lineno or 1, 1), max(error.offset or 1, 1)
        position = lang.Position(line, column + source.shift(line))
        hint = "; leave out what stands around the program" if "```" in text else ""
        for wrong, right in _OTHER_LANGUAGES.items():
            if wrong in (error.text or ""):
                hint = f"; instead of {wrong} write {right}"
        raise ProgramError(position, f"not Python: {error.msg}{hint}") from None
    except (ValueError, MemoryError, RecursionError):
        raise ProgramError(lang.Position(1, 1), "nested too deeply to be read") from None
    if any(source.shifts):
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt | ast.expr | ast.arg | ast.keyword):
                node.col_offset += source.shift(node.lineno)
    return tree


def kind_of(text: str) -> lang.Kind:
    """Return the kind of which a text is a program; the first of `SIGNATURES` if of several.

    A text that is a program of none is taken for one on images if it names `image` or `template`
    outside of comments, else for one of the first kind, so that messages are about that kind.
    """
    for kind in lang.SIGNATURES:
        with suppress(InputError):
            parse(text, kind)
            return kind
    code = re.sub("#.*", "", text)
    return "image" if re.search(r"\b(image|template)\b", code) else next(iter(lang.SIGNATURES))


@dataclass(frozen=True)
class _Sequence:
    """A tuple, list, set or range; the language has only what is computed from it."""

    form: Literal["tuple", "set", "range"]
    """A list is a tuple here."""

    elements: tuple[lang.Expression, ...]
    """Its numbers; of a range the arguments."""


class _Reader:
    """Read Python's tree once, top down, and keep account of names and size."""

    def __init__(self, kind: lang.Kind, extra: Collection[str], unwrapped: Unwrapped) -> None:
        self.is_rewritten = False
        """Whether something was written out in the language's own form."""
        self._kind: lang.Kind = kind
        self._signature = lang.SIGNATURES[kind]
        self._unwrapped = unwrapped
        self._shown_inputs = (*unwrapped.inputs, *extra)
        self._numbers = {*self._signature.numbers, *extra}
        self._images = {name for name in (self._signature.image,) if name is not None}
        self._unchanged = {*self._signature.numbers}
        self._known = {name: INPUT for name in self._signature.numbers}
        self._known |= {name: MODULUS for name in ("p",) if name in self._known}
        self._known |= {name: Facts() for name in extra}
        self._sequences: dict[str, _Sequence] = {}
        self._literals: dict[str, int] = {}
        """Variables that are a whole number as it is written, whatever the inputs."""
        self._templates: set[int] = set()
        self._size = 0
        self._temporaries: list[str] = []

    def block(self, statements: list[ast.stmt], depth: int) -> tuple[lang.Statement, ...]:
        """Read statements; `pass` and strings are left out."""
        read: list[lang.Statement] = []
        for statement in _without_pass(statements):
            read += self._statement(statement, depth)
        return tuple(read)

    def _statement(self, node: ast.stmt, depth: int) -> list[lang.Statement]:
        position = self._count(node, depth)
        if isinstance(node, ast.Assign):
            return self._assignments(node, depth)
        if isinstance(node, ast.AnnAssign):
            return self._annotated(node, depth)
        if isinstance(node, ast.AugAssign):
            return [self._augmented(node, depth)]
        if isinstance(node, ast.If):
            branches = [self._branch(node, depth)]
            otherwise = _without_pass(node.orelse)
            while len(otherwise) == 1 and isinstance(otherwise[0], ast.If):  # elif
                self._count(otherwise[0], depth)
                branches.append(self._branch(otherwise[0], depth))
                otherwise = _without_pass(otherwise[0].orelse)
            rest = self.block(otherwise, depth + 1)
            return [lang.If(tuple(branches), rest, position=position)]
        if isinstance(node, ast.Return):
            if node.value is None:
                fail(node, "return has no value; it must give the label, as in `return z > 0`")
            self._check_label(node.value)
            return [lang.Return(self._number(node.value, depth + 1), position=position)]
        fail(node, _refusal(node))

    def _check_label(self, node: ast.expr) -> None:
        """Refuse an input alone as the label, however it is converted."""
        match node:
            case ast.Call(
                args=[ast.Name(id=name), ast.UnaryOp(op=ast.USub()), ast.Name(id=modulus)]
            ) if {name, modulus} <= self._unchanged and self._function(node.func) == "power":
                message = "an inverse of an input alone is no label; write a comparison"
                fail(node, f"{message}, as in `pow({name}, -1, {modulus}) == 1`")
            case ast.Call(args=[ast.Name(id=name)], keywords=[]) if name in self._unchanged:
                function = self._function(node.func)
                if function in ("round", "float", "bool"):
                    message = f"{function} of an input alone is no label; write a comparison"
                    fail(node, f"{message}, as in `{name} != 0`")

    def _branch(self, node: ast.If, depth: int) -> lang.Branch:
        return self._number(node.test, depth + 1), self.block(node.body, depth + 1)

    def _assignments(self, node: ast.Assign, depth: int) -> list[lang.Statement]:
        first, *others = node.targets
        if isinstance(first, ast.Tuple | ast.List) and not others:
            return self._unpacked(node, first, depth)
        if self._is_sequence(node.value):
            return self._name_sequence(node, depth)
        if others:
            self._check_several(node, node.targets)
        value, is_image = self._target_and_value(first, node.value, depth)
        statements = [self._bind(node, first, value, is_image, None, depth)]
        for target in others:
            self._rewrite(node, 2)
            assert isinstance(first, ast.Name)
            copied = lang.Name(first.id, position=position_of(first))
            self._check_target(target)
            statements.append(self._bind(node, target, copied, is_image, None, depth))
        return [*statements]

    def _unpacked(
        self, node: ast.Assign, target: ast.Tuple | ast.List, depth: int
    ) -> list[lang.Statement]:
        """Read `a, b = c, d` and `a, b = divmod(c, d)`."""
        if isinstance(target, ast.List):
            fail(target, "only a plain name can be given a value; leave the brackets out")
        targets = target.elts
        self._check_several(node, targets)
        for name in targets:
            self._check_target(name)
        match node.value:
            case ast.Tuple(elts=elements) | ast.List(elts=elements) if len(elements) == len(
                targets
            ):
                values = [self._expression(element, depth + 1) for element in elements]
            case value if self._is_sequence(value) and (
                len((sequence := self._ordered(value, depth)).elements) == len(targets)
            ):
                values = [(element, False) for element in sequence.elements]
            case _:
                message = f"{len(targets)} names take as many values, as in `a, b = x, y`"
                fail(node, f"one name at a time is given a value; {message}")
        names = [name.id for name in targets if isinstance(name, ast.Name)]
        pairs = list(zip(targets, values, strict=True))
        self._rewrite(node, len(pairs))
        # Values that read a name which is assigned before them are computed first; all of them are
        # where one may fail, so that the first failure is Python's.
        late = [i for i, (value, _) in enumerate(values) if lang.names_in(value) & {*names[:i]}]
        if late and any(facts(v, self._known).fails for v, is_image in values if not is_image):
            late = [*range(len(values))]
        if len(late) > MAX_NAMES:
            fail(node, f"more than {MAX_NAMES} names for values")
        statements: list[lang.Statement] = []
        for i, at in enumerate(late):
            name, (value, is_image) = pairs[at]
            temporary = ast.copy_location(ast.Name(self._temporary(i), ast.Store()), name)
            statements.append(self._bind(node, temporary, value, is_image, None, depth))
            copied = lang.Name(temporary.id, position=position_of(name))
            pairs[at] = name, (copied, is_image)
            self._rewrite(node, 2)
        for name, (value, is_image) in pairs:
            statements.append(self._bind(node, name, value, is_image, None, depth))
        return statements

    def _temporary(self, index: int) -> str:
        """Return a name that the text does not have, the same for the same index."""
        if not self._temporaries:
            self._temporaries = list(islice(self._free_names("t{}_"), MAX_NAMES))
        return self._temporaries[index]

    def _free_names(self, form: str) -> Iterator[str]:
        """Yield names that the text does not have."""
        used = {node.id for node in names_in(self._unwrapped.body)} | self._numbers
        return (name for name in map(form.format, count(1)) if name not in used)

    def _name_sequence(self, node: ast.Assign, depth: int) -> list[lang.Statement]:
        """Read `a = (1, 2, x)`: numbers stand where `a` is used, other elements get variables."""
        for target in node.targets:
            self._check_target(target)
            taken = self._numbers | self._images | {*self._sequences}
            if depth or _is_one_of(target, taken):
                fail(node, "a tuple is given a new name, once, at the top level")
        sequence = self._sequence(node.value, depth)
        assert sequence is not None and isinstance(node.targets[0], ast.Name)
        names = self._free_names(f"{node.targets[0].id}_{{}}")
        statements: list[lang.Statement] = []
        elements = []
        for element in sequence.elements:
            if not _is_constant(element):
                name = ast.copy_location(ast.Name(next(names), ast.Store()), node)
                self._rewrite(node, 1)
                statements.append(self._bind(node, name, element, False, None, depth))
                element = lang.Name(name.id, position=element.position)
            elements.append(element)
        for target in node.targets:
            assert isinstance(target, ast.Name)
            self._sequences[target.id] = replace(sequence, elements=tuple(elements))
        self.is_rewritten = True
        return statements

    def _annotated(self, node: ast.AnnAssign, depth: int) -> list[lang.Statement]:
        if self._unwrapped.is_bare and _is_one_of(node.target, self._unchanged | self._images):
            message = "an annotation of an input; delete it, or put the statements into a function"
            fail(node, message)
        check_annotation(node.annotation, self._kind)
        if node.value is None:
            self._check_target(node.target)
            return []
        value, is_image = self._target_and_value(node.target, node.value, depth)
        return [self._bind(node, node.target, value, is_image, None, depth)]

    def _augmented(self, node: ast.AugAssign, depth: int) -> lang.Assign:
        target = node.target
        self._check_target(target)
        operator = _BINARY.get(type(node.op))
        if operator is None:
            if type(node.op) not in _LOGICAL or not _is_one_of(target, self._numbers):
                fail(node, _refusal(node))
            assert isinstance(target, ast.Name)
            left = lang.Name(target.id, position=position_of(target))
            right = self._number(node.value, depth + 1)
            self._rewrite(node, 1)
            value = self._logical(node, node.op, left, right)
            return self._bind(node, target, value, False, None, depth)
        value, is_image = self._expression(node.value, depth + 1)
        return self._bind(node, target, value, is_image, operator, depth)

    def _check_several(self, node: ast.stmt, targets: list[ast.expr]) -> None:
        inputs = {*self._signature.inputs}
        if self._unwrapped.is_bare and any(_is_one_of(target, inputs) for target in targets):
            message = "write two statements, or put them into a function"
            fail(node, f"one name at a time is given a value where one is an input; {message}")

    def _check_target(self, target: ast.expr) -> None:
        if not isinstance(target, ast.Name):
            fail(target, "only a plain name can be given a value")
        name = target.id
        imported = name in self._unwrapped.functions or name in self._unwrapped.modules
        if name in RESERVED or imported:
            fail(target, f"{name} is a function and cannot be given a value; use another name")

    def _target_and_value(
        self, target: ast.expr, value: ast.expr, depth: int
    ) -> tuple[lang.Expression, bool]:
        self._check_target(target)
        return self._expression(value, depth + 1)

    def _bind(
        self,
        node: ast.stmt,
        target: ast.expr,
        value: lang.Expression,
        is_image: bool,
        operator: lang.BinaryOperator | None,
        depth: int,
    ) -> lang.Assign:
        """Give a name a value."""
        assert isinstance(target, ast.Name)
        name = target.id
        if name in self._sequences:
            fail(node, f"{name} is a tuple and keeps its value; use another name")
        if is_image or name in self._images:
            if not is_image or operator or depth or name in self._numbers | self._images:
                fail(node, "an image is given a new name, once, at the top level")
            self._images.add(name)
        else:
            if operator and name not in self._numbers:
                fail(target, f"{name} has no value yet; assign one first, as in `{name} = 0`")
            self._learn(name, value, operator, is_certain=not depth)
            self._numbers.add(name)
            self._unchanged.discard(name)
        if len(self._numbers | self._images) > MAX_NAMES:
            fail(target, f"more than {MAX_NAMES} names for values")
        return lang.Assign(name, value, operator, position=position_of(node))

    def _learn(
        self,
        name: str,
        value: lang.Expression,
        operator: lang.BinaryOperator | None,
        is_certain: bool,
    ) -> None:
        """Keep what is certain of a variable after an assignment, which may be one of a branch."""
        whole = self._whole_value(value) if is_certain and not operator else None
        self._literals.pop(name, None)
        if whole is not None:
            self._literals[name] = whole
        if operator:
            value = lang.Binary(operator, lang.Name(name), value)
        learned = replace(facts(value, self._known), fails=False)
        if not is_certain:
            before = self._known.get(name, replace(learned, fails=True))
            learned = join(before, learned)
        self._known[name] = learned

    def _number(self, node: ast.expr, depth: int) -> lang.Expression:
        expression, is_image = self._expression(node, depth)
        if is_image:
            fail(node, f"an image stands only in {', '.join(lang.IMAGE_FUNCTIONS)}")
        return expression

    def _expression(self, node: ast.expr, depth: int) -> tuple[lang.Expression, bool]:
        """Read an expression; also return whether it is an image."""
        position = self._count(node, depth)
        number = partial(self._number, depth=depth + 1)
        match node:
            case ast.Constant(value=value):
                return lang.Number(_literal(node, value), position=position), False
            case ast.Name(id=name):
                if name in self._sequences:
                    places = f"`{name[:40]}[0]`, after `in`, and in min, max, sum, any, all, len"
                    fail(node, f"{name[:40]} is a tuple, which stands in {places}")
                if name not in self._numbers | self._images:
                    self._refuse_unknown(node)
                return lang.Name(name, position=position), name in self._images
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return number(operand), False
            case ast.UnaryOp(op=ast.USub() | ast.Not() as op, operand=operand):
                operator = "-" if isinstance(op, ast.USub) else "not"
                return lang.Unary(operator, number(operand), position=position), False
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                operands = number(left), number(right)
                return lang.Binary(_BINARY[type(op)], *operands, position=position), False
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _LOGICAL:
                return self._logical(node, op, number(left), number(right)), False
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as op], comparators=[right]):
                return self._membership(node, left, op, right, depth), False
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                for op in ops:
                    if type(op) not in _COMPARISONS:
                        fail(node, f"comparisons are {' '.join(_COMPARISONS.values())}, {_IN}")
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
            case ast.Subscript(value=value, slice=index) if self._is_sequence(value):
                return self._item(node, value, index, depth), False
            case ast.Call():
                return self._call(node, depth)
            case ast.Subscript(value=ast.Call(func=function) as call) if dotted(function):
                if not self._function(function):
                    self._refuse_unknown(call)
        fail(node, _refusal(node))

    def _logical(
        self, node: ast.AST, op: ast.operator, left: lang.Expression, right: lang.Expression
    ) -> lang.Expression:
        """Read `& | ^` of truth values."""
        if not all(facts(part, self._known).truth for part in (left, right)):
            fail(node, _refusal(node))
        return self._both(node, _LOGICAL[type(op)], left, right)

    def _both(
        self, node: ast.AST, connective: str, left: lang.Expression, right: lang.Expression
    ) -> lang.Expression:
        """Return and, or, or exclusive or of truth values, of which both are always computed."""
        position = position_of(node)
        self._rewrite(node, 2)
        if connective == "xor":
            return lang.Compare(left, (("!=", right),), position=position)
        is_and = connective == "and"
        if facts(right, self._known).fails:
            if is_and:
                parts = left, right, lang.Number(False, position=position)
            else:
                parts = left, lang.Number(True, position=position), right
            return lang.Call("where", parts, position=position)
        operands = (left, right)
        if isinstance(left, lang.Connected) and left.connective == connective:
            operands = (*left.operands, right)
        return lang.Connected("and" if is_and else "or", operands, position=position)

    def _condition(self, node: ast.AST, value: lang.Expression) -> lang.Expression:
        """Return a number's truth value."""
        if facts(value, self._known).truth:
            return value
        position = position_of(node)
        self._rewrite(node, 2)
        zero = lang.Number(0, position=position)
        return lang.Compare(value, (("!=", zero),), position=position)

    def _membership(
        self, node: ast.Compare, left: ast.expr, op: ast.cmpop, right: ast.expr, depth: int
    ) -> lang.Expression:
        """Read `in` and `not in`, of numbers or of a range."""
        value = self._number(left, depth + 1)
        if (sequence := self._sequence(right, depth)) is None:
            fail(node, f"comparisons are {' '.join(_COMPARISONS.values())}, {_IN}")
        if sequence.form == "range":
            self._rewrite(node, 8 + 2 * _weight(value))
            result = self._within(node, value, *sequence.elements)
        else:
            self._rewrite(node, (len(sequence.elements) - 1) * (2 + _weight(value)))
            result = self._among(node, value, sequence.elements)
        if isinstance(op, ast.NotIn):
            return lang.Unary("not", result, position=position_of(node))
        return result

    def _among(
        self, node: ast.Compare, value: lang.Expression, elements: tuple[lang.Expression, ...]
    ) -> lang.Expression:
        position = position_of(node)
        operands: list[lang.Expression] = []
        for number in elements:
            if facts(number, self._known).bits == math.inf:  # it may be nan
                message = "after `in` stand numbers; for others write `x == a or x == b`"
                raise ProgramError(number.position, message)
            operands.append(lang.Compare(value, (("==", number),), position=position))
        if any(facts(number, self._known).fails for number in elements):
            return reduce(partial(self._both, node, "or"), operands)  # all of them are computed
        if len(operands) == 1:
            return operands[0]
        return lang.Connected("or", tuple(operands), position=position)

    def _within(
        self, node: ast.Compare, value: lang.Expression, *ends: lang.Expression
    ) -> lang.Expression:
        """Return `a <= value < b`, where it is a whole number, and the steps from a lead to it."""
        position = position_of(node)
        for end in ends:
            known = facts(end, self._known)
            if not known.whole or known.fails or known.bits == math.inf:
                message = "a range's ends are whole numbers, as in `x in range(3, 8)`"
                raise ProgramError(end.position, message)
        zero, one = (lang.Number(n, position=position) for n in (0, 1))
        start, stop = (zero, ends[0]) if len(ends) == 1 else ends[:2]
        step = self._whole_value(ends[2]) if len(ends) == 3 else 1
        if not step:
            message = "a range's step is a whole number other than 0"
            raise ProgramError(ends[-1].position, message)
        if step > 0:
            between = lang.Compare(start, (("<=", value), ("<", stop)), position=position)
        else:
            between = lang.Compare(stop, (("<", value), ("<=", start)), position=position)
        operands: list[lang.Expression] = [between]
        modulo: list[tuple[lang.Expression, lang.Expression]] = []
        if not facts(value, self._known).whole:
            modulo.append((value, one))
            if max(facts(end, self._known).bits for end in (start, stop)) > 53:
                value = lang.Call("int", (value,), position=position)  # a float may round below
        if abs(step) > 1:
            a, b = (value, start) if step > 0 else (start, value)
            difference = a if b == zero else lang.Binary("-", a, b, position=position)
            modulo.append((difference, lang.Number(abs(step), position=position)))
        for number, divisor in modulo:
            remainder = lang.Binary("%", number, divisor, position=position)
            operands.append(lang.Compare(remainder, (("==", zero),), position=position))
        if len(operands) == 1:
            return operands[0]
        return lang.Connected("and", tuple(operands), position=position)

    def _whole_value(self, node: lang.Expression) -> int | None:
        """Return the value of a whole number as it is written, or of a variable that is one."""
        match node:
            case lang.Number(value=int(value)):
                return int(value)
            case lang.Unary("-", operand):
                value = self._whole_value(operand)
                return None if value is None else -value
            case lang.Name(name=name):
                return self._literals.get(name)
        return None

    def _is_sequence(self, node: ast.expr) -> bool:
        """Return whether a node is a tuple, list, set or range, or the name of one."""
        match node:
            case ast.Tuple() | ast.List() | ast.Set():
                return True
            case ast.Name(id=name):
                return name in self._sequences
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if (
                name not in self._numbers | self._images
            ):
                if name == "range":
                    return 1 <= len(args) <= 3
                if name in _CONVERSIONS:
                    return len(args) == 1 and self._is_sequence(args[0])
        return self._is_divmod(node)

    def _is_divmod(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and self._function(node.func) == "divmod"

    def _sequence(self, node: ast.expr, depth: int) -> _Sequence | None:
        """Read a tuple, list, set or range; return None of other nodes."""
        if not self._is_sequence(node):
            return None
        self.is_rewritten = True
        match node:
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                return _Sequence("tuple", self._elements(node, elements, depth))
            case ast.Set(elts=elements):
                return _Sequence("set", self._elements(node, elements, depth))
            case ast.Name(id=name):
                self._rewrite(node, sum(map(_weight, self._sequences[name].elements)))
                return self._sequences[name]
            case ast.Call(func=ast.Name(id="range"), args=ends):
                return _Sequence("range", self._elements(node, ends, depth))
            case ast.Call(func=ast.Name(id=name), args=[inner]) if name in _CONVERSIONS:
                sequence = self._sequence(inner, depth)
                assert sequence is not None
                is_set = name.endswith("set") and sequence.form == "tuple"
                return replace(sequence, form="set") if is_set else sequence
            case ast.Call():
                quotient, remainder = self._divmod(node, depth + 1)
                self._rewrite(node, _weight(remainder))
                return _Sequence("tuple", (quotient, remainder))
        return None

    def _ordered(self, node: ast.expr, depth: int) -> _Sequence:
        """Read a tuple or a list, whose elements have places."""
        sequence = self._sequence(node, depth)
        if sequence is None or sequence.form != "tuple":
            fail(node, "a set or a range where a tuple is needed; write (1, 2, 3)")
        return sequence

    def _elements(
        self, node: ast.expr, elements: list[ast.expr], depth: int
    ) -> tuple[lang.Expression, ...]:
        if not elements:
            fail(node, "nothing is in there; write the numbers, as in `x in (0, 3)`")
        for element in elements:
            if isinstance(element, ast.Starred):
                fail(element, _refusal(element))
            if self._is_sequence(element):
                fail(element, f"a tuple inside another is not part of the language; {_ONE_TUPLE}")
        return tuple([self._number(element, depth + 1) for element in elements])

    def _item(
        self, node: ast.Subscript, value: ast.expr, index: ast.expr, depth: int
    ) -> lang.Expression:
        """Read `(1, 5, 2)[index]`; of a name or of divmod, a constant index is that element."""
        if isinstance(index, ast.Slice | ast.Tuple):
            fail(node, _refusal(node))
        elements = self._ordered(value, depth).elements
        place = self._number(index, depth + 1)
        constant = self._whole_value(place)
        if constant is None or not (isinstance(value, ast.Name) or self._is_divmod(value)):
            return lang.Item(elements, place, position=position_of(node))
        if not -len(elements) <= constant < len(elements):
            fail(node, f"a subscript beyond the {len(elements)} numbers of the tuple")
        return elements[constant]

    def _of_sequence(self, node: ast.Call, name: str, depth: int) -> lang.Expression:
        """Read min, max, sum, any, all and len of a tuple."""
        position = position_of(node)
        sequence = self._sequence(node.args[0], depth) if node.args else None
        most = 2 if name == "sum" else 1
        if sequence is None or sequence.form == "range" or len(node.args) > most:
            if self._signature.image is not None and name in _OF_IMAGES:
                fail(node, self._unknown_function(node.func))
            fail(node, f"{name} takes a tuple of numbers, as in `{name}((x, y, 3))`")
        elements, known = sequence.elements, [facts(e, self._known) for e in sequence.elements]
        is_set = sequence.form == "set"
        if is_set and (name == "sum" or not all(value.bits < math.inf for value in known)):
            fail(node, f"{name} of a set of such numbers; write a tuple")
        match name:
            case "len":
                if any(value.fails for value in known) or (
                    is_set and not all(map(_is_constant, elements))
                ):
                    fail(node, "len of something that must be computed; write the number")
                return lang.Number(len({*elements} if is_set else elements), position=position)
            case "any" | "all":
                conditions = [self._condition(node, element) for element in elements]
                connective = "or" if name == "any" else "and"
                return reduce(partial(self._both, node, connective), conditions)
            case "sum":
                terms: list[lang.Expression] = []
                terms += [self._number(start, depth + 1) for start in node.args[1:]]
                if not terms and (len(elements) == 1 or not known[0].whole):
                    terms = [lang.Number(0, position=position)]
                terms += elements
                if len(terms) > 2 + (terms[0] == lang.Number(0)) and not (
                    all(facts(term, self._known).whole for term in terms)
                ):
                    message = "sum of floats, which versions of Python round differently"
                    fail(node, f"{message}; write a + b + c")
                self._rewrite(node, len(terms))
                return reduce(partial(lang.Binary, "+", position=position), terms)
        if len(elements) == 1:
            return elements[0]
        if len(elements) > lang.FUNCTIONS[name][1]:
            fail(node, f"{name} takes 2..16 numbers, not {len(elements)}")
        return lang.Call(name, elements, position=position)

    def _divmod(self, node: ast.Call, depth: int) -> tuple[lang.Expression, lang.Expression]:
        """Return the quotient and the remainder of `divmod(a, b)`."""
        arguments = self._arguments(node, "divmod", 2, 2, depth)
        position = position_of(node)
        return (
            lang.Binary("//", *arguments, position=position),
            lang.Binary("%", *arguments, position=position),
        )

    def _function(self, function: ast.expr) -> str:
        """Return the function that a name stands for, or "" if the language has none."""
        module, name = self._module_and_name(function)
        return "" if module is None else KNOWN[module].get(name, "")

    def _module_and_name(self, function: ast.expr) -> tuple[str | None, str]:
        match function:
            case ast.Name(id=name) if name not in self._numbers | self._images:
                return self._unwrapped.functions.get(name, ("", name))
            case ast.Attribute(value=ast.Name(id=module), attr=name):
                return self._unwrapped.modules.get(module), name
        return None, ""

    def _call(self, node: ast.Call, depth: int) -> tuple[lang.Expression, bool]:
        if idiom := self._image_idiom(node):
            return self._image_call(node, *idiom, depth), False
        name, position = self._function(node.func), position_of(node)
        for extra in (*node.keywords, *(a for a in node.args if isinstance(a, ast.Starred))):
            fail(extra, "functions take plain arguments")
        is_numpy = self._module_and_name(node.func)[0] == "numpy"
        if name in _OF_SEQUENCES or (
            name in ("min", "max") and len(node.args) == 1 and self._is_sequence(node.args[0])
        ):
            return self._of_sequence(node, name, depth), False
        if name == "power" and len(node.args) == 3 and not is_numpy:
            name = "pow"
        if name in ARGUMENTS:
            return self._written_out(node, name, depth), False
        if name not in self._signature.functions:
            self._refuse_unknown(node)
        if name == lang.TEMPLATE:
            return self._template(node), True
        if name in lang.IMAGE_FUNCTIONS:
            return self._image_call(node, name, node.args, depth), False
        arguments = self._arguments(node, name, *lang.FUNCTIONS[name], depth)
        self.is_rewritten = self.is_rewritten or name in lang.FREE_NAMES
        if name == "round" and is_numpy and len(arguments) == 2:
            fail(node, "NumPy rounds to decimals in another way than Python; write round(a, n)")
        fails = any(facts(argument, self._known).fails for argument in arguments[1:])
        if name == "where" and is_numpy and not fails:
            return lang.Choice(*arguments, position=position), False
        return lang.Call(name, arguments, position=position), False

    def _arguments(
        self, node: ast.Call, name: str, fewest: int, most: int, depth: int
    ) -> tuple[lang.Expression, ...]:
        if not fewest <= len(node.args) <= most:
            expected = str(fewest) if fewest == most else f"{fewest}..{most}"
            fail(node, f"{name} takes {expected} number{'s' * (most > 1)}, not {len(node.args)}")
        return tuple(self._number(argument, depth + 1) for argument in node.args)

    def _written_out(self, node: ast.Call, name: str, depth: int) -> lang.Expression:
        """Return a call of a function that has another form in the language."""
        if name == "divmod":
            message = "divmod gives two numbers; write divmod(a, b)[0], divmod(a, b)[1]"
            fail(node, f"{message}, or `q, r = divmod(a, b)`")
        count = ARGUMENTS[name]
        arguments = self._arguments(node, name, count, count, depth)
        position = position_of(node)
        self._rewrite(node, 1)
        match name:
            case "power":
                _check_constant_power(node, *arguments)
                return lang.Binary("**", *arguments, position=position)
            case "square":
                two = lang.Number(2, position=position)
                return lang.Binary("**", arguments[0], two, position=position)
            case "mod":
                return lang.Binary("%", *arguments, position=position)
        conditions = [self._condition(node, argument) for argument in arguments]
        if name == "bool":
            return conditions[0]
        if name == "logical_not":
            return lang.Unary("not", arguments[0], position=position)
        return self._both(node, name.removeprefix("logical_"), *conditions)

    def _refuse_unknown(self, node: ast.Call | ast.Name) -> NoReturn:
        """Refuse the first name that is unknown, and say what to write for all others."""
        found = {_name_of(node): node}
        everything = [part for body in self._unwrapped.body for part in ast.walk(body)]
        known = {part.id for part in names_in(self._unwrapped.body) if _is_stored(part)}
        known |= {*self._numbers, *self._images, *self._sequences, *self._unwrapped.modules}
        known |= {*KNOWN[""]}
        called = {id(part.func) for part in everything if isinstance(part, ast.Call)}
        called |= {id(part.value) for part in everything if isinstance(part, ast.Attribute)}
        for part in everything:
            match part:
                case ast.Name(id=name) if name not in known and id(part) not in called:
                    _keep_first(found, part)
                case ast.Call(func=function) if dotted(function) and not (
                    self._function(function) in (*self._signature.functions, *_WRITTEN_OUT)
                    or dotted(function) in ("range", *_CONVERSIONS)
                    or self._may_be_of_images(function)
                ):
                    _keep_first(found, part)
        first, *others = sorted(found.values(), key=lambda part: (part.lineno, part.col_offset))
        message = self._unknown(first)
        if others and message.startswith(f"{_UNKNOWN_FUNCTION}: int, "):
            message = f"{_UNKNOWN_FUNCTION}: {_name_of(first)[:40]}"
        for i, other in enumerate(others):
            place, advice = position_of(other), self._unknown(other)
            advice = advice.removeprefix(f"{_UNKNOWN_FUNCTION}; ").partition("; the inputs")[0]
            if advice.startswith(_UNKNOWN_FUNCTION):
                advice = f"no function {_name_of(other)[:40]}"
            more = f"; line {place.line}, column {place.column}: {advice}"
            if len(message) + len(more) > _LONGEST_MESSAGE:
                message += f"; and {len(others) - i} more"
                break
            message += more
        fail(first, message)

    def _may_be_of_images(self, function: ast.expr) -> bool:
        name = function.attr if isinstance(function, ast.Attribute) else ""
        return self._signature.image is not None and name in (*_OF_IMAGES, "astype")

    def _unknown(self, node: ast.Call | ast.Name) -> str:
        """Say what to write instead of an unknown name or function."""
        if isinstance(node, ast.Call):
            return self._unknown_function(node.func)
        hint = f"the inputs are {', '.join(self._shown_inputs)}"
        if (imported := self._unwrapped.functions.get(node.id, ("", ""))[1]) in CONSTANTS:
            hint = f"write {CONSTANTS[imported]}"
        return f"unknown name {node.id[:40]!r}; {hint}"

    def _unknown_function(self, function: ast.expr) -> str:
        """Say what to write instead of a function."""
        start = _UNKNOWN_FUNCTION
        if _is_one_of(function, self._numbers):
            return f"{start}: {dotted(function)[:40]} is a variable; give it another name"
        _, name = self._module_and_name(function)
        if isinstance(function, ast.Attribute):
            name = function.attr
        if self._signature.image is not None and name in _OF_IMAGES:
            forms = "l1(a, b), l2(a, b), linf(a, b), dot(a, b), cosine(a, b) or mean(a)"
            return f"{start}; of images write {forms}"
        if name in NEAREST:
            return f"{start}; instead of {dotted(function) or name} write {NEAREST[name]}"
        functions = (*self._signature.functions, *_WRITTEN_OUT)
        for close in get_close_matches(name, functions, n=1, cutoff=0.8):
            if close in KNOWN[""]:
                return f"{start}; instead of {(dotted(function) or name)[:40]} write {close}(...)"
        return f"{start}: {', '.join(self._signature.functions)}"

    def _image_call(
        self, node: ast.Call, name: str, images: list[ast.expr], depth: int
    ) -> lang.Call:
        parts = [self._expression(image, depth + 1) for image in images]
        expected = lang.IMAGE_FUNCTIONS[name]
        if len(parts) != expected or not all(is_image for _, is_image in parts):
            fail(node, f"{name} takes {'two images' if expected == 2 else 'one image'}")
        arguments = tuple(image for image, _ in parts)
        return lang.Call(name, arguments, position=position_of(node))

    def _image_idiom(self, node: ast.Call) -> tuple[str, list[ast.expr]] | None:
        """Return the function and the images of `np.abs(image - template(6)).sum()` or the like."""
        if self._signature.image is None:
            return None
        inner = self._argument_of(node, "sqrt")
        if inner is not None:
            match self._reduced(inner):
                case "sum", ast.BinOp(
                    left=ast.BinOp(left=a, op=ast.Sub(), right=b),
                    op=ast.Pow(),
                    right=ast.Constant(value=2),
                ):
                    return self._images_of("l2", a, b)
            return None
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Attribute(value=ast.Name(id=module), attr="linalg"), attr="norm"
                ),
                args=[ast.BinOp(left=a, op=ast.Sub(), right=b)],
                keywords=[],
            ) if self._unwrapped.modules.get(module) == "numpy":
                return self._images_of("l2", a, b)
        match self._reduced(node):
            case "mean", ast.expr() as image:
                return self._images_of("mean", image)
            case "sum", ast.BinOp(left=a, op=ast.Mult(), right=b):
                return self._images_of("dot", a, b)
            case "sum" | "max" as reduction, ast.expr() as values:
                match self._argument_of(values, "abs"):
                    case ast.BinOp(left=a, op=ast.Sub(), right=b):
                        return self._images_of("l1" if reduction == "sum" else "linf", a, b)
        return None

    def _images_of(self, name: str, *nodes: ast.expr) -> tuple[str, list[ast.expr]] | None:
        """Return a function with images, without `.astype(int)`; None if some node is none."""
        images = []
        for node in nodes:
            match node:
                case ast.Call(func=ast.Attribute(value=inner, attr="astype"), args=[wide]):
                    if dotted(wide).split(".")[-1] not in ("int", "float", "int64", "float64"):
                        return None
                    node = inner
            match node:
                case ast.Name(id=name_of_image) if name_of_image in self._images:
                    images.append(node)
                case ast.Call(func=ast.Name(id=lang.TEMPLATE)):
                    images.append(node)
                case _:
                    return None
        return name, images

    def _reduced(self, node: ast.expr) -> tuple[str, ast.expr | None]:
        """Return `sum`, `max` or `mean` and what it is of."""
        match node:
            case ast.Call(func=ast.Attribute(value=inner, attr=name), args=[], keywords=[]):
                return name, inner
            case ast.Call(func=ast.Attribute() as function, args=[inner], keywords=[]):
                module, name = self._module_and_name(function)
                if module == "numpy":
                    return name, inner
        return "", None

    def _argument_of(self, node: ast.expr, name: str) -> ast.expr | None:
        """Return the one argument of a call of a function; None if the node is no such call."""
        match node:
            case ast.Call(func=function, args=[argument], keywords=[]):
                return argument if self._function(function) == name else None
        return None

    def _template(self, node: ast.Call) -> lang.Call:
        match node.args:
            case [ast.Constant(value=index)] if type(index) is int and index < TRAINING_IMAGES:
                self._templates.add(index)
            case _:
                fail(node, f"template takes one whole number in 0..{TRAINING_IMAGES - 1}")
        if len(self._templates) > MAX_TEMPLATES:
            fail(node, f"a program names at most {MAX_TEMPLATES} images")
        position = position_of(node)
        return lang.Call(lang.TEMPLATE, (lang.Number(index, position=position),), position=position)

    def _rewrite(self, node: ast.AST, more: int) -> None:
        """Count the nodes that the language's own form has more, before they are built."""
        self.is_rewritten = True
        self._size += more
        self._check_size(node)

    def _count(self, node: ast.stmt | ast.expr, depth: int) -> lang.Position:
        """Return a node's position; refuse what is too large or deep before building any of it."""
        self._size += 1
        self._check_size(node)
        if depth > MAX_DEPTH:
            fail(node, f"nested more than {MAX_DEPTH} deep")
        return position_of(node)

    def _check_size(self, node: ast.AST) -> None:
        if self._size > MAX_SIZE:
            fail(node, f"the program has more than {MAX_SIZE:,} statements, operators and values")


_BINARY: dict[type[ast.operator], lang.BinaryOperator] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}

_LOGICAL: dict[type[ast.operator], str] = {
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
}

_COMPARISONS: dict[type[ast.cmpop], lang.Comparison] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}

_OTHER_LANGUAGES = {"&&": "and", "||": "or", "<>": "!=", "===": "==", "else if": "elif"}
"""Spellings of other languages -> Python's."""

_OF_IMAGES = ("sum", "mean", "max", "min", "norm", "dot", "vdot", "inner", "std", "count_nonzero")
"""NumPy's functions that people call with images."""

_OF_SEQUENCES = ("sum", "any", "all", "len")
"""Functions of a tuple alone."""

_CONVERSIONS = ("tuple", "list", "set", "frozenset")
"""Functions that make a tuple or a set of another."""

_WRITTEN_OUT = (*ARGUMENTS, *_OF_SEQUENCES)
"""Functions that are read and are none of the language."""

_UNKNOWN_FUNCTION = "not one of the language's functions"

_LONGEST_MESSAGE = 230
"""Characters of a message about several names."""

_ONE_TUPLE = "write one tuple, as in `(0, 1, 1, 0)[x % 2 * 2 + y % 2]`"

_IN = "or one `in` of numbers or a range, as in `x % 8 in (0, 3)`"

_REFUSED_OPERATORS: dict[type[ast.operator] | type[ast.unaryop], tuple[str, str]] = {
    ast.BitAnd: ("&", "of conditions in parentheses it is `and`; bits are `x // 4 % 2`"),
    ast.BitOr: ("|", "of conditions in parentheses it is `or`; bits are `x // 4 % 2`"),
    ast.BitXor: ("^", "a power is `**`; of conditions in parentheses it is `!=`"),
    ast.Invert: ("~", "of a condition write `not`; of a number `-x - 1`"),
    ast.LShift: ("<<", "write `x * 2 ** n`"),
    ast.MatMult: ("@", "of images write dot(a, b)"),
    ast.RShift: (">>", "write `x // 2 ** n`"),
}

_REFUSED_NODES: dict[type[ast.AST], tuple[str, str]] = {
    ast.Attribute: ("an attribute", "write the number itself"),
    ast.AugAssign: ("an operator", "write `z = z + 1`"),
    ast.ClassDef: ("a class", "write statements"),
    ast.Dict: ("a dictionary", "write `if` and `elif`"),
    ast.DictComp: ("a comprehension", "write each term"),
    ast.Expr: ("an expression whose value is not used", "delete it, or write `return` before it"),
    ast.For: ("a loop", "write each step"),
    ast.FunctionDef: ("a function inside the program", "write its statements where it is called"),
    ast.GeneratorExp: ("a comprehension", "write each term"),
    ast.JoinedStr: ("an f-string", "write numbers"),
    ast.Lambda: ("a lambda", "write its expression where it is called"),
    ast.List: ("a list", "write a variable for each element"),
    ast.ListComp: ("a comprehension", "write each term"),
    ast.NamedExpr: ("an assignment inside an expression", "write it as a statement before"),
    ast.Set: ("a set", "write `x in (0, 3)`"),
    ast.SetComp: ("a comprehension", "write each term"),
    ast.Subscript: ("a subscript", "write a tuple before it, as in `(1, 5, 2)[x % 3]`"),
    ast.Tuple: ("a tuple", "write a number, or compare each element: `x == 1 and y == 2`"),
    ast.While: ("a loop", "write each step"),
}


def _refusal(node: ast.AST) -> str:
    """Say that a node is not part of the language, and what to write instead."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return "import inside the program; write it in the first line, or leave it out"
        case ast.BinOp(op=op) | ast.UnaryOp(op=op) | ast.AugAssign(op=op):
            symbol, hint = _REFUSED_OPERATORS[type(op)]
            return f"operator {symbol} is not part of the language; {hint}"
        case ast.Expr(value=ast.Call()):
            return "a call whose value is not used is not part of the language; delete it"
        case ast.Subscript(value=ast.Subscript()):
            return f"a table of two indices is not part of the language; {_ONE_TUPLE}"
        case ast.Attribute(attr=name) if name in CONSTANTS:
            return f"an attribute is not part of the language; write {CONSTANTS[name]}"
    if type(node) in _REFUSED_NODES:
        name, hint = _REFUSED_NODES[type(node)]
        return f"{name} is not part of the language; {hint}"
    statements = "assignments, if, elif, else and return"
    return f"Python's {type(node).__name__} is not part of the language, which has {statements}"


def _literal(node: ast.Constant, value: object) -> int | float:
    """Return a literal's number."""
    if isinstance(value, int) and value < 2**63:  # truth values too
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int | float):
        fail(node, "the number is too large; use whole numbers below 2**63 or finite floats")
    types = {str: "a str", bytes: "bytes", complex: "a complex number", type(None): "None"}
    name = types.get(type(value), "...")
    fail(node, f"{name} is not part of the language; write a number, True or False")


def _check_constant_power(node: ast.Call, base: lang.Expression, exponent: lang.Expression) -> None:
    """Refuse `pow(9, 99999999)`."""
    match base, exponent:
        case lang.Number(value=int(a)), lang.Number(value=int(b)):
            if a > 1 and (int(a).bit_length() - 1) * b >= 1024:
                fail(node, "a whole number reaches 2**1024; write a smaller power")


def _weight(node: lang.Expression) -> int:
    """Return how many nodes an expression has."""
    return sum(1 for _ in lang.walk(node))


def _is_constant(node: lang.Expression) -> bool:
    """Return whether an expression is a number as it is written, or its negative."""
    match node:
        case lang.Number() | lang.Unary("-", lang.Number()):
            return True
    return False


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _name_of(node: ast.Call | ast.Name) -> str:
    """Return the name of a variable or of a function, "" of other things that are called."""
    return dotted(node.func if isinstance(node, ast.Call) else node)


def _keep_first(found: dict[str, ast.Call | ast.Name], node: ast.Call | ast.Name) -> None:
    """Keep for each name the node that stands first in the text."""
    first = found.setdefault(_name_of(node), node)
    if (node.lineno, node.col_offset) < (first.lineno, first.col_offset):
        found[_name_of(node)] = node


def _is_one_of(node: ast.expr, names: Collection[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _without_pass(body: list[ast.stmt]) -> list[ast.stmt]:
    return [node for node in without_strings(body) if not isinstance(node, ast.Pass)]
