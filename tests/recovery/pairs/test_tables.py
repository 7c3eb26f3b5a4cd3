"""One sweep of a family finds what trying every threshold finds; costs are counted cell by cell."""

from collections import defaultdict

import numpy as np
import pytest

from jaxmi.recovery.pairs.boundaries import Family, axes, curves, families, line
from jaxmi.recovery.pairs.tables import (
    BOUNDARY_NATS,
    CELL_NATS,
    WAVE_NATS,
    Boundary,
    Features,
    Periodic,
    best_boundaries,
    best_periodic,
    table_cost,
)

P = 11
N = P * P


def margin(cells: list, signed: np.ndarray) -> float:
    sums: dict = defaultdict(float)
    for cell, worth in zip(cells, signed.tolist(), strict=True):
        sums[cell] += worth
    return sum(map(abs, sums.values()))


def random_case(seed: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 3 * rng.integers(groups, size=N), rng.normal(size=N)  # numbers may have gaps


def random_features(seed: int) -> Features:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(families(P)), 2, replace=False)
    boundaries = tuple(
        Boundary(families(P)[i], int(rng.choice(np.flatnonzero(families(P)[i].ends))))
        for i in chosen
    )
    axis = axes(P)[rng.integers(len(axes(P)))]
    return Features(boundaries, (Periodic(axis, int(rng.integers(len(axis.waves)))),))


def cells_of(features: Features) -> list[tuple]:
    columns = [one.values for one in features.periodic]
    columns += [one.before for one in features.boundaries]
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [1, 4, 30])
def test_a_sweep_finds_the_best_threshold_of_each_family(seed, groups) -> None:
    of, signed = random_case(seed, groups)
    tried = (line((1, 0), P), line((1, -2), P), curves(1.0, P), curves(0.5, P), curves(3.7, P))
    found = best_boundaries(of, signed, tried)
    values = [value for value, _ in found]
    assert values == sorted(values, reverse=True)
    assert {boundary.family.kind for _, boundary in found} == {family.kind for family in tried}

    def added(boundary: Boundary) -> float:
        divided = list(zip(of.tolist(), boundary.before.tolist(), strict=True))
        return margin(divided, signed) - margin(of.tolist(), signed)

    for value, boundary in found:
        family = boundary.family
        brute = [added(Boundary(family, int(end))) for end in np.flatnonzero(family.ends)]
        assert value == pytest.approx(max(brute), rel=1e-4)
        assert value == pytest.approx(added(boundary), rel=1e-4)
        assert family.ends[boundary.end]
        assert min(brute) < value - 1


@pytest.mark.usefixtures("either_way")
def test_a_sweep_never_splits_equal_scores_where_that_would_pay() -> None:
    family = line((1, 0), P)
    within = family.order[family.scores[family.order] == 4]
    signed = np.zeros(N)
    signed[within[:5]], signed[within[5:]] = 9.0, -9.0
    anywhere = Family(family.kind, family.scores, family.order, family.rank, np.ones(N, bool))
    nothing = np.zeros(N, int)
    assert best_boundaries(nothing, signed, (anywhere,))[0][0] > 80
    value, boundary = best_boundaries(nothing, signed, (family,))[0]
    assert value < 20
    assert len(set(boundary.before[within].tolist())) == 1


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("seed", range(3))
def test_periodic_margins_are_those_of_cells_counted_one_by_one(seed) -> None:
    of, signed = random_case(seed, 4)
    width = len(np.unique(of))
    for axis in axes(P):
        slow = []
        for i in range(len(axis.waves)):
            one = Periodic(axis, i)
            cells = list(zip(of.tolist(), one.values.tolist(), strict=True))
            slow.append(margin(cells, signed) - 2 * CELL_NATS * width * one.count)
        np.testing.assert_allclose(best_periodic(of, signed, axis), slow, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_cost_is_wrong_answers_labels_and_features(seed) -> None:
    features = random_features(seed)
    signed = np.random.default_rng(seed).normal(size=N)
    cells = cells_of(features)
    wrong = (np.abs(signed).sum() - margin(cells, signed)) / 2
    expected = wrong + CELL_NATS * len(set(cells)) + 2 * BOUNDARY_NATS + WAVE_NATS
    assert table_cost(features, signed) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_pairs_share_a_group_just_if_all_features_are_alike(seed) -> None:
    features = random_features(seed)
    cells, groups = cells_of(features), features.groups(N).tolist()
    pairs = set(zip(cells, groups, strict=True))
    assert len(pairs) == len(set(cells)) == len(set(groups)) > 2


def test_the_best_periodic_feature_costs_least_in_a_table() -> None:
    axis = axes(P)[0]
    signed = random_case(5, 1)[1] + 4.0 * (Periodic(axis, 9).values % 2) - 2.0
    best = int(best_periodic(np.zeros(N, int), signed, axis).argmax())
    costs = [table_cost(Features((), (Periodic(axis, i),)), signed) for i in range(len(axis.waves))]
    assert costs[best] == pytest.approx(min(costs)) and max(costs) > min(costs) + 5


def test_values_of_an_axis_are_a_feature_of_their_own() -> None:
    axis = axes(P)[2]
    raw = Periodic(axis, None)
    assert raw.count == axis.count == len(set(raw.values.tolist()))
    np.testing.assert_array_equal(raw.values, axis.values)
    assert Periodic(axis, 0).count == axis.waves[0].modulus < raw.count


def test_leaving_out_takes_one_feature_and_keeps_the_others() -> None:
    features = random_features(0)
    everything = list(features)
    assert len(everything) == 3
    for i, left_out in enumerate(everything):
        kept = list(features.without(left_out))
        assert len(kept) == 2
        others = [*everything[:i], *everything[i + 1 :]]
        assert {id(one) for one in kept} == {id(one) for one in others}
