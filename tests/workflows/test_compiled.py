"""Compiled programs are kept whole, are found by the next process, and are never needed."""

import os
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

from jaxmi.workflows import compiled
from jaxmi.workflows.compiled import SUFFIX, FolderCache, folder_bytes


def test_what_is_put_is_got_by_another_process(tmp_path: Path) -> None:
    FolderCache(tmp_path).put("key", b"content")
    assert FolderCache(tmp_path).get("key") == b"content"
    assert FolderCache(tmp_path).get("other") is None
    assert all(path.suffix == SUFFIX for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:3], lambda b: b"", lambda b: b[:-1] + b"?"]
)
def test_a_damaged_entry_is_none_and_is_replaced(tmp_path: Path, damage) -> None:
    cache = FolderCache(tmp_path)
    cache.put("key", b"content")
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get("key") is None
    assert not file.exists()
    cache.put("key", b"content")
    assert cache.get("key") == b"content"


def test_another_processor_has_entries_of_its_own(tmp_path: Path, monkeypatch) -> None:
    FolderCache(tmp_path).put("key", b"content")
    monkeypatch.setattr(compiled, "_machine", lambda: "another")
    assert FolderCache(tmp_path).get("key") is None


def test_the_entries_that_were_not_used_for_longest_are_removed(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path, max_bytes=1000)
    for i in range(9):
        cache.put(f"key-{i}", bytes(100))
        os.utime(cache._file(f"key-{i}"), (i, i))
    assert cache.get("key-0") == bytes(100), "used: it is the newest now"
    cache.put("key-9", bytes(100))
    cache.put("key-10", bytes(100))
    assert folder_bytes(tmp_path) <= 1000
    there = {i for i in range(11) if cache.get(f"key-{i}") is not None}
    assert {0, 9, 10} <= there
    assert 1 not in there
    assert folder_bytes(FolderCache(tmp_path, max_bytes=300)._path) <= 300


def test_a_folder_that_vanishes_or_is_full_is_no_error(tmp_path: Path, monkeypatch) -> None:
    cache = FolderCache(tmp_path / "nowhere")
    cache.put("key", b"content")
    assert cache.get("key") is None
    full = FolderCache(tmp_path)

    def refuse(*args) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    full.put("key", b"content")
    assert full.get("key") is None
    assert list(tmp_path.iterdir()) == []


def test_many_writers_leave_whole_entries(tmp_path: Path) -> None:
    def write(number: int) -> None:
        cache = FolderCache(tmp_path, max_bytes=50_000)
        for i in range(50):
            cache.put(f"key-{i % 7}", bytes([number]) * 5000)
            content = cache.get(f"key-{i % 5}")
            assert content is None or (len(content) == 5000 and len(set(content)) == 1)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(path.suffix == SUFFIX for path in tmp_path.iterdir())
    assert folder_bytes(tmp_path) <= 60_000


COMPILE = """
import jax, sys
from jaxmi.workflows.compiled import keep_compiled
before = jax.config.jax_compilation_cache_dir
state = keep_compiled()
jax.jit(lambda x: jax.numpy.linalg.svd(x @ x.T)[1].sum())(jax.numpy.ones((30, 30)))
print(before, state.folder, state.why, sep="|")
"""


def compile_in_a_process(folder: Path, **environment: str) -> tuple[str, str, str]:
    left_out = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMPILE],
        env={**kept, "JAXMI_CACHE_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    before, where, why = done.stdout.strip().split("|")
    return before, where, why


def test_processes_share_the_cache_and_survive_what_they_find_there(tmp_path: Path) -> None:
    folder = tmp_path / "compiled"
    assert compile_in_a_process(tmp_path)[1] == str(folder)
    entries = {path: path.read_bytes() for path in folder.iterdir()}
    assert entries
    assert not (folder / ".lockfile").exists()
    times = {path: path.stat().st_mtime_ns for path in entries}
    compile_in_a_process(tmp_path)
    assert {path: path.read_bytes() for path in folder.iterdir()} == entries, "nothing new"
    assert any(path.stat().st_mtime_ns > times[path] for path in entries), "they were used"
    for path in entries:  # half-written, as by a machine that lost its power
        path.write_bytes(entries[path][: len(entries[path]) // 2])
    assert not any(map(is_whole, entries)), "the control"
    compile_in_a_process(tmp_path)
    # A program that is compiled faster this time may not be worth keeping: its entry is gone.
    there = list(folder.iterdir())
    assert there and all(map(is_whole, there)), "compiled anew"


def is_whole(entry: Path) -> bool:
    content = entry.read_bytes()
    return zlib.crc32(content[4:]).to_bytes(4, "big") == content[:4]


def test_it_leaves_the_users_own_settings_alone(tmp_path: Path) -> None:
    own, folder = tmp_path / "own", tmp_path / "compiled"
    before, where, _ = compile_in_a_process(tmp_path, JAX_COMPILATION_CACHE_DIR=str(own))
    assert before == where == str(own)
    assert compile_in_a_process(tmp_path, JAXMI_COMPILATION_CACHE="0")[1:] == (
        "None", "JAXMI_COMPILATION_CACHE=0"
    )  # fmt: skip
    assert compile_in_a_process(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false")[1] == "None"
    assert not folder.exists()


def test_a_cache_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "compiled").write_text("a file is in the way")
    _, where, why = compile_in_a_process(tmp_path)
    assert where == "None"
    assert "cannot be written" in why
