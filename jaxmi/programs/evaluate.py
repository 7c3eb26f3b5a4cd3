"""Program -> labels over a whole domain at once, bit for bit as Python runs it input by input.

Branches become selects: each statement runs for the inputs that reach it. An input on which Python
would raise leaves the run at that point; at the end, the first such input in domain order is
reported with Python's error and the place in the program.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from jaxmi.errors import InputError
from jaxmi.programs import arithmetic
from jaxmi.programs import language as lang
from jaxmi.programs.domain import Domain, SetDomain


class EvaluationError(InputError):
    """A program fails on an input; the message names the place and the first such input."""


def label(program: lang.Program, domain: Domain | SetDomain) -> Int32[np.ndarray, "n"]:
    """Return the program's label of every input, 0 or 1, in domain order.

    Raises:
      EvaluationError: as `evaluate`, or if the program returns anything but 0 and 1.
      InputError: as `evaluate`.
    """
    run = _finished_run(program, domain)
    values = run.values()
    labels = values.astype(bool)
    bad = np.flatnonzero(values != labels)  # 1.0 is a label, 2 and nan are none
    if len(bad):
        first = int(bad[0])
        start = _message_start(run.return_position(first))
        raise EvaluationError(
            f"{start}returns {values[first]} at {domain.describe(first)}, not 0 or 1"
        )
    return labels.astype(np.int32)


def evaluate(program: lang.Program, domain: Domain | SetDomain) -> np.ndarray:
    """Return what the program returns on every input, in domain order.

    Args:
      program: A program of the domain's kind.
      domain: The inputs.

    Returns:
      (n,), as truth values, int64 or float64 if all values are of one type (and integers below
      2**53), else Python's numbers in an object array.

    Raises:
      EvaluationError: if Python would raise on some input, or end without `return`; if a power is
        complex, or an integer reaches 2**1024.
      InputError: if the program is of another kind, or names an image that is not in the domain.
    """
    return _finished_run(program, domain).values()


def _finished_run(program: lang.Program, domain: Domain | SetDomain) -> "_Run":
    if program.kind != domain.kind:
        raise InputError(
            f"a program on {program.kind} cannot label {domain.kind}: "
            f"parse it with kind={domain.kind!r}"
        )
    run = _Run(domain)
    everywhere = np.ones((1,) * len(domain.shape), bool)
    unreturned = run.block(program.body, everywhere)
    run.failures.add(unreturned, InputError("ends without return"), program.body[-1])
    run.failures.raise_first()
    return run


class _Failures:
    """The inputs on which a program has failed so far."""

    def __init__(self, domain: Domain | SetDomain) -> None:
        self._domain = domain
        self.running = np.ones((1,) * len(domain.shape), bool)
        self._firsts: list[tuple[int, lang.Position, Exception]] = []

    def add(self, where: np.ndarray, errors: np.ndarray | Exception, node: lang.Node) -> None:
        """Take inputs out of the run, and keep the error of the first of them."""
        where = np.broadcast_to(where & self.running, self._domain.shape)
        if where.any():
            first = int(where.argmax())
            error = np.broadcast_to(np.asarray(errors, object), where.shape).flat[first]
            self._firsts.append((first, node.position, error))
            self.running = self.running & ~where

    def raise_first(self) -> None:
        """Raise what Python would raise on the first input that fails.

        Raises:
          EvaluationError: if any input fails.
        """
        if not self._firsts:
            return
        index, position, error = min(self._firsts, key=lambda failure: failure[0])
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}, "
        reason = error.args[-1]  # OverflowError may have an error number before its text
        raise EvaluationError(
            f"{_message_start(position)}{kind}{reason} at {self._domain.describe(index)}"
        ) from error


def _message_start(position: lang.Position) -> str:
    return f"line {position.line}, column {position.column}: " if position.line else ""


@dataclass
class _Variable:
    """A variable's values, and the inputs for which it has one."""

    values: np.ndarray
    assigned: np.ndarray


class _Run:
    """One program on one domain. Masks and values broadcast to the domain's shape."""

    def __init__(self, domain: Domain | SetDomain) -> None:
        self._domain = domain
        everywhere = np.ones((1,) * len(domain.shape), bool)
        self._variables = {n: _Variable(v, everywhere) for n, v in domain.inputs().items()}
        image = lang.SIGNATURES[domain.kind].image
        self._images: dict[str, int | None] = {} if image is None else {image: None}
        self.failures = _Failures(domain)
        self._returned: np.ndarray | None = None
        self._returns: list[tuple[np.ndarray, lang.Position]] = []

    def values(self) -> np.ndarray:
        """Return the returned value of every input, in domain order."""
        assert self._returned is not None
        values = arithmetic.compact(self._returned)
        return np.broadcast_to(values, self._domain.shape).reshape(-1)

    def return_position(self, index: int) -> lang.Position:
        """Return the position of the `return` that ended the program for an input."""
        for where, position in self._returns:
            if np.broadcast_to(where, self._domain.shape).flat[index]:
                return position
        return lang.Position()

    def block(self, statements: tuple[lang.Statement, ...], where: np.ndarray) -> np.ndarray:
        """Run statements for some inputs; return which of them reach the block's end."""
        for statement in statements:
            if not where.any():
                break
            where = self._statement(statement, where) & self.failures.running
        return where

    def _statement(self, node: lang.Statement, where: np.ndarray) -> np.ndarray:
        match node:
            case lang.Assign(name=name, value=value, operator=operator):
                if isinstance(value, lang.Call) and value.function == lang.TEMPLATE:
                    self._images[name] = self._image(value)
                    return where
                if isinstance(value, lang.Name) and value.name in self._images:
                    self._images[name] = self._images[value.name]
                    return where
                if operator:
                    variable = lang.Name(name, position=node.position)
                    value = lang.Binary(operator, variable, value, position=node.position)
                self._assign(name, self._value(value, where), where & self.failures.running)
            case lang.Return(value=value):
                values = self._value(value, where)
                earlier = values if self._returned is None else self._returned
                self._returned = arithmetic.merge(where, values, earlier)
                self._returns.append((where & self.failures.running, node.position))
                return np.zeros_like(where)
            case lang.If(branches=branches, otherwise=otherwise):
                return self._if(branches, otherwise, where)
        return where

    def _if(
        self,
        branches: tuple[lang.Branch, ...],
        otherwise: tuple[lang.Statement, ...],
        where: np.ndarray,
    ) -> np.ndarray:
        continuing = np.zeros_like(where)
        for test, body in branches:
            holds = arithmetic.truth(self._value(test, where))
            continuing = continuing | self.block(body, where & holds & self.failures.running)
            where = where & ~holds & self.failures.running
            if not where.any():
                return continuing
        return continuing | self.block(otherwise, where)

    def _assign(self, name: str, values: np.ndarray, where: np.ndarray) -> None:
        if (old := self._variables.get(name)) is None:
            self._variables[name] = _Variable(values, where)
        else:
            merged = arithmetic.merge(where, values, old.values)
            self._variables[name] = _Variable(merged, old.assigned | where)

    def _value(self, node: lang.Expression, where: np.ndarray) -> np.ndarray:
        """Return an expression's values; they are valid only where the mask holds."""
        match node:
            case lang.Number(value=value):
                shape = (1,) * len(self._domain.shape)
                return arithmetic.compact(np.full(shape, value, object))
            case lang.Name(name=name):
                return self._variable(node, name, where)
            case lang.Unary(operator="-", operand=operand):
                return arithmetic.negative(self._value(operand, where))
            case lang.Unary(operand=operand):
                return ~arithmetic.truth(self._value(operand, where))
            case lang.Binary(operator=operator, left=left, right=right):
                a, b = self._value(left, where), self._value(right, where)
                return self._checked(arithmetic.binary(operator, a, b), where, node)
            case lang.Compare(first=first, rest=rest):
                return self._comparison(first, rest, where)
            case lang.Connected(connective=connective, operands=operands):
                return self._connected(connective == "and", operands, where)
            case lang.Choice(condition=condition, then=then, otherwise=otherwise):
                holds = arithmetic.truth(self._value(condition, where))
                running = where & self.failures.running
                if not (running & holds).any():
                    return self._value(otherwise, running & ~holds)
                value = self._value(then, running & holds)
                return arithmetic.merge(holds, value, self._value(otherwise, running & ~holds))
            case lang.Item(elements=elements, index=index):
                values = [self._value(element, where) for element in elements]
                result = arithmetic.item(values, self._value(index, where))
                return self._checked(result, where, node)
            case lang.Call(function=name) if name in lang.IMAGE_FUNCTIONS:
                values = self._domain.call(name, tuple(map(self._image, node.arguments)))
                undefined = np.isnan(values)  # the cosine of a black image
                error = ZeroDivisionError("the image is black")
                self.failures.add(where & undefined, error, node)
                return values
            case lang.Call(function=name, arguments=arguments):
                values = [self._value(argument, where) for argument in arguments]
                return self._checked(arithmetic.function(name, values), where, node)

    def _variable(self, node: lang.Node, name: str, where: np.ndarray) -> np.ndarray:
        if name not in self._variables:
            self.failures.add(where, NameError(f"{name} has no value"), node)
            return np.zeros((1,) * len(self._domain.shape), np.int64)
        variable = self._variables[name]
        missing = where & ~variable.assigned
        if missing.any():
            self.failures.add(missing, NameError(f"{name} has no value"), node)
        return variable.values

    def _comparison(
        self,
        first: lang.Expression,
        rest: tuple[tuple[lang.Comparison, lang.Expression], ...],
        where: np.ndarray,
    ) -> np.ndarray:
        left = self._value(first, where)
        result = np.ones((1,) * len(self._domain.shape), bool)
        for operator, part in rest:  # each is evaluated only where those before it hold
            right = self._value(part, where & result)
            result = result & arithmetic.compare(operator, left, right)
            left = right
            if not (where & result).any():
                break
        return result

    def _connected(
        self, is_and: bool, operands: tuple[lang.Expression, ...], where: np.ndarray
    ) -> np.ndarray:
        value = self._value(operands[0], where)
        for operand in operands[1:]:
            undecided = arithmetic.truth(value) == is_and
            needed = where & undecided & self.failures.running
            if not needed.any():
                break
            value = arithmetic.merge(undecided, self._value(operand, needed), value)
        return value

    def _image(self, node: lang.Expression) -> int | None:
        """Return a training image's index, or None for the image that is labelled."""
        if isinstance(node, lang.Name):
            return self._images[node.name]
        assert isinstance(node, lang.Call) and isinstance(node.arguments[0], lang.Number)
        return int(node.arguments[0].value)

    def _checked(self, result: arithmetic.Result, where: np.ndarray, node: lang.Node) -> np.ndarray:
        """Return an operation's values; take the inputs on which it fails out of the run."""
        if result.errors is not None:
            self.failures.add(where & arithmetic.is_error(result.errors), result.errors, node)
        return result.values
