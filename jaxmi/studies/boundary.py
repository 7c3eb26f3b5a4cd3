"""Are mistakes made where boundaries curve, or where few training pairs say where they run?

The post: the transformer "only makes mistakes near curved boundaries". Explanations are told apart
by interventions: the curves are made straight and the straight line an arc; and some rows are
trained on more densely than others, every other row or in blocks, each row once either way.

Mistakes of many networks, counted by where they are.

Rows that are trained on densely among rows that are not: do their own pairs help?
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.data.pairs import is_train_table
from jaxmi.programs.domain import P
from jaxmi.studies import parts
from jaxmi.studies.bootstrap import (
    beside,
    exactly,
    find,
    find_over_rows,
    median,
    ratio,
    ratio_of_ratios,
)
from jaxmi.studies.interpolators import SAME_ROW, neighbours
from jaxmi.studies.parts import (
    BINS,
    CURVES,
    INTERIOR,
    KINDS,
    ZONES,
    LabelChanges,
    find_changes,
    unpinned,
)
from jaxmi.studies.study import (
    ORIGINAL,
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    original_recipe,
    plain,
    variant,
)

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


SHARES = (0.8, 0.2)
"""Of a dense row's pairs, and of another's, those that are trained on."""

ARRANGEMENTS = ("alternate", "blocks")
"""Every other row is dense, or every other block of rows."""

BLOCK = 14
"""Rows in a block."""


def is_dense(arrangement: str, turn: int) -> Bool[np.ndarray, "p"]:
    """Which rows are dense; in the other turn, the others are."""
    size = 1 if arrangement == "alternate" else BLOCK
    return np.arange(P) // size % 2 == turn


def dense_rows(arrangement: str, turn: int) -> Int[np.ndarray, "m"]:
    """Row numbers of the pairs to train on."""
    rng = np.random.default_rng(turn)
    counts = [round(P * SHARES[0 if dense else 1]) for dense in is_dense(arrangement, turn)]
    chosen = [P * x + rng.permutation(P)[:count] for x, count in enumerate(counts)]
    return np.concatenate(chosen).astype(np.int32)


def by_density(arrangement: str, turns: Sequence[Mistakes]) -> dict[str, Finding]:
    """Error rates near curves and line in dense rows and in others, both turns together.

    Beside them those of the rule that copies the nearest training pair of the same row: what an
    interpolator within rows would gain by density.
    """
    found: dict[str, Finding] = {}
    networks, rules = [], []
    for side, words in ((0, "dense"), (1, "sparse")):
        own, rule = np.zeros((len(turns[0].wrong), P, 2)), np.zeros((1, P, 2))
        for turn, mistakes in enumerate(turns):
            rows = is_dense(arrangement, turn) == (side == 0)
            here = mistakes.near_curves & rows[:, None]
            own += mistakes.rate_rows(here)
            rule += _row_rule(mistakes).rate_rows(here)
        pairs = int(rule[..., 1].sum())
        about = f"{pairs} test pairs near curves and line, {words} rows ({arrangement})"
        found[f"{arrangement}_rate_{words}"] = find(
            f"share that is wrong of {about}", own.sum(axis=1), ratio
        )
        found[f"{arrangement}_row_rule_{words}"] = exactly(
            "the same for the nearest training pair of the row", rule[..., 0].sum() / pairs
        )
        networks.insert(0, own)
        rules.insert(0, rule)
    own, rule = np.concatenate(networks, axis=2), np.concatenate(rules, axis=2)
    words = "the networks' rate in sparse rows over that in dense ones"
    name = f"{arrangement}_sparse_over_dense"
    rule_words = "the same for the nearest training pair of the row"
    beside_rule = np.concatenate([own, np.broadcast_to(rule, own.shape)], axis=2)
    return found | {
        name: find(words, own.sum(axis=1), ratio_of_ratios),
        f"{name}_over_rows": find_over_rows(words, own, ratio_of_ratios),
        f"{name}_row_rule": replace(find_over_rows(rule_words, rule, ratio_of_ratios), n=0),
        f"{name}_against_row_rule": find_over_rows(
            "the networks' ratio over the rule's", beside_rule, _ratio_of_two_such
        ),
    }


def _ratio_of_two_such(samples: Float[np.ndarray, "draws n 8"]) -> Float[np.ndarray, "draws"]:
    return ratio_of_ratios(samples[..., :4]) / ratio_of_ratios(samples[..., 4:])


def _row_rule(mistakes: Mistakes) -> Mistakes:
    """What the nearest training pair of the row gets wrong, as if it were a network."""
    train, labels = ~mistakes.test, mistakes.labels == 1
    guess = neighbours(
        np.argwhere(train), labels[train], np.argwhere(mistakes.test), k=1, row_weight=SAME_ROW
    )
    wrong = np.zeros((P, P), bool)
    wrong[mistakes.test] = guess.labels != labels[mistakes.test]
    return replace(mistakes, wrong=wrong[None])


MADE_OF = {"straight": parts.straightened, "bent": parts.bent}
"""Variant -> its labels' parts; of all others, the published program's."""


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """The published challenge, two other shapes of its boundaries, and four other samplings."""
    base = plain("transformer", quick, data_dir)
    return [
        base,
        variant(base, "straight", "both curves straight", labels=parts.straightened().labels),
        variant(base, "bent", "the straight line an arc", labels=parts.bent().labels),
        *(
            variant(
                base,
                f"dense-{arrangement}-{turn}",
                f"80 % of some rows, 20 % of the others: {arrangement}, turn {turn}",
                train=dense_rows(arrangement, turn),
            )
            for arrangement in (ARRANGEMENTS[:1] if quick else ARRANGEMENTS)
            for turn in range(2)
        ),
        *([] if quick else [original_recipe(base)]),
    ]


def measure(training: Training, trained: Trained) -> Measured:
    """Which pairs are answered wrongly."""
    challenge = training.challenge
    answers = challenge.logits(trained.params).argmax(axis=-1)
    return {"wrong": (answers != challenge.labels).reshape(P, P)}


@cache
def changes_of(name: str) -> LabelChanges:
    """Where a variant's labels change."""
    return find_changes(MADE_OF.get(name, parts.published)())


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Mistakes by zone, by row, by distance, and by intervention."""
    base = trainings[0].name
    mistakes = {}
    for training in trainings:
        name = training.name.removeprefix(base).lstrip("-")
        test = ~is_train_table(P, training.challenge.splits["train"])
        wrong = np.stack([m["wrong"] for m in measurements[training.name].values()]) & test
        labels = training.challenge.labels.reshape(P, P)
        mistakes[name] = Mistakes(wrong, test, labels, changes_of(name))
    published = mistakes[""]
    findings: dict[str, Finding] = by_zone("", published) | by_row("", published)
    findings |= by_openness(published) | line_against_curves(published)
    for name in MADE_OF:
        findings |= by_zone(f"{name}_", mistakes[name], CURVES) | by_row(f"{name}_", mistakes[name])
        findings |= contrast(f"{name}_over_published", mistakes[name], published)
        findings |= predicted(f"{name}_", mistakes[name], published)
    if (original := mistakes.get(ORIGINAL)) is not None:
        findings |= by_zone("original_", original, CURVES) | by_row("original_", original)
    for arrangement in ARRANGEMENTS:
        turns = [mistakes.get(f"dense-{arrangement}-{turn}") for turn in range(2)]
        if turns[0] and turns[1]:
            findings |= by_density(arrangement, [turns[0], turns[1]])
    data = {
        "rates": by_distance(published),
        "wrong_share": published.wrong.mean(axis=0).round(4).tolist(),
        "is_test": published.test.astype(int).tolist(),
        "labels": published.labels.tolist(),
    }
    return Conclusion(findings, data)


STUDY = Study(
    name="boundary",
    question="Does the transformer make mistakes because boundaries curve, or because few "
    "training pairs say where they run?",
    n_seeds=32,
    trainings=trainings,
    main=(
        "per_edge_x4",
        "per_edge_y4",
        "per_edge_line",
        "straight_per_edge_x4",
        "straight_per_edge_y4",
        "straight_per_edge_line",
        "line_over_x4_over_rows",
        "line_over_y4_over_rows",
        "mistakes_per_row_1",
        "mistakes_per_row_2",
    ),
    measure=measure,
    conclude=conclude,
)
