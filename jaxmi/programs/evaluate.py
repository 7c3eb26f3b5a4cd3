"""Program -> labels over a whole domain at once, bit for bit as Python runs it input by input.

Branches become selects: each statement is carried out for the inputs that reach it. An input on
which Python would raise drops out there; the first of them in domain order is named at the end.

What Python would raise, and on which input: those that fail drop out, the first is named.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from jaxmi.errors import InputError
from jaxmi.programs import arithmetic
from jaxmi.programs import language as lang
from jaxmi.programs.domain import Domain


class EvaluationError(InputError):
    """A program fails on an input; the message names the line and the first such input."""


class Failures:
    """The inputs on which a program has failed so far."""

    def __init__(self, domain: Domain) -> None:
        """Begins with none."""
        self._domain = domain
        self.running = np.ones((1,) * len(domain.shape), bool)
        self._noted: list[tuple[int, lang.Position, Exception]] = []

    def note(self, where: np.ndarray, errors: np.ndarray | Exception, node: lang.Node) -> None:
        """Takes inputs out of the run, and notes the first of them."""
        where = np.broadcast_to(where & self.running, self._domain.shape)
        if where.any():
            first = int(where.argmax())
            error = np.broadcast_to(np.asarray(errors, object), where.shape).flat[first]
            self._noted.append((first, node.at, error))
            self.running = self.running & ~where

    def raise_first(self) -> None:
        """Raises what Python would raise on the first input that fails.

        Raises:
          EvaluationError: if any does.
        """
        if not self._noted:
            return
        position, at, error = min(self._noted, key=lambda noted: noted[0])
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}, "
        said = error.args[-1]  # some begin with a number
        raise EvaluationError(
            f"{place(at)}{kind}{said} at {self._domain.describe(position)}"
        ) from error


def place(at: lang.Position) -> str:
    """Returns how a message begins that is about a place in a text."""
    return f"line {at.line}, column {at.column}: " if at.line else ""


def label(program: lang.Program, domain: Domain) -> Int32[np.ndarray, "n"]:
    """Returns the program's label of every input, 0 or 1, in domain order.

    Raises:
      EvaluationError: as `evaluate`, or if the program returns something else.
    """
    run = _finished(program, domain)
    values = run.values()
    labels = values.astype(bool)
    other = np.flatnonzero(values != labels)  # 1.0 is a label, 2 and nan are not
    if len(other):
        first = int(other[0])
        at = place(run.return_at(first))
        raise EvaluationError(
            f"{at}returns {values[first]} at {domain.describe(first)}, not 0 or 1"
        )
    return labels.astype(np.int32)


def evaluate(program: lang.Program, domain: Domain) -> np.ndarray:
    """Returns what the program returns on every input, in domain order.

    Args:
      program: Of the domain's kind.
      domain: The inputs.

    Returns:
      (n,), as truth values, int64 or float64 where all are of one kind (and integers are below
      2**53), else Python's numbers in an object array.

    Raises:
      EvaluationError: if Python would raise on some input, or end without `return`; if a power is
        complex, or an integer reaches 2**1024.
      InputError: if the program is of another kind, or names an image that is not there.
    """
    return _finished(program, domain).values()


def _finished(program: lang.Program, domain: Domain) -> "_Run":
    if program.kind != domain.kind:
        raise InputError(f"a program on {program.kind} cannot label {domain.kind}")
    run = _Run(domain)
    everywhere = np.ones((1,) * len(domain.shape), bool)
    left = run.block(program.body, everywhere)
    run.failures.note(left, InputError("ends without return"), program.body[-1])
    run.failures.raise_first()
    return run


@dataclass
class _Variable:
    """A name's values, where it has one."""

    values: np.ndarray
    assigned: np.ndarray


class _Run:
    """One program on one domain. Masks and values broadcast to the domain's shape."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        everywhere = np.ones((1,) * len(domain.shape), bool)
        self._variables = {n: _Variable(v, everywhere) for n, v in domain.inputs().items()}
        self._images: dict[str, int | None] = {"image": None}
        self.failures = Failures(domain)
        self._returned: np.ndarray | None = None
        self._returns: list[tuple[np.ndarray, lang.Position]] = []

    def values(self) -> np.ndarray:
        """Returns what every input got, in domain order."""
        assert self._returned is not None
        values = arithmetic.compact(self._returned)
        return np.broadcast_to(values, self._domain.shape).reshape(-1)

    def return_at(self, position: int) -> lang.Position:
        """Returns where the statement stands that ended the program for an input."""
        for where, at in self._returns:
            if np.broadcast_to(where, self._domain.shape).flat[position]:
                return at
        return lang.Position()

    def block(self, statements: tuple[lang.Statement, ...], where: np.ndarray) -> np.ndarray:
        """Carries out statements for some inputs; returns for which of them it goes on after."""
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
                    value = lang.Binary(operator, lang.Name(name, at=node.at), value, at=node.at)
                self._assign(name, self._value(value, where), where & self.failures.running)
            case lang.Return(value=value):
                values = self._value(value, where)
                others = values if self._returned is None else self._returned
                self._returned = arithmetic.merge(where, values, others)
                self._returns.append((where & self.failures.running, node.at))
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
        going_on = np.zeros_like(where)
        for test, body in branches:
            holds = arithmetic.truth(self._value(test, where))
            going_on = going_on | self.block(body, where & holds & self.failures.running)
            where = where & ~holds & self.failures.running
            if not where.any():
                return going_on
        return going_on | self.block(otherwise, where)

    def _assign(self, name: str, values: np.ndarray, where: np.ndarray) -> None:
        if (old := self._variables.get(name)) is None:
            self._variables[name] = _Variable(values, where)
        else:
            merged = arithmetic.merge(where, values, old.values)
            self._variables[name] = _Variable(merged, old.assigned | where)

    def _value(self, node: lang.Expression, where: np.ndarray) -> np.ndarray:
        """An expression's values, which mean something only where it is asked for."""
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
                return self._computed(arithmetic.binary(operator, a, b), where, node)
            case lang.Compare(first=first, rest=rest):
                return self._comparison(first, rest, where)
            case lang.Connected(connective=connective, operands=operands):
                return self._connected(connective == "and", operands, where)
            case lang.Choice(condition=condition, then=then, otherwise=otherwise):
                holds = arithmetic.truth(self._value(condition, where))
                yes, no = (
                    where & holds & self.failures.running,
                    where & ~holds & self.failures.running,
                )
                if not yes.any():
                    return self._value(otherwise, no)
                value = self._value(then, yes)
                return arithmetic.merge(holds, value, self._value(otherwise, no))
            case lang.Call(function=name) if name in lang.IMAGE_FUNCTIONS:
                values = self._domain.call(name, tuple(map(self._image, node.arguments)))
                black = np.isnan(values)  # cosine of one that is
                self.failures.note(where & black, ZeroDivisionError("the image is black"), node)
                return values
            case lang.Call(function=name, arguments=arguments):
                values = [self._value(argument, where) for argument in arguments]
                return self._computed(arithmetic.function(name, values), where, node)

    def _variable(self, node: lang.Node, name: str, where: np.ndarray) -> np.ndarray:
        if name not in self._variables:
            self.failures.note(where, NameError(f"{name} has no value"), node)
            return np.zeros((1,) * len(self._domain.shape), np.int64)
        variable = self._variables[name]
        missing = where & ~variable.assigned
        if missing.any():
            self.failures.note(missing, NameError(f"{name} has no value"), node)
        return variable.values

    def _comparison(
        self,
        first: lang.Expression,
        rest: tuple[tuple[lang.Comparison, lang.Expression], ...],
        where: np.ndarray,
    ) -> np.ndarray:
        left = self._value(first, where)
        result = np.ones((1,) * len(self._domain.shape), bool)
        for operator, part in rest:  # each only where those before hold
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
            asks_on = arithmetic.truth(value) == is_and
            needed = where & asks_on & self.failures.running
            if not needed.any():
                break
            value = arithmetic.merge(asks_on, self._value(operand, needed), value)
        return value

    def _image(self, node: lang.Expression) -> int | None:
        """Which image an argument is: a training image's index, or None for the labelled one."""
        if isinstance(node, lang.Name):
            return self._images[node.name]
        assert isinstance(node, lang.Call) and isinstance(node.arguments[0], lang.Number)
        return int(node.arguments[0].value)

    def _computed(
        self, computed: arithmetic.Computed, where: np.ndarray, node: lang.Node
    ) -> np.ndarray:
        if computed.errors is not None:
            self.failures.note(where & arithmetic.is_error(computed.errors), computed.errors, node)
        return computed.values
