"""Costs of contradictions follow each group's error rate; groups depend on margins and splits."""

import numpy as np
import pytest

from jaxmi.recovery.evidence import (
    DISCOUNT,
    MARGIN_GROUPS,
    PRIOR_ERRORS,
    PRIOR_INPUTS,
    gather_evidence,
)

N = 3200


def labels_and_margins(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random(n) < 0.5, rng.normal(size=n)


def test_margin_groups_are_a_half_a_quarter_and_so_on_of_each_split() -> None:
    labels, margins = labels_and_margins()
    splits = np.arange(N) % 4 // 3  # three quarters and one
    evidence = gather_evidence(labels, margins * np.where(splits, 100, 1), splits)
    shares = [2.0**-i for i in range(MARGIN_GROUPS - 1, 0, -1)]
    for split, size in ((0, 2400), (1, 800)):
        groups = evidence.groups[splits == split]
        counts = np.unique(groups, return_counts=True)[1]
        np.testing.assert_array_equal(counts, np.multiply([shares[0], *shares], size))
        assert evidence.confident[splits == split].mean() == 0.5
    assert not set(evidence.groups[splits == 0]) & set(evidence.groups[splits == 1])
    pooled = gather_evidence(labels, margins * np.where(splits, 100, 1))
    assert pooled.confident[splits == 1].mean() > 0.9  # the control: its margins are larger


def test_groups_depend_on_the_absolute_margin() -> None:
    labels, margins = labels_and_margins()
    evidence = gather_evidence(labels, margins)
    ordered = evidence.groups[np.argsort(np.abs(margins))]
    assert (np.diff(ordered) >= 0).all() and ordered[0] == 0
    assert ordered[-1] == MARGIN_GROUPS - 1
    assert (np.diff(evidence.groups[np.argsort(margins)]) < 0).any()
    assert np.abs(margins)[evidence.confident].min() > np.abs(margins)[~evidence.confident].max()


def test_without_margins_all_predictions_are_confident() -> None:
    labels, margins = labels_and_margins()
    bare = gather_evidence(labels)
    assert bare.confident.all() and not bare.margins_known and not bare.groups.any()
    assert gather_evidence(labels, margins).margins_known
    splits = np.arange(N) % 2 * 7
    np.testing.assert_array_equal(gather_evidence(labels, None, splits).groups, splits // 7)


def test_the_contradiction_rate_counts_confident_predictions_only() -> None:
    labels, margins = labels_and_margins()
    evidence = gather_evidence(labels, margins)
    assert evidence.contradiction_rate(labels) == 0
    assert evidence.contradiction_rate(labels ^ ~evidence.confident) == 0
    assert evidence.contradiction_rate(~labels) == 1
    first = np.flatnonzero(evidence.confident)[:80]
    other = labels.copy()
    other[first] ^= True
    assert evidence.contradiction_rate(other) == pytest.approx(80 / (N / 2))


def test_a_cost_falls_with_the_error_rate_of_its_own_group_only() -> None:
    labels, margins = labels_and_margins()
    evidence = gather_evidence(labels, margins)
    last = evidence.groups == MARGIN_GROUPS - 1
    others, last_costs = None, []
    for errors in (0, 1, 20, 200, 500):
        wrong = np.zeros(N, bool)
        wrong[np.flatnonzero(last)[:errors]] = True
        costs = evidence.costs(wrong)
        assert len(set(costs[last])) == 1
        assert others is None or np.array_equal(costs[~last], others)
        others = costs[~last]
        last_costs.append(costs[last][0])
        rate = (errors + PRIOR_ERRORS) / (N / 2 + PRIOR_INPUTS)
        assert costs[last][0] == pytest.approx(DISCOUNT * np.log((1 - rate) / rate))
    assert (np.diff(last_costs) < 0).all()


def test_every_cost_is_positive_and_bounded() -> None:
    labels, margins = labels_and_margins()
    evidence = gather_evidence(labels, margins)
    assert (evidence.costs(np.zeros(N, bool)) < 5).all()
    lowest = evidence.costs(np.ones(N, bool))
    assert (lowest > 0).all() and (lowest < 0.1).all()


def test_log_odds_are_costs_with_the_sign_of_the_prediction() -> None:
    labels, margins = labels_and_margins()
    evidence = gather_evidence(labels, margins)
    wrong = np.arange(N) % 7 == 0
    log_odds = evidence.log_odds(wrong)
    np.testing.assert_array_equal(log_odds > 0, labels)
    np.testing.assert_array_equal(np.abs(log_odds), evidence.costs(wrong))
