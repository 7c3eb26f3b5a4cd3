"""Search for the features that predictions depend on: single changes from several starts."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxmi.programs.domain import NumberDomain
from jaxmi.recovery.numbers.boundaries import Axis, Family, axes, families
from jaxmi.recovery.numbers.tables import (
    Boundary,
    Features,
    Periodic,
    best_boundaries,
    best_pairs,
    best_periodic,
    table_cost,
)

MAX_BOUNDARIES = 5
MAX_PERIODIC = 2

LEAST_GAIN = 1.0
"""A change must save as many nats."""

MAX_COST_RATIO = 3.0
"""A start is skipped if it costs more than this many times the cheapest features found so far."""

MAX_SCORED = 600_000_000
"""The search ends with what it has after scoring this many boundaries and periodic features, about
a minute's work."""

PAIRS = 5
"""Number of pairs of periodic features to start from."""

EXCHANGES = 3
"""Number of two-for-one exchanges that are refined."""


class ScoredFeatures(NamedTuple):
    """Features and the cost of their table in nats."""

    cost: float
    features: Features


@dataclass(eq=False)
class TableSearch:
    """A search for the features of a domain that one network's predictions depend on."""

    domain: NumberDomain

    log_odds: Float[np.ndarray, "n"]
    """Log-odds that each label is 1."""

    scored: int = field(default=0, init=False)
    """Number of boundaries and periodic features that the search scored so far."""

    def starts_from_rows(self) -> list[ScoredFeatures]:
        """Return starts in which each value along an axis has a label of its own, cheapest first.

        Such labels reveal the boundaries, whatever is periodic along that axis. A periodic feature
        then takes the values' place. The empty start comes first.
        """
        starts = [ScoredFeatures(0.0, Features())]
        for axis in self._axes:
            rows = self.refine(Features((), (Periodic(axis, None),)), periodic=False)
            bare = Features(rows.features.boundaries)
            starts.append(ScoredFeatures(rows.cost, bare))
            starts.append(ScoredFeatures(rows.cost, self._best_along(bare, axis)))
        return sorted(starts, key=lambda start: start.cost)

    def starts_from_pairs(self) -> list[ScoredFeatures]:
        """Return starts with two periodic features, without boundaries or with the best one."""
        n = len(self.log_odds)
        best = best_boundaries(np.zeros(n, np.int64), self.log_odds, self._families)[0].boundary
        starts = []
        for boundaries in ((), (best,)):
            groups = Features(boundaries).groups(n)
            for pair in best_pairs(groups, self.log_odds, self._axes, PAIRS):
                starts.append(self._score(Features(boundaries, pair)))
        return starts

    def run(self, starts: list[ScoredFeatures]) -> list[ScoredFeatures]:
        """Refine each start; return the distinct results, the cheapest first."""
        results: dict[float, ScoredFeatures] = {}
        for start in starts:
            if len(results) > 1 and start.cost > MAX_COST_RATIO * min(results):
                break
            refined = self.refine(start.features)
            results.setdefault(round(refined.cost, 3), refined)
        return sorted(results.values(), key=lambda result: result.cost)

    def refine(self, features: Features, periodic: bool = True) -> ScoredFeatures:
        """Make the best single change while that saves nats.

        Args:
          features: The features to start from.
          periodic: True if periodic features may change.
        """
        best = self._score(features)
        while self.scored < MAX_SCORED:
            additions = map(self._score, self._additions(best.features, periodic))
            changed = min(additions, key=lambda option: option.cost, default=best)
            if changed.cost > best.cost - LEAST_GAIN:
                changed = self._first_better(best, periodic)
            if changed is None:
                break
            best = changed
        return best

    def exchange_two_for_one(self, current: ScoredFeatures) -> ScoredFeatures:
        """Replace two features by a periodic one, and refine, while that saves nats.

        Two or three straight lines may stand in for stripes, which no single change reveals.
        """
        while self.scored < MAX_SCORED:
            options = []
            for first, second in combinations(current.features, 2):
                fewer = current.features.without(first).without(second)
                if len(fewer.periodic) < MAX_PERIODIC:
                    options.append(self._score(self._with_periodic(fewer)))
            options.sort(key=lambda option: option.cost)
            refined = [self.refine(option.features) for option in options[:EXCHANGES]]
            best = min(refined, key=lambda option: option.cost, default=current)
            if best.cost > current.cost - LEAST_GAIN:
                break
            current = best
        return current

    def _score(self, features: Features) -> ScoredFeatures:
        return ScoredFeatures(table_cost(features, self.log_odds), features)

    def _additions(self, features: Features, periodic: bool) -> Iterator[Features]:
        if len(features.boundaries) < MAX_BOUNDARIES:
            yield self._with_boundary(features)
        if periodic and len(features.periodic) < MAX_PERIODIC:
            yield self._with_periodic(features)

    def _first_better(self, best: ScoredFeatures, periodic: bool) -> ScoredFeatures | None:
        """Drop or replace the first feature for which that saves nats; None if there is none."""
        for feature in best.features:
            fewer = best.features.without(feature)
            options = [fewer]
            if isinstance(feature, Boundary):
                options.append(self._with_boundary(fewer))
            elif periodic:
                options.append(self._with_periodic(fewer))
            else:
                continue
            changed = min(map(self._score, options), key=lambda option: option.cost)
            if changed.cost <= best.cost - LEAST_GAIN:
                return changed
        return None

    def _with_boundary(self, features: Features) -> Features:
        groups = features.groups(len(self.log_odds))
        best = best_boundaries(groups, self.log_odds, self._families)[0].boundary
        self.scored += len(self._families) * len(self.log_odds)
        return replace(features, boundaries=(*features.boundaries, best))

    def _with_periodic(self, features: Features) -> Features:
        options = [self._best_along(features, axis) for axis in self._axes]
        return min(options, key=lambda option: table_cost(option, self.log_odds))

    def _best_along(self, features: Features, axis: Axis) -> Features:
        margins = best_periodic(features.groups(len(self.log_odds)), self.log_odds, axis)
        self.scored += len(margins)
        best = Periodic(axis, int(margins.argmax()))
        return replace(features, periodic=(*features.periodic, best))

    @property
    def _families(self) -> tuple[Family, ...]:
        return families(self.domain)

    @property
    def _axes(self) -> tuple[Axis, ...]:
        return axes(self.domain)
