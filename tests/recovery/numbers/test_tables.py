"""One sweep finds the best threshold of a family, and costs are sums over cells."""

from collections import defaultdict

import numpy as np
import pytest

from jaxmi.programs.domain import PairDomain
from jaxmi.recovery.numbers.boundaries import Curve, Family, axes, curves, families, line
from jaxmi.recovery.numbers.tables import (
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
PAIRS = PairDomain(P)
N = P * P


def margin(cells: list, log_odds: np.ndarray) -> float:
    sums: dict = defaultdict(float)
    for cell, value in zip(cells, log_odds.tolist(), strict=True):
        sums[cell] += value
    return sum(map(abs, sums.values()))


def random_case(seed: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 3 * rng.integers(groups, size=N), rng.normal(size=N)  # with gaps between the numbers


def random_features(seed: int) -> Features:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(families(PAIRS)), 2, replace=False)
    boundaries = tuple(
        Boundary(
            families(PAIRS)[i],
            int(rng.choice(np.flatnonzero(families(PAIRS)[i].ends))),
        )
        for i in chosen
    )
    axis = axes(PAIRS)[rng.integers(len(axes(PAIRS)))]
    return Features(boundaries, (Periodic(axis, int(rng.integers(len(axis.waves)))),))


def cells_of(features: Features) -> list[tuple]:
    columns = [feature.values for feature in features.periodic]
    columns += [boundary.before for boundary in features.boundaries]
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.device
@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 4, 30])
def test_a_sweep_finds_the_best_threshold_of_each_family(seed, count) -> None:
    groups, log_odds = random_case(seed, count)
    tried = (
        line((1, 0), PAIRS),
        line((1, -2), PAIRS),
        curves(Curve(0, 1, 1.0), PAIRS),
        curves(Curve(0, 1, 0.5), PAIRS),
        curves(Curve(0, 1, 3.7), PAIRS),
    )
    scored = best_boundaries(groups, log_odds, tried)
    values = [value for value, _ in scored]
    assert values == sorted(values, reverse=True)
    assert {boundary.family.kind for _, boundary in scored} == {family.kind for family in tried}

    def added(boundary: Boundary) -> float:
        divided = list(zip(groups.tolist(), boundary.before.tolist(), strict=True))
        return margin(divided, log_odds) - margin(groups.tolist(), log_odds)

    for value, boundary in scored:
        family = boundary.family
        brute = [added(Boundary(family, int(end))) for end in np.flatnonzero(family.ends)]
        assert value == pytest.approx(max(brute), rel=1e-4)
        assert value == pytest.approx(added(boundary), rel=1e-4)
        assert family.ends[boundary.end]
        assert min(brute) < value - 1


@pytest.mark.usefixtures("either_way")
def test_a_sweep_never_divides_pairs_with_equal_scores() -> None:
    family = line((1, 0), PAIRS)
    within = family.order[family.scores[family.order] == 4]
    log_odds = np.zeros(N)
    log_odds[within[:5]], log_odds[within[5:]] = 9.0, -9.0
    anywhere = Family(family.kind, family.scores, family.order, family.rank, np.ones(N, bool))
    nothing = np.zeros(N, int)
    assert best_boundaries(nothing, log_odds, (anywhere,))[0][0] > 80
    value, boundary = best_boundaries(nothing, log_odds, (family,))[0]
    assert value < 20
    assert len(set(boundary.before[within].tolist())) == 1


@pytest.mark.device
@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("seed", range(3))
def test_periodic_margins_are_sums_over_cells(seed) -> None:
    groups, log_odds = random_case(seed, 4)
    width = len(np.unique(groups))
    for axis in axes(PAIRS):
        slow = []
        for i in range(len(axis.waves)):
            feature = Periodic(axis, i)
            cells = list(zip(groups.tolist(), feature.values.tolist(), strict=True))
            slow.append(margin(cells, log_odds) - 2 * CELL_NATS * width * feature.count)
        margins = best_periodic(groups, log_odds, axis)
        np.testing.assert_allclose(margins, slow, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_a_table_s_cost_sums_contradictions_labels_and_features(seed) -> None:
    features = random_features(seed)
    log_odds = np.random.default_rng(seed).normal(size=N)
    cells = cells_of(features)
    wrong = (np.abs(log_odds).sum() - margin(cells, log_odds)) / 2
    expected = wrong + CELL_NATS * len(set(cells)) + 2 * BOUNDARY_NATS + WAVE_NATS
    assert table_cost(features, log_odds) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_pairs_share_a_group_only_if_all_features_are_equal(seed) -> None:
    features = random_features(seed)
    cells, groups = cells_of(features), features.groups(N).tolist()
    pairs = set(zip(cells, groups, strict=True))
    assert len(pairs) == len(set(cells)) == len(set(groups)) > 2


def test_the_best_periodic_feature_costs_least_in_a_table() -> None:
    axis = axes(PAIRS)[0]
    log_odds = random_case(5, 1)[1] + 4.0 * (Periodic(axis, 9).values % 2) - 2.0
    best = int(best_periodic(np.zeros(N, int), log_odds, axis).argmax())
    features = [Features((), (Periodic(axis, i),)) for i in range(len(axis.waves))]
    costs = [table_cost(option, log_odds) for option in features]
    assert costs[best] == pytest.approx(min(costs)) and max(costs) > min(costs) + 5


def test_without_an_index_a_feature_is_the_axis_s_values() -> None:
    axis = axes(PAIRS)[2]
    raw = Periodic(axis, None)
    assert raw.count == axis.count == len(set(raw.values.tolist()))
    np.testing.assert_array_equal(raw.values, axis.values)
    assert Periodic(axis, 0).count == axis.waves[0].modulus < raw.count


def test_without_drops_one_feature_and_keeps_the_others() -> None:
    features = random_features(0)
    every_feature = list(features)
    assert len(every_feature) == 3
    for i, dropped in enumerate(every_feature):
        remaining = list(features.without(dropped))
        assert len(remaining) == 2
        others = [*every_feature[:i], *every_feature[i + 1 :]]
        assert {id(feature) for feature in remaining} == {id(feature) for feature in others}
