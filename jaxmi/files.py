"""Paths as users give them, the guard before a file is opened, and texts as files hold them."""

import functools
import inspect
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin

from jaxmi.errors import InputError

StrPath = str | os.PathLike[str]
"""A path as public functions take it."""

P = ParamSpec("P")
T = TypeVar("T")


def takes_any_path(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function take any path, as text or `os.PathLike`, where its annotation says `Path`.

    What may also be another text, as `str | Path`, stays a text. `~` is not expanded.
    """
    signature = inspect.signature(function)
    kinds = {name: kinds_of(one.annotation) for name, one in signature.parameters.items()}
    paths = {name for name, found in kinds.items() if "Path" in found}

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        given = signature.bind(*args, **kwargs)
        for name in paths & given.arguments.keys():
            value = given.arguments[name]
            if isinstance(value, os.PathLike) or (
                isinstance(value, str) and "str" not in kinds[name]
            ):
                given.arguments[name] = Path(value)
        return function(*given.args, **given.kwargs)

    for name in paths:
        if not isinstance(hint := called.__annotations__[name], str):
            called.__annotations__[name] = hint | StrPath
    return called


def kinds_of(annotation: object) -> set[str]:
    """Return the names of the types that an annotation unites, or of the only one."""
    if isinstance(annotation, str):
        return set(annotation.split(" | "))
    is_union = get_origin(annotation) in (Union, UnionType)
    return {getattr(one, "__name__", "") for one in get_args(annotation) if is_union} or {
        getattr(annotation, "__name__", "")
    }


def check_regular_file(path: Path, max_bytes: int | None = None) -> None:
    """Check that a path leads to a regular file: reading a FIFO or a device would block.

    Symbolic links are followed.

    Args:
      path: The file.
      max_bytes: The most bytes that it may have; None sets no limit.

    Raises:
      InputError: if there is no such file, it is a folder, a FIFO, a socket or a device, or it is
        too large; names the path.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a regular file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise InputError(f"{path} has {status.st_size:,} bytes; at most {max_bytes:,} are read")


def readable(text: str) -> str:
    r"""Return a text that UTF-8 can encode.

    The name of a file is any sequence of bytes. Python decodes it as the locale says, and turns
    each byte that it cannot decode into a lone surrogate. Here these bytes are read as UTF-8
    whatever the locale; where that fails too, a byte is written as `\xe4`.
    """
    if text.isascii():
        return text
    read = re.sub(
        "[\udc80-\udcff]+",
        lambda found: bytes(ord(c) & 0xFF for c in found[0]).decode("utf-8", "backslashreplace"),
        text,
    )
    return read.encode("utf-8", "backslashreplace").decode("utf-8")


def path_of(text: str) -> Path:
    """Return the path of a text that a file holds: the inverse of `readable`.

    It differs from `Path(text)` only where the locale's encoding lacks a character of the text.
    """
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))
    return Path(text)


def readable_texts(value: Any) -> Any:
    """Return a JSON value with each text, and each key that is one, as `readable` gives it."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, Mapping):
        return {readable_texts(key): readable_texts(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [readable_texts(one) for one in value]
    return value


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 with Unix line ends, whatever the locale and the system.

    Raises:
      OSError: if the file cannot be written.
    """
    path.write_text(readable(text), encoding="utf-8", newline="\n")
