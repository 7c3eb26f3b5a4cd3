"""Arrays as a TensorFlow Dataset, written and read without TensorFlow installed.

::

    write_dataset(Path("pairs"), "pairs", "All pairs below 113.", columns, splits)
    builder = tfds.builder_from_directory("pairs")
    examples = builder.as_data_source(split="train")

Examples keep the order of the arrays (TensorFlow Datasets' own `mnist` shuffles: its example 6 is
not challenge 1's clue), and carry their row as `index`. Images are stored as plain tensors, since
the library's image feature needs TensorFlow to decode.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int
from tensorflow_datasets.core.utils import tqdm_utils

INDEX = "index"
"""The feature that holds an example's row in the arrays."""

Rows = Int[np.ndarray, "_"]


def write_dataset(
    folder: Path,
    name: str,
    description: str,
    columns: Mapping[str, np.ndarray],
    splits: Mapping[str, Rows],
) -> None:
    """Write a dataset's files into a folder that exists: what `builder_from_directory` reads.

    Args:
      folder: An empty folder.
      name: The dataset's name: lower-case letters, digits and _.
      description: What the dataset holds, in a sentence.
      columns: Feature name -> (n, ...), a row for each example; integers or floats.
      splits: Split name -> row numbers. Examples are written in the order of their rows.

    Raises:
      OSError: if a file cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        builder = _ArrayBuilder(Path(temporary), name, description, columns, splits)
        with _silence():
            builder.download_and_prepare()
        for file in Path(builder.data_dir).iterdir():
            file.rename(folder / file.name)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the library's messages off stdout, where `--json` prints, and its progress bars away."""
    show_progress = tqdm_utils._active  # no public function returns it
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(show_progress)


class _ArrayBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder of arrays in the only file format that needs no TensorFlow."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        folder: Path,
        name: str,
        description: str,
        columns: Mapping[str, np.ndarray],
        splits: Mapping[str, Rows],
    ) -> None:
        # The library declares a ClassVar, and its own AdhocBuilder sets it on the instance, too.
        self.name = name  # pyright: ignore[reportAttributeAccessIssue]
        self._description, self._columns, self._splits = description, columns, splits
        super().__init__(data_dir=folder, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            name: tfds.features.Tensor(shape=values.shape[1:], dtype=values.dtype.type)
            for name, values in self._columns.items()
        }
        index = tfds.features.Scalar(np.int32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._description,
            features=tfds.features.FeaturesDict({INDEX: index, **features}),
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager  # there is nothing to download
        return {name: self._generate_examples(rows) for name, rows in self._splits.items()}

    def _generate_examples(self, rows: Rows) -> Iterator[tuple[int, dict]]:
        for row in np.sort(rows).tolist():
            features = {name: values[row] for name, values in self._columns.items()}
            yield row, {INDEX: row, **features}
