"""Simple rules reach what can be had by hand, and no more."""

import itertools

import numpy as np
import pytest

from jaxmi.programs.trees import best_band, tree_accuracy


def test_the_best_band_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        score, labels = rng.integers(0, 8, 40), rng.random(40) < 0.5
        bands = [
            (score >= low) & (score < high) for low, high in itertools.combinations(range(10), 2)
        ]
        rules = [np.zeros(40, bool), *bands]
        best = max(max((rule == labels).mean(), (rule != labels).mean()) for rule in rules)
        assert best_band(score, labels) == pytest.approx(best, abs=0)


def test_a_tree_learns_what_its_depth_can_hold() -> None:
    x, y = np.indices((20, 20)).reshape(2, -1).astype(np.uint8)
    features = np.stack([x, y], axis=1)
    assert tree_accuracy(features, x > 7, 1) == 1
    box = (x > 4) & (x < 12) & (y > 9)
    assert tree_accuracy(features, box, 3) == 1
    assert tree_accuracy(features, box, 2) < 1
    noise = np.random.default_rng(0).random(400) < 0.5
    assert 0.5 < tree_accuracy(features, noise, 3) < 0.7


def test_a_tree_takes_the_split_that_lowers_the_impurity_most() -> None:
    features = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1], [1, 1]], np.uint8)
    labels = np.array([0, 0, 0, 1, 1, 1], bool)
    assert tree_accuracy(features, labels, 1) == 5 / 6
    assert tree_accuracy(features, labels, 2) == 1


def test_a_tree_of_no_depth_or_of_one_label_says_the_commoner_one() -> None:
    features = np.arange(10, dtype=np.uint8)[:, None]
    assert tree_accuracy(features, np.arange(10) < 3, 0) == 0.7
    assert tree_accuracy(features, np.ones(10, bool), 3) == 1
    assert tree_accuracy(np.zeros((10, 1), np.uint8), np.arange(10) < 3, 3) == 0.7
