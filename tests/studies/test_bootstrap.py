"""Intervals hold what they promise."""

import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.studies.bootstrap import exactly, find, median, ratio, ratio_of_ratios, share


def test_the_interval_of_a_mean_covers_it_nearly_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    found = [find("", rng.normal(3, 1, 32)) for _ in range(200)]
    covered = np.mean([one.low <= 3 <= one.high for one in found])
    assert 0.88 <= covered <= 0.99
    narrow = np.mean([one.low <= 3.2 <= one.high for one in found])  # the control: a wrong value
    assert narrow < 0.9


def test_more_networks_make_the_interval_shorter() -> None:
    values = np.random.default_rng(0).normal(size=256)
    few, many = find("", values[:16]), find("", values)
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert few.value == pytest.approx(values[:16].mean())


def test_ratios_are_of_sums_over_networks() -> None:
    columns = np.array([[1.0, 2.0], [3.0, 10.0]])
    assert find("", columns, ratio).value == pytest.approx(4 / 12)
    both = np.concatenate([columns, np.array([[1.0, 1.0], [1.0, 3.0]])], axis=1)
    assert find("", both, ratio_of_ratios).value == pytest.approx((4 / 12) / (2 / 4))
    assert find("", np.zeros((3, 2)), ratio).value == 0
    assert find("", np.array([1.0, 2.0, 30.0]), median).value == 2


def test_the_same_networks_give_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=8)
    assert find("", values) == find("", values) != find("", values, seed=1)


def test_shares_have_the_exact_interval_also_at_their_ends() -> None:
    none, all_, some = (share("", np.arange(10) < k) for k in (0, 10, 5))
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025**0.1)
    assert (all_.value, all_.high) == (1, 1)
    assert all_.low == pytest.approx(0.025**0.1)
    assert some.low == pytest.approx(0.1871, abs=1e-4)
    assert some.high == pytest.approx(0.8129, abs=1e-4)


def test_what_follows_from_labels_has_no_interval() -> None:
    assert exactly("", 3).n == 0
    assert exactly("", 3).low == exactly("", 3).high == 3


def test_no_networks_are_refused() -> None:
    for refuse in (lambda: find("errors", np.zeros(0)), lambda: share("errors", np.zeros(0, bool))):
        with pytest.raises(InputError, match="errors: of no network"):
            refuse()
