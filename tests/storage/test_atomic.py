"""Output appears whole or not at all, and takes nothing else's place unasked."""

import os
import subprocess
from pathlib import Path

import pytest

from jaxmi.errors import InputError
from jaxmi.storage.atomic import (
    SUMS,
    check_checksums,
    check_files,
    checksums,
    fingerprint,
    listed,
    whole_files,
    whole_folder,
)


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
    with pytest.raises(InputError, match="pipe is no plain file"):
        check_checksums(folder)


def test_files_appear_at_the_end_beside_what_is_there(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    with whole_files(out) as temporary:
        (temporary / "figs").mkdir()
        (temporary / "figs" / "a.png").write_text("a")
        (temporary / "b.pt").write_text("b")
        assert not out.exists()
    with whole_files(out) as temporary:
        (temporary / "b.pt").write_text("new")
    assert (out / "figs" / "a.png").read_text() == "a"
    assert (out / "b.pt").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["new"]


def test_what_fails_leaves_no_file_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_files(tmp_path / "new" / "folder") as temporary:
        (temporary / "a").write_text("half")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_folder_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "net"
    with whole_folder(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(ZeroDivisionError), whole_folder(path, replace=True) as temporary:
        (temporary / "new").touch()
        raise ZeroDivisionError
    assert os.listdir(path) == ["old"]
    with pytest.raises(OSError, match="not empty"), whole_folder(path) as temporary:
        (temporary / "new").touch()
    assert os.listdir(path) == ["old"]
    with whole_folder(path, replace=True) as temporary:
        (temporary / "new").touch()
    assert os.listdir(path) == ["new"]
    assert os.listdir(tmp_path) == ["net"]


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    check_files(tmp_path, ["file", "new"], force=True)
    for folder, name, force, message in (
        (tmp_path, "file", False, "file exists already; --force"),
        (tmp_path, "folder", True, "folder is a folder"),
        (tmp_path / "file", "new", True, "cannot write to"),
        (Path("/proc/here"), "new", True, "cannot write to"),
    ):
        with pytest.raises(InputError, match=message):
            check_files(folder, ["another", name], force)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
