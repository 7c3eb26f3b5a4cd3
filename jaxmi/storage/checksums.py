"""A folder's checksums: the file `SHA256SUMS`, which `sha256sum -c` reads too."""

import hashlib
from pathlib import Path

from jaxmi.errors import InputError
from jaxmi.files import check_regular_file

SUMS = "SHA256SUMS"
"""The name of the file that lists every other file of the folder with its SHA-256."""


def checksums(path: Path) -> str:
    """Return the text of `SUMS`: a line for every other file in the folder, sorted by name.

    Raises:
      InputError: if the folder holds anything but regular files and folders, such as a link.
      OSError: if a file cannot be read.
    """
    files = sorted(str(f.relative_to(path)) for f in path.rglob("*") if not _is_folder(f))
    return "".join(f"{_digest(path / name)}  {name}\n" for name in files if name != SUMS)


def check_checksums(path: Path) -> None:
    """Check that a folder holds exactly the files that `SUMS` lists, byte for byte.

    Raises:
      InputError: naming the first file that is altered, missing or not listed.
    """
    try:
        computed, stated = checksums(path), (path / SUMS).read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if computed == stated:
        folders = {f for f in path.rglob("*") if _is_folder(f)}
        if empty := folders - {parent for name in listed(path) for parent in (path / name).parents}:
            raise InputError(f"{path}: {min(empty).relative_to(path)} is an empty folder")
        return
    computed_digests, stated_digests = _by_name(computed), _by_name(stated)
    for name in sorted(computed_digests.keys() | stated_digests.keys()):
        if name not in computed_digests:
            raise InputError(f"{path}: {name} is missing")
        if name not in stated_digests:
            raise InputError(f"{path}: {name} is not listed in {SUMS}")
        if computed_digests[name] != stated_digests[name]:
            raise InputError(f"{path}: {name} was altered")
    raise InputError(f"{path}: {SUMS} was altered")


def listed(path: Path) -> list[str]:
    """Return the names of the files that a folder's `SUMS` lists."""
    return list(_by_name((path / SUMS).read_text(encoding="ascii")))


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a folder's `SUMS`, which identifies all of the folder's bytes."""
    return hashlib.sha256((path / SUMS).read_bytes()).hexdigest()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _digest(path: Path) -> str:
    if path.is_symlink():
        raise InputError(f"{path} is a symbolic link, not a regular file")
    check_regular_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _by_name(sums: str) -> dict[str, str]:
    lines = (line.partition("  ") for line in sums.split("\n") if line)
    return {name: digest for digest, _, name in lines}
