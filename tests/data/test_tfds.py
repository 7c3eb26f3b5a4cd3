"""Arrays come back from a TensorFlow Dataset in order, without TensorFlow."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own


def test_arrays_come_back_in_the_order_of_their_rows(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    import tensorflow_datasets as tfds

    from jaxmi.data.tfds import write_dataset

    rng = np.random.default_rng(0)
    columns = {
        "number": np.arange(100, dtype=np.int32) * 7 - 9,
        "table": rng.integers(0, 256, (100, 2, 3), np.uint8),
        "weight": rng.random(100, np.float32),
    }
    order = rng.permutation(100)
    splits = {"train": order[:60], "validation": order[60:61], "test": order[61:]}
    write_dataset(tmp_path, "made_here", "Numbers.", columns, splits)
    assert all(path.is_file() for path in tmp_path.iterdir()), "and no folder is left"
    assert capfd.readouterr().out == ""
    builder = tfds.builder_from_directory(tmp_path)
    assert (builder.info.name, builder.info.description) == ("made_here", "Numbers.")
    assert set(builder.info.splits) == set(splits)
    for name, values in columns.items():
        assert builder.info.features[name].np_dtype == values.dtype
    for split, rows in splits.items():
        examples = list(builder.as_data_source(split=split))
        assert [example["index"] for example in examples] == sorted(rows)
        for name, values in columns.items():
            read = np.array([example[name] for example in examples])
            np.testing.assert_array_equal(read, values[np.sort(rows)])
    assert "tensorflow" not in sys.modules
