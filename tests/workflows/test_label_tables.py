"""Tables of labels in the forms that people have, of any size; what is no table is named."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.workflows.bundle import pickle_for_any_numpy
from jaxmi.workflows.label_tables import (
    as_truth_values,
    hint_if_transposed,
    is_table,
    read_label_table,
)

P = 59
TABLE = (np.random.default_rng(0).random((P, P)) < 0.3).astype(int)
SHAPES = {(P, P): slice(None), (P * P,): slice(None)}


def rows(separator: str, header: str = "", by_column: bool = False) -> str:
    """x, y, label; in another order than the table's."""
    places = [(x, y) for x in range(P) for y in range(P)]
    np.random.default_rng(1).shuffle(places)
    lines = [
        separator.join(map(str, (y, x, TABLE[x, y]) if by_column else (x, y, TABLE[x, y])))
        for x, y in places
    ]
    return "\r\n".join([header, *lines] if header else lines)


def matrix(separator: str, index: bool = False) -> str:
    lines = [separator.join(map(str, row)) for row in TABLE]
    if index:  # as pandas writes it
        lines = [f"{i}{separator}{line}" for i, line in enumerate(lines)]
        lines = [separator + separator.join(map(str, range(P))), *lines]
    return "\n".join(lines) + "\n"


TEXTS = {
    "matrix.csv": matrix(","),
    "spaces.csv": matrix(" "),
    "tabs.tsv": matrix("\t"),
    "pandas.csv": matrix(",", index=True),
    "numbered.csv": ",".join(map(str, range(P))) + "\n" + matrix(","),
    "floats.CSV": matrix(",").replace("1", "1.000e+00"),
    "bom.csv": "\ufeff# a comment\n" + matrix(";"),
    "rows.csv": rows(","),
    "header.csv": rows(",", "x,y,label"),
    "swapped.csv": rows(";", "y;x;label", by_column=True),
    "column.csv": "labels\n" + "\n".join(map(str, TABLE.reshape(-1))),
    "words.csv": "label\n" + "\n".join(str(bool(one)) for one in TABLE.reshape(-1)),
    "index.csv": ",label\n" + "\n".join(f"{i},{n}" for i, n in enumerate(TABLE.reshape(-1))),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(TEXTS[name], encoding="utf-8", newline="")
    assert is_table(path)
    np.testing.assert_array_equal(read_label_table(path, SHAPES).labels, TABLE.reshape(-1))


LOGITS = np.random.default_rng(2).normal(size=(P, P, P + 1))
LOGITS[..., :2] += 9
LOGITS[..., 0] = LOGITS[..., 1] + 1 - 2 * TABLE

ARRAYS = {
    "arr_0": lambda path: np.savez(path, TABLE),
    "one axis more": lambda path: np.savez(path, labels=TABLE[..., None]),
    "one-hot": lambda path: np.savez(path, labels=np.eye(2)[TABLE]),
    "flat one-hot": lambda path: np.savez(path, labels=np.eye(2, dtype=int)[TABLE.reshape(-1)]),
    "logits": lambda path: np.savez(path, logits=LOGITS),
    "two logits": lambda path: np.savez(path, logits=LOGITS[..., :2].astype(np.float32)),
    "both labels": lambda path: np.savez(path, labels=1 - TABLE, model_labels=TABLE),
    "booleans": lambda path: np.savez(path, labels=TABLE == 1),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_an_archive_are_read(tmp_path: Path, name: str) -> None:
    ARRAYS[name](tmp_path / "f.npz")
    path = (tmp_path / "f.npz").rename(tmp_path / "F.NPZ")
    assert is_table(path)
    np.testing.assert_array_equal(read_label_table(path, SHAPES).labels, TABLE.reshape(-1))


@pytest.mark.parametrize("array", [TABLE, TABLE.astype(">f8"), LOGITS, TABLE.reshape(-1, 1)])
def test_one_array_is_read(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "f.npy", array)
    found = read_label_table(tmp_path / "f.npy", SHAPES)
    np.testing.assert_array_equal(found.labels, TABLE.reshape(-1))
    assert ("logits" in found.arrays) == (array is LOGITS)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickled_arrays_are_read_without_being_run(tmp_path: Path, protocol: int) -> None:
    """As the published file, which `jaxmi export --to bundle` writes too."""
    path = tmp_path / "transformer_label_info.pkl"
    tables = {"labels": 1.0 - TABLE, "model_labels": TABLE.astype(float)}
    for content in (pickle.dumps(tables, protocol=protocol), pickle_for_any_numpy(tables)):
        path.write_bytes(content)
        np.testing.assert_array_equal(read_label_table(path, SHAPES).labels, TABLE.reshape(-1))
        truth = read_label_table(path, SHAPES, ("labels",)).labels
        np.testing.assert_array_equal(truth, 1 - TABLE.reshape(-1))
    path.write_bytes(pickle.dumps(TABLE, protocol=protocol))
    np.testing.assert_array_equal(read_label_table(path, SHAPES).labels, TABLE.reshape(-1))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (2 * TABLE - 1, "-1 and 1, expected 0 and 1"),
        (TABLE - 0.5, "expected whole numbers"),
        (np.full((P, P), np.nan), "expected whole numbers"),
        (TABLE[1:], r"is \(58, 59\), expected \(59, 59\) or \(3481,\)"),
        (np.full((P, P, 2), np.nan), "logits that are not finite"),
        (np.ones((P, P, 3), np.int64), r"is \(59, 59, 3\), expected \(59, 59\)"),
        (np.ones((P, P, 3)), r"is \(59, 59, 3\), expected \(59, 59\)"),
        (np.full((P, P), "a"), "is <U1, expected whole numbers"),
    ],
)
def test_what_cannot_be_labels_is_named(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "f.npy", array)
    with pytest.raises(InputError, match=message):
        read_label_table(tmp_path / "f.npy", SHAPES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("x,y,label\n", "no rows"),
        ("0,1\n0\n", "row 2 has 1 fields, others 2"),
        ("0,1\n0,b\n", "'b' is no number"),
        ("0,0,1\n0,1,1\n", "do not give each input once"),
        ("x,y,label\n0,0,1\n0,1,1\n1,0,1\n1,0,0\n", "some inputs have two rows"),
        ("9" * 1000, "is no number|no rows"),
        ('"' * 1001, "row|number|rows"),
    ],
)
def test_text_that_is_no_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_label_table(tmp_path / "f.csv", {(2, 2): slice(None)})
    assert "\n" not in str(caught.value)


def test_a_header_that_says_too_much_allocates_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", TABLE)
    content = (tmp_path / "f.npy").read_bytes()
    says = content.replace(b"(59, 59), }             ", b"(59, 999999999999), }   ")  # 470 TB
    assert says != content
    (tmp_path / "f.npy").write_bytes(says)
    (tmp_path / "h.npy").write_bytes(content.replace(b"(59, 59), }", b"(59, 59(, }"))
    np.save(tmp_path / "g.npy", np.array([{}]), allow_pickle=True)
    for name in "fgh":
        with pytest.raises(InputError, match="is no NumPy array"):
            read_label_table(tmp_path / f"{name}.npy", SHAPES)


@pytest.mark.parametrize("shape", [(P, P), (P * P,), (P, P, 1)])
@pytest.mark.parametrize("dtype", [bool, int, np.uint8, float])
def test_truth_values_are_bool_or_0_and_1(shape: tuple[int, ...], dtype: type) -> None:
    given = TABLE.astype(dtype).reshape(shape)
    np.testing.assert_array_equal(as_truth_values(given, (P, P), "it"), TABLE.reshape(-1) == 1)
    for wrong in (given[1:], given + given + 2, given.astype(str)):
        with pytest.raises(InputError, match=r"it is \(.* expected \(59, 59\) bool"):
            as_truth_values(wrong, (P, P), "it")


def test_a_transposed_table_gets_a_hint(caplog) -> None:
    caplog.set_level(logging.INFO, "jaxmi")
    hint_if_transposed(TABLE, TABLE, (P, P), "f.npz")
    hint_if_transposed(1 - TABLE, TABLE, (P, P), "f.npz")
    assert not caplog.records
    hint_if_transposed(TABLE.T.reshape(-1), TABLE.reshape(-1), (P, P), "f.npz")
    assert "100.0% if it is transposed" in caplog.text
