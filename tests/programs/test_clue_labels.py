"""Challenge 1's labels: exact distances, the calibrated band, the published shares."""

import numpy as np
import pytest

from jaxmi.data.mnist import TEST, TRAIN, Mnist
from jaxmi.errors import InputError
from jaxmi.programs.clue_labels import (
    CALIBRATED_BAND,
    CLUE_INDEX,
    Band,
    l1_distances,
    label_distances,
    label_images,
)


def test_distances_of_all_70000_images_are_exact(mnist_data: Mnist) -> None:
    clue = mnist_data.images[CLUE_INDEX].astype(np.int64)
    expected = np.abs(mnist_data.images.astype(np.int64) - clue[None]).sum(axis=(1, 2))
    distances = l1_distances(mnist_data.images, mnist_data.images[CLUE_INDEX])
    np.testing.assert_array_equal(distances, expected)


def test_one_call_labels_all_images_with_the_published_shares(mnist_data: Mnist) -> None:
    labels = np.asarray(label_images(mnist_data.images, mnist_data.images[CLUE_INDEX]))
    assert labels.shape == (70_000,)
    assert f"{labels[TRAIN].mean():.4f}" == "0.5238"
    assert f"{labels[TEST].mean():.4f}" == "0.5187"


def test_the_clue_is_a_handwritten_1(mnist_data: Mnist) -> None:
    assert mnist_data.digits[CLUE_INDEX] == 1


def test_the_band_holds_its_lower_end_and_not_its_upper() -> None:
    low, high = CALIBRATED_BAND
    distances = np.array([0, low - 1, low, high - 1, high], np.int32)
    np.testing.assert_array_equal(label_distances(distances), [1, 1, 0, 0, 1])


def test_the_band_matters(mnist_data: Mnist) -> None:
    """The control: moving a threshold by a percent changes labels."""
    images, clue = mnist_data.images[TEST], mnist_data.images[CLUE_INDEX]
    moved = Band(CALIBRATED_BAND.low + 250, CALIBRATED_BAND.high)
    assert (label_images(images, clue) != label_images(images, clue, moved)).any()


def test_scaled_pixels_are_refused(mnist_data: Mnist) -> None:
    scaled = mnist_data.images[:2] / 255.0
    with pytest.raises((InputError, TypeError)):
        l1_distances(scaled, mnist_data.images[CLUE_INDEX])
