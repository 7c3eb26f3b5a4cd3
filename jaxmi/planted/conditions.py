"""A program's own variables in weights: each condition one direction and two neurons.

A condition that is a boundary, y >= t(x) say, is a whole number y - t(x) in one direction of the
residual stream, and two neurons that tell whether it is at least 0. A number that the program adds
is one direction and one neuron if it is f(x) + g(y), or else steps of a x + b y. One block adds
everything at once: there is no sum so far. So what depends on it is folded into the places where
its truth value changes, row by row.
"""

from dataclasses import dataclass, replace
from math import gcd

import numpy as np
from jaxtyping import Bool

from jaxmi.errors import InputError
from jaxmi.planted.accumulation import Accumulation, Summand, Table, accumulation
from jaxmi.planted.key import AFTER_MLP, Entry
from jaxmi.planted.look_up import changes
from jaxmi.planted.network import OUT, Planted, X, Y
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.language import Program, walk
from jaxmi.programs.show import show_expression
from jaxmi.programs.variables import Named, named_parts

MAX_PLACES = 2
"""A condition of x and y may change so often along y for each x, or along x for each y: once is a
boundary, twice an interval. More would be a look-up under the name of a condition."""

MAX_FACTOR = 8
"""Largest |a| and |b| of a number that depends on a x + b y only."""


@dataclass(frozen=True, eq=False)
class Part:
    """How a summand is held."""

    summand: Summand
    form: str
    words: str
    dims: list[int]
    neurons: dict[int, int | float]
    """Neuron -> factor: the summand's value is the sum of factors times activations + offset."""
    offset: int | float = 0
    full: bool = True
    """As in `Entry`."""


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
    parts = [_plant(network, summand) for summand in read.summands]
    network.check_sizes("conditions")
    last = max((i for i, part in enumerate(parts) if part.form == "folded"), default=0)
    parts = [replace(part, full=i >= last) for i, part in enumerate(parts)]
    network.const += read.const - read.threshold
    network.sign = 1 if read.above else -1
    entries = [_entry(network, one, parts) for one in named_parts(program, domain)]
    return [*entries, *_unnamed(network, parts, entries), *_sum(network, read)]


def _plant(network: Planted, summand: Summand) -> Part:
    values, name = summand.values, show_expression(summand.expression)
    if not np.isfinite(values).all():
        raise InputError(f"`{name}` is not finite on every input")
    if (values == values.flat[0]).all():
        network.const += summand.weight * float(values.flat[0])
        return Part(summand, "constant", "the same on every input: part of a bias", [], {})
    if not summand.is_condition and (part := _plant_number(network, summand)):
        return part
    low, high = values.min(), values.max()
    if ((values == low) | (values == high)).all():
        table = values == high
        way = min(_ways(table), key=_Way.cost)
        if len(way.places) <= MAX_PLACES or summand.reads_sum:
            network.const += summand.weight * float(low)
            return _plant_places(network, summand, way, float(low), float(high - low))
        if summand.is_condition:
            along_y, along_x = (
                min(len(one.places) for one in _ways(table) if one.by == by) for by in (X, Y)
            )
            raise InputError(
                f"`{name}` is no boundary: it changes {along_y} times along y and {along_x} times "
                f"along x, and conditions may {MAX_PLACES} times; take rows or columns"
            )
    if not summand.is_condition and (part := _plant_steps(network, summand)):
        return part
    raise InputError(
        f"`{name}` is no sum of a number of x and one of y, and no function of a x + b y: take "
        "rows or columns"
    )


def _plant_number(network: Planted, summand: Summand) -> Part | None:
    """Plant f(x) + g(y) as one direction and one neuron."""
    values = summand.values
    of_x, of_y = values[:, 0], values[0] - values[0, 0]
    if not np.array_equal(of_x[:, None] + of_y[None], values):
        return None
    dim = network.dimension()
    for position, numbers in ((X, of_x), (Y, of_y)):
        if (numbers != numbers[0]).any() or (position == X and numbers.any()):
            network.write(dim, numbers, position)
    # The neuron is active on every input, so that another value can be put in its place.
    bias = 1 - float(values.min())
    neuron = network.neuron({dim: 1}, bias, summand.weight)
    network.const -= summand.weight * bias
    return Part(summand, "number", "the direction holds it", [dim], {neuron: 1}, -bias)


def _plant_steps(network: Planted, summand: Summand) -> Part | None:
    """Plant a function of a x + b y: two neurons for each value at which it changes."""
    found = _linear_form(summand.values)
    if found is None:
        return None
    a, b, first, numbers = found
    dim = network.dimension()
    network.write(dim, np.arange(network.p), X, a)
    network.write(dim, np.arange(network.p), Y, b)
    neurons: dict[int, int | float] = {}
    for i in np.flatnonzero(np.diff(numbers)) + 1:
        jump = float(numbers[i] - numbers[i - 1])
        up, down = network.step({dim: 1}, first + int(i), summand.weight * jump)
        neurons |= {up: jump, down: -jump}
    network.const += summand.weight * float(numbers[0])
    words = f"the direction holds {a} x + {b} y, of which it is a function: a step for each change"
    return Part(summand, "steps", words, [dim], neurons, float(numbers[0]))


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


def _plant_places(network: Planted, summand: Summand, way: _Way, low: float, rise: float) -> Part:
    """Plant a condition by its places: a direction and two neurons for each."""
    other = Y if way.by == X else X
    operand, along = np.arange(network.p), "xy"[other]
    weight = summand.weight * rise
    dims, neurons, offset = [], {}, low
    single = len(way.places) == 1
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
        up, down = network.step({dims[-1]: 1}, 0, weight * factor)
        neurons |= {up: factor * rise, down: -factor * rise}
    if way.negated and not single:
        network.const += weight
        offset += rise
    if summand.reads_sum:
        form, words = "folded", f"looked up with all it depends on: places along {along}"
    elif single:
        form, words = "boundary", "holds where the direction's number is at least 0"
    else:
        form, words = "interval", "changes where either direction passes from -1 to 0"
    return Part(summand, form, words, dims, neurons, offset)


def _unit(network: Planted, dims: list[int]) -> np.ndarray:
    return np.eye(network.config.d_model)[dims]


def _entry(network: Planted, one: Named, parts: list[Part]) -> Entry:
    """Return what holds a variable: a summand from which it follows."""
    values = one.values.reshape(network.p, network.p)
    for part in parts:
        summand = part.summand
        within = any(node == one.expression for node in walk(summand.expression))
        if not within or one.role == "partial sum":
            continue
        if part.form == "constant":
            return Entry(one.name, one.role, "not held", "constant")
        if part.form == "folded":
            name = show_expression(summand.expression)
            return Entry(one.name, one.role, "not held", f"folded into `{name}`")
        if (relation := _relation(values, part)) is not None:
            return _held(network, one.name, one.role, part, *relation)
        name = show_expression(summand.expression)
        return Entry(one.name, one.role, "not held", f"part of `{name}`, which is held as a whole")
    words = "one block adds everything at once"
    return Entry(one.name, one.role, "not held", words)


def _relation(values: Table, part: Part) -> tuple[float, float] | None:
    """Return factor and shift by which a variable follows from a summand; None if it does not.

    The factor is 1, except that a condition may be multiplied, as in `(x < y) * 3`.
    """
    own = part.summand.values
    low, high = own.argmin(), own.argmax()
    factor = float((values.flat[high] - values.flat[low]) / (own.flat[high] - own.flat[low]))
    shift = float(values.flat[low] - factor * own.flat[low])
    if factor != 1 and (factor <= 0 or part.form not in ("boundary", "interval")):
        return None
    return (factor, shift) if np.array_equal(factor * own + shift, values) else None


def _held(
    network: Planted, name: str, role: str, part: Part, factor: float = 1.0, shift: float = 0.0
) -> Entry:
    words = _holds(shift) if part.form == "number" else part.words
    if not part.full:
        words += "; what is folded after it does not follow it"
    return Entry(
        name,
        role,
        part.form,
        words,
        directions=_unit(network, part.dims),
        shift=shift,
        neurons={neuron: factor * one for neuron, one in part.neurons.items()},
        offset=factor * part.offset + shift,
        full=part.full,
        heads=sorted({head for dim in part.dims for head in network.heads_writing(dim)}),
    )


def _unnamed(network: Planted, parts: list[Part], entries: list[Entry]) -> list[Entry]:
    """Return entries of conditions that are no variable of their own: joined, folded, returned."""
    known = {entry.name for entry in entries if entry.held}
    return [
        _held(network, name, "condition", part)
        for part in parts
        if part.summand.is_condition
        and part.dims
        and (name := show_expression(part.summand.expression)) not in known
    ]


def _sum(network: Planted, read: Accumulation) -> list[Entry]:
    """Return the entry of the whole sum."""
    if read.name is None:
        return []
    return [
        Entry(
            read.name,
            "sum",
            "number",
            _holds(read.threshold),
            AFTER_MLP,
            directions=_unit(network, [OUT]),
            shift=read.threshold,
        )
    ]


def _holds(shift: float) -> str:
    """Return what a direction holds of a variable, in words."""
    less = f" minus {shift:g}" if shift > 0 else f" plus {-shift:g}" if shift else ""
    return f"the direction holds it{less}"
