"""An interpreter of skeletons over any algebra of values: arrays, or bounds on them.

Branches become choices between values, so that every input takes the same path.
"""

from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

from jaxmi.programs import language as lang
from jaxmi.programs.compiled.skeleton import Skeleton, short_exponent

V = TypeVar("V")


class RefusedError(Exception):
    """An algebra cannot compute a program exactly; the message names the line and the reason."""

    def __init__(self, reason: str, line: int = 0) -> None:
        """Keep the reason, and the line in the program's text, 0 if it is not known."""
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason, self.line = reason, line


@runtime_checkable
class Algebra(Protocol[V]):
    """Operations on values of a type V. Any method may raise RefusedError."""

    def leaf(self, name: str) -> V:
        """Return the value of a hole or a table."""
        ...

    def constant(self, value: bool) -> V:
        """Return a truth value that all inputs share."""
        ...

    def truth(self, value: V) -> V:
        """Return the truth value that Python gives a value."""
        ...

    def negation(self, truth: V) -> V:
        """Negate a truth value."""
        ...

    def conjunction(self, truth: V, other: V) -> V:
        """Return the conjunction of two truth values."""
        ...

    def choose(self, truth: V, then: V, otherwise: V) -> V:
        """Return `then` where a truth value holds, and `otherwise` elsewhere."""
        ...

    def compare(self, symbol: lang.Comparison, a: V, b: V) -> V:
        """Return a comparison's truth value."""
        ...

    def negative(self, value: V) -> V:
        """Apply unary minus."""
        ...

    def binary(self, symbol: lang.BinaryOperator, a: V, b: V) -> V:
        """Apply `+ - * / // %`."""
        ...

    def power(self, value: V, exponent: int) -> V:
        """Return a power as a product, exponent >= 1."""
        ...

    def function(self, name: str, arguments: list[V]) -> V:
        """Apply one of `language.FUNCTIONS`."""
        ...

    def item(self, elements: list[V], index: V) -> V:
        """Return one of some elements."""
        ...


@dataclass(frozen=True)
class _State(Generic[V]):
    """The state after some statements."""

    variables: dict[str, V]
    running: V | bool = True
    """Where nothing has been returned yet."""
    result: V | None = None
    """The returned value, where `running` does not hold."""


def interpret(skeleton: Skeleton, algebra: Algebra[V]) -> V:
    """Return what a program returns, as a value of the algebra.

    Raises:
      RefusedError: if the algebra refuses an operation, or if on some path a name has no value or
        `return` is missing.
    """
    state = _Interpreter(algebra).block(skeleton.body, _State({}))
    if state.running is not False or state.result is None:
        raise RefusedError("it may end without return")
    return state.result


class _Interpreter(Generic[V]):
    def __init__(self, algebra: Algebra[V]) -> None:
        self._algebra = algebra

    def block(self, statements: tuple[lang.Statement, ...], state: _State[V]) -> _State[V]:
        for statement in statements:
            if state.running is False:
                break
            state = self._statement(statement, state)
        return state

    def _statement(self, node: lang.Statement, state: _State[V]) -> _State[V]:
        known = state.variables
        match node:
            case lang.Assign(name=name, value=value, operator=operator):
                if operator:
                    variable = lang.Name(name, position=node.position)
                    value = lang.Binary(operator, variable, value, position=node.position)
                return replace(state, variables={**known, name: self._value(value, known)})
            case lang.Return(value=value):
                after = _State(known, False, self._value(value, known))
            case lang.If(branches=branches, otherwise=otherwise):
                after = self._if(branches, otherwise, known)
        if state.running is True:
            return after
        # Statements after a `return` are computed everywhere, and used where nothing was returned.
        return _State(
            after.variables,
            self._choose_running(state.running, after.running, False),
            self._choose_result(state.running, after.result, state.result),
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
            self._choose_running(holds, yes.running, no.running),
            self._choose_result(holds, yes.result, no.result),
        )

    def _choose_variables(self, holds: V, yes: _State[V], no: _State[V]) -> dict[str, V]:
        """Join variables; a name with a value on only one of two running paths has none."""
        if yes.running is False or no.running is False:
            return (no if yes.running is False else yes).variables
        choices = {n: (v, no.variables[n]) for n, v in yes.variables.items() if n in no.variables}
        return {
            name: a if a is b else self._algebra.choose(holds, a, b)
            for name, (a, b) in choices.items()
        }

    def _choose_running(self, holds: V | bool, yes: V | bool, no: V | bool) -> V | bool:
        if isinstance(yes, bool) and yes is no:
            return yes
        return self._algebra.choose(*map(self._lifted, (holds, yes, no)))

    def _choose_result(self, holds: V | bool, yes: V | None, no: V | None) -> V | None:
        if yes is None or no is None:
            return no if yes is None else yes
        return self._algebra.choose(self._lifted(holds), yes, no)

    def _lifted(self, truth: V | bool) -> V:
        return self._algebra.constant(truth) if isinstance(truth, bool) else truth

    def _truth(self, node: lang.Expression, known: dict[str, V]) -> V:
        return self._algebra.truth(self._value(node, known))

    def _value(self, node: lang.Expression, known: dict[str, V]) -> V:
        try:
            return self._computed(node, known)
        except RefusedError as refused:
            if refused.line:
                raise
            raise RefusedError(refused.reason, node.position.line) from None

    def _computed(self, node: lang.Expression, known: dict[str, V]) -> V:
        algebra = self._algebra

        def value(part: lang.Expression) -> V:
            return self._value(part, known)

        match node:
            case lang.Name(name=name) if "#" in name:
                return algebra.leaf(name)
            case lang.Name(name=name):
                if name not in known:
                    raise RefusedError(f"{name} may have no value")
                return known[name]
            case lang.Unary(operator="-", operand=operand):
                return algebra.negative(value(operand))
            case lang.Unary(operand=operand):
                return algebra.negation(self._truth(operand, known))
            case lang.Binary(operator="**", left=left):
                if (exponent := short_exponent(node)) is None:
                    raise RefusedError("** of more than one input, or of a variable or constant")
                return algebra.power(value(left), exponent)
            case lang.Binary(operator=operator, left=left, right=right):
                return algebra.binary(operator, value(left), value(right))
            case lang.Compare(first=first, rest=rest):
                result, left = algebra.constant(True), value(first)
                for symbol, part in rest:
                    right = value(part)
                    result = algebra.conjunction(result, algebra.compare(symbol, left, right))
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
            case lang.Item(elements=elements, index=index):
                return algebra.item([value(element) for element in elements], value(index))
            case lang.Number():
                raise AssertionError("literals are holes, tables, or exponents")
