"""The true template comes first among all, on either side of its bound."""

import numpy as np
import pytest

from jaxmi.recovery.images.conditions import (
    Comparison,
    find_bands,
    find_comparisons,
    find_thresholds,
    sweep,
    sweep_bands,
)
from jaxmi.recovery.images.scores import Metric

N, TEMPLATES, SIZE = 2000, 300, 12


@pytest.fixture(scope="module")
def metric() -> Metric:
    rng = np.random.default_rng(0)
    images, templates = (rng.normal(size=(n, SIZE)).astype(np.float32) for n in (N, TEMPLATES))
    images[:, 0] = 1
    templates[77] *= 0.1  # its scores vary little and differ much from the others'
    templates[77, 0] = 30
    return Metric("dot", images, templates)


def gain_of(holds: np.ndarray) -> np.ndarray:
    return np.where(holds, 1.0, -1.0).astype(np.float32)


@pytest.mark.parametrize("below", [True, False])
def test_a_threshold_is_found_on_either_side(metric, below) -> None:
    scores = metric.score(slice(None), np.array([77]))[0]
    bound = np.quantile(scores, 0.3)
    gain = gain_of(scores < bound if below else scores > bound)
    best, *others = find_thresholds(metric, np.arange(N), gain, 4)
    assert best.gain == gain.clip(0).sum()
    assert best.condition[:3] == ("dot", 77, below)
    assert best.condition.bound == pytest.approx(bound, abs=0.05)
    gains = [scored.gain for scored in (best, *others)]
    assert gains == sorted(gains, reverse=True) and len(gains) == 4


def test_a_comparison_is_found_and_comes_first(metric) -> None:
    first, second = metric.score(slice(None), np.array([21, 140]))
    gain = gain_of(first < second)
    comparisons = find_comparisons([metric], np.arange(N), gain, 5)
    assert comparisons[0] == (gain.clip(0).sum(), Comparison("dot", 21, 140))
    gains = [comparison.gain for comparison in comparisons]
    assert gains == sorted(gains, reverse=True) and 1 < len(gains) <= 5


@pytest.mark.parametrize("inside", [True, False])
def test_a_band_is_found_inside_or_outside(metric, inside) -> None:
    scores = metric.score(slice(None), np.array([77]))[0]
    low, high = np.quantile(scores, (0.3, 0.6))
    gain = gain_of(((low <= scores) & (scores < high)) == inside)
    best, *others = find_bands(metric, gain, 4)
    assert best.gain == gain.clip(0).sum()
    assert best.condition[:3] == ("dot", 77, inside)
    assert best.condition[3:] == pytest.approx((low, high), abs=0.05)
    assert best.gain > max(other.gain for other in others)


def test_scores_that_differ_only_in_their_last_bits_are_ordered() -> None:
    scores = np.random.default_rng(0).normal(size=(500, 100)).astype(np.float32)
    scores.view(np.int32)[:] |= 1
    metric = Metric("dot", scores, np.eye(100, dtype=np.float32))
    gain = gain_of(np.abs(scores[:, 77]) < 0.5)
    assert find_bands(metric, gain, 1)[0].condition[:3] == ("dot", 77, True)


def test_bounds_lie_between_the_scores_that_they_separate() -> None:
    scores = np.array([[5.0, 1, 2, 3, 4]])
    for gain, is_below, bound in (
        ([-1.0, 1, 1, -1, -1], True, 2.5),
        ([1.0, -1, -1, 1, 1], False, 2.5),
        ([1.0, -9, 1, 1, 1], False, 1.5),
    ):
        _, below, bounds = sweep(scores, np.array(gain))
        assert (below[0], bounds[0]) == (is_below, bound)
    for sign in (1, -1):
        _, inside, ends = sweep_bands(scores, sign * np.array([-1.0, -1, 1, 1, -1]))
        assert (inside[0], *ends[0]) == (sign == 1, 1.5, 3.5)
