"""Forms in which the first block holds a condition or a number of x and y.

Each form is dimensions that heads write, and neurons that read them: the value is a weighted sum of
the neurons' activations. They write nowhere yet.
"""

from dataclasses import dataclass
from math import gcd

import numpy as np
from jaxtyping import Bool

from jaxmi.planted.accumulation import Table
from jaxmi.planted.look_up import changes
from jaxmi.planted.network import Planted, X, Y

MAX_PLACES = 2
"""A condition of x and y may change so often along y for each x, or along x for each y: once is a
boundary, twice an interval. More would be a look-up under the name of a condition."""

MAX_FACTOR = 8
"""Largest |a| and |b| of a number that depends on a x + b y only."""


def as_sum(values: Table) -> tuple[np.ndarray, np.ndarray] | None:
    """Return f and g if a table is f(x) + g(y), g(0) = 0; None if it is not."""
    of_x, of_y = values[:, 0], values[0] - values[0, 0]
    return (of_x, of_y) if np.array_equal(of_x[:, None] + of_y[None], values) else None


def is_simple(table: Bool[np.ndarray, "p p"]) -> bool:
    """Return whether a condition can be held by itself."""
    return min(len(way.places) for way in ways_of(table)) <= MAX_PLACES


def hold_steps(
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
class Way:
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


def ways_of(table: Bool[np.ndarray, "p p"]) -> list[Way]:
    """Return the four ways: along y or x, of the condition or of its opposite."""
    return [
        Way(by, changes(~rows if negated else rows), negated)
        for by, rows in ((X, table), (Y, table.T))
        for negated in (False, True)
    ]


def hold_places(
    network: Planted, way: Way, low: float, rise: float, reads_sum: bool
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
