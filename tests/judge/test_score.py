"""Scores: metrics can be counted by hand, verdicts follow, and regions cover what differs."""

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.judge.score import Reference, Score, digit_regions, grid_regions

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int32)
NETWORK = np.array([0, 0, 0, 1, 1, 1, 0, 0], np.int32)  # wrong on rows 3, 6 and 7
SUBMITTED = np.array([1, 0, 0, 1, 1, 1, 0, 1], np.int32)  # wrong on rows 0, 3 and 6
STATED = {"train": 3, "test": 3, "domain": 6}
SPLITS = {"train": np.array([0, 2, 4, 6]), "test": np.array([1, 3, 5, 7])}


def test_shares_are_those_counted_by_hand() -> None:
    assert Score(SUBMITTED, TRUTH, NETWORK, SPLITS).metrics() == {
        "agreement_truth": 5 / 8,
        "agreement_train": 2 / 4,
        "agreement_test": 3 / 4,
        "agreement_network": 6 / 8,
        "agreement_network_train": 3 / 4,
        "agreement_network_test": 3 / 4,
        "network_truth": 5 / 8,
        "network_mistakes": 3,
        "agreement_mistakes": 2 / 3,
        "agrees_with_network_on": {"train": 3, "test": 3, "domain": 6},
        "sealed_program_does_on": None,
        "label1_share": 5 / 8,
    }


def test_what_is_not_known_is_none_and_not_a_number() -> None:
    alone = Score(SUBMITTED, TRUTH, None, SPLITS).metrics()
    assert alone["agreement_network"] is alone["network_truth"] is None
    assert alone["agreement_mistakes"] is alone["network_mistakes"] is None
    sealed = Score(SUBMITTED, None, NETWORK, SPLITS, STATED).metrics()
    assert sealed["agreement_truth"] is sealed["agreement_test"] is None
    assert (sealed["network_truth"], sealed["network_mistakes"]) == (6 / 8, 2)
    assert sealed["agreement_network"] == 6 / 8
    perfect = Score(SUBMITTED, TRUTH, TRUTH, SPLITS).metrics()
    assert (perfect["network_mistakes"], perfect["agreement_mistakes"]) == (0, None)


def test_verdicts_follow_the_numbers() -> None:
    def verdict(submitted, network=NETWORK) -> str:
        return Score(submitted, TRUTH, network, SPLITS).verdict

    assert verdict(TRUTH).startswith("Every label is correct: all 8")
    one_wrong = np.where(np.arange(8) == 1, 1, TRUTH).astype(np.int32)
    assert verdict(one_wrong) == (
        "Not the labelling function: 1 of 8 labels are wrong; the network has 3 wrong."
    )
    assert verdict(SUBMITTED).endswith("closer to the network than the labelling function is.")
    assert verdict(SUBMITTED, network=None).endswith("3 of 8 labels are wrong.")


def test_what_may_be_the_sealed_program_agrees_with_the_network_as_often_in_every_split() -> None:
    def judged(stated: dict[str, int]) -> tuple[bool | None, str]:
        score = Score(SUBMITTED, None, NETWORK, SPLITS, stated)
        return score.as_stated, score.verdict

    assert judged(STATED) == (
        True,
        "This may be the sealed program: it agrees with the network on 3 of 4 train and 3 of 4 "
        "test inputs, the same numbers as the sealed program.",
    )
    assert judged({"train": 4, "test": 2, "domain": 6}) == (  # as often over all
        False,
        "Not the sealed program: it agrees with the network on 3 of 4 train and 3 of 4 test "
        "inputs; the sealed program agrees on 4 and 2.",
    )
    assert judged({}) == (None, "It agrees with the network on 75.00% of the inputs.")


def test_labels_of_another_domain_or_nothing_to_judge_by_are_refused() -> None:
    with pytest.raises(InputError, match="7 labels submitted, expected 8"):
        Score(SUBMITTED[:7], TRUTH, NETWORK, SPLITS)
    with pytest.raises(InputError, match="neither"):
        Score(SUBMITTED, None, None, SPLITS)


def test_regions_of_pairs_are_those_drawn_largest_first_and_hang_together_by_corners() -> None:
    differs = np.zeros((9, 9), bool)
    differs[1, 2:5] = differs[2, 5] = True  # three in a row, and one more by its corner
    differs[7:9, 7:9] = True
    differs[8, 8] = False
    submitted = np.zeros((9, 9), np.int32)
    submitted[1, 2] = submitted[0, 0] = 1
    assert [tuple(region) for region in grid_regions(differs, submitted)] == [
        ("x = 1..2, y = 2..5", 4, 1),
        ("x = 7..8, y = 7..8", 3, 0),
    ]
    assert grid_regions(np.zeros((9, 9), bool), submitted) == []


def test_regions_of_pairs_cover_all_that_differs() -> None:
    rng = np.random.default_rng(0)
    differs = rng.random((113, 113)) < 0.2
    regions = grid_regions(differs, differs.astype(np.int32))
    assert sum(region.differing for region in regions) == differs.sum()
    assert all(region.differing == region.label1 for region in regions)


def test_regions_of_images_are_digits() -> None:
    digits = np.array([3, 3, 3, 7, 7, 1], np.uint8)
    differs = np.array([1, 0, 0, 1, 1, 0], bool)
    regions = digit_regions(differs, np.array([1, 1, 1, 0, 1, 1], np.int32), digits)
    assert [tuple(region) for region in regions] == [
        ("images of a 7 (2 of them)", 2, 1),
        ("images of a 3 (3 of them)", 1, 1),
    ]


def test_a_part_of_the_domain_is_judged_by_its_own_rows(transformer: Challenge) -> None:
    truth = transformer.labels
    reference = Reference(transformer, truth, None)
    rows = slice(12_000, None)
    submitted = truth[rows].copy()
    test_rows = np.isin(np.arange(12_000, 12_769), transformer.splits["test"])
    submitted[test_rows] = 1 - submitted[test_rows]
    metrics = reference.score(submitted, rows).metrics()
    assert metrics["agreement_test"] == 0
    assert metrics["agreement_train"] == 1
    assert metrics["agreement_truth"] == (~test_rows).mean()
