"""A folder's checksums: a file that names every other with its SHA-256, for `sha256sum -c` too."""

import hashlib
from pathlib import Path

from jaxmi.errors import InputError

SUMS = "SHA256SUMS"
"""The file's name."""


def checksums(path: Path) -> str:
    """Lists the SHA-256 of every file in a folder but `SUMS`, by name.

    Raises:
      InputError: if something in it is neither file nor folder, such as a link.
      OSError: if a file cannot be read.
    """
    files = sorted(str(f.relative_to(path)) for f in path.rglob("*") if not _is_folder(f))
    return "".join(f"{_digest(path / name)}  {name}\n" for name in files if name != SUMS)


def check_checksums(path: Path) -> None:
    """Checks that a folder holds what its checksums say, byte by byte, and nothing else.

    Raises:
      InputError: naming the first file that is altered, missing or not listed.
    """
    try:
        found, stated = checksums(path), (path / SUMS).read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if found == stated:
        folders = {f for f in path.rglob("*") if _is_folder(f)}
        if empty := folders - {parent for name in listed(path) for parent in (path / name).parents}:
            raise InputError(f"{path}: {min(empty).relative_to(path)} is an empty folder")
        return
    ours, theirs = _by_name(found), _by_name(stated)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours:
            raise InputError(f"{path}: {name} is missing")
        if name not in theirs:
            raise InputError(f"{path}: {name} is not listed in {SUMS}")
        if ours[name] != theirs[name]:
            raise InputError(f"{path}: {name} was altered")
    raise InputError(f"{path}: {SUMS} was altered")


def listed(path: Path) -> list[str]:
    """Returns the files that a folder's checksums name."""
    return list(_by_name((path / SUMS).read_text(encoding="ascii")))


def fingerprint(path: Path) -> str:
    """Returns the SHA-256 of a folder's checksums: what stands for all of its bytes."""
    return hashlib.sha256((path / SUMS).read_bytes()).hexdigest()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _digest(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path} is no plain file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _by_name(sums: str) -> dict[str, str]:
    lines = (line.partition("  ") for line in sums.split("\n") if line)
    return {name: digest for digest, _, name in lines}
