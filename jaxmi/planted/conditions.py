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
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxmi.errors import InputError
from jaxmi.planted.accumulation import (
    Accumulation,
    Summand,
    Table,
    accumulation,
    threshold_along,
)
from jaxmi.planted.forms import (
    MAX_PLACES,
    Way,
    as_sum,
    hold_places,
    hold_steps,
    is_simple,
    ways_of,
)
from jaxmi.planted.gates import Gate, Step, SumRange, gate_of
from jaxmi.planted.network import OUT, Planted, X, Y
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import EvaluationError
from jaxmi.programs.language import Expression, Program
from jaxmi.programs.show import show_expression

LOOK_UP = "take rows or columns"
"""What to do about a program that cannot be had as conditions."""


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
    start: int | float
    only: Expression | None
    """The one test that holds where the number is at least 0; None if they are more or not so."""


def plant_program(network: Planted, program: Program) -> "Planting":
    """Plant a program's conditions and numbers, and the sum of them.

    Args:
      network: An empty network.
      program: A program on pairs.

    Returns:
      What was planted where.

    Raises:
      InputError: if the program fails on an input, is no sum with one threshold, or has a part that
        is neither a boundary nor a sum of steps, or the network is too small; says which.
    """
    read = accumulation(program, PairDomain(network.p))
    planting = Planting(network, read)
    for i in range(len(read.summands)):
        planting.plant(i)
    network.check_sizes("conditions")
    network.const += planting.read.const - planting.read.threshold
    network.sign = 1 if planting.read.above else -1
    return planting


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
        if gate and block < n_blocks and all(map(is_simple, gate.conditions.values())):
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

    If they are too many, or the label changes more than once along them, the threshold stays where
    the inputs' sums put it.
    """
    sums = _range(read.const, list(zip(read.summands, levels, strict=True))).values()
    if read.name is None or sums is None:
        return read
    try:
        found = threshold_along(read, sums, p)
    except EvaluationError:
        return read
    return read if found is None else replace(read, threshold=found[0], above=found[1])


def _is_number(summand: Summand) -> bool:
    return not summand.is_condition and as_sum(summand.values) is not None


class Planting:
    """The parts of a sum in a network, planted one by one."""

    def __init__(self, network: Planted, read: Accumulation) -> None:
        self.network = network
        self.is_deep = network.config.n_layers > 1
        self.levels = _levels(read, network.p, network.config.n_layers)
        self.read = _with_threshold(read, self.levels, network.p)
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
        if not is_condition and as_sum(values):
            return self._number(expression, values)
        low, high = values.min(), values.max()
        if ((values == low) | (values == high)).all():
            way = min(ways_of(values == high), key=Way.cost)
            if len(way.places) <= MAX_PLACES or reads_sum:
                held = hold_places(self.network, way, float(low), float(high - low), reads_sum)
                return Held(expression, values, *held)
            if is_condition:
                along_y, along_x = (
                    min(len(one.places) for one in ways_of(values == high) if one.by == by)
                    for by in (X, Y)
                )
                raise InputError(
                    f"`{name}` is no boundary: it changes {along_y} times along y and {along_x} "
                    f"times along x, and conditions may {MAX_PLACES} times; {LOOK_UP}"
                )
        if not is_condition and (steps := hold_steps(self.network, values)):
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
        sums, dim = as_sum(values), self.network.dimension()
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
