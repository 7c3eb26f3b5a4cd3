"""Output appears complete or not at all, and replaces nothing unless asked to."""

import os
from pathlib import Path

import pytest

from jaxmi.errors import InputError
from jaxmi.storage.atomic import atomic_files, atomic_folder, check_files


def test_files_appear_at_the_end_beside_what_is_there(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    with atomic_files(out) as temporary:
        (temporary / "figs").mkdir()
        (temporary / "figs" / "a.png").write_text("a")
        (temporary / "b.pt").write_text("b")
        assert not out.exists()
    with atomic_files(out) as temporary:
        (temporary / "b.pt").write_text("new")
    assert (out / "figs" / "a.png").read_text() == "a"
    assert (out / "b.pt").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["new"]


def test_what_fails_leaves_no_file_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_files(tmp_path / "new" / "folder") as temporary:
        (temporary / "a").write_text("half")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_folder_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "net"
    with atomic_folder(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic_folder(path, replace=True) as temporary:
        (temporary / "new").touch()
        raise ZeroDivisionError
    assert os.listdir(path) == ["old"]
    with pytest.raises(OSError, match="not empty"), atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert os.listdir(path) == ["old"]
    with atomic_folder(path, replace=True) as temporary:
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


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_folder_has_the_mode_that_the_umask_gives(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        (tmp_path / "usual").mkdir()
        (tmp_path / "net").mkdir()  # an empty folder may be there
        with atomic_folder(tmp_path / "net") as temporary:
            (temporary / "file").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "net").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert os.listdir(tmp_path / "net") == ["file"]


def test_a_folder_keeps_its_parents_group(tmp_path: Path) -> None:
    tmp_path.chmod(0o2755)
    with atomic_folder(tmp_path / "net") as temporary:
        (temporary / "file").touch()
    assert (tmp_path / "net").stat().st_mode & 0o2000
