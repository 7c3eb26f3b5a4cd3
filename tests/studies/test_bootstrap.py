"""Estimates and their intervals."""

import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.studies.bootstrap import (
    estimate,
    estimate_over_pairs,
    estimate_over_rows,
    estimate_share,
    exact,
    median,
    ratio,
    ratio_of_ratios,
)


def test_the_interval_of_a_mean_covers_it_nearly_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    findings = [estimate("", rng.normal(3, 1, 32)) for _ in range(200)]
    covered = np.mean([finding.low <= 3 <= finding.high for finding in findings])
    assert 0.88 <= covered <= 0.99
    narrow = np.mean(
        [finding.low <= 3.2 <= finding.high for finding in findings]
    )  # the control: a wrong value
    assert narrow < 0.9


def test_more_networks_make_the_interval_shorter() -> None:
    values = np.random.default_rng(0).normal(size=256)
    few, many = estimate("", values[:16]), estimate("", values)
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert few.value == pytest.approx(values[:16].mean())


def test_ratios_are_of_sums_over_networks() -> None:
    columns = np.array([[1.0, 2.0], [3.0, 10.0]])
    assert estimate("", columns, ratio).value == pytest.approx(4 / 12)
    both = np.concatenate([columns, np.array([[1.0, 1.0], [1.0, 3.0]])], axis=1)
    assert estimate("", both, ratio_of_ratios).value == pytest.approx((4 / 12) / (2 / 4))
    assert estimate("", np.zeros((3, 2)), ratio).value == 0
    assert estimate("", np.array([1.0, 2.0, 30.0]), median).value == 2


def test_the_same_networks_give_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=8)
    assert estimate("", values) == estimate("", values) != estimate("", values, seed=1)


def test_shares_have_the_exact_interval_also_at_0_and_1() -> None:
    none, all_, some = (estimate_share("", np.arange(10) < k) for k in (0, 10, 5))
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025**0.1)
    assert (all_.value, all_.high) == (1, 1)
    assert all_.low == pytest.approx(0.025**0.1)
    assert some.low == pytest.approx(0.1871, abs=1e-4)
    assert some.high == pytest.approx(0.8129, abs=1e-4)


def test_intervals_over_rows_depend_on_rows_and_not_on_networks() -> None:
    rng = np.random.default_rng(0)
    networks, rows = rng.normal(size=(20, 1)), rng.normal(size=(1, 50))
    same_rows = estimate_over_rows("", np.broadcast_to(networks, (20, 50)))
    assert same_rows.high - same_rows.low < 1e-9
    same_networks = estimate_over_rows("", np.broadcast_to(rows, (20, 50)))
    wanted = estimate("", rows[0])
    assert same_networks.high - same_networks.low == pytest.approx(wanted.high - wanted.low)
    assert same_networks.n == 20
    assert "over rows" in same_networks.description


def test_pairs_are_of_different_networks() -> None:
    rng = np.random.default_rng(0)
    above, below = rng.random((12, 12)), 1 + rng.random((12, 12))
    different = ~np.eye(12, dtype=bool)
    finding = estimate_over_pairs("", above, below)
    assert finding.value == pytest.approx(above[different].sum() / below[different].sum())
    assert finding.low < finding.value < finding.high
    assert estimate_over_pairs("", above + 100 * np.eye(12), below) == finding


def test_the_interval_of_pairs_is_that_of_the_networks_behind_them() -> None:
    """Each pair's value is the sum of both networks': the mean over pairs is twice theirs."""
    own = np.random.default_rng(0).normal(10, 1, 24)
    pairs = estimate_over_pairs("", own[:, None] + own[None], np.ones((24, 24)))
    alone = estimate("", 2 * own)
    assert pairs.value == pytest.approx(alone.value)
    assert pairs.high - pairs.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_exact_numbers_have_no_interval() -> None:
    assert exact("", 3).n == 0
    assert exact("", 3).low == exact("", 3).high == 3


def test_no_networks_are_refused() -> None:
    for refuse in (
        lambda: estimate("errors", np.zeros(0)),
        lambda: estimate_share("errors", np.zeros(0, bool)),
    ):
        with pytest.raises(InputError, match="errors: there are no networks"):
            refuse()
    with pytest.raises(InputError, match="1 networks make no pair"):
        estimate_over_pairs("errors", np.ones((1, 1)), np.ones((1, 1)))
