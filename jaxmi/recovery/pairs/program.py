"""Writes a model on pairs as a program with short constants.

Boundaries as conditions with short constants: `x ** 2 < 200 * sqrt(y)`.

Among all conditions that a boundary may stand for, the one with the least sum of two costs: of the
answers that it contradicts, and of its constants under a fixed prior.
"""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.recovery.evidence import Candidate, Evidence
from jaxmi.recovery.pairs.boundaries import EXPONENTS, RARER_EXPONENTS, family
from jaxmi.recovery.pairs.model import GUARD_NATS, Model, weigh
from jaxmi.recovery.pairs.tables import WAVE_NATS, Boundary, Periodic

EXPONENT_NATS = 2.0
COMMON_NATS = 2.6
RARER_NATS = 5.0
DIGIT_NATS = 2.3
"""Of each significant digit of a constant: the logarithm of ten."""

BROKEN_NATS = 2.2
"""What a constant costs that is no whole number."""

GREATER_NATS = 3.0
"""What `>` costs: in a program, conditions mostly say what is small. It decides about those pairs
only that lie exactly on a curve, of which a network can tell little."""

MAX_DIGITS = 3
NEAR = 1.35
"""Ratios of exponents that are tried, by how much they may differ from the boundary's."""


class Condition(NamedTuple):
    """A condition on a pair, and where it holds."""

    text: str
    nats: float
    """Of its constants, under the prior."""
    holds: Bool[np.ndarray, "n"]


class _Curves(NamedTuple):
    """All curves of one pair of exponents: x ** i against c * y ** j."""

    i: int | float
    j: int | float
    quotients: Float[np.ndarray, "n"]
    """x ** i / y ** j, in order."""
    order: np.ndarray


class _Curve(NamedTuple):
    """One of them: x ** i against factor * y ** j, or factor * x ** i against y ** j."""

    i: int | float
    j: int | float
    factor: float
    with_x: bool
    nats: float

    def condition(self, before: bool, p: int) -> Condition:
        """Writes it down, for the pairs before or after it."""
        rounded = float(f"{self.factor:.{MAX_DIGITS}g}")
        number = int(rounded) if rounded == int(rounded) else rounded
        x, y = np.indices((p, p)).reshape(2, -1).astype(float)
        x, y = x**self.i, y**self.j
        if self.with_x:
            text = f"{_power('y', self.j)} {'>' if before else '<'} "
            text += _product(number, _power("x", self.i))
            holds = y > number * x if before else y < number * x
            return Condition(text, self.nats + GREATER_NATS * before, holds)
        text = f"{_power('x', self.i)} {'<' if before else '>'} "
        text += _product(number, _power("y", self.j))
        holds = x < number * y if before else x > number * y
        return Condition(text, self.nats + GREATER_NATS * (not before), holds)


def best_condition(
    boundary: Boundary,
    before: bool,
    gains: Float[np.ndarray, "n"],
    p: int,
) -> tuple[float, Condition]:
    """Finds the condition that gains most, less its cost.

    Args:
      boundary: What it stands for now.
      before: On which side it holds.
      gains: What is gained, pair by pair, where it holds.
      p: How many values x and y take.

    Returns:
      The gain less the cost, in nats, and the condition.
    """
    if len(boundary.family.kind) == 2:
        return _best_line(boundary, before, gains, p)
    return _best_curve(boundary, before, gains, p)


def _best_line(
    boundary: Boundary, before: bool, gains: Float[np.ndarray, "n"], p: int
) -> tuple[float, Condition]:
    family = boundary.family
    scores = family.scores.astype(int)
    slopes = (int(family.kind[0]), int(family.kind[1]))
    at = int(family.scores[family.order[boundary.end]]) + 1  # scores below it lie before
    found = []
    for bound in range(at - 12, at + 13):
        text, nats = _line_text(slopes, bound if before else bound - 1, before, p)
        holds = (scores < bound) if before else (scores >= bound)
        found.append((float(gains[holds].sum()) - nats, Condition(text, nats, holds)))
    return max(found, key=lambda one: one[0])


def _line_text(slopes: tuple[int, int], bound: int, before: bool, p: int) -> tuple[str, float]:
    sign = "<" if before else ">"
    a, b = slopes
    if a == 0 or b == 0:
        return f"{'x' if a else 'y'} {sign} {bound}", _digits(bound)
    if slopes == (1, 1):
        plain, with_p = _digits(bound), _digits(bound - p)
        if with_p < plain:
            return f"y {sign} p - x{_plus(bound - p)}", with_p
        return f"x + y {sign} {bound}", plain
    if slopes == (1, -1):
        return f"x {sign} y{_plus(bound)}", _digits(bound)
    left = " + ".join(_times(n, name) for n, name in zip(slopes, "xy", strict=True) if n > 0)
    right = "".join(_times(-n, name) for n, name in zip(slopes, "xy", strict=True) if n < 0)
    if right:
        return f"{left} {sign} {right}{_plus(bound)}", _digits(bound)
    return f"{left} {sign} {bound}", _digits(bound)


def _times(factor: int, name: str) -> str:
    return name if factor == 1 else f"{factor} * {name}"


def _plus(number: int) -> str:
    return f" + {number}" if number > 0 else f" - {-number}" if number < 0 else ""


def _digits(number: int) -> float:
    """Whole numbers of a line are all much alike: only slightly in favour of round ones."""
    return 4.0 + 0.5 * len(str(abs(number)).rstrip("0"))


def _best_curve(
    boundary: Boundary, before: bool, gains: Float[np.ndarray, "n"], p: int
) -> tuple[float, Condition]:
    (ratio,) = boundary.family.kind
    possible = gains.copy()
    possible[0] = 0  # at x = y = 0 both sides are 0, so that neither < nor > holds
    best: tuple[float, _Curve] | None = None
    for curves in _all_curves(p):
        if not 1 / NEAR < curves.i / curves.j / ratio < NEAR:
            continue
        centre = _cut(curves, boundary)
        nats = exponent_nats(curves.i) + exponent_nats(curves.j)
        sums = np.append(0.0, np.cumsum(possible[curves.order]))
        for digits in range(1, MAX_DIGITS + 1):
            for with_x in (False, True):
                factors = _numbers(1 / centre if with_x else centre, digits)
                if not len(factors):
                    continue
                bounds = 1 / factors if with_x else factors
                places = np.searchsorted(curves.quotients, bounds, "left" if before else "right")
                values = sums[places] if before else sums[-1] - sums[places]
                costs = nats + DIGIT_NATS * digits + BROKEN_NATS * (factors != np.round(factors))
                values = values - costs - GREATER_NATS * (before == with_x)
                k = int(values.argmax())
                if best is None or values[k] > best[0] + 1e-9:
                    curve = _Curve(curves.i, curves.j, float(factors[k]), with_x, float(costs[k]))
                    best = float(values[k]), curve
    assert best is not None
    return best[0], best[1].condition(before, p)


def _cut(curves: _Curves, boundary: Boundary) -> float:
    """The factor at which a curve has as many pairs before it as the boundary, if it is one."""
    usable = np.flatnonzero((curves.quotients > 0) & np.isfinite(curves.quotients))
    return float(curves.quotients[np.clip(boundary.end, usable[0], usable[-1])])


def _numbers(centre: float, digits: int) -> Float[np.ndarray, "_"]:
    """The numbers of so many significant digits, or fewer, within about a fifth of a centre."""
    scale = np.floor(np.log10(centre)) - digits + 1
    counts = np.arange(10 ** (digits - 1), 10**digits)
    numbers = np.concatenate([counts * 10.0**power for power in (scale - 1, scale, scale + 1)])
    return numbers[(0.8 * centre <= numbers) & (numbers <= 1.25 * centre)]


@lru_cache(maxsize=2)
def _all_curves(p: int) -> tuple[_Curves, ...]:
    x, y = np.indices((p, p)).reshape(2, -1).astype(float)
    found = []
    powers = (*EXPONENTS, *RARER_EXPONENTS)
    for i in powers:
        for j in powers:
            if (i != j or i == 1) and 1 / 7 < i / j < 7:
                with np.errstate(divide="ignore", invalid="ignore"):
                    quotients = np.where(y > 0, x**i / y**j, np.inf)
                order = np.argsort(quotients, kind="stable").astype(np.int16)
                found.append(_Curves(i, j, quotients[order], order))
    return tuple(found)


def exponent_nats(exponent: int | float) -> float:
    """Says what an exponent costs."""
    if exponent in EXPONENTS:
        return EXPONENT_NATS
    return COMMON_NATS if exponent in (1.3, 1.7) else RARER_NATS


def _power(name: str, exponent: int | float) -> str:
    if exponent == 0.5:
        return f"sqrt({name})"
    return name if exponent == 1 else f"{name} ** {exponent}"


def _product(factor: int | float, of: str) -> str:
    return of if factor == 1 else f"{factor} * {of}"


TERM_NATS = 9.0
"""What a term costs besides its condition's constants: its weight, which curve or line."""

PASSES = 3


def write_program(model: Model, evidence: Evidence, p: int) -> Candidate:
    """Rounds all constants of a model, and gives the program and what it costs."""
    originals = [term.boundary for term in model.terms]
    conditions: list[Condition | None] = [None] * len(originals)
    for _ in range(PASSES):
        texts = [condition and condition.text for condition in conditions]
        for i, original in enumerate(originals):
            model, conditions[i] = _round_term(model, i, original, evidence, p)
        if texts == [condition and condition.text for condition in conditions]:
            break
    text = _text(model, [c for c in conditions if c is not None])
    program = parse(text, "pairs")
    labels = label(program, PairDomain(p)).astype(bool)
    worth = evidence.worth(labels != evidence.labels)
    guards = sum(term.guard is not None for term in model.terms)
    nats = (
        sum(c.nats + TERM_NATS for c in conditions if c is not None)
        + WAVE_NATS * len(model.periodic)
        + GUARD_NATS * guards
    )
    return Candidate(program, labels, float(worth[labels != evidence.labels].sum()) + nats)


def _round_term(
    model: Model, at: int, original: Boundary, evidence: Evidence, p: int
) -> tuple[Model, Condition]:
    """Gives a term a condition; one without a guard may as well hold on the other side."""
    term = model.terms[at]
    gains = model.gains(at, weigh(evidence, model))
    value, condition = best_condition(original, term.before, gains, p)
    guarded_before = any(one.guard is not None for one in model.terms[:at])
    if term.guard is None and not guarded_before and term.weight == int(term.weight):
        other_value, other = best_condition(original, not term.before, -gains, p)
        if other_value + gains.sum() > value:
            condition, model = other, replace(model, offset=model.offset - int(term.weight))
            term = term._replace(before=not term.before, weight=-term.weight)
    side = condition.holds if term.before else ~condition.holds
    return model.replaced(at, term._replace(boundary=_fixed(side))), condition


def _fixed(before: Bool[np.ndarray, "n"]) -> Boundary:
    """A boundary between just these pairs and the others."""
    return Boundary(family((), (~before).astype(float)), int(before.sum()) - 1)


def _text(model: Model, conditions: list[Condition]) -> str:
    lines = ["z = 0"]
    offset = model.offset
    for i, feature in enumerate(model.periodic):
        last = i == len(model.periodic) - 1
        lines.append(f"z += {_wave(feature)}{_minus(offset) if last else ''}")
    if not model.periodic:
        lines[0] = f"z = {-offset}"
    for term, condition in zip(model.terms, conditions, strict=True):
        guard = ""
        if term.guard is not None:
            guard = f" and z {'<' if term.guard.below else '>'} {term.guard.bound}"
        lines.append(f"if {condition.text}{guard}:")
        lines.append(f"    z {'+' if term.weight > 0 else '-'}= {abs(term.weight)}")
    return "\n".join([*lines, "return z >= 0"])


def _wave(feature: Periodic) -> str:
    assert feature.index is not None
    wave = feature.axis.waves[feature.index]
    a, b = wave.axis
    if 0 in wave.axis:
        name = "x" if a else "y"
        if wave.exponent == 2:
            return f"{name} ** 2 % {wave.modulus}"
        if wave.exponent != 1:
            return f"int({name} ** {wave.exponent}) % {wave.modulus}"
        divided = f"{name} // {wave.width}" if wave.width > 1 else name
        return f"{divided} % {wave.modulus}"
    total = " + ".join(name if n == 1 else f"{n} * {name}" for n, name in ((a, "x"), (b, "y")))
    divided = f"({total}) // {wave.width}" if wave.width > 1 else f"({total})"
    return f"{divided} % {wave.modulus}"


def _minus(offset: int) -> str:
    return f" - {offset}" if offset > 0 else f" + {-offset}" if offset < 0 else ""
