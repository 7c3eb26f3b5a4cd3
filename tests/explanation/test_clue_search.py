"""The clue is found in a planted network's neurons, and not in neurons that are unrelated to it."""

import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.explanation.clue_search import (
    COMPARISONS,
    compare,
    find_clue,
    find_template,
    fit_clue,
    orient,
    pixel_moments,
    rank_by_bands,
    rank_images,
    second_moment_template,
)
from jaxmi.explanation.cnn_detectors import similarity
from jaxmi.programs.bands import Band, best_band

N = 6000
CLUES = (4, 6, 7, 17)


@pytest.fixture(scope="module")
def images(mnist_data):
    return mnist_data.images[:N]


@pytest.fixture(scope="module")
def moments(images):
    return pixel_moments(images)


def planted(images, clue, sign=1.0):
    """Two neurons that a network for this clue might have: one for it, one for its inverse."""
    scores = similarity(images, images[clue])
    low, high = np.quantile(scores, [0.3, 0.7])
    detectors = np.stack([np.maximum(scores - high, 0), np.maximum(low - scores, 0)], axis=1)
    labels = (detectors.max(axis=1) > 0).astype(int)
    return sign * detectors / scores.std(), labels


@pytest.mark.parametrize("clue", CLUES)
def test_the_clue_of_a_planted_network_comes_first(images, moments, clue) -> None:
    neurons, labels = planted(images, clue)
    template, ranking = find_clue(moments, neurons)
    assert ranking.order[0] == clue
    assert ranking.rank_of(clue) == 1
    fit = fit_clue(images, moments, neurons, labels)
    assert fit.clue == clue
    assert fit.comparison == "similarity"
    assert fit.band.agreement == 1.0
    assert f"mnist_train[{clue}]" in fit.program
    np.testing.assert_allclose(fit.template.ravel(), template)


@pytest.mark.slow
def test_labels_by_a_comparison_are_traced_to_that_comparison(images, moments) -> None:
    neurons, _ = planted(images, 7)
    for comparison in COMPARISONS:
        scores = compare(images, images[7], comparison)
        low, high = np.quantile(scores, [0.3, 0.7])
        labels = ((scores < low) | (scores >= high)).astype(int)
        fit = fit_clue(images, moments, neurons, labels)
        assert (fit.comparison, fit.band.agreement) == (comparison, 1.0)


def test_the_printed_program_is_the_program(images, moments) -> None:
    """Run as Python, with NumPy's sum: it gives the labels that it is said to agree with."""
    neurons, _ = planted(images, 7)
    scores = compare(images, images[7], "l1")
    labels = ((scores < np.quantile(scores, 0.3)) | (scores >= np.quantile(scores, 0.7))).astype(
        int
    )
    fit = fit_clue(images, moments, neurons, labels)
    namespace = {"mnist_train": images.astype(np.int64), "sum": np.sum, "abs": np.abs}
    exec(fit.program, namespace)
    program = np.array([namespace["label"](image.astype(np.int64)) for image in images])
    np.testing.assert_array_equal(program, labels)


@pytest.mark.parametrize(
    ("low", "high", "line"),
    [
        (-np.inf, 30_000.0, "0 if d < 30_000 else 1"),
        (20_000.0, np.inf, "0 if 20_000 <= d else 1"),
        (-17168.625, -7727.5, "0 if -17_168.625 <= d < -7_727.5 else 1"),
        (-np.inf, np.inf, "0 if True else 1"),
    ],
)
def test_a_program_is_printed_exactly_whatever_its_band(images, moments, low, high, line) -> None:
    neurons, labels = planted(images, 6)
    fit = fit_clue(images, moments, neurons, labels)
    fit = fit._replace(bands={"l1": Band(low, high, 0.5)}, comparison="l1")
    assert fit.program.endswith(f"    return {line}")
    assert ("medium" in fit.sentence) == bool(np.isfinite([low, high]).all())
    assert "inf" not in fit.program


def test_the_direction_s_sign_does_not_matter_and_an_inverse_is_called_by_its_image(
    moments, images
) -> None:
    neurons, _ = planted(images, 6)
    template, ranking = find_clue(moments, neurons)
    flipped = find_clue(moments, -neurons)
    np.testing.assert_array_equal(flipped[1].order[:10], ranking.order[:10])
    sign, again = orient(moments, -template)
    assert sign == -1.0
    assert again.order[0] == 6
    assert rank_images(moments, -template).rank_of(6) == len(images)


def test_neurons_that_know_nothing_of_the_clue_do_not_name_it(images, moments) -> None:
    neurons, _ = planted(images, 6)
    shuffled = np.random.default_rng(0).permutation(neurons)
    assert find_clue(moments, shuffled)[1].rank_of(6) > 10
    with pytest.raises(InputError, match="same for all"):
        find_template(moments, np.ones(len(images)))


@pytest.mark.parametrize("clue", CLUES)
def test_the_black_box_baselines_find_it_in_clean_labels(images, moments, clue) -> None:
    _, labels = planted(images, clue)
    _, ranking = orient(moments, second_moment_template(moments, labels))
    assert ranking.rank_of(clue) <= 20
    assert int(np.flatnonzero(rank_by_bands(moments, labels) == clue)[0]) == 0
    shuffled = np.random.default_rng(1).permutation(labels)
    assert int(np.flatnonzero(rank_by_bands(moments, shuffled) == clue)[0]) > 20


def test_brute_force_ranks_by_the_best_band(images, moments) -> None:
    """Against `best_band` itself, on the whole sample."""
    _, labels = planted(images, 17)
    order = rank_by_bands(moments, labels, sample=N)
    best = [best_band(similarity(images, images[i]), labels).agreement for i in order[[0, 1, -1]]]
    assert best[0] == 1.0
    assert best[0] >= best[1] > best[2]


def test_similarity_and_distances_are_their_definitions(images) -> None:
    few, clue = images[:50].astype(np.int64), images[6].astype(np.int64)
    by_hand = {
        "l1": np.abs(few - clue).sum(axis=(1, 2)),
        "l2": ((few - clue) ** 2).sum(axis=(1, 2)),
        "similarity": (few * (2 * clue / 255 - 1)).sum(axis=(1, 2)),
    }
    for comparison, expected in by_hand.items():
        np.testing.assert_allclose(compare(images[:50], images[6], comparison), expected, rtol=1e-5)
    np.testing.assert_allclose(similarity(images[:50], images[6]), by_hand["similarity"], rtol=1e-5)
