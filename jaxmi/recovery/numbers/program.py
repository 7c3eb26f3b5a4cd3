"""A model on numbers written as a program with short constants.

`write_program` replaces each boundary of a model by a condition such as `x ** 2 < 200 * sqrt(y)`.
Among all conditions near a boundary it takes the one with the smallest sum of two costs: that of
the predictions it contradicts, and that of its constants under a fixed prior.
"""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs.domain import NumberDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.programs.show import power
from jaxmi.recovery.evidence import Candidate, Evidence
from jaxmi.recovery.numbers.boundaries import Curve, Line, Wave, family
from jaxmi.recovery.numbers.model import Model, model_log_odds
from jaxmi.recovery.numbers.tables import WAVE_NATS, Boundary, Periodic

TERM_NATS = 9.0
"""Cost of a term in nats besides its condition's constants: its weight, which curve or line."""

PASSES = 3
"""Largest number of times that all conditions are chosen, given the others."""


def write_program(model: Model, evidence: Evidence) -> Candidate:
    """Round all constants of a model; return the program with its labels and cost."""
    originals = [term.boundary for term in model.terms]
    conditions: list[Condition] = []
    for _ in range(PASSES):
        texts = [condition.text for condition in conditions]
        conditions = []
        for i, original in enumerate(originals):
            model, condition = _round_term(model, i, original, evidence)
            conditions.append(condition)
        if texts == [condition.text for condition in conditions]:
            break
    program = parse(_program_text(model, conditions), model.domain.kind)
    labels = label(program, model.domain).astype(bool)
    wrong = labels != evidence.labels
    nats = (
        sum(condition.nats + TERM_NATS for condition in conditions)
        + WAVE_NATS * len(model.periodic)
        + sum(term.guard_nats for term in model.terms)
    )
    return Candidate(program, labels, float(evidence.costs(wrong)[wrong].sum()) + nats)


def _round_term(
    model: Model, index: int, original: Boundary, evidence: Evidence
) -> tuple[Model, "Condition"]:
    """Replace a term's boundary by a condition.

    A term applies before or after its boundary. If no guard depends on it, the condition may hold
    on the other side, with the weight's sign and the offset changed accordingly.
    """
    term = model.terms[index]
    gains = model.gains(index, model_log_odds(evidence, model))
    value, condition = best_condition(original, term.before, gains, model.domain)
    guards = (previous.guard for previous in model.terms[: index + 1])
    if all(guard is None for guard in guards) and term.weight == int(term.weight):
        other_value, other = best_condition(original, not term.before, -gains, model.domain)
        if other_value + gains.sum() > value:
            condition, model = other, replace(model, offset=model.offset - int(term.weight))
            term = term._replace(before=not term.before, weight=-term.weight)
    before = condition.holds if term.before else ~condition.holds
    return model.replaced(index, term._replace(boundary=_boundary_around(before))), condition


def _boundary_around(before: Bool[np.ndarray, "n"]) -> Boundary:
    """Return a boundary with exactly these inputs before it."""
    return Boundary(family(None, (~before).astype(float)), int(before.sum()) - 1)


# Conditions near a boundary.

EXPONENTS = (0.5, 1, 1.5, 2, 3)
"""Usual exponents i, j in a curve `x ** i < c * y ** j`."""

RARE_EXPONENTS = tuple(round(0.1 * i, 1) for i in range(3, 31) if i not in (5, 10, 15, 20, 30))
"""Other exponents that a curve may have."""

USUAL_NATS, COMMON_NATS, RARE_NATS = 2.0, 2.6, 5.0
"""Cost of an exponent in nats: a usual one, 1.3 or 1.7, any other."""

DIGIT_NATS = 2.3
"""Cost of each significant digit of a constant in nats: the logarithm of ten."""

FRACTION_NATS = 2.2
"""Cost of a constant that is not a whole number, in nats."""

GREATER_NATS = 3.0
"""Cost of `>` in nats: most conditions in programs use `<`. The choice matters only for inputs
exactly on a curve, about which a network's predictions say little."""

MAX_DIGITS = 3
"""Largest number of significant digits of a curve's constant."""

MAX_RATIO_FACTOR = 1.35
"""Curves are tried if the ratio of their exponents differs from the boundary's by at most this
factor."""

MAX_EXPONENT_RATIO = 7
"""Largest ratio of a curve's exponents."""

LINE_NEIGHBOURS = 12
"""Number of constants tried on either side of a line's."""


class Condition(NamedTuple):
    """A condition on an input."""

    text: str

    nats: float
    """Cost of its constants under the prior, in nats."""

    holds: Bool[np.ndarray, "n"]
    """The inputs where it holds."""


class ScoredCondition(NamedTuple):
    """A condition, and its gain less its cost in nats."""

    value: float
    condition: Condition


def best_condition(
    boundary: Boundary, before: bool, gains: Float[np.ndarray, "n"], domain: NumberDomain
) -> ScoredCondition:
    """Return the condition near a boundary with the largest gain less its cost.

    Args:
      boundary: A boundary of lines or curves.
      before: True if the condition holds before the boundary.
      gains: What each input gains in nats if the condition holds there.
      domain: The inputs.
    """
    kind = boundary.family.kind
    if isinstance(kind, Line):
        return _best_line(boundary, kind, before, gains, domain)
    assert isinstance(kind, Curve)
    return _best_curve(boundary, kind, before, gains, domain)


def _best_line(
    boundary: Boundary,
    line: Line,
    before: bool,
    gains: Float[np.ndarray, "n"],
    domain: NumberDomain,
) -> ScoredCondition:
    lines = boundary.family
    scores = lines.scores.astype(int)
    middle = int(lines.scores[lines.order[boundary.end]]) + 1  # smaller scores lie before it
    scored = []
    for bound in range(middle - LINE_NEIGHBOURS, middle + LINE_NEIGHBOURS + 1):
        text, nats = _line_text(line, bound if before else bound - 1, before, domain)
        holds = (scores < bound) if before else (scores >= bound)
        value = float(gains[holds].sum()) - nats
        scored.append(ScoredCondition(value, Condition(text, nats, holds)))
    return max(scored, key=lambda candidate: candidate.value)


def _line_text(line: Line, bound: int, before: bool, domain: NumberDomain) -> tuple[str, float]:
    """Return the text of a line's condition, and the cost of its constant in nats."""
    sign = "<" if before else ">"
    nats = _line_nats(bound)
    factors = {n: factor for n, factor in zip(domain.operands, line.slopes, strict=True) if factor}
    match tuple(factors), tuple(factors.values()):
        case (name,), _:
            return f"{name} {sign} {bound}", nats
        case (first, second), (1, 1):
            nats_with_p = _line_nats(bound - domain.p)
            if nats_with_p < nats:
                return f"{second} {sign} p - {first}{_plus(bound - domain.p)}", nats_with_p
    left = " + ".join(_product(factor, name) for name, factor in factors.items() if factor > 0)
    right = " + ".join(_product(-factor, name) for name, factor in factors.items() if factor < 0)
    return f"{left} {sign} {right + _plus(bound) if right else bound}", nats


def _line_nats(bound: int) -> float:
    """Return the cost of a line's constant, with a slight preference for round numbers."""
    return 4.0 + 0.5 * len(str(abs(bound)).rstrip("0"))


class _Curves(NamedTuple):
    """All curves left ** i = c * right ** j of two operands with one pair of exponents."""

    i: int | float
    j: int | float

    quotients: Float[np.ndarray, "pairs"]
    """left ** i / right ** j of all values of the two, sorted."""

    order: Int[np.ndarray, "pairs"]
    """The indices of the two values in that order."""

    def factor_at(self, end: int) -> float:
        """Return c of the curve behind the value pair at a position, if there is one.

        Otherwise return the nearest quotient that is positive and finite.
        """
        usable = np.flatnonzero((self.quotients > 0) & np.isfinite(self.quotients))
        return float(self.quotients[np.clip(end, usable[0], usable[-1])])


class _RoundedCurve(NamedTuple):
    """The curve left ** i = factor * right ** j, or factor * left ** i = right ** j."""

    i: int | float
    j: int | float
    factor: float
    with_left: bool
    """True if the factor is with the left operand."""

    nats: float
    """Cost of exponents and factor in nats."""

    def condition(self, curve: Curve, before: bool, domain: NumberDomain) -> Condition:
        """Return the condition that holds for the inputs before, or after, the curve."""
        rounded = float(f"{self.factor:.{MAX_DIGITS}g}")
        number = int(rounded) if rounded == int(rounded) else rounded
        names, columns = domain.operands, domain.columns()
        left, right = (names[curve.left], self.i), (names[curve.right], self.j)
        if self.with_left:
            left, right = right, left
        left_value = columns[left[0]].astype(float) ** left[1]
        right_value = number * columns[right[0]].astype(float) ** right[1]
        is_less = before != self.with_left
        return Condition(
            f"{power(*left)} {'<' if is_less else '>'} {_product(number, power(*right))}",
            self.nats + GREATER_NATS * (not is_less),
            left_value < right_value if is_less else left_value > right_value,
        )


def _best_curve(
    boundary: Boundary,
    curve: Curve,
    before: bool,
    gains: Float[np.ndarray, "n"],
    domain: NumberDomain,
) -> ScoredCondition:
    others = tuple(i for i in range(len(domain.shape)) if i not in (curve.left, curve.right))
    possible = gains.reshape(domain.shape).sum(axis=others).reshape(-1)  # by the two values
    possible[0] = 0  # where both are 0, both sides are, so neither < nor > holds
    end = boundary.end // domain.p ** len(others)
    best: tuple[float, _RoundedCurve] | None = None
    for curves in _all_curves(domain.p):
        if not 1 / MAX_RATIO_FACTOR < curves.i / curves.j / curve.ratio < MAX_RATIO_FACTOR:
            continue
        centre = curves.factor_at(end)
        nats = exponent_nats(curves.i) + exponent_nats(curves.j)
        sums = np.append(0.0, np.cumsum(possible[curves.order]))
        for digits in range(1, MAX_DIGITS + 1):
            for with_left in (False, True):
                factors = _short_numbers(1 / centre if with_left else centre, digits)
                if not len(factors):
                    continue
                bounds = 1 / factors if with_left else factors
                places = np.searchsorted(curves.quotients, bounds, "left" if before else "right")
                values = sums[places] if before else sums[-1] - sums[places]
                costs = nats + DIGIT_NATS * digits + FRACTION_NATS * (factors != np.round(factors))
                values = values - costs - GREATER_NATS * (before == with_left)
                k = int(values.argmax())
                if best is None or values[k] > best[0] + 1e-9:
                    factor, cost = float(factors[k]), float(costs[k])
                    rounded = _RoundedCurve(curves.i, curves.j, factor, with_left, cost)
                    best = float(values[k]), rounded
    assert best is not None
    return ScoredCondition(best[0], best[1].condition(curve, before, domain))


@lru_cache(maxsize=2)
def _all_curves(p: int) -> tuple[_Curves, ...]:
    left, right = np.indices((p, p)).reshape(2, -1).astype(float)
    families = []
    exponents = (*EXPONENTS, *RARE_EXPONENTS)
    for i in exponents:
        for j in exponents:
            is_tried = 1 / MAX_EXPONENT_RATIO < i / j < MAX_EXPONENT_RATIO
            if (i != j or i == 1) and is_tried:
                with np.errstate(divide="ignore", invalid="ignore"):
                    quotients = np.where(right > 0, left**i / right**j, np.inf)
                order = np.argsort(quotients, kind="stable").astype(np.min_scalar_type(p * p))
                families.append(_Curves(i, j, quotients[order], order))
    return tuple(families)


def _short_numbers(centre: float, digits: int) -> Float[np.ndarray, "_"]:
    """Return numbers of at most so many significant digits, within about a fifth of a centre."""
    scale = np.floor(np.log10(centre)) - digits + 1
    counts = np.arange(10 ** (digits - 1), 10**digits)
    numbers = np.concatenate([counts * 10.0**power for power in (scale - 1, scale, scale + 1)])
    return numbers[(0.8 * centre <= numbers) & (numbers <= 1.25 * centre)]


def exponent_nats(exponent: int | float) -> float:
    """Return the cost of an exponent in nats."""
    if exponent in EXPONENTS:
        return USUAL_NATS
    return COMMON_NATS if exponent in (1.3, 1.7) else RARE_NATS


# The program's text.


def _program_text(model: Model, conditions: list[Condition]) -> str:
    if not model.periodic:
        lines = [f"z = {-model.offset}"]
    else:
        waves = [_periodic_text(feature, model.domain.operands) for feature in model.periodic]
        waves[-1] += _plus(-model.offset)
        lines = ["z = 0", *(f"z += {wave}" for wave in waves)]
    for term, condition in zip(model.terms, conditions, strict=True):
        guard = ""
        if term.guard is not None:
            guard = f" and z {'<' if term.guard.below else '>'} {term.guard.bound}"
        lines.append(f"if {condition.text}{guard}:")
        lines.append(f"    z {'+' if term.weight > 0 else '-'}= {abs(term.weight)}")
    return "\n".join([*lines, "return z >= 0"])


def _periodic_text(feature: Periodic, operands: tuple[str, ...]) -> str:
    assert feature.index is not None
    wave: Wave = feature.axis.waves[feature.index]
    factors = {name: factor for name, factor in zip(operands, wave.axis, strict=True) if factor}
    if len(factors) > 1:
        value = f"({' + '.join(_product(factor, name) for name, factor in factors.items())})"
    else:
        (value,) = factors
        if wave.exponent == 2:
            return f"{value} ** 2 % {wave.modulus}"
        if wave.exponent != 1:
            return f"int({value} ** {wave.exponent}) % {wave.modulus}"
    divided = f"{value} // {wave.width}" if wave.width > 1 else value
    return f"{divided} % {wave.modulus}"


def _product(factor: int | float, name: str) -> str:
    return name if factor == 1 else f"{factor} * {name}"


def _plus(number: int) -> str:
    return f" + {number}" if number > 0 else f" - {-number}" if number < 0 else ""
