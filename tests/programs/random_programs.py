"""Random programs on pairs: every node of the language, and values from every corner."""

from random import Random
from typing import get_args

from jaxmi.programs import language as lang
from jaxmi.programs.parse import MAX_SIZE

SMALL = (0, 1, 2, 3, 5, 8, 20, 57, 113, 200, True, False, 0.0, 0.1, 0.5, 1.0, 1.5, 2.5, 5.5, 1e16)
CORNERS = (2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 5e-324, 1e-308, 1e308)
VARIABLES = ("z", "w", "_total", "y2", "If")


def random_program(rng: Random) -> lang.Program:
    """Draws a program: some work everywhere, some fail on few inputs, some on the first."""
    while True:
        program = _Maker(rng, care=rng.choice((1.0, 0.97, 0.9, 0.7, 0.0))).program()
        returns = any(isinstance(node, lang.Return) for node in lang.walk(program))
        if returns and program.size <= MAX_SIZE:
            return program


class _Maker:
    """Draws one program, of which a share of the nodes is made so that it rarely fails."""

    def __init__(self, rng: Random, care: float) -> None:
        self._rng = rng
        self._care = care
        self._known = list(lang.INPUTS["pairs"])

    def program(self) -> lang.Program:
        body = []
        if self._careful():
            for name in self._rng.sample(VARIABLES, 2):
                body.append(lang.Assign(name, self._leaf()))
                self._known.append(name)
        body += self._block(depth=0)
        if self._careful() or self._rng.random() < 0.7:
            body.append(self._return(3))
        return lang.Program("pairs", tuple(body))

    def _careful(self) -> bool:
        return self._rng.random() < self._care

    def _block(self, depth: int) -> list[lang.Statement]:
        return [self._statement(depth) for _ in range(self._rng.randint(0, 4 - depth))]

    def _statement(self, depth: int) -> lang.Statement:
        kind = self._rng.random()
        if kind < 0.4 and depth < 3:
            return self._if(depth)
        if kind < 0.5 and depth:
            return self._return(2)
        if kind < 0.7:
            operators = ("+", "-") if self._careful() else get_args(lang.BinaryOperator)
            name = self._rng.choice(self._known)
            return lang.Assign(name, self._expression(2), self._rng.choice(operators))
        value = self._expression(3)  # before its name is known
        names = self._known if self._careful() else VARIABLES
        name = self._rng.choice(names)
        if name not in self._known:
            self._known.append(name)
        return lang.Assign(name, value)

    def _return(self, depth: int) -> lang.Return:
        value = self._expression(depth)
        match value:
            case (
                lang.Call(function="round" | "float", arguments=(lang.Name(),))
                | lang.Call(function="pow", arguments=(_, lang.Unary("-"), _))
            ):
                return lang.Return(lang.Unary("-", value))  # of an input alone it is refused
        return lang.Return(value)

    def _if(self, depth: int) -> lang.If:
        branches = []
        for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
            test = self._compare(1) if self._rng.random() < 0.7 else self._expression(2)
            branches.append((test, tuple(self._block(depth + 1))))
        otherwise = tuple(self._block(depth + 1)) if self._rng.random() < 0.5 else ()
        if len(otherwise) == 1 and isinstance(otherwise[0], lang.If):  # that would be an elif
            otherwise = (lang.Assign("p", lang.Name("x")), *otherwise)
        return lang.If(tuple(branches), otherwise)

    def _leaf(self) -> lang.Expression:
        kind = self._rng.random()
        if kind < 0.1:
            return self._sometimes_zero()
        if kind < 0.5:
            return lang.Name(self._rng.choice("xy"))
        if kind < 0.7:
            return lang.Name(self._rng.choice(self._known))
        if kind < 0.75 and not self._careful():
            return lang.Number(self._rng.choice(CORNERS))
        return lang.Number(self._rng.choice(SMALL))

    def _sometimes_zero(self) -> lang.Expression:
        offset = lang.Number(self._rng.randint(1, 112))
        return lang.Binary("-", lang.Name(self._rng.choice("xy")), offset)

    def _expression(self, depth: int) -> lang.Expression:
        if depth == 0 or self._rng.random() < 0.15:
            return self._leaf()
        makers = (
            *(self._binary,) * 6,
            *(self._call,) * 4,
            *(self._compare,) * 2,
            self._unary,
            self._connected,
            self._choice,
            self._item,
        )
        return self._rng.choice(makers)(depth - 1)

    def _binary(self, depth: int) -> lang.Expression:
        operator = self._rng.choice(get_args(lang.BinaryOperator))
        left, right = self._expression(depth), self._expression(depth)
        if operator in ("/", "//", "%"):
            if self._careful():
                right = lang.Call("max", (lang.Number(1), lang.Call("abs", (right,))))
            elif self._rng.random() < 0.7:
                right = self._sometimes_zero()
        if operator == "**" and self._careful():
            left = lang.Binary("%", left, lang.Number(13))
            right = lang.Number(self._rng.choice((0, 0.5, 1, 1.5, 2, 3)))
        return lang.Binary(operator, left, right)

    def _unary(self, depth: int) -> lang.Expression:
        return lang.Unary(self._rng.choice(("-", "not")), self._expression(depth))

    def _compare(self, depth: int) -> lang.Expression:
        rest = []
        for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
            operator = self._rng.choice(get_args(lang.Comparison))
            rest.append((operator, self._expression(depth)))
        return lang.Compare(self._expression(depth), tuple(rest))

    def _connected(self, depth: int) -> lang.Expression:
        operands = [self._expression(depth) for _ in range(self._rng.randint(2, 3))]
        return lang.Connected(self._rng.choice(("and", "or")), tuple(operands))

    def _choice(self, depth: int) -> lang.Expression:
        condition, then, otherwise = (self._expression(depth) for _ in range(3))
        return lang.Choice(condition, then, otherwise)

    def _item(self, depth: int) -> lang.Expression:
        elements = [self._expression(depth) for _ in range(self._rng.choice((1, 2, 3, 5)))]
        index = self._expression(depth)
        if self._careful():
            index = lang.Call("int", (index,))
            index = lang.Binary("%", index, lang.Number(len(elements)))
            if self._rng.random() < 0.3:
                index = lang.Binary("-", index, lang.Number(len(elements)))
        return lang.Item(tuple(elements), index)

    def _call(self, depth: int) -> lang.Expression:
        function = self._rng.choice(tuple(lang.FUNCTIONS))
        fewest, most = lang.FUNCTIONS[function]
        count = self._rng.randint(fewest, min(most, 4))
        arguments = [self._expression(depth) for _ in range(count)]
        if function == "sqrt" and self._careful():
            arguments = [lang.Call("abs", tuple(arguments))]
        if function == "isqrt" and self._careful():
            arguments = [lang.Call("abs", (lang.Call("int", tuple(arguments)),))]
        if function == "round" and count == 2 and self._careful():
            arguments[1] = lang.Number(self._rng.randint(0, 3))
        if function == "pow" and self._careful():
            arguments = [lang.Call("abs", (lang.Call("int", (a,)),)) for a in arguments]
            arguments[2] = lang.Binary("+", arguments[2], lang.Number(1))
        if function == "fmod" and self._careful():
            arguments[1] = lang.Call("max", (lang.Number(1), lang.Call("abs", (arguments[1],))))
        return lang.Call(function, tuple(arguments))
