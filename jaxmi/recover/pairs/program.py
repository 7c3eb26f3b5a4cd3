"""Writes a model on pairs as a program with short constants."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.recover.candidates import Candidate
from jaxmi.recover.evidence import Evidence
from jaxmi.recover.pairs.boundaries import family
from jaxmi.recover.pairs.model import Model
from jaxmi.recover.pairs.polish import GUARD_NATS, weigh
from jaxmi.recover.pairs.rounding import Condition, best_condition
from jaxmi.recover.pairs.tables import WAVE_NATS, Boundary, Periodic

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
