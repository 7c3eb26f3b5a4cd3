"""Submissions as files: a program's text, a table of labels, or an explanation."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.domain import Domain, PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import MAX_CHARACTERS, parse
from jaxmi.programs.show import program_hash, show
from jaxmi.weights.archive import read_archive

PROGRAMS, TABLES = (".py", ".txt"), (".npz",)

STATEMENT, NETWORK = "challenge.json", "network"
"""In a sealed challenge's folder: the file by which it is known, and its network."""


@dataclass(frozen=True)
class Against:
    """What a submission is judged by, as the user names it."""

    challenge: str
    """A challenge's name, or a sealed challenge's folder."""
    checkpoint: Path | None = None
    """A network to compare with; none with a sealed challenge, which has its own."""
    answer: Path | None = None
    """A sealed challenge's answer."""
    data_dir: Path | None = None
    """A folder with MNIST; None looks in the cache, then downloads."""


@dataclass(frozen=True, eq=False)
class Submission:
    """What is judged: labels, and the program that gives them, if there is one."""

    name: str
    labels: Int[np.ndarray, "m"]
    rows: slice
    """Which of the domain's inputs have these labels."""
    program: lang.Program | None = None

    def about(self) -> dict[str, str | int | None]:
        """Returns what is known of it before it is judged, as JSON types."""
        program = self.program
        return {
            "submission": self.name,
            "program": show(program) if program else None,
            "program_hash": program_hash(program) if program else None,
            "description_length": program.size if program else None,
        }


def read_program(path: Path, kind: lang.Kind) -> lang.Program:
    """Reads a program's text; whatever it says, it is not run.

    Raises:
      InputError: if it is no file, or no program; with line and column.
    """
    try:
        if not path.is_file():  # a pipe would keep us waiting
            raise InputError(f"{path} is no file")
        with path.open("rb") as file:
            content = file.read(4 * MAX_CHARACTERS)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return parse(content.decode("utf-8-sig", errors="surrogateescape"), kind)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_submission(path: Path, kind: lang.Kind, load_domain: Callable[[], Domain]) -> Submission:
    """Reads a program and labels the domain by it, or reads a table of labels.

    Args:
      path: The file.
      kind: What the program labels.
      load_domain: Gives the domain; asked only if the text is a program.

    Raises:
      InputError: if the file cannot be used.
    """
    if path.suffix in TABLES:
        labels, rows = _read_table(path, load_domain())
        return Submission(printable(path.name), labels, rows)
    if path.suffix not in PROGRAMS:
        endings = ", ".join((*PROGRAMS, *TABLES))
        raise InputError(f"{path}: a submission of labels ends in {endings}")
    program = read_program(path, kind)
    try:
        labels = label(program, load_domain())
        return Submission(printable(path.name), labels, slice(None), program)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_table(path: Path, domain: Domain) -> tuple[Int[np.ndarray, "m"], slice]:
    arrays = read_archive(path)
    if "labels" not in arrays:
        raise InputError(f"{path} holds no array `labels`")
    labels = arrays["labels"]
    n = int(np.prod(domain.shape))
    shapes = {domain.shape: slice(None), (n,): slice(None)}
    if not isinstance(domain, PairDomain):
        shapes[(10_000,)] = slice(60_000, None)  # the test images, as `jaxmi predict` writes them
    if labels.shape not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise InputError(f"{path}: labels are {labels.shape}, expected {wanted}")
    # Not only 0 and 1: a transformer may answer with any of its tokens.
    if labels.dtype.kind not in "biuf" or not _are_whole(labels):
        raise InputError(f"{path}: labels are {labels.dtype}, expected small whole numbers")
    return labels.reshape(-1).astype(np.int32), shapes[labels.shape]


def _are_whole(labels: np.ndarray) -> bool:
    return bool(((labels >= 0) & (labels < 2**15) & (labels % 1 == 0)).all())


def printable(name: str) -> str:
    """Returns a file's name as it can be shown anywhere: in one line, and encoded."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)


def find_submissions(folder: Path) -> list[Path]:
    """Lists the programs and tables in a folder.

    Raises:
      InputError: if there is none.
    """
    found = sorted(p for p in folder.iterdir() if p.suffix in PROGRAMS + TABLES)
    if not found:
        raise InputError(f"{folder} holds no submission ({', '.join(PROGRAMS + TABLES)})")
    return found


def read_kind(challenge: str) -> lang.Kind:
    """Returns what a challenge's programs label, before anything large is loaded.

    Raises:
      InputError: if there is no such challenge.
    """
    if challenge in lang.KINDS:
        return lang.KINDS[challenge]
    statement = Path(challenge) / STATEMENT
    try:
        kind = json.loads(statement.read_text())["kind"] if statement.is_file() else None
        return next(one for one in lang.KINDS.values() if one == kind)
    except (OSError, ValueError, TypeError, KeyError, StopIteration, RecursionError):
        raise InputError(
            f"--challenge {challenge}: not transformer, cnn, or a sealed challenge's folder"
        ) from None
