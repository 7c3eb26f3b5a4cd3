"""Descriptions of files that cannot be read as networks, by their first bytes, with advice."""

from pathlib import Path

from jaxmi.errors import InputError

_BYTES = 512

_BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"\x1f\x8b", "gzipped: unpack it with gunzip (or tar xzf) and import what it holds"),
    (b"BZh", "compressed by bzip2: unpack it and import what it holds"),
    (b"\xfd7zXZ", "compressed by xz: unpack it and import what it holds"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it and import what it holds"),
    (b"Rar!", "a RAR archive: unpack it and import what it holds"),
    (b"\x89HDF", "an HDF5 file (Keras?); save a PyTorch state dict, safetensors or .npz instead"),
    (
        b"\x93NUMPY",
        "one NumPy array: `jaxmi score` and `jaxmi recover` take tables of labels",
    ),
    (b"\x89PNG", "a PNG picture"),
    (b"GGUF", "a GGUF file; save a PyTorch state dict or safetensors instead"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x00", "a pickle of protocol 0; pickle it again with protocol 2 or later"),
    (b"\x80\x01", "a pickle of protocol 1; pickle it again with protocol 2 or later"),
)


def first_bytes(path: Path) -> bytes:
    """Return the beginning of a file.

    Raises:
      InputError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def describe(start: bytes, path: Path) -> str | None:
    """Return what a file is, as words that follow "is"; None if its beginning does not tell.

    Args:
      start: As `first_bytes` gives it.
      path: The file, of which the name and the length are looked at.
    """
    if not start:
        return "empty: it was not downloaded or not saved whole"
    for beginning, what in _BEGINNINGS:
        if start.startswith(beginning):
            return what
    if start[257:262] == b"ustar":
        return "a tar archive: unpack it and import what it holds"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page, not the file that it links to: download the raw file"
    if text.startswith((b"{", b"[")):
        return "JSON, not a file of tensors"
    if not start.strip(b"\0"):
        return "filled with zeros: its download or its copy failed"
    if path.suffix in (".py", ".txt"):
        return "a text, not a network: `jaxmi score` judges programs"
    return None
