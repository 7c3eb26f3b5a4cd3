"""Both challenges as TensorFlow Datasets, prepared and read without TensorFlow."""

import sys
from pathlib import Path

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.data.mnist import Mnist
from jaxmi.programs.published_labels import CLUE_INDEX, l1_distances

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own


def test_all_pairs_come_back_in_order(transformer: Challenge, tmp_path: Path) -> None:
    from jaxmi.data.tfds import JaxmiPairs

    builder = JaxmiPairs(data_dir=tmp_path)
    builder.download_and_prepare()
    for split in ("train", "test"):
        examples = list(builder.as_data_source(split=split))
        index = np.array([example["index"] for example in examples])
        np.testing.assert_array_equal(index, np.sort(transformer.splits[split]))
        read = np.array([[example["x"], example["y"], example["label"]] for example in examples])
        np.testing.assert_array_equal(read[:, :2], transformer.inputs[index, :2])
        np.testing.assert_array_equal(read[:, 2], transformer.labels[index])
        assert {example["split"] for example in examples} == {split.encode()}
    assert "tensorflow" not in sys.modules


def test_all_images_come_back_in_order(cnn: Challenge, mnist_data: Mnist, tmp_path: Path) -> None:
    from jaxmi.data.tfds import JaxmiMnist

    distances = np.asarray(l1_distances(mnist_data.images, mnist_data.images[CLUE_INDEX]))
    builder = JaxmiMnist(data_dir=tmp_path)
    builder.download_and_prepare()
    for split, rows in cnn.splits.items():
        source = builder.as_data_source(split=split)
        assert len(source) == len(rows)
        for i in [*range(0, len(rows), 97), len(rows) - 1]:
            example = source[i]
            assert example["index"] == rows[i]
            assert example["label"] == cnn.labels[rows[i]]
            assert example["digit"] == mnist_data.digits[rows[i]]
            assert example["l1"] == distances[rows[i]]
            np.testing.assert_array_equal(example["image"], cnn.inputs[rows[i]])
    clue = builder.as_data_source(split="train")[CLUE_INDEX]
    assert (clue["digit"], clue["l1"], clue["label"]) == (1, 0, 1)
    assert "tensorflow" not in sys.modules
