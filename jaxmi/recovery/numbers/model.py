"""A program on numbers as the search handles it, refitted term by term.

A `Model` has boundaries, periodic features and an accumulator. `refit` moves its boundaries and
drops what does not pay. `exchange_terms` adds or replaces terms: it tries all boundaries, weights,
guards and positions. Tables have one term per boundary, while a program may use a boundary twice
under different guards.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.programs.domain import NumberDomain
from jaxmi.recovery.evidence import Evidence
from jaxmi.recovery.numbers.accumulator import GUARDS, WEIGHTS, Accumulator, Guard
from jaxmi.recovery.numbers.boundaries import RATIOS, Curve, Family, curves, families
from jaxmi.recovery.numbers.tables import BOUNDARY_NATS, Boundary, Features, Periodic

GUARD_NATS = 5.0
"""Cost of a guard in nats."""


class PlacedTerm(NamedTuple):
    """Adds a weight on one side of a boundary, where the guard holds."""

    boundary: Boundary
    before: bool
    """True if the term applies to the inputs before the boundary."""

    weight: int | float
    guard: Guard | None

    @property
    def guard_nats(self) -> float:
        """Cost of the guard in nats; 0 without one."""
        return 0.0 if self.guard is None else GUARD_NATS

    def guard_holds(self, z: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Return where the guard holds, given z before the term; everywhere without a guard."""
        return np.ones(len(z), bool) if self.guard is None else self.guard.holds(z)

    def applies(self, z: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Return where the weight is added, given z before the term."""
        return (self.boundary.before == self.before) & self.guard_holds(z)


@dataclass(frozen=True)
class Model:
    """z = residues - offset, then the terms in order; the label is z >= 0."""

    domain: NumberDomain
    """All inputs; arrays have one entry per input."""

    offset: int
    periodic: tuple[Periodic, ...]
    terms: tuple[PlacedTerm, ...]

    @property
    def features(self) -> Features:
        """The features that the labels depend on."""
        return Features(tuple(term.boundary for term in self.terms), self.periodic)

    def start(self) -> Float[np.ndarray, "n"]:
        """Return z before the first term."""
        zeros = np.zeros(int(np.prod(self.domain.shape)))
        return sum((feature.values for feature in self.periodic), zeros) - self.offset

    def labels(self) -> Bool[np.ndarray, "n"]:
        """Return the labels of all inputs."""
        return self._add_terms(self.start(), 0) >= 0

    def gains(self, index: int, log_odds: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Return what each input gains in nats if a term's weight is added there.

        A gain compares the labels with the weight added wherever the term's guard holds, on either
        side of its boundary, to those without the term.

        Args:
          index: The term.
          log_odds: Log-odds that each label is 1.
        """
        term = self.terms[index]
        z = self._add_terms(self.start(), 0, index)
        with_term = self._add_terms(z + term.weight * term.guard_holds(z), index + 1) >= 0
        without = self._add_terms(z, index + 1) >= 0
        return log_odds * (with_term.astype(float) - without)

    def replaced(self, index: int, term: PlacedTerm) -> "Model":
        """Return the model with another term at an index."""
        return replace(self, terms=(*self.terms[:index], term, *self.terms[index + 1 :]))

    def without(self, index: int) -> "Model":
        """Return the model without a term."""
        return replace(self, terms=(*self.terms[:index], *self.terms[index + 1 :]))

    def inserted(self, index: int, term: PlacedTerm) -> "Model":
        """Return the model with another term before the one at an index."""
        return replace(self, terms=(*self.terms[:index], term, *self.terms[index:]))

    def simplifications(self) -> Iterator["Model"]:
        """Yield the model without each term, and without each guard."""
        for i, term in enumerate(self.terms):
            yield self.without(i)
            if term.guard is not None:
                yield self.replaced(i, term._replace(guard=None))

    def _add_terms(
        self, z: Float[np.ndarray, "n"], first: int, last: int | None = None
    ) -> Float[np.ndarray, "n"]:
        for term in self.terms[first:last]:
            z = z + term.weight * term.applies(z)
        return z


class ScoredModel(NamedTuple):
    """A model and its cost in nats."""

    cost: float
    model: Model


def assemble(features: Features, accumulator: Accumulator, domain: NumberDomain) -> Model:
    """Combine features of a domain with the accumulator that was found for them."""
    terms = (
        PlacedTerm(features.boundaries[term.feature], term.before, term.weight, term.guard)
        for term in accumulator.terms
    )
    return Model(domain, accumulator.offset, features.periodic, tuple(terms))


def contradiction_cost(labels: Bool[np.ndarray, "n"], log_odds: Float[np.ndarray, "n"]) -> float:
    """Return the cost of the predictions that labels contradict, in nats."""
    return float(np.abs(log_odds[labels != (log_odds > 0)]).sum())


def model_cost(model: Model, log_odds: Float[np.ndarray, "n"]) -> float:
    """Return the cost of contradicted predictions, features and guards, in nats.

    The cost is approximate: constants have no digits yet.
    """
    guards = sum(term.guard_nats for term in model.terms)
    return contradiction_cost(model.labels(), log_odds) + model.features.nats + guards


def model_log_odds(evidence: Evidence, model: Model) -> Float[np.ndarray, "n"]:
    """Return the log-odds that each label is 1 if the model's labels are the true ones."""
    return evidence.log_odds(model.labels() != evidence.labels)


# Refitting.

PASSES = 4
"""Largest number of passes of a refit."""

LEAST_PASS_GAIN = 0.5
"""A pass that saves fewer nats is the last."""

RATIO_STEP = 0.0125
"""Difference between the logarithms of the exponents of neighbouring curves."""

NEIGHBOURS = 16
"""Number of neighbouring families tried on either side of a curve's."""

MAX_RATIO_STEPS = round(np.log(max(RATIOS)) / RATIO_STEP)


def refit(model: Model, evidence: Evidence) -> ScoredModel:
    """Refit all boundaries and drop what does not pay, with log-odds updated after each pass.

    Returns:
      The model, with its cost by the last log-odds.
    """
    for _ in range(PASSES):
        log_odds = model_log_odds(evidence, model)
        cost = model_cost(model, log_odds)
        model = _simplify(_refit_terms(model, log_odds, 2), log_odds)
        if model_cost(model, log_odds) > cost - LEAST_PASS_GAIN:
            break
    return ScoredModel(model_cost(model, model_log_odds(evidence, model)), model)


def _refit_terms(model: Model, log_odds: Float[np.ndarray, "n"], passes: int) -> Model:
    for _ in range(passes):
        for i in range(len(model.terms)):
            model = refit_term(model, i, log_odds)
    return model


def refit_term(model: Model, index: int, log_odds: Float[np.ndarray, "n"]) -> Model:
    """Give a term the best boundary among curves or lines near its own."""
    gains = model.gains(index, log_odds)
    term = model.terms[index]
    gain = float(gains[term.boundary.before == term.before].sum())
    best, boundary = best_by_gain(gains, term.before, near(term.boundary, model.domain))
    if best <= gain + 1e-6:
        return model
    return model.replaced(index, term._replace(boundary=boundary))


def best_by_gain(
    gains: Float[np.ndarray, "n"], before: bool, tried: Iterable[Family]
) -> tuple[float, Boundary]:
    """Return the boundary with the largest sum of gains on one side, and that sum.

    Args:
      gains: Gain of each input, in nats.
      before: True to sum over the inputs before the boundary, False for the others.
      tried: At least one family; one sweep scores all boundaries of a family.
    """
    best: tuple[float, Boundary] | None = None
    total = float(gains.sum())
    for family in tried:
        sums = np.cumsum(gains[family.order])
        value = np.where(family.ends, sums if before else total - sums, -np.inf)
        end = int(value.argmax())
        if best is None or value[end] > best[0]:
            best = float(value[end]), Boundary(family, end)
    assert best is not None
    return best


def near(boundary: Boundary, domain: NumberDomain) -> tuple[Family, ...]:
    """Return families near a boundary's: for a curve, similar exponents; for a line, its own."""
    kind = boundary.family.kind
    if not isinstance(kind, Curve):
        return (boundary.family,)
    middle = round(float(np.log(kind.ratio)) / RATIO_STEP)
    first, last = max(middle - NEIGHBOURS, -MAX_RATIO_STEPS), middle + NEIGHBOURS
    ratios = (np.exp(step * RATIO_STEP) for step in range(first, min(last, MAX_RATIO_STEPS) + 1))
    neighbours = (replace(kind, ratio=float(ratio)) for ratio in ratios)
    return (boundary.family, *(curves(neighbour, domain) for neighbour in neighbours))


def _simplify(model: Model, log_odds: Float[np.ndarray, "n"]) -> Model:
    """Drop terms and guards, one by one, while that saves nats."""
    cost = model_cost(model, log_odds)
    while True:
        options = [_refit_terms(simpler, log_odds, 1) for simpler in model.simplifications()]
        costs = [model_cost(option, log_odds) for option in options]
        if not costs or min(costs) >= cost:
            return model
        cost, model = min(costs), options[int(np.argmin(costs))]


# Exchanging terms.

MAX_TERMS = 5
"""A model with this many terms gets no other."""

MAX_TURNS = 8
"""Largest number of changes to one model."""

LEAST_GAIN = 5.0
"""A change must save as many nats: of the many terms tried, some save less by chance."""

MAX_DRAFTS = 40
"""Number of weights and guards scored with all boundaries at each position."""

TERMS_PER_POSITION = 2
"""Number of new terms kept for each position."""

REFITS = 4
"""Number of changed models that are refitted."""

OPTIONAL_GUARDS = (None, *GUARDS)


def exchange_terms(scored: ScoredModel, evidence: Evidence) -> ScoredModel:
    """Add a term, or exchange one for another, while that saves nats.

    Args:
      scored: A refitted model.
      evidence: The network's predictions.

    Returns:
      The last model, refitted.
    """
    for _ in range(MAX_TURNS):
        model = scored.model
        log_odds = model_log_odds(evidence, model)
        bases = [model] if len(model.terms) < MAX_TERMS else []
        bases += [model.without(i) for i in range(len(model.terms))]
        options = [
            option
            for base in bases
            for position in positions(base)
            for option in with_term(base, position, log_odds, families(model.domain))
        ]
        costs = [model_cost(option, log_odds) for option in options]
        cheapest = [options[i] for i in np.argsort(costs, kind="stable")[:REFITS]]
        refitted = [refit(option, evidence) for option in cheapest]
        best = min(refitted, key=lambda candidate: candidate.cost, default=scored)
        if best.cost > scored.cost - LEAST_GAIN:
            break
        scored = best
    return scored


def positions(model: Model) -> list[int]:
    """Return the indices at which a new term makes a difference: before each guard, and the end."""
    guarded = [i for i, term in enumerate(model.terms) if term.guard is not None]
    return [*guarded, len(model.terms)]


def with_term(
    model: Model, index: int, log_odds: Float[np.ndarray, "n"], tried: tuple[Family, ...]
) -> list[Model]:
    """Return the models with the new terms that gain most, the best first.

    Args:
      model: The model without the new term.
      index: Index of the new term.
      log_odds: Log-odds that each label is 1.
      tried: Families of boundaries.
    """
    drafts = _draft_terms(model, index, log_odds)
    if not drafts:
        return []
    gains = np.stack([draft.gains for draft in drafts])
    nats = np.array([draft.term.guard_nats for draft in drafts])
    scored: list[tuple[float, PlacedTerm]] = []
    for family in tried:
        sums = np.cumsum(gains[:, family.order], axis=1)
        for before in (True, False):
            values = np.where(family.ends, sums if before else sums[:, -1:] - sums, -np.inf)
            ends = values.argmax(axis=1)
            value = values[np.arange(len(drafts)), ends] - nats
            k = int(value.argmax())
            boundary = Boundary(family, int(ends[k]))
            term = drafts[k].term._replace(boundary=boundary, before=before)
            scored.append((float(value[k]), term))
    scored.sort(key=lambda candidate: -candidate[0])
    return [model.inserted(index, term) for _, term in scored[:TERMS_PER_POSITION]]


class _Draft(NamedTuple):
    """A new term whose boundary is not yet chosen."""

    term: PlacedTerm

    gains: Float[np.ndarray, "n"]
    """Gain of each input in nats if the weight is added there."""

    @property
    def bound(self) -> float:
        """Upper bound on the term's gain: that of a boundary around all inputs that gain."""
        return float(self.gains.clip(0).sum() - self.term.guard_nats)


def _draft_terms(model: Model, index: int, log_odds: Float[np.ndarray, "n"]) -> list[_Draft]:
    """Return drafts of a new term, those that can gain most first."""
    drafts: dict[bytes, _Draft] = {}
    placeholder = Boundary(families(model.domain)[0], 0)
    for guard in OPTIONAL_GUARDS:
        for weight in WEIGHTS:
            term = PlacedTerm(placeholder, True, weight, guard)
            gains = model.inserted(index, term).gains(index, log_odds).astype(np.float32)
            if gains.clip(0).sum() > BOUNDARY_NATS + term.guard_nats:
                drafts.setdefault(gains.tobytes(), _Draft(term, gains))
    return sorted(drafts.values(), key=lambda draft: -draft.bound)[:MAX_DRAFTS]
