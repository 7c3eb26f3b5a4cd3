"""The search finds planted features, and no single change of the result would save nats."""

from itertools import pairwise

import numpy as np
import pytest

from jaxmi.programs.domain import PairDomain
from jaxmi.recovery.numbers import table_search
from jaxmi.recovery.numbers.boundaries import Curve, Wave, axes, curves, families, line
from jaxmi.recovery.numbers.table_search import LEAST_GAIN, ScoredFeatures, TableSearch
from jaxmi.recovery.numbers.tables import (
    Boundary,
    Features,
    Periodic,
    best_boundaries,
    best_periodic,
    table_cost,
)

P = 31
PAIRS = PairDomain(P)
N = P * P
X, Y = np.indices((P, P)).reshape(2, -1)
BARS = (X**1.5).astype(int) % 8


def search_of(labels: np.ndarray) -> TableSearch:
    return TableSearch(PAIRS, np.where(labels, 1.5, -1.5))


def wave(slopes: tuple[int, int], exponent: float, width: int, modulus: int) -> Periodic:
    (axis,) = (axis for axis in axes(PAIRS) if axis.slopes == slopes)
    return Periodic(axis, axis.waves.index(Wave(slopes, exponent, width, modulus)))


def curved() -> tuple[np.ndarray, Features]:
    """Return labels by bars whose threshold depends on a curve, and their features."""
    before = X**2 < 20 * Y
    family = curves(Curve(0, 1, 2.0), PAIRS)
    boundary = Boundary(family, int(before.sum()) - 1)
    np.testing.assert_array_equal(boundary.before, before)
    return BARS - 5 + 4 * before >= 0, Features((boundary,), (wave((1, 0), 1.5, 1, 8),))


def explained(features: Features, labels: np.ndarray) -> float:
    """Return the share of labels that a free label for each combination gives."""
    groups = features.groups(N)
    ones = np.bincount(groups, labels) / np.maximum(np.bincount(groups), 1)
    return float(((ones[groups] > 0.5) == labels).mean())


@pytest.mark.usefixtures("either_way")
def test_boundary_and_bars_are_found_together() -> None:
    labels, planted = curved()
    search = search_of(labels)
    first, *others = search.run(search.starts_from_rows())
    assert first.cost <= table_cost(planted, search.log_odds)
    assert explained(first.features, labels) > 0.995
    assert first.cost == pytest.approx(table_cost(first.features, search.log_odds))
    assert [result.cost for result in others] == sorted(result.cost for result in others)
    for dropped in planted:
        assert explained(planted.without(dropped), labels) < 0.9


def test_starts_from_rows_find_boundaries_whatever_is_periodic_along_them() -> None:
    labels, planted = curved()
    starts = search_of(labels).starts_from_rows()
    assert len(starts) == 1 + 2 * len(axes(PAIRS))  # and the empty one
    assert all(a.cost <= b.cost for a, b in pairwise(starts))
    assert {len(start.features.periodic) for start in starts} == {0, 1}
    assert all(w.index is not None for start in starts for w in start.features.periodic)
    assert starts[0].features == Features()
    first = starts[1].features.boundaries[0]
    assert (first.before == planted.boundaries[0].before).mean() > 0.97


def test_no_single_change_of_the_result_would_save_nats() -> None:
    labels, _ = curved()
    noisy = labels ^ (np.random.default_rng(0).random(N) < 0.03)
    search = search_of(noisy)
    refined = search.refine(Features((), (wave((0, 1), 1, 3, 4),)))
    cost, features = refined
    log_odds = search.log_odds
    assert cost < table_cost(Features(), log_odds) - 100
    for dropped in features:
        fewer = features.without(dropped)
        assert table_cost(fewer, log_odds) > cost - LEAST_GAIN
        groups = fewer.groups(N)
        (_, boundary), *_ = best_boundaries(groups, log_odds, families(PAIRS))
        changed = [Features((*fewer.boundaries, boundary), fewer.periodic)]
        for axis in axes(PAIRS):
            best = Periodic(axis, int(best_periodic(groups, log_odds, axis).argmax()))
            changed.append(Features(fewer.boundaries, (*fewer.periodic, best)))
        same_kind = changed[:1] if isinstance(dropped, Boundary) else changed[1:]
        assert min(table_cost(option, log_odds) for option in same_kind) > cost - LEAST_GAIN
    (_, boundary), *_ = best_boundaries(features.groups(N), log_odds, families(PAIRS))
    more = Features((*features.boundaries, boundary), features.periodic)
    assert len(more.boundaries) > table_search.MAX_BOUNDARIES or (
        table_cost(more, log_odds) > cost - LEAST_GAIN
    )


def test_a_feature_that_explains_nothing_is_dropped() -> None:
    labels, planted = curved()
    search = search_of(labels)
    useless = Boundary(line((1, 0), PAIRS), 200)
    crowded = Features((*planted.boundaries, useless), planted.periodic)
    cost, features = search.refine(crowded)
    assert cost <= table_cost(planted, search.log_odds) < table_cost(crowded, search.log_odds) - 5
    assert useless not in features.boundaries and len(features.boundaries) == 1


def test_periodic_features_change_only_if_they_may() -> None:
    labels, _ = curved()
    wrong = wave((0, 1), 1, 3, 4)
    fixed = search_of(labels).refine(Features((), (wrong,)), periodic=False)
    free = search_of(labels).refine(Features((), (wrong,)))
    assert fixed.features.periodic in ((wrong,), ())
    assert free.features.periodic not in ((wrong,), ()) and free.cost < fixed.cost - 20


@pytest.mark.usefixtures("either_way")
def test_a_two_for_one_exchange_replaces_lines_by_stripes() -> None:
    stripes = (X + Y) // 11 % 2 == 1
    search = search_of(stripes)
    sums, bounds = X + Y, (11, 22, 33, 44, 55)
    lines = tuple(Boundary(line((1, 1), PAIRS), int((sums < bound).sum()) - 1) for bound in bounds)
    stuck = ScoredFeatures(table_cost(Features(lines), search.log_odds), Features(lines))
    assert explained(stuck.features, stripes) == 1
    refined = search.refine(stuck.features, periodic=False)
    exchanged = search.exchange_two_for_one(stuck)
    assert exchanged.cost < refined.cost - 20
    assert explained(exchanged.features, stripes) > 0.99 and len(list(exchanged.features)) == 1


@pytest.mark.usefixtures("either_way")
def test_pairs_of_bars_need_no_boundary() -> None:
    labels = X // 3 % 4 + Y // 2 % 5 >= 4
    search = search_of(labels)
    starts = search.starts_from_pairs()
    best = min(starts, key=lambda start: start.cost)
    assert len(starts) == 2 * table_search.PAIRS
    assert explained(best.features, labels) == 1 and not best.features.boundaries
    assert {len(start.features.boundaries) for start in starts} == {0, 1}
    assert all(len(start.features.periodic) == 2 for start in starts)
    single = [start for start in search.starts_from_rows() if start.features.periodic]
    assert max(explained(start.features, labels) for start in single) < 1


def test_equal_results_are_returned_once_and_expensive_starts_are_skipped() -> None:
    labels, planted = curved()
    search = search_of(labels)
    start = ScoredFeatures(table_cost(planted, search.log_odds), planted)
    assert len(search.run([start, start, start])) == 1
    before = search.scored
    starts = [start, ScoredFeatures(start.cost + 1, Features()), start._replace(cost=1e9)]
    results = search.run(starts)
    assert len(results) <= 2 and search.scored > before


def test_scored_counts_boundaries_and_waves_and_limits_the_search(monkeypatch) -> None:
    labels, _ = curved()
    search = search_of(labels)
    search.refine(Features(), periodic=False)
    assert search.scored > 0 and search.scored % (len(families(PAIRS)) * N) == 0
    periodic = search_of(labels)
    periodic.refine(Features())
    assert periodic.scored % (len(families(PAIRS)) * N)
    monkeypatch.setattr(table_search, "MAX_SCORED", 1)
    short = search_of(labels)
    unfinished = short.refine(Features())
    assert len(list(unfinished.features)) == 1 and short.scored < periodic.scored
