"""NumPy archives: what was written is read, and nothing harmful is opened."""

import os
from pathlib import Path

import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.storage.archive import check_archive, read_archive, write_archive


def test_reading_inverts_writing(tmp_path: Path) -> None:
    arrays = {"labels": np.arange(6).reshape(2, 3), "logits": np.ones((2, 3, 2), np.float32)}
    write_archive(tmp_path / "a.npz", arrays)
    found = read_archive(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert os.listdir(tmp_path) == ["a.npz"]


def test_what_is_no_archive_is_refused_in_one_line(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", labels=np.zeros((3000, 3000)))
    np.savez(tmp_path / "pickle.npz", labels=np.array([{}]), allow_pickle=True)
    (tmp_path / "text.npz").write_text("no archive")
    os.mkfifo(tmp_path / "pipe.npz")
    for name, message in {
        "bomb.npz": "bomb.npz holds 72,000,",
        "pickle.npz": "pickle.npz is no archive of arrays",
        "text.npz": "text.npz is no archive of arrays",
        "pipe.npz": "pipe.npz is not a regular file",
        "missing.npz": "missing.npz cannot be read: No such file",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            read_archive(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_an_archive_ends_in_npz(tmp_path: Path) -> None:
    check_archive(tmp_path / "a.npz", force=False)
    with pytest.raises(InputError, match=r"ends in \.npz"):
        check_archive(tmp_path / "a.txt", force=False)
