"""A program's own variables in weights: each condition one direction and two neurons.

A condition that is a boundary, y >= t(x) say, is a whole number y - t(x) in one direction of the
residual stream, and two neurons that tell whether it is at least 0. A number that the program adds
is one direction if it is f(x) + g(y), or else steps of a x + b y.

With one block, everything is added at once: there is no sum so far. What depends on it is folded
into the places where its truth value changes, row by row. With more blocks, each condition's truth
value is written into a direction of its own, the logit difference is a weighted sum of these, and
later blocks compute what depends on the sum so far, or joins several conditions (`gates`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import gcd
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxmi.errors import InputError
from jaxmi.planted.accumulation import Accumulation, Summand, Table, accumulation
from jaxmi.planted.gates import Gate, Step, SumRange, gate_of, holds_for
from jaxmi.planted.key import Entry, Place, after_mlp, before_mlp, neurons_of
from jaxmi.planted.look_up import changes
from jaxmi.planted.network import OUT, Planted, X, Y
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import EvaluationError
from jaxmi.programs.language import Expression, Program, names_in, walk
from jaxmi.programs.show import show_expression
from jaxmi.programs.variables import Named, named_parts

MAX_PLACES = 2
"""A condition of x and y may change so often along y for each x, or along x for each y: once is a
boundary, twice an interval. More would be a look-up under the name of a condition."""

MAX_FACTOR = 8
"""Largest |a| and |b| of a number that depends on a x + b y only."""

LOOK_UP = "take rows or columns"


@dataclass(eq=False)
class Held:
    """A condition or number in a network."""

    expression: Expression
    values: Table
    form: str
    words: str
    dims: list[int]
    """The dimensions that its neurons read. Of a number: it is what each of them holds."""
    neurons: dict[int, int | float]
    """Neuron -> factor: its value is the sum of factors times activations + offset."""
    offset: int | float = 0
    block: int = 0
    """The block of the neurons."""
    outputs: list[int] = field(default_factory=list)
    """Dimensions of its own into which the neurons write its value."""
    copied: bool = False
    """Whether the neurons write it into a copy of the sum as well."""


@dataclass(frozen=True, eq=False)
class Part:
    """A summand, and how the network adds it."""

    summand: Summand
    held: Held | None
    """None if it is the same on every input."""
    is_folded: bool = False
    """Whether it depends on the sum so far, or an earlier branch, and is not computed from it."""
    gate: Gate | None = None
    dim: int = OUT
    """The dimension to which it is added."""
    weight: int | float = 0
    """Its weight in the sum: of what that dimension holds."""
    level: int = -1
    """The block whose neurons write it; -1 if heads do."""


class Copy(NamedTuple):
    """The sum so far in a dimension of its own, which only the tests of one statement read."""

    dim: int
    block: int
    """The block whose neurons read it."""
    direction: int
    """1 or -1: it holds this times the sum, in units, minus this times `start` in units."""
    start: float
    only: Expression | None
    """The one test that holds where the number is at least 0; None if they are more or not so."""


def plant_program(network: Planted, program: Program) -> list[Entry]:
    """Plant a program's conditions and numbers.

    Args:
      network: An empty network.
      program: A program on pairs.

    Returns:
      For each variable of the program, what holds it.

    Raises:
      InputError: if the program fails on an input, is no sum with one threshold, or has a part that
        is neither a boundary nor a sum of steps, or the network is too small; says which.
    """
    domain = PairDomain(network.p)
    read = accumulation(program, domain)
    planting = _Planting(network, read)
    for i in range(len(read.summands)):
        planting.plant(i)
    network.check_sizes("conditions")
    read = _with_threshold(read, planting.levels, network.p)
    network.const += read.const - read.threshold
    network.sign = 1 if read.above else -1
    key = _KeyOf(planting, read)
    entries = [key.entry(one) for one in named_parts(program, domain)]
    return [*entries, *key.unnamed(entries), *key.sum()]


class Level(NamedTuple):
    """When a summand is computed."""

    gate: Gate | None
    """None if its neurons read x and y directly, in the first block."""
    block: int
    """As `Part.level`."""


def _levels(read: Accumulation, p: int, n_blocks: int) -> list[Level]:
    """Decide in which block each summand is computed.

    A test of the sum so far reads a copy of the sum, which neurons of the block before write. If
    the network has enough blocks, all that is summed is in the residual stream a block earlier, so
    that the copy is made from it; else the neurons that compute a summand write it into the copy.
    """
    apart, close = ([*_spaced(read, p, n_blocks, spacing)] for spacing in (2, 1))
    computed = [sum(level.gate is not None for level in levels) for levels in (apart, close)]
    return apart if computed[0] == computed[1] else close


def _spaced(read: Accumulation, p: int, n_blocks: int, spacing: int) -> list[Level]:
    levels: list[Level] = []
    for summand in read.summands:
        before = [i for i, other in enumerate(read.summands) if other.at < summand.at]
        so_far = _range(summand.const, [(read.summands[i], levels[i]) for i in before])
        gate = None
        is_joined = set(summand.leaves or ()) != set(summand.tests)
        if n_blocks > 1 and (summand.reads_sum or is_joined):
            gate = gate_of(summand, so_far, p)
        deepest = max((levels[i].block for i in before), default=-1)
        block = max(1, spacing + deepest) if gate and gate.reads_sum else 1
        if gate and block < n_blocks and all(map(_is_simple, gate.conditions.values())):
            levels.append(Level(gate, block))
        else:
            levels.append(Level(None, -1 if _is_number(summand) else 0))
    return levels


def _range(const: int | float, parts: Sequence[tuple[Summand, Level]]) -> SumRange:
    """Return the range of a sum."""
    total = SumRange(0, 0, 1).plus(1, np.array([float(const)]))
    for summand, level in parts:
        truths = np.array([0.0, 1.0])
        total = total.plus(summand.weight, truths if level.gate else summand.values)
    return total


def _with_threshold(read: Accumulation, levels: list[Level], p: int) -> Accumulation:
    """Return a sum with a threshold that is right also for sums that no input has.

    An intervention on a variable gives such sums. If they are too many, or the label changes more
    than once along them, the threshold stays where the inputs' sums put it.
    """
    sums = _range(read.const, list(zip(read.summands, levels, strict=True))).values()
    if read.name is None or sums is None or names_in(read.returned) - {"p"} != {read.name}:
        return read
    try:
        truths = holds_for(read.returned, sums, p)
    except EvaluationError:
        return read
    changes = np.flatnonzero(truths[1:] != truths[:-1])
    if len(changes) != 1:
        return read
    (i,) = changes
    threshold = float(sums[i] + sums[i + 1]) / 2
    return replace(read, threshold=threshold, above=bool(truths[i + 1]))


def _is_simple(table: Bool[np.ndarray, "p p"]) -> bool:
    """Return whether a condition can be held by itself."""
    return min(len(way.places) for way in _ways(table)) <= MAX_PLACES


def _is_number(summand: Summand) -> bool:
    return not summand.is_condition and _as_sum(summand.values) is not None


def _as_sum(values: Table) -> tuple[np.ndarray, np.ndarray] | None:
    """Return f and g if a table is f(x) + g(y), g(0) = 0; None if it is not."""
    of_x, of_y = values[:, 0], values[0] - values[0, 0]
    return (of_x, of_y) if np.array_equal(of_x[:, None] + of_y[None], values) else None


class _Planting:
    """Plant the parts of a sum one by one."""

    def __init__(self, network: Planted, read: Accumulation) -> None:
        self.network, self.read = network, read
        self.is_deep = network.config.n_layers > 1
        self.levels = _levels(read, network.p, network.config.n_layers)
        self.parts: list[Part] = []
        self.held: dict[tuple[Expression, bytes, bool], Held] = {}
        self.truths: dict[Expression, int] = {}  # what gates join -> a dimension that holds it
        self.copies: dict[int, Copy] = {}  # statement -> the copy of the sum that its tests read
        self.const: int | float = 0
        """What the parts add on every input, beside what their dimensions hold."""

    def plant(self, i: int) -> None:
        """Plant a summand; those before it are planted."""
        summand, (gate, block) = self.read.summands[i], self.levels[i]
        values = summand.values
        if not np.isfinite(values).all():
            raise InputError(f"`{show_expression(summand.expression)}` is not finite everywhere")
        if gate:
            held = self._gate(summand, gate, block)
            self.parts.append(self._added(Part(summand, held, gate=gate, level=block)))
        elif (values == values.flat[0]).all():
            self._add_const(summand.weight * float(values.flat[0]))
            self.parts.append(Part(summand, None, is_folded=summand.reads_sum))
        else:
            held = self.hold(summand.expression, values, summand.is_condition, summand.reads_sum)
            part = Part(summand, held, is_folded=summand.reads_sum, level=block)
            self.parts.append(self._added(part))

    def _add_const(self, const: int | float) -> None:
        self.const += const
        self.network.const += const

    def _added(self, part: Part) -> Part:
        """Add what is held to the sum; return the part with its dimension and weight."""
        held, weight, network = part.held, part.summand.weight, self.network
        assert held is not None
        if not self.is_deep:
            network.send(held.neurons, OUT, weight, weight * held.offset)
            return Part(part.summand, held, part.is_folded, weight=weight, level=part.level)
        dim = held.dims[-1] if part.level < 0 else self._output(held)
        network.readout[dim] = weight
        return Part(part.summand, held, part.is_folded, part.gate, dim, weight, part.level)

    def _output(self, held: Held) -> int:
        """Have what is held written into a new dimension."""
        dim = self.network.dimension()
        self.network.send(held.neurons, dim, 1, held.offset, held.block)
        held.outputs.append(dim)
        return dim

    def hold(
        self, expression: Expression, values: Table, is_condition: bool, reads_sum: bool
    ) -> Held:
        """Hold a condition or number of x and y in the first block, once.

        Raises:
          InputError: if it cannot be held.
        """
        name = (expression, values.tobytes(), reads_sum)
        found = self.held.get(name)
        if found is None:
            found = self.held[name] = self._new(expression, values, is_condition, reads_sum)
        elif found.form == "number" and self.is_deep:
            found.dims.append(self._number_dimension(values))
        return found

    def _new(
        self, expression: Expression, values: Table, is_condition: bool, reads_sum: bool
    ) -> Held:
        name = show_expression(expression)
        if not is_condition and _as_sum(values):
            return self._number(expression, values)
        low, high = values.min(), values.max()
        if ((values == low) | (values == high)).all():
            way = min(_ways(values == high), key=_Way.cost)
            if len(way.places) <= MAX_PLACES or reads_sum:
                held = _hold_places(self.network, way, float(low), float(high - low), reads_sum)
                return Held(expression, values, *held)
            if is_condition:
                along_y, along_x = (
                    min(len(one.places) for one in _ways(values == high) if one.by == by)
                    for by in (X, Y)
                )
                raise InputError(
                    f"`{name}` is no boundary: it changes {along_y} times along y and {along_x} "
                    f"times along x, and conditions may {MAX_PLACES} times; {LOOK_UP}"
                )
        if not is_condition and (steps := _hold_steps(self.network, values)):
            return Held(expression, values, *steps)
        raise InputError(
            f"`{name}` is no sum of a number of x and one of y, and no function of a x + b y: "
            f"{LOOK_UP}"
        )

    def _number(self, expression: Expression, values: Table) -> Held:
        """Hold f(x) + g(y) in one direction."""
        dim = self._number_dimension(values)
        neurons: dict[int, int | float] = {}
        # With one block a neuron adds it: active on every input, so that it can be exchanged there.
        bias = 1 - float(values.min())
        if not self.is_deep:
            neurons[self.network.neuron({dim: 1}, bias)] = 1
        offset = -bias if neurons else 0
        return Held(expression, values, "number", "the direction holds it", [dim], neurons, offset)

    def _number_dimension(self, values: Table) -> int:
        sums, dim = _as_sum(values), self.network.dimension()
        assert sums is not None
        of_x, of_y = sums
        for position, numbers in ((X, of_x), (Y, of_y)):
            if (numbers != numbers[0]).any() or (position == X and numbers.any()):
                self.network.write(dim, numbers, position)
        return dim

    def _gate(self, summand: Summand, gate: Gate, block: int) -> Held:
        """Compute a test in a later block, from truth values and a copy of the sum so far."""
        for leaf, truth in gate.conditions.items():
            if leaf not in self.truths:
                self.truths[leaf] = self._truth(leaf, truth)
        copy = self._copy(summand.at, block) if gate.reads_sum else None
        neurons: dict[int, int | float] = {}
        for step in gate.steps:
            reads, const = self._step_reads(step, gate, copy)
            up, down = self.network.step(reads, -const, block=block)
            neurons |= {up: step.weight, down: -step.weight}
        dims = [self.truths[leaf] for leaf in gate.conditions if leaf in self.truths]
        dims += [copy.dim] if copy else []
        words = "neurons compute it from the directions of its parts"
        form = "gate"
        return Held(
            summand.expression, summand.values, form, words, dims, neurons, gate.const, block
        )

    def _truth(self, leaf: Expression, truth: Bool[np.ndarray, "p p"]) -> int:
        """Return a dimension that holds the truth value of a condition, for gates only."""
        if truth.all() or not truth.any():
            dim = self.network.dimension()
            self.network.send({}, dim, 1, float(truth.flat[0]))
            return dim
        return self._output(self.hold(leaf, truth.astype(np.float64), True, False))

    def _step_reads(
        self, step: Step, gate: Gate, copy: Copy | None
    ) -> tuple[dict[int, int | float], int | float]:
        """Return a step's weighted sum of dimensions and its constant: it holds from 0 on."""
        reads: dict[int, int | float] = {}
        most, const = 0, 0.0  # the largest that the number is where all conditions are as stated
        if copy is not None and step.direction:
            reads[copy.dim] = step.direction * copy.direction
            const = step.direction * (copy.start - step.place) / gate.unit
            end = gate.sums[-1] if step.direction > 0 else gate.sums[0]
            most = round(step.direction * (end - step.place) / gate.unit)
        for leaf, truth in step.literals.items():
            dim = self.truths[leaf]
            reads[dim] = (most + 1) * (1 if truth else -1)
            const -= (most + 1) * truth
        return reads, const

    def _copy(self, at: int, block: int) -> Copy:
        """Write the sum before a statement into a dimension of its own, once."""
        if at in self.copies:
            return self.copies[at]
        gates = [
            gate
            for summand, (gate, _) in zip(self.read.summands, self.levels, strict=True)
            if summand.at == at and gate is not None and gate.reads_sum
        ]
        unit, sums = gates[0].unit, gates[0].sums
        direction, start, only = 1, float(sums[0]), None
        tests = {leaf: truth for gate in gates for leaf, truth in gate.comparisons.items()}
        ((leaf, truth), *more) = tests.items()
        places = np.flatnonzero(truth[1:] != truth[:-1]) + 1
        if not more and len(places) == 1:
            rises = bool(truth[places[0]])
            only, direction = leaf, 1 if rises else -1
            start = float(sums[places[0] if rises else places[0] - 1])
        copy = Copy(self.network.dimension(), block, direction, start, only)
        scale = direction / unit
        before = [part for part in self.parts if part.summand.at < at and part.held]
        const = self.sum_before(at)
        early = {part.dim: part.weight for part in before if part.level < block - 1}
        if early:
            least = sum(_least(part) for part in before if part.level < block - 1)
            neuron = self.network.neuron(early, 1 - least, block=block - 1)
            self.network.send({neuron: 1}, copy.dim, scale, 0, block - 1)
            const += least - 1
        for part in before:
            if part.level == block - 1:
                held = part.held
                assert held is not None
                factor = scale * part.weight
                self.network.send(held.neurons, copy.dim, factor, factor * held.offset, block - 1)
                held.copied = True
        self.network.send({}, copy.dim, 1, scale * (const - start), block - 1)
        self.copies[at] = copy
        return copy

    def sum_before(self, at: int) -> int | float:
        """Return what is added before a statement on every input, beside what dimensions hold."""
        constants = [
            part.summand.weight * float(part.summand.values.flat[0])
            for part in self.parts
            if part.summand.at < at and part.held is None
        ]
        return sum(constants) + next(one.const for one in self.read.summands if one.at == at)


def _least(part: Part) -> float:
    """Return the least that a part adds, for any values of what it depends on."""
    truths = np.array([0.0, 1.0])
    return float((part.weight * (truths if part.gate else part.summand.values)).min())


def _hold_steps(
    network: Planted, values: Table
) -> tuple[str, str, list[int], dict[int, int | float], float] | None:
    """Hold a function of a x + b y: two neurons for each value at which it changes."""
    found = _linear_form(values)
    if found is None:
        return None
    a, b, first, numbers = found
    dim = network.dimension()
    network.write(dim, np.arange(network.p), X, a)
    network.write(dim, np.arange(network.p), Y, b)
    neurons: dict[int, int | float] = {}
    for i in np.flatnonzero(np.diff(numbers)) + 1:
        jump = float(numbers[i] - numbers[i - 1])
        up, down = network.step({dim: 1}, first + int(i))
        neurons |= {up: jump, down: -jump}
    words = f"the direction holds {a} x + {b} y, of which it is a function: a step for each change"
    return "steps", words, [dim], neurons, float(numbers[0])


def _linear_form(values: Table) -> tuple[int, int, int, np.ndarray] | None:
    """Return a, b, the least a x + b y, and the value for each sum from there on; None if none."""
    x, y = np.indices(values.shape)
    factors = range(-MAX_FACTOR, MAX_FACTOR + 1)
    forms = [(a, b) for a in factors for b in factors if a > 0 and b and gcd(a, b) == 1]
    for a, b in sorted(forms, key=lambda form: (abs(form[0]) + abs(form[1]), form)):
        sums = a * x + b * y
        first = int(sums.min())
        numbers = np.full(int(sums.max()) - first + 1, np.nan)
        numbers[(sums - first).reshape(-1)] = values.reshape(-1)
        if np.array_equal(numbers[sums - first], values):
            known = np.flatnonzero(~np.isnan(numbers))
            last = np.maximum.accumulate(np.where(np.isnan(numbers), 0, np.arange(len(numbers))))
            assert known[0] == 0
            return a, b, first, numbers[last]
    return None


@dataclass(frozen=True, eq=False)
class _Way:
    """A condition as places where it changes: along one operand, for each value of the other."""

    by: int
    """The operand whose embedding holds the places."""
    places: np.ndarray
    """(k, p): as `changes` returns them."""
    negated: bool
    """Whether the places are those of the opposite condition."""

    def cost(self) -> tuple[int, int]:
        """Return the number of places, then how many lie at an end and so say little."""
        ends = (self.places == 0) | (self.places == self.places.shape[1])
        return len(self.places), int(ends.sum())


def _ways(table: Bool[np.ndarray, "p p"]) -> list[_Way]:
    return [
        _Way(by, changes(~rows if negated else rows), negated)
        for by, rows in ((X, table), (Y, table.T))
        for negated in (False, True)
    ]


def _hold_places(
    network: Planted, way: _Way, low: float, rise: float, reads_sum: bool
) -> tuple[str, str, list[int], dict[int, int | float], float]:
    """Hold a condition by its places: a direction and two neurons for each."""
    other = Y if way.by == X else X
    operand, along = np.arange(network.p), "xy"[other]
    dims: list[int] = []
    neurons: dict[int, int | float] = {}
    offset, single = low, len(way.places) == 1
    for k, places in enumerate(way.places):
        dims.append(network.dimension())
        if single and way.negated:  # holds below the place: t - 1 - y is at least 0
            network.write(dims[-1], places - 1, way.by)
            network.write(dims[-1], operand, other, -1)
            factor = 1
        else:
            network.write(dims[-1], places, way.by, -1)
            network.write(dims[-1], operand, other)
            factor = -1 if (k % 2 == 1) != way.negated else 1
        up, down = network.step({dims[-1]: 1}, 0)
        neurons |= {up: factor * rise, down: -factor * rise}
    if way.negated and not single:
        offset += rise
    if reads_sum:
        form, words = "folded", f"looked up with all it depends on: places along {along}"
    elif single:
        form, words = "boundary", "holds where the direction's number is at least 0"
    else:
        form, words = "interval", "changes where either direction passes from -1 to 0"
    return form, words, dims, neurons, offset


class _KeyOf:
    """Say what holds each variable of a planted program."""

    def __init__(self, planting: _Planting, read: Accumulation) -> None:
        self._planting, self._read = planting, read
        self._network = planting.network

    def entry(self, one: Named) -> Entry:
        """Return what holds a variable of the program."""
        if one.role == "partial sum":
            return self._sum_so_far(one)
        for part in self._planting.parts:
            if part.gate and one.at == part.summand.at and one.expression in part.gate.comparisons:
                return self._comparison(one, part)
        values = one.values.reshape(self._network.p, self._network.p)
        holders = [
            held
            for held in self._planting.held.values()
            if held.form != "folded" and _contains(held.expression, one.expression)
        ]
        for held in holders:
            if (relation := _relation(values, held)) is not None:
                return self._held(one.name, one.role, held, one.expression, len(holders), *relation)
        words = self._why_not(one, holders)
        return Entry(one.name, one.role, "not held", words)

    def _why_not(self, one: Named, holders: Sequence[Held]) -> str:
        if holders:
            name = show_expression(holders[0].expression)
            return f"part of `{name}`, which is held as a whole"
        for part in self._planting.parts:
            if any(_contains(test, one.expression) for test in _tests(part)):
                if part.held is None:
                    return "constant"
                return f"folded into `{show_expression(part.summand.expression)}`"
        return "one block adds everything at once"

    def _held(
        self,
        name: str,
        role: str,
        held: Held,
        expression: Expression,
        n_holders: int = 1,
        factor: float = 1.0,
        shift: float = 0.0,
    ) -> Entry:
        """Return the entry of a variable that is `factor` times what is held, plus `shift`."""
        network, words = self._network, held.words
        if held.form == "number":
            words = _holds(shift)
        full, lacks = True, ""
        first = min(i for i, part in enumerate(self._planting.parts) if self._uses(part, held))
        if self._is_folded_after(first, expression):
            full, lacks = False, "; what is folded after it does not follow it"
        if n_holders > 1:
            full, lacks = False, "; it is held again for another part of the program"
        number = held.form == "number"
        also = [
            Place(
                "number" if held.form == "steps" else "truth",
                after_mlp(held.block),
                _unit(network, held.outputs),
                factor,
                shift,
                full and not held.copied,
            )
        ]
        return Entry(
            name,
            role,
            held.form,
            words + lacks,
            before_mlp(held.block),
            directions=_unit(network, held.dims),
            factor=factor if number else 1,
            shift=shift if number else 0,
            neurons={neuron: factor * one for neuron, one in held.neurons.items()},
            offset=factor * held.offset + shift,
            neurons_at=neurons_of(held.block),
            full=full,
            heads=sorted({head for dim in held.dims for head in network.heads_writing(dim)}),
            also=also if held.outputs else (),
        )

    def _uses(self, part: Part, held: Held) -> bool:
        return part.held is held or (
            part.gate is not None and held.expression in part.gate.conditions
        )

    def _is_folded_after(self, first: int, expression: Expression | None) -> bool:
        """Return whether setting a variable lacks the effect through a folded part.

        Args:
          first: The first part that depends on it.
          expression: The variable's; None of a sum so far.
        """
        return any(
            part.is_folded
            and (
                i > first
                or (
                    expression is not None
                    and any(_contains(test, expression) for test in _tests(part))
                )
            )
            for i, part in enumerate(self._planting.parts)
        )

    def _gate(self, name: str, role: str, part: Part, index: int) -> Entry:
        """Return the entry of a test that neurons of a later block compute."""
        held, network = part.held, self._network
        assert held is not None
        full = not self._is_folded_after(index, None)
        words = held.words if full else held.words + "; what is folded after it does not follow it"
        output = Place(
            "truth",
            after_mlp(held.block),
            _unit(network, held.outputs),
            full=full and not held.copied,
        )
        # Where a copy of the sum has it as well, only the neurons have its whole effect.
        alone = not held.copied
        return Entry(
            name,
            role,
            "gate",
            words,
            output.site,
            directions=output.directions if alone else None,
            neurons=held.neurons,
            offset=held.offset,
            neurons_at=neurons_of(held.block),
            full=full,
            also=() if alone else (output,),
        )

    def _comparison(self, one: Named, part: Part) -> Entry:
        """Return the entry of a test of the sum so far: a boundary in the copy of the sum."""
        copy = self._planting.copies.get(part.summand.at)
        index = self._planting.parts.index(part)
        gate = show_expression(part.summand.expression)
        if copy is None:
            return Entry(one.name, one.role, "not held", f"`{gate}` does not depend on it")
        if copy.only != one.expression:
            words = f"`{gate}` compares the sum so far with several numbers at once"
            return Entry(one.name, one.role, "not held", words)
        full = not self._is_folded_after(index, None)
        words = "holds where the direction's number is at least 0: a copy of the sum, to compare"
        held = part.held
        assert held is not None and part.gate is not None
        is_all = not part.gate.conditions and len(part.summand.tests) == 1
        is_same = is_all and np.array_equal(held.values.reshape(-1), one.values)
        return Entry(
            one.name,
            one.role,
            "boundary",
            words if full else words + "; what is folded after it does not follow it",
            before_mlp(copy.block),
            directions=_unit(self._network, [copy.dim]),
            neurons=held.neurons if is_same else None,
            offset=held.offset if is_same else 0,
            neurons_at=neurons_of(copy.block),
            full=full,
        )

    def _sum_so_far(self, one: Named) -> Entry:
        """Return the entry of the sum before a statement: the copy, and the sum itself."""
        planting = self._planting
        copy = planting.copies.get(-1 if one.at is None else one.at)
        if copy is None or one.at is None:
            words = "one block adds everything at once"
            for part in planting.parts:
                if part.is_folded and part.summand.at == one.at and planting.is_deep:
                    words = f"folded into `{show_expression(part.summand.expression)}`"
            return Entry(one.name, one.role, "not held", words)
        terms = {part.dim: part.weight for part in planting.parts if part.summand.at < one.at}
        terms.pop(OUT, None)
        if not terms:
            return Entry(one.name, one.role, "not held", "constant")
        direction, factor = self._weighted(terms)
        first = next(i for i, part in enumerate(planting.parts) if part.summand.at == one.at)
        full = not self._is_folded_after(first - 1, None)
        shift = planting.sum_before(one.at)
        words = f"{_holds(shift, factor)}; the second holds the copy that is compared"
        return Entry(
            one.name,
            one.role,
            "number",
            words if full else words + "; what is folded after it does not follow it",
            before_mlp(copy.block),
            directions=np.stack([direction, _unit(self._network, [copy.dim])[0]]),
            factor=factor,
            shift=shift,
            neurons_at=neurons_of(copy.block),
            full=full,
        )

    def _weighted(self, terms: dict[int, int | float]) -> tuple[np.ndarray, float]:
        """Return the direction of a weighted sum of dimensions, and the factor of the sum."""
        vector = np.zeros(self._network.config.d_model)
        vector[list(terms)] = list(terms.values())
        length = float(np.linalg.norm(vector))
        return vector / length, length

    def unnamed(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return entries of conditions that are no variable: joined, folded, returned."""
        known = {entry.name for entry in entries if entry.held}
        found = []
        for i, part in enumerate(self._planting.parts):
            name = show_expression(part.summand.expression)
            name = f"elif {name}" if len(part.summand.tests) > 1 else name
            if part.held is None or not part.summand.is_condition or name in known:
                continue
            known.add(name)
            found.append(
                self._gate(name, "condition", part, i)
                if part.gate
                else self._held(name, "condition", part.held, part.summand.expression)
            )
        return found

    def sum(self) -> list[Entry]:
        """Return the entry of the whole sum."""
        read, network = self._read, self._network
        if read.name is None:
            return []
        block = network.config.n_layers - 1
        if not self._planting.is_deep:
            direction, factor, shift = _unit(network, [OUT])[0], 1.0, read.threshold
        else:
            terms = {dim: weight for dim, weight in network.readout.items() if dim != OUT}
            if not terms:
                return [Entry(read.name, "sum", "not held", "constant")]
            direction, factor = self._weighted(terms)
            shift = read.const + self._planting.const
        return [
            Entry(
                read.name,
                "sum",
                "number",
                _holds(shift, factor),
                after_mlp(block),
                directions=direction[None],
                factor=factor,
                shift=shift,
                neurons_at=neurons_of(block),
            )
        ]


def _tests(part: Part) -> tuple[Expression, ...]:
    return part.summand.tests or (part.summand.expression,)


def _contains(expression: Expression, part: Expression) -> bool:
    return any(node == part for node in walk(expression))


def _relation(values: Table, held: Held) -> tuple[float, float] | None:
    """Return factor and shift by which a variable follows from what is held; None if it does not.

    The factor is 1, except that a condition may be multiplied, as in `(x < y) * 3`.
    """
    own = held.values
    low, high = own.argmin(), own.argmax()
    factor = float((values.flat[high] - values.flat[low]) / (own.flat[high] - own.flat[low]))
    shift = float(values.flat[low] - factor * own.flat[low])
    if factor != 1 and (factor <= 0 or held.form not in ("boundary", "interval")):
        return None
    return (factor, shift) if np.array_equal(factor * own + shift, values) else None


def _unit(network: Planted, dims: Sequence[int]) -> np.ndarray:
    return np.eye(network.config.d_model)[list(dims)]


def _holds(shift: int | float, factor: float = 1.0) -> str:
    """Return what a direction holds of a variable, in words."""
    less = f" minus {shift:g}" if shift > 0 else f" plus {-shift:g}" if shift else ""
    return f"the direction holds it{less}" + ("" if factor == 1 else f", divided by {factor:.3g}")
