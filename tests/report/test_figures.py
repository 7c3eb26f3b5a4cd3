"""Figures show what they are given: counted on the drawn artists, not on pixels."""

import numpy as np
import pytest

from jaxmi.report import figures


def test_every_mistake_is_marked_once_and_by_its_split() -> None:
    rng = np.random.default_rng(0)
    truth, is_train = rng.integers(0, 2, (20, 20)), rng.random((20, 20)) < 0.5
    learned = truth.copy()
    wrong = [(1, 2), (3, 4), (5, 6)]
    for cell in wrong:
        learned[cell] = 1 - truth[cell]
    figure = figures.label_maps(truth, learned, is_train, "seed 0")
    marked = figure.axes[2].collections[-2:]
    for collection, split in zip(marked, (is_train, ~is_train), strict=True):
        cells = {(int(row), int(column)) for column, row in collection.get_offsets()}
        assert cells == {cell for cell in wrong if split[cell]}


def test_the_maps_are_the_labels() -> None:
    truth = np.eye(5, dtype=int)
    figure = figures.label_maps(truth, 1 - truth, truth.astype(bool), "seed 0")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), truth)
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), 1 - truth)


def test_errors_are_counted_in_the_histogram() -> None:
    rng = np.random.default_rng(0)
    distances = rng.integers(1, 60_000, 300)
    labels = ((distances < 20_000) | (distances >= 40_000)).astype(int)
    learned = labels.copy()
    learned[:17] = 1 - labels[:17]
    images = rng.integers(0, 256, (300, 28, 28)).astype(np.uint8)
    figure = figures.distance_figure(
        images, distances, labels, learned, images[0], (20_000, 40_000), "seed 0"
    )
    top, bottom = figure.axes[-2:]
    assert sum(bar.get_height() for bar in top.patches if bar.get_height() >= 1) >= 300
    assert "errors (17)" in bottom.get_ylabel()


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_learning_curves_draw_every_seed_and_the_median(n_seeds: int) -> None:
    def curve(seed):
        return [
            {"step": s, "loss": 1 / s, "train_accuracy": 0.9, "test_accuracy": 0.8 + seed / 100}
            for s in (10, 20)
        ]

    figure = figures.learning_curves({s: curve(s) for s in range(n_seeds)}, 0.97, "title")
    whole = figure.axes[0]
    assert len(whole.lines) == 2 * (n_seeds + 1) + 1
    median = next(line for line in whole.lines if line.get_label() == "test")
    np.testing.assert_allclose(median.get_ydata(), 80 + (n_seeds - 1) / 2)


def test_seconds_per_seed_draws_a_line_per_challenge() -> None:
    figure = figures.seconds_per_seed({"one": {1: 5.0, 2: 4.0}, "two": {1: 30.0}}, devices=2)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["one", "two"]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 5], [2, 4]])
    assert "2 devices" in axes.get_title()


def test_learning_curves_name_the_seeds_that_have_not_converged() -> None:
    points = [{"step": 10, "loss": 0.1, "train_accuracy": 0.9, "test_accuracy": 0.8}]
    curves = dict.fromkeys(range(12), points)
    figure = figures.learning_curves(curves, None, "title", [3, 5])
    assert figure.get_suptitle() == "title; not converged: seeds 3, 5"
    assert figures.learning_curves(curves, None, "title").get_suptitle() == "title"
    assert figures.list_seeds(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7 and 4 more"
