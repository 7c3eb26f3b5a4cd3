"""Both challenges as TensorFlow Datasets that prepare and read without TensorFlow installed.

::

    builder = JaxmiPairs(data_dir="somewhere")
    builder.download_and_prepare()
    examples = builder.as_data_source(split="train")

Examples keep their canonical order (TFDS's own `mnist` shuffles: its example 6 is not the clue),
and carry their position in the domain as `index`. Images are plain tensors, since TFDS's image
feature needs TensorFlow to decode.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxmi.data import mnist
from jaxmi.data.pairs import all_pairs, split_indices
from jaxmi.programs.domain import P
from jaxmi.programs.published_labels import CLUE_INDEX, l1_distances, label_distances, label_table

_Examples = Iterator[tuple[int, dict]]


class _ArrayRecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder whose default file format needs no TensorFlow."""

    def __init__(self, *, file_format: str = "array_record", **kwargs: Any) -> None:
        super().__init__(file_format=file_format, **kwargs)


class JaxmiPairs(_ArrayRecordBuilder):
    """Challenge 2: pairs (x, y) with their label and split."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {name: tfds.features.Scalar(np.int32) for name in ("index", "x", "y", "label")}
        return tfds.core.DatasetInfo(
            builder=self,
            description="All pairs below 113, labelled by challenge 2's program.",
            features=tfds.features.FeaturesDict({**features, "split": tfds.features.Text()}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, _Examples]:
        del dl_manager
        pairs, labels = all_pairs(P), np.asarray(label_table(P)).reshape(-1)
        names = ("train", "test")
        return {
            name: self._generate_examples(name, np.sort(rows), pairs, labels)
            for name, rows in zip(names, split_indices(P), strict=True)
        }

    def _generate_examples(
        self, split: str, rows: np.ndarray, pairs: np.ndarray, labels: np.ndarray
    ) -> _Examples:
        for row in rows:
            x, y = pairs[row]
            example = {"index": row, "x": x, "y": y, "label": labels[row], "split": split}
            yield int(row), example


class JaxmiMnist(_ArrayRecordBuilder):
    """Challenge 1: MNIST images with their digit, L1 distance to the clue image, and label."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        scalars = {name: tfds.features.Scalar(np.int32) for name in ("index", "l1", "label")}
        features = {
            **scalars,
            "digit": tfds.features.Scalar(np.uint8),
            "image": tfds.features.Tensor(shape=(28, 28), dtype=np.uint8),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="MNIST, labelled by the L1 distance to training image 6.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, _Examples]:
        del dl_manager  # MNIST comes by jaxmi's own verified route
        data = mnist.load_mnist()
        distances = l1_distances(data.images, data.images[CLUE_INDEX])
        columns = {
            "image": data.images,
            "digit": data.digits,
            "l1": np.asarray(distances),
            "label": np.asarray(label_distances(distances)),
        }
        splits = {"train": mnist.TRAIN, "validation": mnist.VALIDATION, "test": mnist.TEST}
        return {name: self._generate_examples(rows, columns) for name, rows in splits.items()}

    def _generate_examples(self, rows: slice, columns: dict[str, np.ndarray]) -> _Examples:
        for row in range(rows.start, rows.stop):
            yield row, {"index": row, **{name: values[row] for name, values in columns.items()}}
