"""Challenges as TensorFlow Datasets: every example comes back, in order, without TensorFlow."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.cli.main import main
from jaxmi.errors import InputError
from jaxmi.programs.published_labels import CLUE_INDEX
from jaxmi.workflows.tfds import write_tfds

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow Datasets' own


def check_examples(challenge: Challenge, folder: Path, columns: dict[str, np.ndarray]) -> None:
    """Read a dataset back and compare every example of every split."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    assert set(builder.info.splits) == set(challenge.splits)
    assert set(builder.info.features) == {"index", *columns}
    for name, values in columns.items():
        assert builder.info.features[name].np_dtype == values.dtype
    for split, rows in challenge.splits.items():
        examples = list(builder.as_data_source(split=split))
        index = np.array([example["index"] for example in examples])
        np.testing.assert_array_equal(index, np.sort(rows))
        for name, values in columns.items():
            read = np.array([example[name] for example in examples])
            np.testing.assert_array_equal(read, values[index])
    assert "tensorflow" not in sys.modules


def test_all_pairs_come_back_from_the_command_line(
    transformer: Challenge, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "deep" / "pairs"
    main(["data", "tfds", "transformer", "--out", str(out), "--json"])
    printed = capfd.readouterr()
    assert json.loads(printed.out) == {
        "challenge": "transformer",
        "out": str(out),
        "splits": {"train": 6384, "test": 6385},
        "features": {
            "index": {"shape": [], "dtype": "int32"},
            "tokens": {"shape": [3], "dtype": "int32"},
            "label": {"shape": [], "dtype": "int32"},
        },
    }
    assert printed.err == ""
    assert [path.name for path in out.parent.iterdir()] == ["pairs"], "no temporary folder is left"
    columns = {"tokens": transformer.inputs, "label": transformer.labels}
    check_examples(transformer, out, columns)
    main(["data", "tfds", "transformer", "--out", str(out), "--force"])
    assert "6,384 train, 6,385 test" in capfd.readouterr().out
    check_examples(transformer, out, columns)


@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_images_come_back(cnn: Challenge, tmp_path: Path, step: int) -> None:
    """Every 97th image of each split, or all of them."""
    splits = {name: rows[::step] for name, rows in cnn.splits.items()}
    result = write_tfds(replace(cnn, splits=splits), tmp_path / "images")
    assert result["splits"] == {name: len(rows) for name, rows in splits.items()}
    assert result["features"]["image"] == {"shape": [28, 28], "dtype": "uint8"}
    assert cnn.digits is not None
    columns = {"image": cnn.inputs, "label": cnn.labels, "digit": cnn.digits}
    check_examples(replace(cnn, splits=splits), tmp_path / "images", columns)
    assert (cnn.digits[CLUE_INDEX], cnn.labels[CLUE_INDEX]) == (1, 1)


def test_another_challenge_has_its_own_labels_splits_and_name(
    transformer: Challenge, tmp_path: Path
) -> None:
    """The control: what is written is the challenge's, not computed again."""
    rows = np.array([7, 3, 12_000], np.int32)
    other = replace(
        transformer,
        name="My pairs-2",
        labels=1 - transformer.labels,
        splits={"train": rows, "test": np.array([5], np.int32)},
    )
    write_tfds(other, tmp_path / "other")
    check_examples(other, tmp_path / "other", {"tokens": other.inputs, "label": other.labels})
    info = json.loads((tmp_path / "other" / "dataset_info.json").read_text())
    assert info["name"] == "jaxmi_my_pairs_2"


def test_nothing_is_replaced_but_a_dataset_and_that_only_with_force(
    transformer: Challenge, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    mine, file = tmp_path / "mine", tmp_path / "file"
    mine.mkdir()
    (mine / "thesis.txt").write_text("words")
    file.write_text("words")
    for out, options, words in (
        (mine, [], "mine exists already; --force replaces it"),
        (mine, ["--force"], "mine is no TensorFlow Dataset; --force replaces nothing else"),
        (file, ["--force"], "file is no TensorFlow Dataset; --force replaces nothing else"),
        (file / "below", [], "cannot write to"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["data", "tfds", "transformer", "--out", str(out), *options])
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    assert (mine / "thesis.txt").read_text() == file.read_text() == "words"
    write_tfds(transformer, tmp_path / "pairs")
    (tmp_path / "pairs" / "notes.txt").write_text("words")
    with pytest.raises(InputError, match=r"pairs holds notes\.txt too"):
        write_tfds(transformer, tmp_path / "pairs", force=True)


def test_a_failure_leaves_nothing(
    transformer: Challenge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxmi.data import tfds

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(tfds._ArrayBuilder, "_generate_examples", fail)
    with pytest.raises(OSError, match="No space"):
        write_tfds(transformer, tmp_path / "pairs")
    assert list(tmp_path.iterdir()) == []
