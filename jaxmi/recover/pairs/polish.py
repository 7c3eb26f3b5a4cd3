"""Refits a model term by term, on answers weighed by how far they are to be trusted."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from jaxmi.recover.evidence import Evidence
from jaxmi.recover.pairs.boundaries import RATIOS, Family, curves
from jaxmi.recover.pairs.model import Model, wrong_cost
from jaxmi.recover.pairs.tables import Boundary

GUARD_NATS = 5.0
STEP = 0.0125
"""Between the logarithms of the ratios of neighbouring curves."""

STEPS = 16
"""How many neighbours on either side are tried."""

LAST_STEP = round(np.log(max(RATIOS)) / STEP)
PASSES = 4


def model_cost(model: Model, signed: Float[np.ndarray, "n"]) -> float:
    """Adds what a model contradicts and what it costs itself, roughly, in nats."""
    guards = sum(term.guard is not None for term in model.terms)
    wrong = wrong_cost(model.labels(len(signed)), signed)
    return wrong + model.features.nats + GUARD_NATS * guards


def polish(model: Model, evidence: Evidence) -> tuple[float, Model]:
    """Refits all boundaries, leaves out what does not pay, and weighs the answers anew in between.

    Returns:
      The cost, by the last weighing, and the model.
    """
    for _ in range(PASSES):
        signed = weigh(evidence, model)
        before = model_cost(model, signed)
        model = _refit(model, signed)
        model = _shorten(model, signed)
        if model_cost(model, signed) > before - 0.5:
            break
    signed = weigh(evidence, model)
    return model_cost(model, signed), model


def weigh(evidence: Evidence, model: Model) -> Float[np.ndarray, "n"]:
    """Weighs the answers by what a model says is wrong."""
    wrong = model.labels(len(evidence.labels)) != evidence.labels
    worth = evidence.worth(wrong)
    return np.where(evidence.labels, worth, -worth)


def _refit(model: Model, signed: Float[np.ndarray, "n"], passes: int = 2) -> Model:
    for _ in range(passes):
        for i in range(len(model.terms)):
            model = refit_term(model, i, signed)
    return model


def refit_term(model: Model, at: int, signed: Float[np.ndarray, "n"]) -> Model:
    """Gives a term its best boundary, among curves and lines near it."""
    gains = model.gains(at, signed)
    term = model.terms[at]
    now = float(gains[term.boundary.before == term.before].sum())
    best, boundary = best_by_gain(gains, term.before, near(term.boundary, round(len(gains) ** 0.5)))
    return model.replaced(at, term._replace(boundary=boundary)) if best > now + 1e-6 else model


def best_by_gain(
    gains: Float[np.ndarray, "n"], before: bool, tried: Iterable[Family]
) -> tuple[float, Boundary]:
    """Finds the boundary on whose one side most is gained: one sweep for a family."""
    best: tuple[float, Boundary] | None = None
    whole = float(gains.sum())
    for family in tried:
        sums = np.cumsum(gains[family.order])
        value = np.where(family.ends, sums if before else whole - sums, -np.inf)
        end = int(value.argmax())
        if best is None or value[end] > best[0]:
            best = float(value[end]), Boundary(family, end)
    assert best is not None
    return best


def near(boundary: Boundary, p: int) -> tuple[Family, ...]:
    """Lists families close to a boundary's: curves of almost its ratio; of a line, parallels."""
    kind = boundary.family.kind
    if len(kind) == 2:
        return (boundary.family,)
    middle = round(float(np.log(kind[0])) / STEP)
    steps = range(max(middle - STEPS, -LAST_STEP), min(middle + STEPS, LAST_STEP) + 1)
    return (boundary.family, *(_fine(step, p) for step in steps))


@lru_cache(maxsize=1000)
def _fine(step: int, p: int) -> Family:
    return curves(float(np.exp(step * STEP)), p)


def _shorten(model: Model, signed: Float[np.ndarray, "n"]) -> Model:
    """Leaves out a term or a guard as long as that costs less than it saves."""
    cost = model_cost(model, signed)
    while True:
        options = [_refit(shorter, signed, 1) for shorter in model.shorter()]
        costs = [model_cost(option, signed) for option in options]
        if not costs or min(costs) >= cost:
            return model
        cost, model = min(costs), options[int(np.argmin(costs))]
