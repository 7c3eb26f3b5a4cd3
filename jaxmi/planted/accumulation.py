"""A program as a sum: what each statement adds to the variable whose threshold is the label.

The sum is taken apart by statement, and each part's values are computed on the whole domain, so
what a part looks like in the program's text matters little.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.domain import NumberDomain, PairDomain, SetDomain
from jaxmi.programs.evaluate import EvaluationError, evaluate, label
from jaxmi.programs.language import names_in, walk
from jaxmi.programs.show import show
from jaxmi.programs.variables import addition

MAX_SUMS = 4096
"""Most values of a sum that are gone through."""

Table = Float[np.ndarray, "p p"]
"""A number for each pair, row = x."""


@dataclass(frozen=True, eq=False)
class Summand:
    """One part of a sum: a weight times a condition, or times a number."""

    expression: lang.Expression
    """What the program computes: the condition, or the number."""
    values: Table
    """Its values; of a condition 0 and 1."""
    weight: int | float
    is_condition: bool
    reads_sum: bool
    """True if its value depends on the sum so far, or on an earlier branch not being taken."""
    at: int = 0
    """The statement of the program that it stands in, counted from 0."""
    const: int | float = 0
    """What the statements before it add on every input."""
    tests: tuple[lang.Expression, ...] = ()
    """Of a condition: it holds where the last of these does, and none before it."""
    leaves: "Mapping[lang.Expression, Leaf] | None" = None
    """The parts of the tests that `and`, `or` and `not` connect; None if one of them cannot be
    computed by itself, or depends on the sum in another way than on the sum so far alone."""


SUM_SO_FAR = "sum so far"
"""A leaf whose truth depends on the sum so far alone."""

Leaf = Bool[np.ndarray, "p p"] | str
"""Where a part of a test holds; or `SUM_SO_FAR`."""


@dataclass(frozen=True, eq=False)
class Accumulation:
    """A program as a sum, and the threshold at which its label changes."""

    name: str | None
    """The variable that is summed; None if the label is one condition."""
    summands: list[Summand]
    const: int | float
    threshold: float
    """The label is 1 on one side of it; midway between the values of the sum on both sides."""
    above: bool
    """Whether the label is 1 where the sum exceeds the threshold."""
    returned: lang.Expression
    """What the program returns."""


def accumulation(program: lang.Program, domain: NumberDomain) -> Accumulation:
    """Take a program apart into a sum.

    Args:
      program: A program on pairs.
      domain: Its inputs.

    Raises:
      InputError: if it fails on an input, or is no threshold of a sum; says where.
    """
    labels = label(program, domain).reshape(domain.shape) == 1
    last = program.body[-1]
    if sum(isinstance(node, lang.Return) for node in walk(program)) > 1:
        raise InputError("a program that returns in several places is no sum with one threshold")
    assert isinstance(last, lang.Return)
    reader = _Reader(program, domain)
    assigned = {node.name for node in walk(program) if isinstance(node, lang.Assign)}
    read = names_in(last.value) - {"p"}
    if len(read) == 1 and read <= assigned:
        (name,) = read
        sums = reader.table(len(program.body) - 1, lang.Name(name))
        for at, statement in enumerate(program.body[:-1]):
            reader.read(name, at, statement)
    else:
        name, sums = None, labels.astype(np.float64)
        at = len(program.body) - 1
        leaves = reader.leaves(None, at, (last.value,))
        reader.summands.append(
            Summand(last.value, sums, 1, True, False, at, 0, (last.value,), leaves)
        )
    threshold, above = _threshold(sums, labels, last)
    return Accumulation(name, reader.summands, reader.const, threshold, above, last.value)


def _threshold(
    sums: Table, labels: Bool[np.ndarray, "p p"], last: lang.Return
) -> tuple[float, bool]:
    if labels.all() or not labels.any():
        return float(sums.min() - 0.5), bool(labels.all())
    ones, zeros = sums[labels], sums[~labels]
    if zeros.max() < ones.min():
        return float((zeros.max() + ones.min()) / 2), True
    if ones.max() < zeros.min():
        return float((ones.max() + zeros.min()) / 2), False
    raise InputError(f"`{_text(last)}` is no threshold: the label must change at one value only")


def threshold_along(
    read: Accumulation, sums: Float[np.ndarray, "sum"], p: int
) -> tuple[float, bool] | None:
    """Return where a program's label changes along sums, also those that no input has.

    An exchange of a variable gives such sums, so midway between inputs' sums is not good enough.

    Args:
      read: A program whose label is one of its sum: `read.name` is not None.
      sums: The values that the sum can have, ascending.
      p: The number of values of each operand.

    Returns:
      The threshold, midway between two sums, and whether the label is 1 above it; if the label is
      the same for all, a threshold below all. None if it changes more than once.

    Raises:
      EvaluationError: if the program fails for one of them.
    """
    truths = holds_for(read.returned, sums, p)
    changes = np.flatnonzero(truths[1:] != truths[:-1])
    if not len(changes):
        return float(sums[0] - 1), bool(truths[0])
    if len(changes) > 1:
        return None
    (i,) = changes
    return float(sums[i] + sums[i + 1]) / 2, bool(truths[i + 1])


def holds_for(
    leaf: lang.Expression, sums: Float[np.ndarray, "sum"], p: int
) -> Bool[np.ndarray, "sum"]:
    """Return for which sums a test of the sum alone holds.

    Raises:
      EvaluationError: if it fails for one of them.
    """
    (name,) = lang.names_in(leaf) - {"p"}
    values = sums.astype(np.int64) if (sums == np.round(sums)).all() else sums
    # The operands are not read, so that one pair would do; but p is what it is.
    domain = SetDomain(PairDomain(p if "p" in lang.names_in(leaf) else 1), name, values)
    truths = evaluate(lang.Program("pairs", (lang.Return(leaf),)), domain)
    return truths.reshape(len(sums), -1)[:, 0] != 0


def leaves_of(test: lang.Expression) -> Iterator[lang.Expression]:
    """Yield the parts of a test that `and`, `or` and `not` connect."""
    match test:
        case lang.Connected(operands=operands):
            for operand in operands:
                yield from leaves_of(operand)
        case lang.Unary(operator="not", operand=operand):
            yield from leaves_of(operand)
        case _:
            yield test


def _text(statement: lang.Statement) -> str:
    return show(lang.Program("pairs", (statement,))).splitlines()[0]


class _Reader:
    """Go through a program's statements and collect what they add."""

    def __init__(self, program: lang.Program, domain: NumberDomain) -> None:
        self._program, self._domain = program, domain
        self.summands: list[Summand] = []
        self.const: int | float = 0
        self._started = False
        self._after: set[str] = set()  # names whose values depend on the sum

    def table(self, at: int, value: lang.Expression) -> Table:
        """Return an expression's values before a statement."""
        return self._run(at, lang.Return(value))

    def _run(self, at: int, last: lang.Statement) -> Table:
        program = replace(self._program, body=(*self._program.body[:at], last))
        values = evaluate(program, self._domain).astype(np.float64)
        return values.reshape(self._domain.shape)

    def read(self, name: str, at: int, statement: lang.Statement) -> None:
        """Collect what a statement adds to a variable.

        Raises:
          InputError: if it does anything else to it.
        """
        self._after |= {name}
        changed = {node.name for node in walk(statement) if isinstance(node, lang.Assign)}
        if name not in changed:
            if names_in(statement) & self._after:
                self._after |= changed
        elif isinstance(statement, lang.Assign):
            self._assign(at, statement)
        elif isinstance(statement, lang.If) and changed == {name} and self._started:
            self._branches(name, at, statement)
        else:
            raise InputError(f"`{_text(statement)}` does more than add to {name}")

    def _assign(self, at: int, statement: lang.Assign) -> None:
        operator, value = addition(statement) or ("", statement.value)
        if not operator and (self._started or statement.operator):
            raise InputError(f"`{_text(statement)}` does not add to the sum so far")
        self._started = True
        values = self.table(at, value)
        weight = -1 if operator == "-" else 1
        reads_sum = bool(names_in(value) & self._after) and bool(operator)
        self.summands.append(Summand(value, values, weight, False, reads_sum, at, self.const))

    def _branches(self, name: str, at: int, statement: lang.If) -> None:
        amounts = [self._amount(at, body) for _, body in statement.branches]
        otherwise = self._amount(at, statement.otherwise)
        returns = [lang.Return(lang.Number(i)) for i in range(len(amounts) + 1)]
        branches = tuple((test, (returns[i],)) for i, (test, _) in enumerate(statement.branches))
        taken = self._run(at, lang.If(branches, (returns[-1],)))
        before, self.const = self.const, self.const + otherwise
        for i, (test, _) in enumerate(statement.branches):
            reads_sum = i > 0 or bool(names_in(test) & self._after)
            values = (taken == i).astype(np.float64)
            weight = amounts[i] - otherwise
            tests = tuple(test for test, _ in statement.branches[: i + 1])
            leaves = self.leaves(name, at, tests)
            self.summands.append(
                Summand(test, values, weight, True, reads_sum, at, before, tests, leaves)
            )

    def leaves(
        self, name: str | None, at: int, tests: tuple[lang.Expression, ...]
    ) -> dict[lang.Expression, Leaf] | None:
        """Return the leaves of tests before a statement, as `Summand.leaves` has them."""
        found: dict[lang.Expression, Leaf] = {}
        for leaf in (leaf for test in tests for leaf in leaves_of(test)):
            names = names_in(leaf) - {"p"}
            if name is not None and names == {name}:
                found[leaf] = SUM_SO_FAR
            elif names & self._after:
                return None
            else:
                try:
                    found[leaf] = self.table(at, leaf) != 0
                except EvaluationError:  # a test before it keeps it from being computed everywhere
                    return None
        return found

    def _amount(self, at: int, body: tuple[lang.Statement, ...]) -> int | float:
        total: int | float = 0
        for statement in body:
            part = addition(statement) if isinstance(statement, lang.Assign) else None
            if part is None or names_in(part[1]) - {"p"}:
                raise InputError(
                    f"`{_text(statement)}` under a condition: only constants can be added there"
                )
            amount = float(self.table(at, part[1]).flat[0])
            total += -amount if part[0] == "-" else amount
        return total
