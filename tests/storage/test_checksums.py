"""A folder's checksums: `sha256sum` reads them, and whatever differs is named."""

import os
import subprocess
from pathlib import Path

import pytest

from jaxmi.errors import InputError
from jaxmi.storage.checksums import SUMS, check_checksums, checksums, fingerprint, listed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "deep" / "a.txt").write_text("a")
    (tmp_path / SUMS).write_text(checksums(tmp_path))
    return tmp_path


def test_sha256sum_finds_every_file_as_it_was(folder: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["b.txt: OK", "deep/a.txt: OK"]
    assert listed(folder) == ["b.txt", "deep/a.txt"]
    check_checksums(folder)


@pytest.mark.parametrize(
    "change",
    [lambda t: t + "\n", lambda t: t.replace("\n", "\r\n"), lambda t: t + t.splitlines()[0]],
)
def test_another_way_to_write_the_same_checksums_is_an_alteration(folder: Path, change) -> None:
    before = fingerprint(folder)
    (folder / SUMS).write_bytes(change((folder / SUMS).read_text()).encode())
    with pytest.raises(InputError, match=r"altered|listed"):
        check_checksums(folder)
    assert fingerprint(folder) != before


def test_an_empty_folder_is_named(folder: Path) -> None:
    (folder / "deep" / "empty").mkdir()
    with pytest.raises(InputError, match="deep/empty is an empty folder"):
        check_checksums(folder)


def test_what_is_no_plain_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="pipe is not a regular file"):
        check_checksums(folder)
