"""Families of boundaries hold every threshold of their score, and split no equal scores."""

from fractions import Fraction

import numpy as np
import pytest

from jaxmi.recover.pairs.boundaries import RATIOS, SLOPES, Family, curves, families, line
from jaxmi.recover.pairs.tables import Boundary, best_boundaries

P = 13
X, Y = np.indices((P, P)).reshape(2, -1)

POWERS = {0.5: (1, 2), 1.0: (1, 1), 1.5: (3, 2), 2.0: (2, 1), 3.0: (3, 1)}
"""Ratio -> exponents of x and y that are whole, so that quotients are exact."""


def quotients(i: int, j: int) -> list[Fraction | float]:
    return [
        Fraction(x**i, y**j) if y else np.inf for x, y in zip(X.tolist(), Y.tolist(), strict=True)
    ]


def sides(family: Family) -> list[np.ndarray]:
    return [Boundary(family, int(end)).before for end in np.flatnonzero(family.ends)]


@pytest.mark.parametrize("slopes", SLOPES)
def test_lines_have_all_thresholds_and_each_is_a_strict_inequality(slopes) -> None:
    scores = slopes[0] * X + slopes[1] * Y
    expected = [scores < bound for bound in np.unique(scores)[1:]]
    np.testing.assert_array_equal(sides(line(slopes, P)), expected)


@pytest.mark.parametrize("ratio", POWERS)
def test_curves_have_all_thresholds_of_exact_quotients(ratio) -> None:
    exact = np.array(quotients(*POWERS[ratio]), object)
    expected = [exact < bound for bound in sorted(set(exact.tolist()))[1:]]
    np.testing.assert_array_equal(sides(curves(ratio, P)), np.array(expected, bool))


@pytest.mark.parametrize("ratio", POWERS)
def test_x_zero_is_before_and_y_zero_after_every_curve(ratio) -> None:
    for before in sides(curves(ratio, P)):
        assert before[(X == 0) & (Y > 0)].all() and not before[Y == 0].any()


def test_places_that_are_no_end_would_split_equal_scores() -> None:
    for family in families(P):
        ordered = family.scores[family.order]
        step = np.flatnonzero(~family.ends[:-1])
        assert len(step) and not family.ends[-1]
        np.testing.assert_allclose(ordered[step], ordered[step + 1], rtol=0, atol=1e-9)
        after = ordered[1:][family.ends[:-1]]
        assert (after > ordered[:-1][family.ends[:-1]]).all()
        np.testing.assert_array_equal(family.rank[family.order], np.arange(P * P))


def test_a_curve_between_two_families_is_missed_by_few_pairs_only() -> None:
    p = 113
    x, y = np.indices((p, p)).reshape(2, -1).astype(float)
    nothing = np.zeros(p * p, int)
    usual = families(p)
    assert [family.kind for family in usual if len(family.kind) == 1] == [(r,) for r in RATIOS]
    for at, through in ((10, 80), (18, 30), (25, 60)):
        ratio = (RATIOS[at] * RATIOS[at + 1]) ** 0.5
        labels = x**ratio < through**ratio / 50 * y
        signed = np.where(labels, 1.0, -1.0)

        def missed(tried, signed=signed) -> float:
            (margin, _), *_ = best_boundaries(nothing, signed, tried)
            return (p * p - abs(signed.sum()) - margin) / 2

        assert missed((curves(ratio, p),)) == 0
        assert missed(usual) < 0.006 * p * p
        assert missed((curves(RATIOS[at] * 1.5, p),)) > 0.01 * p * p
