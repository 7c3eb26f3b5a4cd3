"""A skeleton carried out in an algebra: of arrays, or of bounds that hold for all its constants.

Branches become choices between values, so that there is one path, whatever the input.
"""

from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

from jaxmi.programs import language as lang
from jaxmi.programs.skeleton import Skeleton, power

V = TypeVar("V")


class RefusedError(Exception):
    """An algebra cannot carry out a program exactly; the message says which line and why."""

    def __init__(self, why: str, line: int = 0) -> None:
        """Takes a reason, and the line if it is known."""
        super().__init__(f"line {line}: {why}" if line else why)
        self.why, self.line = why, line


@runtime_checkable
class Algebra(Protocol[V]):
    """Values, and what can be done with them. Any method may raise RefusedError."""

    def given(self, name: str) -> V:
        """A hole's or a table's value."""
        ...

    def constant(self, value: bool) -> V:
        """A truth value."""
        ...

    def truth(self, value: V) -> V:
        """Whether Python takes it for true."""
        ...

    def negation(self, truth: V) -> V:
        """`not`, of a truth value."""
        ...

    def both(self, truth: V, other: V) -> V:
        """Whether both truth values are true."""
        ...

    def choose(self, truth: V, then: V, otherwise: V) -> V:
        """One of two values."""
        ...

    def compare(self, symbol: lang.Comparison, a: V, b: V) -> V:
        """A comparison's truth value."""
        ...

    def negative(self, value: V) -> V:
        """Unary minus."""
        ...

    def binary(self, symbol: lang.BinaryOperator, a: V, b: V) -> V:
        """`+ - * / // %`."""
        ...

    def power(self, value: V, exponent: int) -> V:
        """A power as a product, exponent >= 1."""
        ...

    def function(self, name: str, arguments: list[V]) -> V:
        """One of `language.FUNCTIONS`."""
        ...


@dataclass(frozen=True)
class _State(Generic[V]):
    """After some statements."""

    variables: dict[str, V]
    going: V | bool = True
    """Where nothing has been returned yet."""
    returned: V | None = None


def carry_out(skeleton: Skeleton, algebra: Algebra[V]) -> V:
    """Returns what the program returns.

    Raises:
      RefusedError: if the algebra refuses, or some path has no value for a name, or no `return`.
    """
    state = _Flow(algebra).block(skeleton.body, _State({}))
    if state.going is not False or state.returned is None:
        raise RefusedError("it may end without return")
    return state.returned


class _Flow(Generic[V]):
    def __init__(self, algebra: Algebra[V]) -> None:
        self._algebra = algebra

    def block(self, statements: tuple[lang.Statement, ...], state: _State[V]) -> _State[V]:
        for statement in statements:
            if state.going is False:
                break
            state = self._statement(statement, state)
        return state

    def _statement(self, node: lang.Statement, state: _State[V]) -> _State[V]:
        known = state.variables
        match node:
            case lang.Assign(name=name, value=value, operator=operator):
                if operator:
                    value = lang.Binary(operator, lang.Name(name, at=node.at), value, at=node.at)
                return replace(state, variables={**known, name: self._value(value, known)})
            case lang.Return(value=value):
                after = _State(known, False, self._value(value, known))
            case lang.If(branches=branches, otherwise=otherwise):
                after = self._if(branches, otherwise, known)
        if state.going is True:
            return after
        # What follows is carried out as if nothing had been returned, and counts where it is so.
        return _State(
            after.variables,
            self._choose_going(state.going, after.going, False),
            self._choose_returned(state.going, after.returned, state.returned),
        )

    def _if(
        self,
        branches: tuple[lang.Branch, ...],
        otherwise: tuple[lang.Statement, ...],
        known: dict[str, V],
    ) -> _State[V]:
        if not branches:
            return self.block(otherwise, _State(known))
        (test, body), *others = branches
        holds = self._truth(test, known)
        yes = self.block(body, _State(known))
        no = self._if(tuple(others), otherwise, known)
        return _State(
            self._choose_variables(holds, yes, no),
            self._choose_going(holds, yes.going, no.going),
            self._choose_returned(holds, yes.returned, no.returned),
        )

    def _choose_variables(self, holds: V, yes: _State[V], no: _State[V]) -> dict[str, V]:
        """A name that only one path gives a value has none afterwards, if both paths go on."""
        if yes.going is False or no.going is False:
            return (no if yes.going is False else yes).variables
        choices = {n: (v, no.variables[n]) for n, v in yes.variables.items() if n in no.variables}
        return {
            name: a if a is b else self._algebra.choose(holds, a, b)
            for name, (a, b) in choices.items()
        }

    def _choose_going(self, holds: V | bool, yes: V | bool, no: V | bool) -> V | bool:
        if isinstance(yes, bool) and yes is no:
            return yes
        return self._algebra.choose(*map(self._lifted, (holds, yes, no)))

    def _choose_returned(self, holds: V | bool, yes: V | None, no: V | None) -> V | None:
        if yes is None or no is None:
            return no if yes is None else yes
        return self._algebra.choose(self._lifted(holds), yes, no)

    def _lifted(self, going: V | bool) -> V:
        return self._algebra.constant(going) if isinstance(going, bool) else going

    def _truth(self, node: lang.Expression, known: dict[str, V]) -> V:
        return self._algebra.truth(self._value(node, known))

    def _value(self, node: lang.Expression, known: dict[str, V]) -> V:
        try:
            return self._computed(node, known)
        except RefusedError as refused:
            raise refused if refused.line else RefusedError(refused.why, node.at.line) from None

    def _computed(self, node: lang.Expression, known: dict[str, V]) -> V:
        algebra = self._algebra

        def value(part: lang.Expression) -> V:
            return self._value(part, known)

        match node:
            case lang.Name(name=name) if "#" in name:
                return algebra.given(name)
            case lang.Name(name=name):
                if name not in known:
                    raise RefusedError(f"{name} may have no value")
                return known[name]
            case lang.Unary(operator="-", operand=operand):
                return algebra.negative(value(operand))
            case lang.Unary(operand=operand):
                return algebra.negation(self._truth(operand, known))
            case lang.Binary(operator="**", left=left):
                if (exponent := power(node)) is None:
                    raise RefusedError("** of more than one input, or of a variable or constant")
                return algebra.power(value(left), exponent)
            case lang.Binary(operator=operator, left=left, right=right):
                return algebra.binary(operator, value(left), value(right))
            case lang.Compare(first=first, rest=rest):
                result, left = algebra.constant(True), value(first)
                for symbol, part in rest:
                    right = value(part)
                    result = algebra.both(result, algebra.compare(symbol, left, right))
                    left = right
                return result
            case lang.Connected(connective=connective, operands=operands):
                result, *others = map(value, operands)
                for other in others:
                    then, otherwise = (other, result) if connective == "and" else (result, other)
                    result = algebra.choose(algebra.truth(result), then, otherwise)
                return result
            case lang.Choice(condition=condition, then=then, otherwise=otherwise):
                return algebra.choose(self._truth(condition, known), value(then), value(otherwise))
            case lang.Call(function=name, arguments=arguments):
                return algebra.function(name, [value(part) for part in arguments])
            case lang.Number():
                raise AssertionError("literals are holes, tables, or exponents")
