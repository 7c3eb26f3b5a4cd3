"""Searches features of pairs: adds, drops and changes one at a time, from several starts."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxmi.recovery.pairs.boundaries import Axis, Family, axes, families
from jaxmi.recovery.pairs.tables import (
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

HOPELESS = 3.0
"""A start that costs as many times the best features' cost is not followed."""

MAX_SCORED = 600_000_000
"""After so many boundaries, about a minute's work, a search ends with what it has."""

PAIRS = 5
"""How many pairs of periodic features are followed."""

SHAKEN = 3
"""How many changes of two features for one are followed."""


class Found(NamedTuple):
    """Features, and what the answers cost given them."""

    cost: float
    features: Features


@dataclass(eq=False)
class TableSearch:
    """A search for the features that one network's answers depend on."""

    signed: Float[np.ndarray, "n"]
    """Each answer's worth in nats, positive if it is 1."""

    scored: int = field(default=0, init=False)
    """How many boundaries and periodic features were scored so far."""

    def plain_starts(self) -> list[Found]:
        """Gives each value along an axis a label of its own, in each region.

        So the boundaries are found, whatever is periodic along that axis; then a periodic feature
        takes the values' place.
        """
        starts = [Found(0.0, Features())]
        for axis in self._axes:
            rows = self.refine(Features((), (Periodic(axis, None),)), periodic=False)
            bare = Features(rows.features.boundaries)
            starts += [Found(rows.cost, bare), Found(rows.cost, self._best_along(bare, axis))]
        return sorted(starts, key=lambda start: start.cost)

    def paired_starts(self) -> list[Found]:
        """Begins with two periodic features, without boundaries or with the best one."""
        nothing = np.zeros(len(self.signed), np.int64)
        (_, boundary), *_ = best_boundaries(nothing, self.signed, self._families)
        starts = []
        for boundaries in ((), (boundary,)):
            groups = Features(boundaries).groups(len(self.signed))
            for pair in best_pairs(groups, self.signed, self._axes, PAIRS):
                starts.append(self._found(Features(boundaries, pair)))
        return starts

    def run(self, starts: list[Found]) -> list[Found]:
        """Searches from each start, and gives what was found, the best first, each once."""
        found: dict[float, Found] = {}
        for start in starts:
            if len(found) > 1 and start.cost > HOPELESS * min(found):
                break
            one = self.refine(start.features)
            found.setdefault(round(one.cost, 3), one)
        return sorted(found.values(), key=lambda one: one.cost)

    def shake(self, found: Found) -> Found:
        """Drops each two features for a periodic one, and refines what comes out best.

        Stripes may look like two or three straight lines, which no single change undoes.
        """
        while self.scored < MAX_SCORED:
            options = []
            for two in combinations(found.features, 2):
                less = found.features.without(two[0]).without(two[1])
                if len(less.periodic) < MAX_PERIODIC:
                    options.append(self._found(self._with_periodic(less)))
            options.sort(key=lambda one: one.cost)
            refined = [self.refine(one.features) for one in options[:SHAKEN]]
            best = min(refined, key=lambda one: one.cost, default=found)
            if best.cost > found.cost - LEAST_GAIN:
                break
            found = best
        return found

    def refine(self, features: Features, periodic: bool = True) -> Found:
        """Makes the best single change while there is one that helps.

        Args:
          features: Where to begin.
          periodic: Whether periodic features may change.
        """
        best = self._found(features)
        while self.scored < MAX_SCORED:
            additions = map(self._found, self._additions(best.features, periodic))
            changed = min(additions, key=lambda one: one.cost, default=best)
            if changed.cost > best.cost - LEAST_GAIN:
                changed = self._first_better(best, periodic)
            if changed is None:
                break
            best = changed
        return best

    def _found(self, features: Features) -> Found:
        return Found(table_cost(features, self.signed), features)

    def _additions(self, features: Features, periodic: bool) -> Iterator[Features]:
        if len(features.boundaries) < MAX_BOUNDARIES:
            yield self._with_boundary(features)
        if periodic and len(features.periodic) < MAX_PERIODIC:
            yield self._with_periodic(features)

    def _first_better(self, best: Found, periodic: bool) -> Found | None:
        """Drops or changes the first feature for which that helps; a change is better."""
        for old in best.features:
            less = best.features.without(old)
            options = [less]
            if isinstance(old, Boundary):
                options.append(self._with_boundary(less))
            elif periodic:
                options.append(self._with_periodic(less))
            else:
                continue
            found = min(map(self._found, options), key=lambda one: one.cost)
            if found.cost <= best.cost - LEAST_GAIN:
                return found
        return None

    def _with_boundary(self, features: Features) -> Features:
        tried = self._families
        found = best_boundaries(features.groups(len(self.signed)), self.signed, tried)
        self.scored += len(tried) * len(self.signed)
        return replace(features, boundaries=(*features.boundaries, found[0][1]))

    def _with_periodic(self, features: Features) -> Features:
        options = [self._best_along(features, axis) for axis in self._axes]
        return min(options, key=lambda option: table_cost(option, self.signed))

    def _best_along(self, features: Features, axis: Axis) -> Features:
        margins = best_periodic(features.groups(len(self.signed)), self.signed, axis)
        self.scored += len(margins)
        best = Periodic(axis, int(margins.argmax()))
        return replace(features, periodic=(*features.periodic, best))

    @property
    def _p(self) -> int:
        return round(len(self.signed) ** 0.5)

    @property
    def _families(self) -> tuple[Family, ...]:
        return families(self._p)

    @property
    def _axes(self) -> tuple[Axis, ...]:
        return axes(self._p)
