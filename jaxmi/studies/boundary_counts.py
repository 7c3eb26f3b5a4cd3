"""Mistakes of many networks, counted by where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.studies.bootstrap import beside, exactly, find, ratio, ratio_of_ratios
from jaxmi.studies.label_changes import BINS, CURVES, KINDS, ZONES, LabelChanges, unpinned
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
        return (self.wrong & where).sum(axis=(1, 2)).astype(np.float64)

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
            length = mistakes.changes.lengths[zone]
            found[f"{prefix}per_edge_{zone}"] = find(
                f"mistakes per unit of {zone} ({length} units)", inside / max(length, 1)
            )
    return found


def by_row(prefix: str, mistakes: Mistakes) -> dict[str, Finding]:
    """Mistakes per row, by how often the row's label changes."""
    found = {}
    for often in CHANGES:
        rows = mistakes.row_changes == often
        found[f"{prefix}rows_{often}"] = exactly(
            f"rows whose label changes {often} times", int(rows.sum())
        )
        found[f"{prefix}mistakes_per_row_{often}"] = find(
            "mistakes in such a row",
            mistakes.count(rows[:, None] & mistakes.test) / max(rows.sum(), 1),
        )
    return found


def predicted_by_row(prefix: str, mistakes: Mistakes, published: Mistakes) -> dict[str, Finding]:
    """Mistakes that follow from the rows' changes at the published labels' mistakes per row."""
    own, others = mistakes.row_changes, published.row_changes
    predicted = np.zeros(len(published.wrong))
    for often in CHANGES:
        rows = others == often
        each = published.count(rows[:, None] & published.test) / max(rows.sum(), 1)
        predicted += (own == often).sum() * each
    words = "mistakes that its rows' changes predict, at the published labels' mistakes per row"
    return {f"{prefix}mistakes_predicted": find(words, predicted)}


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
        columns = [
            beside(one.count(one.zone(kind)), one.changes.lengths[kind])
            for one in (mistakes, published)
        ]
        found[f"{prefix}_{kind}"] = find(
            f"mistakes per unit of {kind}, or what stands in its place, over published labels'",
            np.concatenate(columns, axis=1),
            ratio_of_ratios,
        )
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
