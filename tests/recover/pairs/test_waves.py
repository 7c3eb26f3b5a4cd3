"""Periodic features are what Python computes; pairs of them are scored as if one by one."""

from itertools import combinations_with_replacement, product
from math import isqrt

import numpy as np
import pytest

from jaxmi.recover.pairs.tables import CELL_NATS, Periodic
from jaxmi.recover.pairs.wave_pairs import best_pairs
from jaxmi.recover.pairs.waves import Axis, Wave, axes, residues

P = 13


@pytest.mark.parametrize("axis", axes(P), ids=lambda axis: str(axis.slopes))
def test_an_axis_has_each_feature_once_as_python_computes_it(axis: Axis) -> None:
    a, b = axis.slopes
    expected = [a * x + b * y for x, y in product(range(P), repeat=2)]
    np.testing.assert_array_equal(axis.values, expected)
    assert axis.count == max(expected) + 1
    for wave, residue in zip(axis.waves, axis.residues, strict=True):
        assert wave.axis == axis.slopes
        said = [int(v**wave.exponent) // wave.width % wave.modulus for v in range(axis.count)]
        np.testing.assert_array_equal(residue, said)
        assert set(said) == set(range(wave.modulus))  # none is constant, or of a smaller modulus
    assert len(np.unique(axis.residues, axis=0)) == len(axis.waves) > 10


def test_powers_are_exact_at_squares() -> None:
    numbers = np.arange(113)
    exact = [isqrt(v**3) % 8 for v in range(113)]
    np.testing.assert_array_equal(residues(Wave((1, 0), 1.5, 1, 8), numbers), exact)
    squares = residues(Wave((1, 0), 2.0, 1, 7), numbers)
    np.testing.assert_array_equal(squares, numbers**2 % 7)


def test_challenge_2_s_bars_are_among_the_features() -> None:
    (along_x,) = (axis for axis in axes(113) if axis.slopes == (1, 0))
    assert Wave((1, 0), 1.5, 1, 8) in along_x.waves


def test_members_are_indicators_of_residues() -> None:
    for axis in axes(P):
        for i, wave in enumerate(axis.waves):
            rows = axis.members[axis.rows[i] : axis.rows[i] + wave.modulus]
            np.testing.assert_array_equal(
                rows, axis.residues[i] == np.arange(wave.modulus)[:, None]
            )
        assert len(axis.members) == sum(wave.modulus for wave in axis.waves)


def slow_margin(pair: tuple[Periodic, Periodic], groups: np.ndarray, signed: np.ndarray) -> float:
    one, other = pair
    sums = np.zeros((one.count, other.count, groups.max() + 1))
    np.add.at(sums, (one.values, other.values, groups), signed)
    return float(np.abs(sums).sum() - 2 * CELL_NATS * sums.size)


def all_pairs(one: Axis, other: Axis) -> list[tuple[Periodic, Periodic]]:
    return [
        (Periodic(one, i), Periodic(other, j))
        for i in range(len(one.waves))
        for j in range(len(other.waves))
    ]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("seed", range(3))
def test_the_best_pairs_are_those_that_trying_all_finds(seed) -> None:
    p = 6
    rng = np.random.default_rng(seed)
    few = tuple(axis for axis in axes(p) if axis.slopes in ((1, 0), (0, 1), (1, 1)))
    groups = rng.integers(3, size=p * p)
    signed = rng.normal(size=p * p) * 5
    margins = [
        max(slow_margin(pair, groups, signed) for pair in all_pairs(one, other))
        for one, other in combinations_with_replacement(few, 2)
    ]
    found = [slow_margin(pair, groups, signed) for pair in best_pairs(groups, signed, few, 6)]
    np.testing.assert_allclose(found, sorted(margins, reverse=True), rtol=1e-4)
    assert len(best_pairs(groups, signed, few, 2)) == 2
    lumped = best_pairs(np.zeros_like(groups), signed, few, 6)  # the control: groups count
    assert [slow_margin(pair, groups, signed) for pair in lumped] != pytest.approx(found)


@pytest.mark.usefixtures("either_way")
def test_two_planted_features_are_found_together() -> None:
    along_x, along_y, *_ = axes(P)
    planted = Periodic(along_x, 7), Periodic(along_y, 11)
    rng = np.random.default_rng(0)
    cells = rng.permutation(planted[0].count * planted[1].count) % 2
    labels = cells[planted[0].values * planted[1].count + planted[1].values]
    signed = np.where(labels, 9.0, -9.0)
    (first, *_) = best_pairs(np.zeros(P * P, int), signed, (along_x, along_y), 3)
    assert slow_margin(first, np.zeros(P * P, int), signed) >= slow_margin(
        planted, np.zeros(P * P, int), signed
    )
    assert {first[0].axis.slopes, first[1].axis.slopes} == {(1, 0), (0, 1)}
