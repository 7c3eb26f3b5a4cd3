"""Boundaries match exact arithmetic, periodic features match Python; pairs match brute force."""

from fractions import Fraction
from itertools import combinations_with_replacement, product
from math import isqrt

import numpy as np
import pytest

from jaxmi.programs.domain import NumberDomain, PairDomain, TripleDomain
from jaxmi.recovery.numbers.boundaries import (
    AXES,
    RATIOS,
    SLOPES,
    Axis,
    Curve,
    Family,
    Wave,
    all_slopes,
    axes,
    curves,
    families,
    line,
    residues,
)
from jaxmi.recovery.numbers.tables import CELL_NATS, Boundary, Periodic, best_boundaries, best_pairs

P = 13
PAIRS = PairDomain(P)
X, Y = np.indices((P, P)).reshape(2, -1)

POWERS = {0.5: (1, 2), 1.0: (1, 1), 1.5: (3, 2), 2.0: (2, 1), 3.0: (3, 1)}
"""Ratio -> whole exponents of x and y, for exact quotients."""


def quotients(i: int, j: int) -> list[Fraction | float]:
    return [
        Fraction(x**i, y**j) if y else np.inf for x, y in zip(X.tolist(), Y.tolist(), strict=True)
    ]


def sides(family: Family) -> list[np.ndarray]:
    return [Boundary(family, int(end)).before for end in np.flatnonzero(family.ends)]


@pytest.mark.parametrize("slopes", SLOPES)
def test_lines_have_all_thresholds_as_strict_inequalities(slopes) -> None:
    scores = slopes[0] * X + slopes[1] * Y
    expected = [scores < bound for bound in np.unique(scores)[1:]]
    np.testing.assert_array_equal(sides(line(slopes, PAIRS)), expected)


@pytest.mark.parametrize("ratio", POWERS)
def test_curves_have_all_thresholds_of_exact_quotients(ratio) -> None:
    exact = np.array(quotients(*POWERS[ratio]), object)
    expected = [exact < bound for bound in sorted(set(exact.tolist()))[1:]]
    np.testing.assert_array_equal(
        sides(curves(Curve(0, 1, ratio), PAIRS)), np.array(expected, bool)
    )


TRIPLES = TripleDomain(5)


@pytest.mark.parametrize("slopes", all_slopes(3, SLOPES))
def test_lines_and_planes_of_triples_have_all_thresholds(slopes) -> None:
    sums = np.array([np.dot(slopes, triple) for triple in product(range(5), repeat=3)])
    expected = [sums < bound for bound in np.unique(sums)[1:]]
    np.testing.assert_array_equal(sides(line(slopes, TRIPLES)), expected)


def test_slopes_of_triples_are_those_of_each_two_operands_and_all_planes() -> None:
    slopes = all_slopes(3, SLOPES)
    assert len(set(slopes)) == len(slopes) == 3 + 3 * (len(SLOPES) - 2) + 4
    assert {(0, 2, 1), (1, 0, -2), (0, 0, 1), (1, 1, -1), (1, -1, -1)} <= set(slopes)
    along = all_slopes(3, AXES)
    assert len(set(along)) == len(along) == 3 + 3 * (len(AXES) - 2) + 1
    assert min(map(min, along)) == 0 and (1, 1, 1) in along
    assert all_slopes(2, SLOPES) == SLOPES


@pytest.mark.parametrize(("left", "right"), [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("ratio", POWERS)
def test_curves_of_two_of_three_operands_have_all_thresholds(left, right, ratio) -> None:
    i, j = POWERS[ratio]
    triples = list(product(range(5), repeat=3))
    exact = np.array(
        [Fraction(t[left] ** i, t[right] ** j) if t[right] else np.inf for t in triples], object
    )
    expected = [exact < bound for bound in sorted(set(exact.tolist()))[1:]]
    found = sides(curves(Curve(left, right, ratio), TRIPLES))
    np.testing.assert_array_equal(found, np.array(expected, bool))


def test_families_of_triples_have_every_curve_once() -> None:
    kinds = [one.kind for one in families(TRIPLES) if isinstance(one.kind, Curve)]
    assert len(set(kinds)) == len(kinds) == 3 * len(RATIOS)


@pytest.mark.parametrize("ratio", POWERS)
def test_x_zero_is_before_and_y_zero_after_every_curve(ratio) -> None:
    for before in sides(curves(Curve(0, 1, ratio), PAIRS)):
        assert before[(X == 0) & (Y > 0)].all() and not before[Y == 0].any()


def test_boundaries_lie_only_between_unequal_scores() -> None:
    for family in families(PAIRS):
        ordered = family.scores[family.order]
        inner = np.flatnonzero(~family.ends[:-1])
        assert len(inner) and not family.ends[-1]
        np.testing.assert_allclose(ordered[inner], ordered[inner + 1], rtol=0, atol=1e-9)
        after = ordered[1:][family.ends[:-1]]
        assert (after > ordered[:-1][family.ends[:-1]]).all()
        np.testing.assert_array_equal(family.rank[family.order], np.arange(P * P))


def test_a_curve_between_two_families_differs_on_few_pairs_only() -> None:
    p = 113
    x, y = np.indices((p, p)).reshape(2, -1).astype(float)
    nothing = np.zeros(p * p, int)
    standard = families(PairDomain(p))
    assert [family.kind for family in standard if isinstance(family.kind, Curve)] == [
        Curve(0, 1, r) for r in RATIOS
    ]
    for i, through in ((10, 80), (18, 30), (25, 60)):
        ratio = (RATIOS[i] * RATIOS[i + 1]) ** 0.5
        labels = x**ratio < through**ratio / 50 * y
        log_odds = np.where(labels, 1.0, -1.0)

        def missed(tried, log_odds=log_odds) -> float:
            (margin, _), *_ = best_boundaries(nothing, log_odds, tried)
            return (p * p - abs(log_odds.sum()) - margin) / 2

        assert missed((curves(Curve(0, 1, ratio), PairDomain(p)),)) == 0
        assert missed(standard) < 0.006 * p * p
        assert missed((curves(Curve(0, 1, RATIOS[i] * 1.5), PairDomain(p)),)) > 0.01 * p * p


@pytest.mark.parametrize(
    ("domain", "axis"),
    [(domain, axis) for domain in (PAIRS, TripleDomain(7)) for axis in axes(domain)],
    ids=lambda value: str(value.slopes) if isinstance(value, Axis) else None,
)
def test_an_axis_has_each_feature_once_as_python_computes_it(
    domain: NumberDomain, axis: Axis
) -> None:
    inputs = product(range(domain.p), repeat=len(domain.operands))
    expected = [int(np.dot(axis.slopes, values)) for values in inputs]
    np.testing.assert_array_equal(axis.values, expected)
    assert axis.count == max(expected) + 1
    for wave, residue in zip(axis.waves, axis.residues, strict=True):
        assert wave.axis == axis.slopes
        values = [int(v**wave.exponent) // wave.width % wave.modulus for v in range(axis.count)]
        np.testing.assert_array_equal(residue, values)
        assert set(values) == set(range(wave.modulus))  # none is constant or has a smaller modulus
    assert len(np.unique(axis.residues, axis=0)) == len(axis.waves) > 10


def test_powers_are_exact_at_squares() -> None:
    numbers = np.arange(113)
    exact = [isqrt(v**3) % 8 for v in range(113)]
    np.testing.assert_array_equal(residues(Wave((1, 0), 1.5, 1, 8), numbers), exact)
    squares = residues(Wave((1, 0), 2.0, 1, 7), numbers)
    np.testing.assert_array_equal(squares, numbers**2 % 7)


def test_challenge_2_s_bars_are_among_the_features() -> None:
    (along_x,) = (axis for axis in axes(PairDomain(113)) if axis.slopes == (1, 0))
    assert Wave((1, 0), 1.5, 1, 8) in along_x.waves


def test_members_are_indicators_of_residues() -> None:
    for axis in axes(PAIRS):
        for i, wave in enumerate(axis.waves):
            rows = axis.members[axis.rows[i] : axis.rows[i] + wave.modulus]
            np.testing.assert_array_equal(
                rows, axis.residues[i] == np.arange(wave.modulus)[:, None]
            )
        assert len(axis.members) == sum(wave.modulus for wave in axis.waves)


def slow_margin(pair: tuple[Periodic, Periodic], groups: np.ndarray, log_odds: np.ndarray) -> float:
    first, second = pair
    sums = np.zeros((first.count, second.count, groups.max() + 1))
    np.add.at(sums, (first.values, second.values, groups), log_odds)
    return float(np.abs(sums).sum() - 2 * CELL_NATS * sums.size)


def all_pairs(first: Axis, second: Axis) -> list[tuple[Periodic, Periodic]]:
    return [
        (Periodic(first, i), Periodic(second, j))
        for i in range(len(first.waves))
        for j in range(len(second.waves))
    ]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("seed", range(3))
def test_the_best_pairs_match_brute_force(seed) -> None:
    p = 6
    rng = np.random.default_rng(seed)
    few = tuple(axis for axis in axes(PairDomain(p)) if axis.slopes in ((1, 0), (0, 1), (1, 1)))
    groups = rng.integers(3, size=p * p)
    log_odds = rng.normal(size=p * p) * 5
    margins = [
        max(slow_margin(pair, groups, log_odds) for pair in all_pairs(first, second))
        for first, second in combinations_with_replacement(few, 2)
    ]
    scored = [slow_margin(pair, groups, log_odds) for pair in best_pairs(groups, log_odds, few, 6)]
    np.testing.assert_allclose(scored, sorted(margins, reverse=True), rtol=1e-4)
    assert len(best_pairs(groups, log_odds, few, 2)) == 2
    ungrouped = best_pairs(np.zeros_like(groups), log_odds, few, 6)  # the control: groups count
    assert [slow_margin(pair, groups, log_odds) for pair in ungrouped] != pytest.approx(scored)


@pytest.mark.usefixtures("either_way")
def test_two_planted_features_are_found_together() -> None:
    along_x, along_y, *_ = axes(PAIRS)
    planted = Periodic(along_x, 7), Periodic(along_y, 11)
    rng = np.random.default_rng(0)
    cells = rng.permutation(planted[0].count * planted[1].count) % 2
    labels = cells[planted[0].values * planted[1].count + planted[1].values]
    log_odds = np.where(labels, 9.0, -9.0)
    (first, *_) = best_pairs(np.zeros(P * P, int), log_odds, (along_x, along_y), 3)
    assert slow_margin(first, np.zeros(P * P, int), log_odds) >= slow_margin(
        planted, np.zeros(P * P, int), log_odds
    )
    assert {first[0].axis.slopes, first[1].axis.slopes} == {(1, 0), (0, 1)}
