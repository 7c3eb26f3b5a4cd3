"""Does the transformer err because boundaries curve, or because training pairs leave them open?

The post says that the transformer "only makes mistakes near curved boundaries". Two interventions
tell the explanations apart. On the labels: the curves are made straight, and the straight line an
arc. On the split: some rows are trained on more densely than others, every other row or in blocks;
each row is dense in one split and sparse in the other. Mistakes are counted by the zone they are
in, by how often the label changes in their row, and by what the row's training pairs say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.data.pairs import is_train_table
from jaxmi.programs.domain import P
from jaxmi.studies.bootstrap import (
    estimate,
    estimate_over_rows,
    exact,
    median,
    ratio,
    ratio_columns,
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
    Parts,
    X,
    Y,
    check_published,
    find_changes,
    open_pairs,
    published,
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


def straightened() -> Parts:
    """Replace both curves by straight lines between their ends.

    x^4 = 40000 y runs from (0, 0) to (46, 112), y^4 = 360000 x from (1, 24) to (112, 80).
    """
    own = published()
    small_x = 46 * Y > 112 * X
    small_y = 111 * (Y - 24) < 56 * (X - 1)
    return Parts(small_x, small_y & (X > 0), own.below_line, own.residues)


def bent() -> Parts:
    """Replace the straight line by an arc between its ends, (21, 112) and (112, 21).

    The arc is a quarter of a circle around (113, 113), so its middle is nearest to (0, 0).
    """
    own = published()
    below = (P - X) ** 2 + (P - Y) ** 2 > (P - 21) ** 2
    return Parts(own.small_x, own.small_y, below, own.residues)


SHAPES: dict[str, Callable[[], Parts]] = {"straight": straightened, "bent": bent}
"""Variant -> the parts of its labels; all other variants have the published labels."""

SHARES = (0.8, 0.2)
"""The share of pairs to train on in a dense row, and in a sparse one."""

ARRANGEMENTS = ("alternate", "blocks")
"""Every other row is dense, or every other block of rows."""

BLOCK = 14
"""The number of rows in a block."""


def is_dense(arrangement: str, turn: int) -> Bool[np.ndarray, "p"]:
    """Mark the dense rows; in the other turn, the other rows are dense."""
    size = 1 if arrangement == "alternate" else BLOCK
    return np.arange(P) // size % 2 == turn


def dense_split(arrangement: str, turn: int) -> Int[np.ndarray, "m"]:
    """Return the indices of the pairs to train on."""
    rng = np.random.default_rng(turn)
    counts = [round(P * SHARES[0 if dense else 1]) for dense in is_dense(arrangement, turn)]
    chosen = [P * x + rng.permutation(P)[:count] for x, count in enumerate(counts)]
    return np.concatenate(chosen).astype(np.int32)


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return the published challenge, two other shapes of its boundaries, four other splits."""
    return trainings_of(plain("transformer", quick, data_dir))


def trainings_of(base: Training) -> list[Training]:
    """Return a training with the published labels, and its variations.

    Raises:
      InputError: if the challenge has other labels.
    """
    check_published(base.challenge, "boundary", "the two curves and the line")
    return [
        base,
        variant(base, "straight", "both curves straight", labels=straightened().labels),
        variant(base, "bent", "the straight line an arc", labels=bent().labels),
        *(
            variant(
                base,
                f"dense-{arrangement}-{turn}",
                f"80 % of some rows, 20 % of the others: {arrangement}, turn {turn}",
                train=dense_split(arrangement, turn),
            )
            for arrangement in (ARRANGEMENTS[:1] if base.is_quick else ARRANGEMENTS)
            for turn in range(2)
        ),
        *original_recipe(base),
    ]


def measure(training: Training, trained: Trained) -> Measured:
    """Mark the pairs that the network gets wrong."""
    challenge = training.challenge
    predictions = challenge.logits(trained.params).argmax(axis=-1)
    return {"wrong": (predictions != challenge.labels).reshape(P, P)}


CHANGES = (0, 1, 2)
"""How often the label can change along a row."""


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The mistakes of many networks of one training; in tables, the row is x."""

    wrong: Bool[np.ndarray, "n p p"]
    """The test pairs that each network gets wrong."""
    test: Bool[np.ndarray, "p p"]
    """Pairs that were not trained on."""
    labels: Int[np.ndarray, "p p"]
    changes: LabelChanges

    @property
    def total(self) -> Float[np.ndarray, "n"]:
        """The number of mistakes of each network."""
        return self.count(self.test)

    @property
    def row_changes(self) -> Int[np.ndarray, "p"]:
        """How often the label changes along each row."""
        return (np.diff(self.labels, axis=1) != 0).sum(axis=1)

    @property
    def near_curves(self) -> Bool[np.ndarray, "p p"]:
        """The pairs in the zone of a curve or of the line."""
        return self.changes.zones < len(CURVES)

    def zone(self, name: str) -> Bool[np.ndarray, "p p"]:
        """Mark the pairs of a zone."""
        return self.changes.zones == ZONES.index(name)

    def count(self, region: Bool[np.ndarray, "p p"]) -> Float[np.ndarray, "n"]:
        """Count each network's mistakes in a region of the domain."""
        return self.count_rows(region).sum(axis=1)

    def count_rows(self, region: Bool[np.ndarray, "p p"]) -> Float[np.ndarray, "n p"]:
        """Count each network's mistakes in each row of a region."""
        return (self.wrong & region).sum(axis=2).astype(np.float64)

    def rate(self, region: Bool[np.ndarray, "p p"]) -> Float[np.ndarray, "n 2"]:
        """Count mistakes and test pairs in a region, as columns for `ratio`."""
        return ratio_columns(self.count(region), (self.test & region).sum())

    def rate_rows(self, region: Bool[np.ndarray, "p p"]) -> Float[np.ndarray, "n p 2"]:
        """Count mistakes and test pairs in each row of a region, as columns for `ratio`."""
        return ratio_columns(self.count_rows(region), (self.test & region).sum(axis=1))

    def per_edge(self, kind: str) -> Float[np.ndarray, "n p 2"]:
        """Count mistakes in a boundary's zone, and its unit edges, in each row, for `ratio`."""
        return ratio_columns(self.count_rows(self.zone(kind)), self.changes.lengths[kind])


@cache
def changes_of(name: str) -> LabelChanges:
    """Return where a variant's labels change."""
    return find_changes(SHAPES.get(name, published)())


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Count mistakes by zone, by row, by distance, and compare them between interventions."""
    base = trainings[0].name
    mistakes = {}
    for training in trainings:
        name = training.name.removeprefix(base).lstrip("-")
        test = ~is_train_table(P, training.challenge.splits["train"])
        wrong = np.stack([m["wrong"] for m in measurements[training.name].values()]) & test
        labels = training.challenge.labels.reshape(P, P)
        mistakes[name] = Mistakes(wrong, test, labels, changes_of(name))
    plain_mistakes = mistakes[""]
    findings = zone_findings("", plain_mistakes) | row_findings("", plain_mistakes)
    findings |= open_findings(plain_mistakes) | line_findings(plain_mistakes)
    for name in SHAPES:
        own = mistakes[name]
        findings |= zone_findings(f"{name}_", own, CURVES) | row_findings(f"{name}_", own)
        findings |= shape_findings(f"{name}_over_published", own, plain_mistakes)
        findings |= predicted_findings(f"{name}_", own, plain_mistakes)
    if (original := mistakes.get(ORIGINAL)) is not None:
        findings |= zone_findings("original_", original, CURVES)
        findings |= row_findings("original_", original)
    for arrangement in ARRANGEMENTS:
        turns = [mistakes.get(f"dense-{arrangement}-{turn}") for turn in range(2)]
        if turns[0] and turns[1]:
            findings |= density_findings(arrangement, [turns[0], turns[1]])
    data = {
        "rates": rates_by_distance(plain_mistakes),
        "wrong_share": plain_mistakes.wrong.mean(axis=0).round(4).tolist(),
        "is_test": plain_mistakes.test.astype(int).tolist(),
        "labels": plain_mistakes.labels.tolist(),
    }
    return Conclusion(findings, data)


def zone_findings(
    prefix: str, mistakes: Mistakes, zones: Sequence[str] = ZONES
) -> dict[str, Finding]:
    """Estimate shares of mistakes, error rates, and mistakes per unit of boundary, by zone."""
    findings = {f"{prefix}mistakes": estimate("mistakes per network on test pairs", mistakes.total)}
    for zone in zones:
        pairs = mistakes.zone(zone)
        inside, tests = mistakes.count(pairs), (mistakes.test & pairs).sum()
        findings[f"{prefix}share_{zone}"] = estimate(
            f"share of all mistakes in zone {zone}", ratio_columns(inside, mistakes.total), ratio
        )
        findings[f"{prefix}rate_{zone}"] = estimate(
            f"share of {tests} test pairs in zone {zone} that are wrong",
            mistakes.rate(pairs),
            ratio,
        )
        if zone in KINDS:
            per_edge, units = mistakes.per_edge(zone), mistakes.changes.lengths[zone].sum()
            description = f"mistakes per unit of {zone} ({units} units)"
            name = f"{prefix}per_edge_{zone}"
            findings[name] = estimate(description, per_edge.sum(axis=1), ratio)
            findings[f"{name}_over_rows"] = estimate_over_rows(description, per_edge, ratio)
    return findings


def row_findings(prefix: str, mistakes: Mistakes) -> dict[str, Finding]:
    """Estimate mistakes per row, by how often the row's label changes."""
    findings = {}
    for times in CHANGES:
        rows = mistakes.row_changes == times
        findings[f"{prefix}rows_{times}"] = exact(
            f"rows whose label changes {times} times", int(rows.sum())
        )
        in_rows = mistakes.count_rows(mistakes.test)[:, rows]
        name = f"{prefix}mistakes_per_row_{times}"
        per_row = f"mistakes in a row whose label changes {times} times"
        findings[name] = estimate(per_row, in_rows.mean(axis=1))
        findings[f"{name}_over_rows"] = estimate_over_rows(per_row, in_rows)
        findings[f"{name}_median"] = estimate_over_rows(f"median of the {per_row}", in_rows, median)
    return findings


def open_findings(mistakes: Mistakes) -> dict[str, Finding]:
    """Estimate mistakes on open pairs, whose row's training pairs do not tell the label."""
    test, is_open = mistakes.test, open_pairs(mistakes.labels, ~mistakes.test)
    twice = (mistakes.row_changes == 2)[:, None]
    findings = {
        "open_pairs_share": exact(
            "share of test pairs that are open: between two training pairs of their row with "
            "different labels",
            is_open.sum() / test.sum(),
        ),
        "open_mistakes_share": estimate(
            "share of all mistakes that are on open pairs",
            ratio_columns(mistakes.count(is_open), mistakes.total),
            ratio,
        ),
        "closed_mistakes_twice_share": estimate(
            "share of the mistakes on closed pairs that are in rows whose label changes twice",
            ratio_columns(mistakes.count(~is_open & twice), mistakes.count(~is_open)),
            ratio,
        ),
    }
    for kind in CURVES:
        for state, pairs in (("open", is_open), ("closed", ~is_open)):
            region = pairs & mistakes.zone(kind)
            tests = (test & region).sum()
            findings[f"rate_{state}_{kind}"] = estimate(
                f"share of {tests} {state} test pairs in zone {kind} that are wrong",
                mistakes.rate(region),
                ratio,
            )
    return findings


def line_findings(mistakes: Mistakes) -> dict[str, Finding]:
    """Compare mistakes per unit of the straight line with those of each curve."""
    line = mistakes.per_edge("line")
    return {
        f"line_over_{kind}_over_rows": estimate_over_rows(
            f"mistakes per unit of the line over those of {kind}",
            np.concatenate([line, mistakes.per_edge(kind)], axis=2),
            ratio_of_ratios,
        )
        for kind in CURVES
        if kind != "line"
    }


def shape_findings(prefix: str, mistakes: Mistakes, reference: Mistakes) -> dict[str, Finding]:
    """Compare mistakes per unit of each boundary with those on the published labels."""
    findings = {}
    for kind in CURVES:
        both = np.concatenate([mistakes.per_edge(kind), reference.per_edge(kind)], axis=2)
        description = (
            f"mistakes per unit of {kind}, or of what replaces it, over those with published labels"
        )
        name = f"{prefix}_{kind}"
        findings[name] = estimate(description, both.sum(axis=1), ratio_of_ratios)
        findings[f"{name}_over_rows"] = estimate_over_rows(description, both, ratio_of_ratios)
    return findings


def predicted_findings(prefix: str, mistakes: Mistakes, reference: Mistakes) -> dict[str, Finding]:
    """Predict the mistakes on other labels from those on the published ones, in two ways.

    By rows: from how often the label changes in each row, with the published labels' mistakes per
    such row. By length: from the units of each boundary, with the published labels' mistakes per
    unit.
    """
    own, others = mistakes.row_changes, reference.row_changes
    by_rows = np.zeros(len(reference.wrong))
    for times in CHANGES:
        rows = others == times
        per_row = reference.count(rows[:, None] & reference.test) / max(rows.sum(), 1)
        by_rows += (own == times).sum() * per_row
    by_length = reference.count(reference.zone(INTERIOR))
    for kind in KINDS:
        near, units = reference.per_edge(kind).sum(axis=1).T
        by_length += near * mistakes.changes.lengths[kind].sum() / units
    return {
        f"{prefix}mistakes_by_rows": estimate(
            "mistakes predicted from how often the label changes in each row, with the published "
            "labels' mistakes per row",
            by_rows,
        ),
        f"{prefix}mistakes_by_length": estimate(
            "mistakes predicted from the boundaries' lengths, with the published labels' mistakes "
            "per unit",
            by_length,
        ),
    }


def rates_by_distance(mistakes: Mistakes) -> dict[str, list[dict[str, Any]]]:
    """Estimate error rates by the distance to each boundary, outside other curves' zones."""
    rates: dict[str, list[dict[str, Any]]] = {}
    for number, kind in enumerate(KINDS):
        others = [i for i in range(len(CURVES)) if i != number]
        distance = np.where(
            np.isin(mistakes.changes.zones, others), np.nan, mistakes.changes.distances[number]
        )
        rates[kind] = []
        for low, high in pairwise(BINS):
            region = mistakes.test & (distance > low) & (distance <= high)
            finding = estimate("", mistakes.rate(region), ratio)
            rates[kind].append(
                {
                    "over": float(low),
                    "pairs": int(region.sum()),
                    "rate": finding.value,
                    "low": finding.low,
                    "high": finding.high,
                }
            )
    return rates


def density_findings(arrangement: str, turns: Sequence[Mistakes]) -> dict[str, Finding]:
    """Compare error rates near curves and line in dense and in sparse rows, over both turns.

    The reference is the rule that copies the nearest training pair of the same row: it shows what
    an interpolator within rows gains by density.
    """
    findings: dict[str, Finding] = {}
    network_rates, rule_rates = {}, {}
    for density in ("dense", "sparse"):
        own, rule = np.zeros((len(turns[0].wrong), P, 2)), np.zeros((1, P, 2))
        for turn, mistakes in enumerate(turns):
            rows = is_dense(arrangement, turn) == (density == "dense")
            region = mistakes.near_curves & rows[:, None]
            own += mistakes.rate_rows(region)
            row_rule = replace(mistakes, wrong=_row_rule_mistakes(arrangement, turn)[None])
            rule += row_rule.rate_rows(region)
        pairs = int(rule[..., 1].sum())
        findings[f"{arrangement}_rate_{density}"] = estimate(
            f"share of {pairs} test pairs near curves and line that are wrong, {density} rows "
            f"({arrangement})",
            own.sum(axis=1),
            ratio,
        )
        findings[f"{arrangement}_row_rule_{density}"] = exact(
            "the same for the nearest training pair of the row", rule[..., 0].sum() / pairs
        )
        network_rates[density], rule_rates[density] = own, rule
    own, rule = (
        np.concatenate([rates["sparse"], rates["dense"]], axis=2)
        for rates in (network_rates, rule_rates)
    )
    name = f"{arrangement}_sparse_over_dense"
    description = "the networks' error rate in sparse rows over that in dense rows"
    rule_finding = estimate_over_rows(
        "the same for the nearest training pair of the row", rule, ratio_of_ratios
    )
    both = np.concatenate([own, np.broadcast_to(rule, own.shape)], axis=2)
    return findings | {
        name: estimate(description, own.sum(axis=1), ratio_of_ratios),
        f"{name}_over_rows": estimate_over_rows(description, own, ratio_of_ratios),
        f"{name}_row_rule": replace(rule_finding, n=0),
        f"{name}_against_row_rule": estimate_over_rows(
            "the networks' ratio over the rule's", both, _ratio_of_ratios_of_ratios
        ),
    }


def _ratio_of_ratios_of_ratios(
    samples: Float[np.ndarray, "draws n 8"],
) -> Float[np.ndarray, "draws"]:
    return ratio_of_ratios(samples[..., :4]) / ratio_of_ratios(samples[..., 4:])


@cache
def _row_rule_mistakes(arrangement: str, turn: int) -> Bool[np.ndarray, "p p"]:
    """Mark the pairs that copying the nearest training pair of the row gets wrong."""
    train, labels = is_train_table(P, dense_split(arrangement, turn)), published().labels == 1
    guess = neighbours(
        np.argwhere(train), labels[train], np.argwhere(~train), k=1, row_weight=SAME_ROW
    )
    wrong = np.zeros((P, P), bool)
    wrong[~train] = guess.labels != labels[~train]
    return wrong


STUDY = Study(
    name="boundary",
    question="Does the transformer make mistakes because boundaries curve, or because few "
    "training pairs say where they run?",
    n_seeds=32,
    trainings=trainings,
    trainings_of=trainings_of,
    challenges=("transformer",),
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
