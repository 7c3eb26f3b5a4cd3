"""Compiled programs kept between processes, in jaxmi's cache folder.

JAX can keep what it compiles in a folder, by a key of the program, the compiler's options and
version, and the device. Its own folder cache is not what a default needs: a process that is killed
leaves half an entry, which is then reported at each start and never replaced; and its size is
bounded only with the package filelock. So this module gives JAX a cache of its own: entries are
written whole or not at all, carry a checksum, and the oldest are removed.
"""

import hashlib
import os
import platform
import tempfile
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax
from jax._src import compilation_cache

from jaxmi.data import mnist
from jaxmi.files import takes_any_path

SWITCH = "JAXMI_COMPILATION_CACHE"
"""The environment variable that turns the cache off, by the value "0"."""

MAX_BYTES = 500_000_000
"""Bytes that the cache may take. A run and its explanation take less than 1 MB on a CPU."""

MIN_COMPILE_SECONDS = 0.02
"""Seconds of compilation above which a program is kept: to read one takes some milliseconds."""

SUFFIX = ".compiled"
"""The end of an entry's file name."""


@dataclass(frozen=True)
class State:
    """Whether and where compiled programs are kept."""

    folder: Path | None
    """None: they are not kept."""
    why: str
    """Who decided so."""


def cache_folder() -> Path:
    """Return the folder for compiled programs, below `JAXMI_CACHE_DIR` or the user's cache."""
    return mnist.cache_dir().parent / "compiled"


def keep_compiled() -> State:
    """Keep what this process compiles, and use what earlier ones kept.

    It does nothing if the user has configured JAX's compilation cache, has set `SWITCH` to "0", or
    if the folder cannot be written. A second call changes nothing.
    """
    if os.environ.get(SWITCH) == "0":
        return State(None, f"{SWITCH}=0")
    if not jax.config.values["jax_enable_compilation_cache"]:
        return State(None, "JAX_ENABLE_COMPILATION_CACHE")
    folder = cache_folder()
    configured = jax.config.values["jax_compilation_cache_dir"]
    if configured is not None and Path(configured) != folder:
        return State(Path(configured), "JAX_COMPILATION_CACHE_DIR")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return State(None, f"{folder} cannot be written: {error.strerror}")
    if configured is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
        compilation_cache.reset_cache()
        # JAX has no public way to give it another cache. Without these two lines it would use its
        # own, in the same folder.
        compilation_cache._cache = FolderCache(folder)
        compilation_cache._cache_initialized = True
    return State(folder, f"{SWITCH}=0 turns it off")


class FolderCache:
    """A folder with an entry per file, as JAX's `CacheInterface` wants it.

    Any number of processes may share it: files are replaced whole, and one that is missing or
    damaged is compiled anew. Nothing here raises an `OSError`: a full disk is no reason to fail.
    """

    @takes_any_path
    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        """Take the folder, which exists."""
        self._path, self._max_bytes = folder, max_bytes
        self._bytes = folder_bytes(folder)
        self._shrink()

    def get(self, key: str) -> bytes | None:
        """Return an entry; None if there is none, or if it is damaged."""
        path = self._file(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        if content[:4] != _checksum(content[4:]):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # used now: the last to be removed
        return content[4:]

    def put(self, key: str, value: bytes) -> None:
        """Write an entry."""
        try:
            with tempfile.NamedTemporaryFile(dir=self._path, suffix=".tmp", delete=False) as file:
                temporary = Path(file.name)
                try:
                    file.write(_checksum(value) + value)
                    file.close()
                    temporary.replace(self._file(key))
                except OSError:
                    temporary.unlink(missing_ok=True)
                    raise
        except OSError:
            return
        self._bytes += len(value)
        self._shrink()

    def _file(self, key: str) -> Path:
        return self._path / f"{key}-{_machine()}{SUFFIX}"

    def _shrink(self) -> None:
        """Remove the entries that were not used for longest, if there are too many bytes."""
        if self._bytes <= self._max_bytes:
            return
        files = []
        for path in self._path.iterdir():
            with suppress(OSError):  # another process may have removed it
                about = path.stat()
                if path.suffix == ".tmp" and about.st_mtime < time.time() - 3600:
                    path.unlink()  # left by a process that was killed
                elif path.suffix == SUFFIX:
                    files.append((about.st_mtime, about.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= 0.8 * self._max_bytes:
                break
            with suppress(OSError):
                path.unlink()
                total -= size
        self._bytes = total


@takes_any_path
def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files of a folder; 0 if it cannot be read."""
    total = 0
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):
                total += path.stat().st_size
    return total


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "big")


@cache
def _machine() -> str:
    """Return a name of this machine's instruction set.

    JAX's key does not hold it, and the folder may be shared by machines with different processors.
    """
    about = platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        about += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(about.encode()).hexdigest()[:8]
