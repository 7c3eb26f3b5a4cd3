"""Adds a term to a model, or exchanges one: all boundaries, weights, guards and places are tried.

Tables have one term for each boundary; a program may use one boundary twice, under other guards.

A program on pairs as a search handles it: boundaries, periodic features, an accumulator.

Refits a model term by term, on answers weighed by how far they are to be trusted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.recovery.evidence import Evidence
from jaxmi.recovery.pairs.accumulator import BOUNDS, WEIGHTS, Accumulator, Guard
from jaxmi.recovery.pairs.boundaries import RATIOS, Family, curves, families
from jaxmi.recovery.pairs.tables import BOUNDARY_NATS, Boundary, Features, Periodic


class Placed(NamedTuple):
    """A term: adds a weight on one side of a boundary, where the guard holds."""

    boundary: Boundary
    before: bool
    weight: int | float
    guard: Guard | None

    def fires(self, z: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Says where it counts, given z before it."""
        return (self.boundary.before == self.before) & self.guarded(z)

    def guarded(self, z: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Says where its guard holds."""
        return np.ones(len(z), bool) if self.guard is None else self.guard.holds(z)


@dataclass(frozen=True)
class Model:
    """z = residues - offset, then the terms in turn; the label is z >= 0."""

    offset: int
    periodic: tuple[Periodic, ...]
    terms: tuple[Placed, ...]

    @property
    def features(self) -> Features:
        """What it looks at."""
        return Features(tuple(term.boundary for term in self.terms), self.periodic)

    def start(self, n: int) -> Float[np.ndarray, "n"]:
        """Computes z before the first term."""
        return sum((one.values for one in self.periodic), np.zeros(n)) - self.offset

    def labels(self, n: int) -> Bool[np.ndarray, "n"]:
        """Computes the labels."""
        return self._rest(0, self.start(n)) >= 0

    def gains(self, at: int, signed: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Says what is gained, input by input, if a term counts there; all else as it is.

        Args:
          at: Which term.
          signed: Each answer's worth, positive if it is 1.
        """
        z = self.start(len(signed))
        for term in self.terms[:at]:
            z = z + term.weight * term.fires(z)
        term = self.terms[at]
        with_it = self._rest(at + 1, z + term.weight * term.guarded(z)) >= 0
        without = self._rest(at + 1, z) >= 0
        return signed * (with_it.astype(float) - without)

    def replaced(self, at: int, term: Placed) -> "Model":
        """Changes one term."""
        return replace(self, terms=(*self.terms[:at], term, *self.terms[at + 1 :]))

    def without(self, at: int) -> "Model":
        """Leaves one term out."""
        return replace(self, terms=(*self.terms[:at], *self.terms[at + 1 :]))

    def inserted(self, at: int, term: Placed) -> "Model":
        """Adds a term before that one."""
        return replace(self, terms=(*self.terms[:at], term, *self.terms[at:]))

    def shorter(self) -> Iterator["Model"]:
        """Yields the model without each term, and without each guard."""
        for i, term in enumerate(self.terms):
            yield self.without(i)
            if term.guard is not None:
                yield self.replaced(i, term._replace(guard=None))

    def _rest(self, first: int, z: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        for term in self.terms[first:]:
            z = z + term.weight * term.fires(z)
        return z


def assemble(features: Features, accumulator: Accumulator) -> Model:
    """Puts features and the accumulator that was found for them together."""
    terms = (
        Placed(features.boundaries[term.feature], term.before, term.weight, term.guard)
        for term in accumulator.terms
    )
    return Model(accumulator.offset, features.periodic, tuple(terms))


def wrong_cost(labels: Bool[np.ndarray, "n"], signed: Float[np.ndarray, "n"]) -> float:
    """Adds up the worth of the answers that labels contradict, in nats."""
    return float(np.abs(signed[labels != (signed > 0)]).sum())


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


MAX_TERMS = 5
"""No term is added to so many."""

TRIED = 40
"""How many combinations of weight and guard are tried at each place, with all boundaries."""

KEPT = 2
"""How many new terms are kept for each place."""

REFITTED = 4
"""How many models are refitted."""

MAX_TURNS = 8
"""Changes of one model, at most."""

LEAST_GAIN = 5.0
"""In nats; so many terms are tried that some save less by chance."""

GUARDS = (None, *(Guard(below, bound) for below in (True, False) for bound in BOUNDS))


def exchange_terms(cost: float, model: Model, evidence: Evidence) -> tuple[float, Model]:
    """Adds a term, or exchanges any for another, as long as that helps.

    Args:
      cost: The model's, in nats.
      model: Refitted.
      evidence: The network's answers.

    Returns:
      The cost and the model that it ends with.
    """
    tried = families(round(len(evidence.labels) ** 0.5))
    for _ in range(MAX_TURNS):
        signed = weigh(evidence, model)
        bases = [model] if len(model.terms) < MAX_TERMS else []
        bases += [model.without(i) for i in range(len(model.terms))]
        options = [
            option
            for base in bases
            for at in places(base)
            for option in with_term(base, at, signed, tried)
        ]
        costs = [model_cost(option, signed) for option in options]
        likeliest = [options[i] for i in np.argsort(costs, kind="stable")[:REFITTED]]
        refitted = [polish(option, evidence) for option in likeliest]
        found = min(refitted, key=lambda one: one[0], default=(cost, model))
        if found[0] > cost - LEAST_GAIN:
            break
        cost, model = found
    return cost, model


def places(model: Model) -> list[int]:
    """Lists where another term makes a difference: guards look at what is before them."""
    guarded = [i for i, term in enumerate(model.terms) if term.guard is not None]
    return [*guarded, len(model.terms)]


def with_term(
    model: Model, at: int, signed: Float[np.ndarray, "n"], tried: tuple[Family, ...]
) -> list[Model]:
    """Adds a term at a place, in the ways that gain most.

    Args:
      model: Without it.
      at: How many terms come before it.
      signed: Each answer's worth, positive if it is 1.
      tried: Families of boundaries.
    """
    ways = _likeliest_ways(model, at, signed)
    if not ways:
        return []
    gains = np.stack([one for _, one in ways])
    nats = np.array([_nats(term) for term, _ in ways])
    found = []
    for family in tried:
        sums = np.cumsum(gains[:, family.order], axis=1)
        for before in (True, False):
            values = np.where(family.ends, sums if before else sums[:, -1:] - sums, -np.inf)
            ends = values.argmax(axis=1)
            value = values[np.arange(len(ways)), ends] - nats
            k = int(value.argmax())
            term = ways[k][0]._replace(boundary=Boundary(family, int(ends[k])), before=before)
            found.append((float(value[k]), term))
    found.sort(key=lambda one: -one[0])
    return [model.inserted(at, term) for _, term in found[:KEPT]]


def _likeliest_ways(
    model: Model, at: int, signed: Float[np.ndarray, "n"]
) -> list[tuple[Placed, Float[np.ndarray, "n"]]]:
    """Terms whose boundary is still open, and what each gains, input by input, where it counts.

    Those that can gain most come first: of all answers that they would put right.
    """
    ways: dict[bytes, tuple[Placed, np.ndarray]] = {}
    anywhere = Boundary(families(round(len(signed) ** 0.5))[0], 0)
    for guard in GUARDS:
        for weight in (*WEIGHTS, *(-w for w in WEIGHTS)):
            term = Placed(anywhere, True, weight, guard)
            gains = model.inserted(at, term).gains(at, signed).astype(np.float32)
            if gains.clip(0).sum() > BOUNDARY_NATS + _nats(term):
                ways.setdefault(gains.tobytes(), (term, gains))
    return sorted(ways.values(), key=lambda way: -(way[1].clip(0).sum() - _nats(way[0])))[:TRIED]


def _nats(term: Placed) -> float:
    return 0.0 if term.guard is None else GUARD_NATS
