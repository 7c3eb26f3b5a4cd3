"""Answers are worth what their group has earned; margins decide the groups, never the truth."""

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
        assert evidence.sure[splits == split].mean() == 0.5
    assert not set(evidence.groups[splits == 0]) & set(evidence.groups[splits == 1])
    pooled = gather_evidence(labels, margins * np.where(splits, 100, 1))
    assert pooled.sure[splits == 1].mean() > 0.9  # the control: larger margins, were it one split


def test_groups_follow_the_margin_whatever_its_sign() -> None:
    labels, margins = labels_and_margins()
    evidence = gather_evidence(labels, margins)
    in_order = evidence.groups[np.argsort(np.abs(margins))]
    assert (np.diff(in_order) >= 0).all() and in_order[0] == 0
    assert in_order[-1] == MARGIN_GROUPS - 1
    assert (np.diff(evidence.groups[np.argsort(margins)]) < 0).any()
    assert np.abs(margins)[evidence.sure].min() > np.abs(margins)[~evidence.sure].max()


def test_without_margins_all_answers_are_equally_sure() -> None:
    labels, margins = labels_and_margins()
    bare = gather_evidence(labels)
    assert bare.sure.all() and not bare.margins_known and not bare.groups.any()
    assert gather_evidence(labels, margins).margins_known
    splits = np.arange(N) % 2 * 7
    np.testing.assert_array_equal(gather_evidence(labels, None, splits).groups, splits // 7)


def test_only_sure_answers_are_unexplained() -> None:
    labels, margins = labels_and_margins()
    evidence = gather_evidence(labels, margins)
    assert evidence.unexplained(labels) == 0
    assert evidence.unexplained(labels ^ ~evidence.sure) == 0
    assert evidence.unexplained(~labels) == 1
    first = np.flatnonzero(evidence.sure)[:80]
    other = labels.copy()
    other[first] ^= True
    assert evidence.unexplained(other) == pytest.approx(80 / (N / 2))


def test_worth_falls_with_the_share_of_wrong_answers_in_the_group_and_there_alone() -> None:
    labels, margins = labels_and_margins()
    evidence = gather_evidence(labels, margins)
    last = evidence.groups == MARGIN_GROUPS - 1
    before, worths = None, []
    for wrong_ones in (0, 1, 20, 200, 500):
        wrong = np.zeros(N, bool)
        wrong[np.flatnonzero(last)[:wrong_ones]] = True
        worth = evidence.worth(wrong)
        assert len(set(worth[last])) == 1
        assert before is None or np.array_equal(worth[~last], before)
        before = worth[~last]
        worths.append(worth[last][0])
        rate = (wrong_ones + PRIOR_ERRORS) / (N / 2 + PRIOR_INPUTS)
        assert worth[last][0] == pytest.approx(DISCOUNT * np.log((1 - rate) / rate))
    assert (np.diff(worths) < 0).all()


def test_no_answer_is_beyond_doubt_and_none_is_worth_nothing() -> None:
    labels, margins = labels_and_margins()
    evidence = gather_evidence(labels, margins)
    assert (evidence.worth(np.zeros(N, bool)) < 5).all()
    worthless = evidence.worth(np.ones(N, bool))
    assert (worthless > 0).all() and (worthless < 0.1).all()
