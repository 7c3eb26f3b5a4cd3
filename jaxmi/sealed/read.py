"""Sealed challenges read from folders: verified byte by byte, compared, and opened with a key."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import is_challenge_folder
from jaxmi.challenges.registry import KINDS
from jaxmi.challenges.sealed import Key, posed
from jaxmi.challenges.sealed_mechanism import TASK, MechanismKey
from jaxmi.errors import InputError
from jaxmi.files import takes_any_path
from jaxmi.judge.key_check import check_key
from jaxmi.models.trees import leaves_by_path
from jaxmi.programs.language import Kind
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show
from jaxmi.sealed import NETWORK, STATEMENT
from jaxmi.sealed.write import DOMAIN, FORMATS, MODEL_LABELS, PROGRAM, README
from jaxmi.storage.archive import read_archive
from jaxmi.storage.checkpoints import (
    CHECKPOINT_FILES,
    Checkpoint,
    load_checkpoint,
    read_json,
)
from jaxmi.storage.checksums import SUMS, check_checksums, fingerprint, listed
from jaxmi.storage.foreign import import_network

_OWN_FILES = (
    STATEMENT,
    README,
    DOMAIN,
    MODEL_LABELS,
    *(f"{NETWORK}/{name}" for name in CHECKPOINT_FILES),
)
"""The files of every bundle, but for the foreign ones and the checksums."""


@dataclass(frozen=True)
class Bundle:
    """A sealed challenge read from disk, with intact files."""

    path: Path
    kind: Kind
    commitment: str
    counts: Mapping[str, int]
    """Split name, or "domain" -> the number of inputs that the network labels correctly."""
    sizes: Mapping[str, int]
    """Split name, or "domain" -> the number of inputs."""
    checkpoint: Checkpoint
    fingerprint: str
    """The SHA-256 of the checksums, which stands for every byte of the bundle."""
    task: str = "program"
    """What participants look for: the "program", or the "mechanism" of a compiled network."""
    program: str | None = None
    """The text of the program, if the task is its mechanism and it is not hidden."""

    def stated(self) -> dict[str, dict[str, Any]]:
        """Return what the bundle states of its network, in JSON types.

        For each split and the "domain": "right" and "inputs", how many inputs the network labels
        correctly and how many there are, and "share".
        """
        return {
            name: {"right": self.counts[name], "inputs": n, "share": self.counts[name] / n}
            for name, n in self.sizes.items()
        }

    def stated_in_words(self) -> list[str]:
        """Return the counts that the bundle states, one text for each split and the domain."""
        return [f"{self.counts[name]:,} of {n:,} ({name})" for name, n in self.sizes.items()]


@takes_any_path
def is_bundle(path: Path) -> bool:
    """Return whether a path looks like a sealed challenge's folder; `read_bundle` checks it.

    The folder of a challenge that a user made has a file of the same name.
    """
    return (path / STATEMENT).is_file() and not is_challenge_folder(path)


@takes_any_path
def read_bundle(path: Path) -> Bundle:
    """Read a sealed challenge and check that no file was altered, added or removed.

    Raises:
      InputError: naming the first file that is altered, missing or not part of it; or if this
        version of jaxmi cannot read it.
    """
    if not (path / STATEMENT).is_file() or not (path / SUMS).is_file():
        raise InputError(f"{path} is no sealed challenge: it lacks {STATEMENT} or {SUMS}")
    check_checksums(path)
    statement = read_json(path / STATEMENT)
    task, given = statement.get("task", "program"), statement.get("format")
    if not isinstance(task, str) or given not in FORMATS.values() or FORMATS.get(task) != given:
        known = ", ".join(f"{number} ({name})" for name, number in FORMATS.items())
        raise InputError(
            f"{path}: format {given!r} of task {task!r}; this jaxmi reads the formats {known}"
        )
    try:
        kind, commitment = statement["kind"], str(statement["commitment"])
        counts, sizes = dict(statement["network_is_right_on"]), dict(statement["sizes"])
        checkpoint = load_checkpoint(path / NETWORK)
        if checkpoint.origin.kind != kind or checkpoint.config["sealed"] != commitment:
            raise InputError(f"{path}: {NETWORK} belongs to another challenge")
        if any(not 0 <= counts[name] <= size for name, size in sizes.items()):
            raise InputError(f"{path}: {STATEMENT} has counts that exceed the sizes")
        program = statement["program"] if task == TASK else None
        if not isinstance(program, str | None):
            raise InputError(f"{path}: the program in {STATEMENT} is no text")
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}/{STATEMENT} or the network's config.json: {error!r}") from error
    stamp = fingerprint(path)
    return Bundle(path, kind, commitment, counts, sizes, checkpoint, stamp, task, program)


@takes_any_path
def check_contents(bundle: Bundle, data_dir: Path | None) -> list[str]:
    """Check that the files agree with each other: one network, one domain, one set of counts.

    Args:
      bundle: The sealed challenge.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Returns:
      Names of the files that were compared.

    Raises:
      InputError: at the first file that does not agree.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    for name in listed(bundle.path):
        own = _OWN_FILES if bundle.program is None else (*_OWN_FILES, PROGRAM)
        if name not in (*own, *_foreign_files(bundle.kind)):
            raise InputError(f"{bundle.path}: {name} is no part of a sealed challenge")
    challenge = bundle.checkpoint.load_challenge(data_dir)
    agree = {
        STATEMENT: _counts_agree(bundle, challenge),
        f"{NETWORK}/metrics.json": bundle.checkpoint.metrics == _metrics(bundle),
        README: _readme_agrees(bundle),
        DOMAIN: _same(read_archive(bundle.path / DOMAIN), challenge.domain_tables()),
        MODEL_LABELS: _labels_agree(bundle, challenge),
        **({} if bundle.program is None else {PROGRAM: _program_agrees(bundle, challenge)}),
        **{
            name: _network_agrees(bundle, name)
            for name in _foreign_files(bundle.kind)
            if name in listed(bundle.path)
        },
    }
    for name, agrees in agree.items():
        if not agrees:
            raise InputError(f"{bundle.path}: {name} does not agree with the other files")
    return list(agree)


class Opened(NamedTuple):
    """A sealed challenge with a known program."""

    program: str
    """The program's text."""
    challenge: Challenge
    """The challenge, with the program's labels."""
    mechanism: Mapping[str, Any] | None = None
    """What the network holds, as `mechanism.json` has it, if the task is its mechanism."""


@takes_any_path
def open_bundle(bundle: Bundle, key_path: Path, data_dir: Path | None) -> Opened:
    """Open a sealed challenge: check its key against the commitment, the files and the counts.

    Of a mechanism it is also checked by interventions that what the key names holds what it says.

    Args:
      bundle: The sealed challenge.
      key_path: The file with the key.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Raises:
      InputError: if the key is another challenge's, the files were replaced, the network's counts
        under the program are not those stated, or it does not hold what the key says.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    content = read_json(key_path)
    kind_of_key = MechanismKey if bundle.task == TASK else Key
    try:
        key = kind_of_key.from_json(content)
    except InputError as error:
        raise InputError(f"{key_path}: {error}") from error
    if key.commitment != bundle.commitment:
        raise InputError(
            f"{key_path} is not the key of {bundle.path}: its commitment is "
            f"{key.commitment}, the challenge's is {bundle.commitment}"
        )
    if content.get("fingerprint") != bundle.fingerprint:
        raise InputError(f"{bundle.path} was replaced: the key states another fingerprint")
    challenge = posed(bundle.checkpoint.load_challenge(data_dir), key.program)
    counts = challenge.correct_counts(challenge.predict(bundle.checkpoint.params))
    if counts != bundle.counts:
        raise InputError(
            f"{bundle.path}: by this program the network is right on {counts}, but "
            f"{dict(bundle.counts)} was stated"
        )
    if not isinstance(key, MechanismKey):
        return Opened(show(key.program), challenge)
    if bundle.program not in (None, show(key.program)):
        raise InputError(f"{bundle.path}: {PROGRAM} is not the program that was committed to")
    try:
        check_key(key.mechanism, challenge, bundle.checkpoint.params)
    except InputError as error:
        raise InputError(f"{key_path}: {error}") from error
    return Opened(show(key.program), challenge, key.mechanism)


def _counts_agree(bundle: Bundle, challenge: Challenge) -> bool:
    sizes, counts = challenge.split_sizes(), bundle.counts
    parts = sum(count for name, count in counts.items() if name != "domain")
    agree = bundle.sizes == sizes and counts.keys() == sizes.keys() and parts == counts["domain"]
    return agree and (bundle.task != TASK or counts == sizes)  # a compiled network is always right


def _metrics(bundle: Bundle) -> dict[str, float]:
    return {f"{name}_accuracy": bundle.counts[name] / n for name, n in bundle.sizes.items()}


def _readme_agrees(bundle: Bundle) -> bool:
    text = (bundle.path / README).read_text(encoding="utf-8", errors="replace")
    if bundle.task == TASK:
        lines = "" if bundle.program is None else indent(bundle.program, "    ")
        return bundle.commitment in text and lines in text
    return all(passage in text for passage in (bundle.commitment, *bundle.stated_in_words()))


def _program_agrees(bundle: Bundle, challenge: Challenge) -> bool:
    """Return whether the program is the file's, and gives the network's labels."""
    text = (bundle.path / PROGRAM).read_text(encoding="utf-8", errors="replace")
    labels = posed(challenge, parse(text, bundle.kind)).labels
    same = np.array_equal(labels, challenge.predict(bundle.checkpoint.params))
    return text == bundle.program and same


def _labels_agree(bundle: Bundle, challenge: Challenge) -> bool:
    labels = challenge.predict(bundle.checkpoint.params)
    arrays = read_archive(bundle.path / MODEL_LABELS)
    return _same({name: array.reshape(-1) for name, array in arrays.items()}, {"labels": labels})


def _foreign_files(kind: Kind) -> Mapping[str, str]:
    """Return the files that may hold the network in other tools' formats: name -> format."""
    return KINDS[kind].challenge.sealing.foreign_files


def _network_agrees(bundle: Bundle, name: str) -> bool:
    imported = import_network(bundle.path / name, _foreign_files(bundle.kind)[name]).params
    return _same(leaves_by_path(imported), leaves_by_path(bundle.checkpoint.params))


def _same(arrays: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    return arrays.keys() == expected.keys() and all(
        np.array_equal(arrays[name], array) for name, array in expected.items()
    )
