"""Submissions as files: a program's text or a table of labels, and what they are judged by.

Nothing here imports JAX: a text that is no program is refused at once.
"""

import codecs
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxmi.challenges.definition import is_challenge_folder, read_definition
from jaxmi.errors import InputError
from jaxmi.files import check_regular_file, takes_any_path
from jaxmi.programs import language as lang
from jaxmi.programs.domain import Domain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import MAX_CHARACTERS, parse
from jaxmi.programs.show import program_hash, show
from jaxmi.sealed import STATEMENT
from jaxmi.workflows.label_tables import SUFFIXES, is_table, read_label_table

PROGRAMS, TABLES = (".py", ".txt"), SUFFIXES
EXPLANATION = ".json"


@dataclass(frozen=True)
class Against:
    """The reference that a submission is judged by, as the user names it."""

    challenge: str
    """A challenge's name, or its folder; also a sealed challenge's."""
    checkpoint: Path | None = None
    """A network to compare with; none with a sealed challenge, which has its own."""
    answer: Path | None = None
    """A sealed challenge's answer."""
    data_dir: Path | None = None
    """A folder with MNIST; None looks in the cache, then downloads."""


Against.__init__ = takes_any_path(Against.__init__)


@dataclass(frozen=True, eq=False)
class Submission:
    """A submission: labels, and the program that gives them, if there is one."""

    name: str
    labels: Int[np.ndarray, "m"]
    rows: slice
    """Which of the domain's inputs have these labels."""
    program: lang.Program | None = None

    def about(self) -> dict[str, str | int | None]:
        """Return name, program, hash and length, as JSON types."""
        program = self.program
        return {
            "submission": self.name,
            "program": show(program) if program else None,
            "program_hash": program_hash(program) if program else None,
            "description_length": program.size if program else None,
        }


def path_or_text(given: Any) -> Any:
    """Return a text that names a file of programs, labels or an explanation as a path.

    Such a line is no program, and no JSON of an explanation. Anything else is returned as it is.
    """
    if isinstance(given, str) and "\n" not in given:
        path = Path(given)
        return path if path.suffix.lower() in (*PROGRAMS, *TABLES, EXPLANATION) else given
    return given


@takes_any_path
def read_program(path: Path, kind: lang.Kind) -> lang.Program:
    """Read a program; it is parsed and never run.

    Raises:
      InputError: if it is no regular file, or no program; with line and column.
    """
    text = read_text(path)
    try:
        return parse(text, kind)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


@takes_any_path
def read_text(path: Path) -> str:
    """Read a program's text.

    Raises:
      InputError: if it is no regular file, or not UTF-8.
    """
    check_regular_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(4 * MAX_CHARACTERS)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _decoded(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Byte-order marks -> encoding; those of UTF-32 first, since one begins with one of UTF-16."""


def _decoded(content: bytes) -> str:
    """Return the text of a file that may be cut off.

    Raises:
      InputError: if it is not UTF-8; the message ends with how to convert it.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    if encoding := _wide_encoding(content):
        where = f"line 1, column 1: the file is {encoding[:6]}, not UTF-8"
        raise InputError(f"{where}; {_advice(encoding[:6], encoding)}")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError as error:
        start, byte = error.start, content[error.start]
        # Windows-1252 has letters and quotation marks where Latin-1 has control characters.
        is_latin = not re.search(rb"[\x80-\x9f]", content)
        advice = _advice("Latin-1", "LATIN1") if is_latin else _advice("Windows-1252", "CP1252")
    else:
        if "\0" not in text:
            return text
        start, byte = content.index(0), 0
        advice = "save it as UTF-8, without bytes that are no text"
    before = content[:start].decode("utf-8")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    place = f"line {line}, column {column}: byte 0x{byte:02X}"
    raise InputError(f"{place}; the file is not UTF-8; {advice}")


def _wide_encoding(content: bytes) -> str | None:
    """Return which encoding of two or four bytes a character a file is in; None if in neither.

    Without a byte-order mark it is known by its zeros: ASCII characters have them at every odd
    byte, or at every even one.
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding
    zeros = [content[first::2].count(0) for first in (0, 1)]
    if max(zeros) * 4 < len(content) or not content.strip(b"\0"):
        return None
    if min(zeros) * 4 > max(zeros):
        return "UTF-32LE" if content[:1] != b"\0" else "UTF-32BE"
    return "UTF-16LE" if zeros[1] > zeros[0] else "UTF-16BE"


def _advice(name: str, encoding: str) -> str:
    return f"save it as UTF-8 (from {name}: iconv -f {encoding} -t UTF-8 FILE > NEW)"


@takes_any_path
def read_submission(path: Path, kind: lang.Kind, load_domain: Callable[[], Domain]) -> Submission:
    """Read a program and label the domain by it, or read a table of labels.

    Args:
      path: The file.
      kind: What the program labels.
      load_domain: Gives the domain; asked only if the text is a program.

    Raises:
      InputError: if the file cannot be used.
    """
    if is_table(path):
        table = read_label_table(path, load_domain().table_shapes)
        return Submission(printable(path.name), table.labels, table.rows)
    if path.suffix not in PROGRAMS:
        endings = ", ".join((*PROGRAMS, *TABLES))
        raise InputError(f"{path}: a submission of labels ends in {endings}")
    program = read_program(path, kind)
    try:
        labels = label(program, load_domain())
        return Submission(printable(path.name), labels, slice(None), program)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def printable(name: str) -> str:
    """Return a file's name in one line of printable characters; others are escaped."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)


@takes_any_path
def find_submissions(folder: Path) -> list[Path]:
    """List the programs and tables in a folder.

    Raises:
      InputError: if there is none.
    """
    found = sorted(p for p in folder.iterdir() if p.suffix in PROGRAMS or is_table(p))
    if not found:
        raise InputError(f"{folder} holds no submission ({', '.join(PROGRAMS + TABLES)})")
    return found


@takes_any_path
def find_explanations(folder: Path) -> list[Path]:
    """List the explanations in a folder.

    Raises:
      InputError: if there is none.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix == EXPLANATION)
    if not found:
        raise InputError(f"{folder} holds no explanation ({EXPLANATION})")
    return found


def read_kind(challenge: str) -> lang.Kind:
    """Return what a challenge's programs label; nothing large is loaded.

    Raises:
      InputError: if there is no such challenge.
    """
    return find_domain(challenge)[0]


def find_task(challenge: str) -> str | None:
    """Return what a sealed challenge asks for, "program" or "mechanism"; None of other challenges.

    Nothing is checked: reading the challenge does that.
    """
    folder = Path(challenge)
    if challenge in lang.KIND_OF or is_challenge_folder(folder):
        return None
    try:
        content = json.loads((folder / STATEMENT).read_text(encoding="utf-8"))
        return str(content.get("task", "program"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def find_domain(challenge: str) -> tuple[lang.Kind, Mapping[str, Any]]:
    """Return what a challenge's programs label: the kind, and the domain as in `Definition`.

    Raises:
      InputError: if there is no such challenge.
    """
    if challenge in lang.KIND_OF:
        return lang.KIND_OF[challenge], {}
    if is_challenge_folder(Path(challenge)):
        definition = read_definition(Path(challenge))
        return definition.kind, definition.domain
    statement = Path(challenge) / STATEMENT
    try:
        content = json.loads(statement.read_text(encoding="utf-8")) if statement.is_file() else {}
        kind, domain = content["kind"], dict(content.get("domain", {}))
        return next(one for one in lang.SIGNATURES if one == kind), domain
    except (OSError, ValueError, TypeError, KeyError, StopIteration, RecursionError):
        raise InputError(
            f"--challenge {challenge}: not transformer, cnn, or the folder of a challenge"
        ) from None
