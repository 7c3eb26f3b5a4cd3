"""Standard streams, width and warnings of a process, made such that no environment breaks output.

Python takes the encoding of stdout and stderr from the environment and raises where it lacks a
character; a stream that the shell has closed is None; a pipe may be closed, a disk full.
"""

import codecs
import contextlib
import functools
import io
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from jaxmi.errors import UnavailableError
from jaxmi.files import readable

USUAL_WIDTH = 80
WIDTHS = range(40, 1001)
"""Columns that help and tables are drawn for; a narrower terminal breaks lines by itself."""

NEVER_FAIL = {"replace", "ignore", "backslashreplace", "namereplace", "xmlcharrefreplace"}
"""Error handlers that PYTHONIOENCODING may name after its colon and that work for every text."""

LIKE = {"•": "*"}
"""Character -> what stands for it where an encoding lacks it; for others, `?` does."""


@contextlib.contextmanager
def any_environment() -> Iterator[None]:
    """Make output work while the command line runs; everything is as before afterwards.

    Any text can be written to stdout and stderr: what the encoding lacks is replaced. A closed
    stream discards what is written to it; so does a stderr that cannot be written. COLUMNS and
    LINES are sensible numbers, or unset. A warning stays a warning.
    """
    _open_closed_descriptors()
    with contextlib.ExitStack() as stack:
        for name in ("stdin", "stdout", "stderr"):
            stack.enter_context(_open_stream(name))
        stack.enter_context(_unfailing_stderr())
        for stream in (sys.stdout, sys.stderr):
            stack.enter_context(_takes_any_text(stream))
        stack.enter_context(_sensible_size())
        if sys.warnoptions:  # PYTHONWARNINGS or -W
            stack.enter_context(_warnings_that_do_not_raise())
        yield


@contextlib.contextmanager
def output() -> Iterator[None]:
    """Write to stdout; end quietly if nobody reads it any more.

    Raises:
      SystemExit: with code 1 if stdout is a pipe that is closed.
      UnavailableError: if stdout cannot be written, as on a full disk.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:  # of a file, not of stdout
            raise
        _discard(sys.stdout)
        raise UnavailableError(f"cannot write to stdout: {error.strerror or error}") from error


def _discard(stream: Any) -> None:
    """Discard what a stream still holds, which Python would try again to write when it ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()


def _open_closed_descriptors() -> None:
    """Open the null device as each of the descriptors 0 to 2 that is closed.

    The next file that is opened would get that number, and what libraries print would go into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
                if opened > 2:
                    os.close(opened)
                else:
                    os.set_inheritable(opened, True)


@contextlib.contextmanager
def _open_stream(name: str) -> Iterator[None]:
    """Let a stream that is None be the null device."""
    if getattr(sys, name) is not None:
        yield
        return
    with open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8") as null:
        setattr(sys, name, null)
        try:
            yield
        finally:
            setattr(sys, name, None)


class _Unfailing(io.FileIO):
    """A file that discards what cannot be written."""

    def write(self, data, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return how many bytes were written, or all if none can be."""
        with contextlib.suppress(OSError):
            if (count := super().write(data)) is not None:
                return count
        return len(memoryview(data).cast("B"))


@contextlib.contextmanager
def _unfailing_stderr() -> Iterator[None]:
    """Let no message stop the work: stderr may be a closed pipe, or a log on a full disk."""
    before = sys.stderr
    try:
        own = before is sys.__stderr__ and os.name == "posix" and before.fileno() == 2
    except (OSError, ValueError):
        own = False
    if not own:
        yield
        return
    buffer = io.BufferedWriter(_Unfailing(2, "w", closefd=False))
    encoding, errors = before.encoding, before.errors
    with io.TextIOWrapper(buffer, encoding, errors, write_through=True) as stream:
        stream.reconfigure(line_buffering=True)
        sys.stderr = stream
        try:
            yield
        finally:
            stream.flush()
            sys.stderr = before


@contextlib.contextmanager
def _takes_any_text(stream: object) -> Iterator[None]:
    """Replace what a stream's encoding lacks, unless the user asked for another way."""
    if not isinstance(stream, io.TextIOWrapper) or (
        stream.errors in NEVER_FAIL and stream is not sys.stderr  # which has it by default
    ):
        yield
        return
    encoding, errors = stream.encoding, stream.errors
    handler = _register(encoding)
    try:
        "\u2022 \udce4\n".encode(encoding, handler)
    except (UnicodeError, LookupError):  # such as idna, which is no encoding of texts
        stream.reconfigure(encoding="utf-8")
        handler = _register("utf-8")
    stream.reconfigure(errors=handler)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(encoding=encoding, errors=errors)


def _register(encoding: str) -> str:
    """Register the handler of what an encoding lacks, and return its name.

    In the POSIX locale, whose encoding is ASCII, names of files are written as UTF-8 all the same,
    as `ls` does: only so can they be copied.

    Args:
      encoding: The encoding; the errors of some do not tell which it is.
    """
    names = encoding, sys.getfilesystemencoding()
    as_bytes = all(codecs.lookup(one).name == "ascii" for one in names)
    name = f"jaxmi-{encoding}{'-bytes' if as_bytes else ''}"
    codecs.register_error(name, functools.partial(_replaced, encoding=encoding, as_bytes=as_bytes))
    return name


def _replaced(error: UnicodeError, encoding: str, as_bytes: bool) -> tuple[str | bytes, int]:
    """Return what stands for the characters that cannot be encoded, and where they end."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = readable(error.object[error.start : error.end])
    if as_bytes:
        return text.translate(str.maketrans(LIKE)).encode("utf-8"), error.end
    return _like(text, encoding), error.end


def _like(text: str, encoding: str) -> str:
    """Return a text that an encoding has, as long and as similar as may be."""
    shown = ""
    for char in text:
        try:
            char.encode(encoding)
        except UnicodeError:
            char = LIKE.get(char, "?")
        shown += char
    return shown


@contextlib.contextmanager
def _sensible_size() -> Iterator[None]:
    """Keep COLUMNS and LINES to what help, tables and bars can be drawn for.

    What is no number, or not positive, is as if unset: then a terminal's own size counts, and 80
    columns where there is none, or where it says 0.
    """
    before = {name: os.environ.pop(name, None) for name in ("COLUMNS", "LINES")}
    columns, lines = (_positive(value) for value in before.values())
    own = shutil.get_terminal_size((USUAL_WIDTH, 24)).columns
    width = min(max(columns or own, WIDTHS[0]), WIDTHS[-1])
    if columns or width != own:
        os.environ["COLUMNS"] = str(width)
    if lines:
        os.environ["LINES"] = str(lines)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _positive(text: str | None) -> int | None:
    """Return a positive number, as shells write it; None if the text is none."""
    found = re.fullmatch(r"\s*\+?([0-9]{1,9})\s*", text or "")
    return (int(found[1]) or None) if found else None


@contextlib.contextmanager
def _warnings_that_do_not_raise() -> Iterator[None]:
    """Let what PYTHONWARNINGS makes an error be a warning: it would end in a traceback."""
    with warnings.catch_warnings():
        filters = [
            ("default" if action == "error" else action, *more)
            for action, *more in warnings.filters
        ]
        warnings.resetwarnings()
        warnings.filters[:] = filters  # pyright: ignore[reportIndexIssue]
        yield
