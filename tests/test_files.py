"""The guard before a user's file is opened: a FIFO would block for ever."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxmi.errors import InputError
from jaxmi.files import check_regular_file
from jaxmi.judge import strict_json
from jaxmi.storage.archive import read_archive
from jaxmi.storage.checkpoints import read_json, read_safetensors
from jaxmi.storage.foreign import import_network
from jaxmi.storage.pytorch_file import read_pytorch
from jaxmi.storage.runs import read_curve
from jaxmi.workflows.submissions import read_program


def test_a_file_or_a_link_to_one_passes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        check_regular_file(tmp_path / name)
        check_regular_file(tmp_path / name, max_bytes=5)
        with pytest.raises(InputError, match=f"{name} has 5 bytes; at most 4 are read"):
            check_regular_file(tmp_path / name, max_bytes=4)


def test_anything_else_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link", Path("/dev/null")):
        with pytest.raises(InputError, match=f"{path} is not a regular file"):
            check_regular_file(path)
    for path in (tmp_path / "missing", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match=f"{path} cannot be read: (No such|File name)"):
            check_regular_file(path)


READERS = {
    "a.npz": read_archive,
    "a.json": read_json,
    "explanation.json": strict_json.read_json,
    "a.safetensors": read_safetensors,
    "a.pt": read_pytorch,
    "foreign.pt": import_network,
    "curve.jsonl": lambda path: read_curve(path.parent),
    "program.py": lambda path: read_program(path, "pairs"),
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_of_a_users_file_is_guarded(tmp_path: Path, name: str) -> None:
    reader: Callable[[Path], object] = READERS[name]
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{re.escape(name)} is not a regular file"):
        reader(tmp_path / name)
