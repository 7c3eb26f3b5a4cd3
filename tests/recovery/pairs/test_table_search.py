"""Searching tables finds planted features, and no single change of what it gives would help."""

from itertools import pairwise

import numpy as np
import pytest

from jaxmi.recovery.pairs import table_search
from jaxmi.recovery.pairs.boundaries import Wave, axes, curves, families, line
from jaxmi.recovery.pairs.table_search import LEAST_GAIN, Found, TableSearch
from jaxmi.recovery.pairs.tables import (
    Boundary,
    Features,
    Periodic,
    best_boundaries,
    best_periodic,
    table_cost,
)

P = 31
N = P * P
X, Y = np.indices((P, P)).reshape(2, -1)
BARS = (X**1.5).astype(int) % 8


def search_of(labels: np.ndarray) -> TableSearch:
    return TableSearch(np.where(labels, 1.5, -1.5))


def wave(slopes: tuple[int, int], exponent: float, width: int, modulus: int) -> Periodic:
    (axis,) = (axis for axis in axes(P) if axis.slopes == slopes)
    return Periodic(axis, axis.waves.index(Wave(slopes, exponent, width, modulus)))


def curved() -> tuple[np.ndarray, Features]:
    """Bars, moved by a curve; and the features that this is."""
    before = X**2 < 20 * Y
    family = curves(2.0, P)
    boundary = Boundary(family, int(before.sum()) - 1)
    np.testing.assert_array_equal(boundary.before, before)
    return BARS - 5 + 4 * before >= 0, Features((boundary,), (wave((1, 0), 1.5, 1, 8),))


def told(features: Features, labels: np.ndarray) -> float:
    """The share of labels that a free label for each combination can tell."""
    groups = features.groups(N)
    ones = np.bincount(groups, labels) / np.maximum(np.bincount(groups), 1)
    return float(((ones[groups] > 0.5) == labels).mean())


@pytest.mark.usefixtures("either_way")
def test_boundary_and_bars_are_found_together() -> None:
    labels, planted = curved()
    search = search_of(labels)
    first, *others = search.run(search.plain_starts())
    assert first.cost <= table_cost(planted, search.signed)
    assert told(first.features, labels) > 0.995
    assert first.cost == pytest.approx(table_cost(first.features, search.signed))
    assert [one.cost for one in others] == sorted(one.cost for one in others)
    for left_out in planted:
        assert told(planted.without(left_out), labels) < 0.9


def test_starts_of_rows_find_boundaries_whatever_is_periodic_along_them() -> None:
    labels, planted = curved()
    starts = search_of(labels).plain_starts()
    assert len(starts) == 1 + 2 * len(axes(P))  # and nothing at all
    assert all(a.cost <= b.cost for a, b in pairwise(starts))
    assert {len(one.features.periodic) for one in starts} == {0, 1}
    assert all(w.index is not None for one in starts for w in one.features.periodic)
    assert starts[0].features == Features()
    first = starts[1].features.boundaries[0]
    assert (first.before == planted.boundaries[0].before).mean() > 0.97


def test_no_single_change_of_what_is_found_would_help() -> None:
    labels, _ = curved()
    noisy = labels ^ (np.random.default_rng(0).random(N) < 0.03)
    search = search_of(noisy)
    began = search.refine(Features((), (wave((0, 1), 1, 3, 4),)))
    cost, features = began
    signed = search.signed
    assert cost < table_cost(Features(), signed) - 100
    for left_out in features:
        less = features.without(left_out)
        assert table_cost(less, signed) > cost - LEAST_GAIN
        groups = less.groups(N)
        (_, boundary), *_ = best_boundaries(groups, signed, families(P))
        changed = [Features((*less.boundaries, boundary), less.periodic)]
        for axis in axes(P):
            best = Periodic(axis, int(best_periodic(groups, signed, axis).argmax()))
            changed.append(Features(less.boundaries, (*less.periodic, best)))
        same_kind = changed[:1] if isinstance(left_out, Boundary) else changed[1:]
        assert min(table_cost(one, signed) for one in same_kind) > cost - LEAST_GAIN
    (_, boundary), *_ = best_boundaries(features.groups(N), signed, families(P))
    more = Features((*features.boundaries, boundary), features.periodic)
    assert len(more.boundaries) > table_search.MAX_BOUNDARIES or (
        table_cost(more, signed) > cost - LEAST_GAIN
    )


def test_a_feature_that_tells_nothing_is_dropped() -> None:
    labels, planted = curved()
    search = search_of(labels)
    needless = Boundary(line((1, 0), P), 200)
    crowded = Features((*planted.boundaries, needless), planted.periodic)
    cost, features = search.refine(crowded)
    assert cost <= table_cost(planted, search.signed) < table_cost(crowded, search.signed) - 5
    assert needless not in features.boundaries and len(features.boundaries) == 1


def test_periodic_features_stay_where_they_must() -> None:
    labels, _ = curved()
    wrong = wave((0, 1), 1, 3, 4)
    kept = search_of(labels).refine(Features((), (wrong,)), periodic=False)
    free = search_of(labels).refine(Features((), (wrong,)))
    assert kept.features.periodic in ((wrong,), ())
    assert free.features.periodic not in ((wrong,), ()) and free.cost < kept.cost - 20


@pytest.mark.usefixtures("either_way")
def test_shaking_takes_lines_for_the_stripes_they_are() -> None:
    stripes = (X + Y) // 11 % 2 == 1
    search = search_of(stripes)
    sums, bounds = X + Y, (11, 22, 33, 44, 55)
    lines = tuple(Boundary(line((1, 1), P), int((sums < bound).sum()) - 1) for bound in bounds)
    stuck = Found(table_cost(Features(lines), search.signed), Features(lines))
    assert told(stuck.features, stripes) == 1
    refined = search.refine(stuck.features, periodic=False)
    shaken = search.shake(stuck)
    assert shaken.cost < refined.cost - 20
    assert told(shaken.features, stripes) > 0.99 and len(list(shaken.features)) == 1


@pytest.mark.usefixtures("either_way")
def test_pairs_of_bars_need_no_boundary() -> None:
    labels = X // 3 % 4 + Y // 2 % 5 >= 4
    search = search_of(labels)
    starts = search.paired_starts()
    best = min(starts, key=lambda one: one.cost)
    assert len(starts) == 2 * table_search.PAIRS
    assert told(best.features, labels) == 1 and not best.features.boundaries
    assert {len(one.features.boundaries) for one in starts} == {0, 1}
    assert all(len(one.features.periodic) == 2 for one in starts)
    single = [one for one in search.plain_starts() if one.features.periodic]
    assert max(told(one.features, labels) for one in single) < 1


def test_what_comes_out_alike_is_given_once_and_hopeless_starts_are_left() -> None:
    labels, planted = curved()
    search = search_of(labels)
    start = Found(table_cost(planted, search.signed), planted)
    assert len(search.run([start, start, start])) == 1
    before = search.scored
    twice = [start, Found(start.cost + 1, Features()), start._replace(cost=1e9)]
    found = search.run(twice)
    assert len(found) <= 2 and search.scored > before


def test_scored_counts_boundaries_and_waves_and_ends_the_search(monkeypatch) -> None:
    labels, _ = curved()
    search = search_of(labels)
    search.refine(Features(), periodic=False)
    assert search.scored > 0 and search.scored % (len(families(P)) * N) == 0
    periodic = search_of(labels)
    periodic.refine(Features())
    assert periodic.scored % (len(families(P)) * N)
    monkeypatch.setattr(table_search, "MAX_SCORED", 1)
    short = search_of(labels)
    unfinished = short.refine(Features())
    assert len(list(unfinished.features)) == 1 and short.scored < periodic.scored
