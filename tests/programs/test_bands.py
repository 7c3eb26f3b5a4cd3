"""The best band is the best of all bands; a permuted score has none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmi.errors import InputError
from jaxmi.programs.bands import best_band

RNG = np.random.default_rng


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), min_size=1, max_size=25))
def test_the_best_band_is_the_best_of_all(examples) -> None:
    scores, labels = np.array(examples).T
    band = best_band(scores, labels)
    edges = [*np.unique(scores), np.inf]

    def agreement(low, high):
        return float((((scores < low) | (scores >= high)) == labels).mean())

    assert band.agreement == pytest.approx(max(agreement(a, b) for a in edges for b in edges))
    assert agreement(band.low, band.high) == pytest.approx(band.agreement)


def test_a_band_finds_planted_edges_and_nothing_in_a_permuted_score() -> None:
    rng = RNG(6)
    scores = rng.normal(size=5000)
    labels = ((scores < -0.5) | (scores >= 0.9)).astype(int)
    band = best_band(scores, labels)
    assert band.agreement == 1.0
    assert -0.5 <= band.low < -0.49
    assert 0.9 <= band.high < 0.91
    permuted = best_band(rng.permutation(scores), labels)
    assert permuted.agreement < max(labels.mean(), 1 - labels.mean()) + 0.02
    with pytest.raises(InputError, match="to no examples"):
        best_band(scores[:0], labels[:0])
    with pytest.raises(InputError, match="2 scores are NaN"):
        best_band(np.array([np.nan, 1.0, np.nan]), np.array([0, 1, 1]))
