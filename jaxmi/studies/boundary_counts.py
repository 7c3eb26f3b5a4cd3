"""Mistakes of many networks, counted by where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.studies.bootstrap import (
    beside,
    exactly,
    find,
    find_over_rows,
    median,
    ratio,
    ratio_of_ratios,
)
from jaxmi.studies.label_changes import (
    BINS,
    CURVES,
    INTERIOR,
    KINDS,
    ZONES,
    LabelChanges,
    unpinned,
)
from jaxmi.studies.study import Finding

CHANGES = (0, 1, 2)
"""How often the label changes along a row; it never does more often."""


@dataclass(frozen=True, eq=False)
class Mistakes:
    """What many networks of one training get wrong; tables with row = x."""

    wrong: Bool[np.ndarray, "n p p"]
    """Per network; test pairs only."""
    test: Bool[np.ndarray, "p p"]
    """Pairs that were not trained on."""
    labels: Int[np.ndarray, "p p"]
    changes: LabelChanges

    @property
    def total(self) -> Float[np.ndarray, "n"]:
        """Mistakes a network."""
        return self.count(self.test)

    @property
    def row_changes(self) -> Int[np.ndarray, "p"]:
        """How often the label changes along each row."""
        return (np.diff(self.labels, axis=1) != 0).sum(axis=1)

    def count(self, where: Bool[np.ndarray, "p p"]) -> Float[np.ndarray, "n"]:
        """Each network's mistakes in a part of the domain."""
        return self.count_rows(where).sum(axis=1)

    def count_rows(self, where: Bool[np.ndarray, "p p"]) -> Float[np.ndarray, "n p"]:
        """The same, row by row."""
        return (self.wrong & where).sum(axis=2).astype(np.float64)

    def rate_rows(self, where: Bool[np.ndarray, "p p"]) -> Float[np.ndarray, "n p 2"]:
        """The same as `rate`, row by row."""
        return beside(self.count_rows(where), (self.test & where).sum(axis=1))

    def per_edge(self, kind: str) -> Float[np.ndarray, "n p 2"]:
        """Mistakes in a boundary's zone in each row, and its units there: columns for `ratio`."""
        return beside(self.count_rows(self.zone(kind)), self.changes.lengths[kind])

    def rate(self, where: Bool[np.ndarray, "p p"]) -> Float[np.ndarray, "n 2"]:
        """Each network's mistakes there, and the test pairs there: columns for `ratio`."""
        return beside(self.count(where), (self.test & where).sum())

    def zone(self, name: str) -> Bool[np.ndarray, "p p"]:
        """The pairs of a zone."""
        return self.changes.zones == ZONES.index(name)

    @property
    def near_curves(self) -> Bool[np.ndarray, "p p"]:
        """The pairs in the zone of a curve or of the line."""
        return self.changes.zones < len(CURVES)


def by_zone(prefix: str, mistakes: Mistakes, zones: Sequence[str] = ZONES) -> dict[str, Finding]:
    """Mistakes on test pairs, parted by the nearest change of the label."""
    found = {f"{prefix}mistakes": find("mistakes a network on test pairs", mistakes.total)}
    for zone in zones:
        here = mistakes.zone(zone)
        inside, tests = mistakes.count(here), (mistakes.test & here).sum()
        found[f"{prefix}share_{zone}"] = find(
            f"share of all mistakes in zone {zone}", beside(inside, mistakes.total), ratio
        )
        found[f"{prefix}rate_{zone}"] = find(
            f"share of {tests} test pairs in zone {zone} that is wrong", mistakes.rate(here), ratio
        )
        if zone in KINDS:
            per_edge = mistakes.per_edge(zone)
            words = f"mistakes per unit of {zone} ({mistakes.changes.lengths[zone].sum()} units)"
            found[f"{prefix}per_edge_{zone}"] = find(words, per_edge.sum(axis=1), ratio)
            found[f"{prefix}per_edge_{zone}_over_rows"] = find_over_rows(words, per_edge, ratio)
    return found


def line_against_curves(mistakes: Mistakes) -> dict[str, Finding]:
    """Mistakes per unit of the straight line over those of each curve."""
    line = mistakes.per_edge("line")
    return {
        f"line_over_{kind}_over_rows": find_over_rows(
            f"mistakes per unit of the line over those of {kind}",
            np.concatenate([line, mistakes.per_edge(kind)], axis=2),
            ratio_of_ratios,
        )
        for kind in CURVES
        if kind != "line"
    }


def by_row(prefix: str, mistakes: Mistakes) -> dict[str, Finding]:
    """Mistakes per row, by how often the row's label changes."""
    found = {}
    for often in CHANGES:
        rows = mistakes.row_changes == often
        found[f"{prefix}rows_{often}"] = exactly(
            f"rows whose label changes {often} times", int(rows.sum())
        )
        in_rows = mistakes.count_rows(mistakes.test)[:, rows]
        name = f"{prefix}mistakes_per_row_{often}"
        found[name] = find("mistakes in such a row", in_rows.mean(axis=1))
        found[f"{name}_over_rows"] = find_over_rows("mistakes in such a row", in_rows)
        found[f"{name}_median"] = find_over_rows("median over such rows", in_rows, median)
    return found


def predicted(prefix: str, mistakes: Mistakes, published: Mistakes) -> dict[str, Finding]:
    """Mistakes to expect on other labels, of what is known of the published ones.

    By rows: from how often each row's label changes, at the published labels' mistakes in such
    rows. By length: from each boundary's units, at the published labels' mistakes per unit.
    """
    own, others = mistakes.row_changes, published.row_changes
    by_row = np.zeros(len(published.wrong))
    for often in CHANGES:
        rows = others == often
        each = published.count(rows[:, None] & published.test) / max(rows.sum(), 1)
        by_row += (own == often).sum() * each
    by_length = published.count(published.zone(INTERIOR))
    for kind in KINDS:
        near, units = published.per_edge(kind).sum(axis=1).T
        by_length += near * mistakes.changes.lengths[kind].sum() / units
    return {
        f"{prefix}mistakes_by_rows": find(
            "mistakes to expect of its rows' changes, at the published labels' mistakes per row",
            by_row,
        ),
        f"{prefix}mistakes_by_length": find(
            "mistakes to expect of its boundaries' lengths, at the published mistakes per unit",
            by_length,
        ),
    }


def by_openness(mistakes: Mistakes) -> dict[str, Finding]:
    """Mistakes where a row's own training pairs leave the label open, and on other pairs."""
    test, open_ = mistakes.test, unpinned(mistakes.labels, ~mistakes.test)
    found = {
        "open_pairs_share": exactly(
            "share of test pairs between two training pairs of their row with different labels",
            open_.sum() / test.sum(),
        ),
        "open_mistakes_share": find(
            "share of all mistakes on such pairs",
            beside(mistakes.count(open_), mistakes.total),
            ratio,
        ),
    }
    twice = (mistakes.row_changes == 2)[:, None]
    found["closed_mistakes_twice_share"] = find(
        "of the mistakes on other pairs, the share in rows whose label changes twice",
        beside(mistakes.count(~open_ & twice), mistakes.count(~open_)),
        ratio,
    )
    for kind in CURVES:
        for state, where in (("open", open_), ("closed", ~open_)):
            here = where & mistakes.zone(kind)
            found[f"rate_{state}_{kind}"] = find(
                f"share of {(test & here).sum()} {state} test pairs in zone {kind} that is wrong",
                mistakes.rate(here),
                ratio,
            )
    return found


def contrast(prefix: str, mistakes: Mistakes, published: Mistakes) -> dict[str, Finding]:
    """Mistakes per unit of each boundary over those with published labels."""
    found = {}
    for kind in CURVES:
        columns = [one.per_edge(kind) for one in (mistakes, published)]
        both = np.concatenate(columns, axis=2)
        words = f"mistakes per unit of {kind}, or what stands in its place, over published labels'"
        found[f"{prefix}_{kind}"] = find(words, both.sum(axis=1), ratio_of_ratios)
        found[f"{prefix}_{kind}_over_rows"] = find_over_rows(words, both, ratio_of_ratios)
    return found


def by_distance(mistakes: Mistakes) -> dict[str, list[dict[str, Any]]]:
    """Error rates by the distance to each kind of change, outside the zones of other curves."""
    rates: dict[str, list[dict[str, Any]]] = {}
    for number, kind in enumerate(KINDS):
        others = [i for i in range(len(CURVES)) if i != number]
        distance = np.where(
            np.isin(mistakes.changes.zones, others), np.nan, mistakes.changes.distances[number]
        )
        rates[kind] = []
        for low, high in pairwise(BINS):
            here = mistakes.test & (distance > low) & (distance <= high)
            found = find("", mistakes.rate(here), ratio)
            rates[kind].append(
                {
                    "over": float(low),
                    "pairs": int(here.sum()),
                    "rate": found.value,
                    "low": found.low,
                    "high": found.high,
                }
            )
    return rates
