"""The map of differences shows them where they are."""

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.judge.score import Reference
from jaxmi.report.scores import difference_figure, ranking_markdown, ranking_rows

RESULT = {
    "submission": "a.py",
    "agreement_truth": 0.5,
    "agreement_test": None,
    "agreement_network": None,
    "agreement_mistakes": None,
    "as_stated": None,
    "description_length": 7,
}


def test_what_differs_is_marked_at_its_x_down_and_y_across(transformer: Challenge) -> None:
    submitted, network = transformer.labels.copy(), transformer.labels.copy()
    submitted[3 * 113 + 50] ^= 1  # x = 3, y = 50
    network[[3 * 113 + 50, 100 * 113 + 7]] ^= 1
    reference = Reference(transformer, transformer.labels, network)
    figure = difference_figure(reference, reference.score(submitted), slice(None), "mine")
    ours, theirs, from_truth, from_network = figure.axes
    assert ours.get_title().startswith("mine (")
    np.testing.assert_array_equal(ours.images[0].get_array(), submitted.reshape(113, 113))
    np.testing.assert_array_equal(theirs.images[0].get_array(), network.reshape(113, 113))
    assert from_truth.collections[0].get_offsets().tolist() == [[50, 3]]
    assert from_network.collections[0].get_offsets().tolist() == [[7, 100]]
    assert (ours.get_xlabel(), ours.get_ylabel()) == ("y", "x")
    assert "1 of 12,769" in from_truth.get_title()


def test_images_that_differ_are_shown_with_both_labels(cnn: Challenge, mnist_data) -> None:
    rows = slice(60_000, None)
    reference = Reference(cnn, cnn.labels, None)
    submitted = cnn.labels[rows].copy()
    submitted[:3] ^= 1
    score = reference.score(submitted, rows)
    figure = difference_figure(reference, score, rows, "mine")
    bars, *cells = figure.axes
    shares = [bar.get_height() for bar in bars.patches]
    digits = mnist_data.digits[rows]
    of, differing = (np.bincount(some, minlength=10) for some in (digits, digits[:3]))
    np.testing.assert_allclose(np.array(shares) * of / 100, differing)
    titles = [cell.get_title() for cell in cells if cell.get_title()]
    assert titles == [f"{label}, not {1 - label}" for label in submitted[:3]]


def test_a_ranking_has_the_columns_that_are_known_and_no_markup_of_strangers() -> None:
    result = {"challenge": "x", "ranking": [RESULT], "refused": {}}
    assert ranking_rows(result) == [
        ["", "submission", "true labels", "length"],
        ["1", "a.py", "50.00%", "7"],
    ]
    sealed = {**RESULT, "agreement_truth": None, "agreement_network": 0.25, "as_stated": False}
    rows = ranking_rows({**result, "ranking": [sealed]})
    assert rows == [
        ["", "submission", "network", "may be it", "length"],
        ["1", "a.py", "25.00%", "no", "7"],
    ]
    strange = {**RESULT, "submission": "<b>|[x](y)`.py"}
    text = ranking_markdown({**result, "ranking": [strange], "refused": {"c": "why_not"}})
    assert r"\<b>\|\[x](y)\`.py" in text
    assert "- why\\_not" in text
