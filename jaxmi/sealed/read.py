"""Sealed challenges read back: every byte is checked, every form, and the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import kind_of_challenge, load_challenge
from jaxmi.challenges.sealed import Answer, posed
from jaxmi.errors import InputError
from jaxmi.models.trees import leaves_by_path
from jaxmi.programs.language import CHALLENGES, Kind
from jaxmi.programs.show import show
from jaxmi.sealed import NETWORK, STATEMENT
from jaxmi.sealed.write import (
    DOMAIN,
    FORMAT,
    MODEL_LABELS,
    README,
)
from jaxmi.storage.archive import read_archive
from jaxmi.storage.checkpoints import (
    CHECKPOINT_FILES,
    Checkpoint,
    load_checkpoint,
    read_json,
)
from jaxmi.storage.checksums import SUMS, check_checksums, fingerprint, listed
from jaxmi.storage.foreign import import_network

_NATIVE = tuple(f"{NETWORK}/{name}" for name in CHECKPOINT_FILES)


@dataclass(frozen=True)
class Bundle:
    """A sealed challenge read from disk, intact."""

    path: Path
    kind: Kind
    commitment: str
    counts: Mapping[str, int]
    """How many inputs of each split, and of the "domain", the network gives the true label."""
    sizes: Mapping[str, int]
    """How many inputs there are."""
    checkpoint: Checkpoint
    fingerprint: str
    """The SHA-256 of its checksums: what stands for all of its bytes."""

    @property
    def challenge_name(self) -> str:
        """The challenge whose inputs and network it has."""
        return CHALLENGES[self.kind]


def read_bundle(path: Path) -> Bundle:
    """Reads a sealed challenge, and checks that nothing in it was altered.

    Raises:
      InputError: naming the first file that is altered, missing or not part of it.
    """
    if not (path / STATEMENT).is_file() or not (path / SUMS).is_file():
        raise InputError(f"{path} is no sealed challenge (it lacks {STATEMENT} or {SUMS})")
    check_checksums(path)
    statement = read_json(path / STATEMENT)
    if statement.get("format") != FORMAT:
        raise InputError(f"{path}: format {statement.get('format')!r}, this jaxmi reads {FORMAT}")
    try:
        kind, commitment = statement["kind"], str(statement["commitment"])
        counts, sizes = dict(statement["network_is_right_on"]), dict(statement["sizes"])
        checkpoint = load_checkpoint(path / NETWORK)
        if checkpoint.challenge != CHALLENGES[kind] or checkpoint.config["sealed"] != commitment:
            raise InputError(f"{path}: {NETWORK} is of another challenge")
        if any(not 0 <= counts[name] <= size for name, size in sizes.items()):
            raise InputError(f"{path}: {STATEMENT} counts what cannot be")
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}/{STATEMENT} or the network's config.json: {error!r}") from error
    return Bundle(path, kind, commitment, counts, sizes, checkpoint, fingerprint(path))


def check_contents(bundle: Bundle, data_dir: Path | None) -> list[str]:
    """Checks that the files agree with each other: one network, one domain, one set of counts.

    Returns:
      The files; the .pt files are left out where PyTorch is not installed.

    Raises:
      InputError: at the first file that does not agree.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    for name in listed(bundle.path):
        if name not in (
            STATEMENT,
            README,
            DOMAIN,
            MODEL_LABELS,
            *_foreign_files(bundle.kind),
            *_NATIVE,
        ):
            raise InputError(f"{bundle.path}: {name} is no part of a sealed challenge")
    challenge = load_challenge(bundle.challenge_name, data_dir)
    agree = {
        STATEMENT: _counts_add_up(bundle, challenge),
        f"{NETWORK}/metrics.json": bundle.checkpoint.metrics == _metrics(bundle),
        README: _readme_says(bundle),
        DOMAIN: _same(read_archive(bundle.path / DOMAIN), challenge.domain_tables()),
        MODEL_LABELS: _answers(bundle, challenge),
        **{name: _is_network(bundle, name) for name in _readable(bundle.kind)},
    }
    for name, agrees in agree.items():
        if not agrees:
            raise InputError(f"{bundle.path}: {name} does not agree with the other files")
    return list(agree)


class Opened(NamedTuple):
    """A sealed challenge whose answer is known."""

    program: str
    """The program's text."""
    challenge: Challenge
    """The challenge, with its labels."""


def open_bundle(bundle: Bundle, answer_path: Path, data_dir: Path | None) -> Opened:
    """Checks an answer: that it is what was committed to, and what the network was trained on.

    Raises:
      InputError: if it is not.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    content = read_json(answer_path)
    try:
        answer = Answer.from_json(content)
    except InputError as error:
        raise InputError(f"{answer_path}: {error}") from error
    if answer.commitment != bundle.commitment:
        raise InputError(
            f"{answer_path} is not the answer to {bundle.path}: its commitment is "
            f"{answer.commitment}, the challenge's is {bundle.commitment}"
        )
    if content.get("fingerprint") != bundle.fingerprint:
        raise InputError(f"{bundle.path} was made anew: the answer is to another fingerprint")
    challenge = posed(load_challenge(bundle.challenge_name, data_dir), answer.program)
    counts = challenge.correct_counts(challenge.predict(bundle.checkpoint.params))
    if counts != bundle.counts:
        raise InputError(
            f"{bundle.path}: by this program the network is right on {counts}, and "
            f"{dict(bundle.counts)} was stated"
        )
    return Opened(show(answer.program), challenge)


def _counts_add_up(bundle: Bundle, challenge: Challenge) -> bool:
    sizes, counts = challenge.split_sizes(), bundle.counts
    parts = sum(count for name, count in counts.items() if name != "domain")
    return bundle.sizes == sizes and counts.keys() == sizes.keys() and parts == counts["domain"]


def _metrics(bundle: Bundle) -> dict[str, float]:
    return {f"{name}_accuracy": bundle.counts[name] / n for name, n in bundle.sizes.items()}


def _readme_says(bundle: Bundle) -> bool:
    text = (bundle.path / README).read_text(encoding="utf-8", errors="replace")
    counts = [f"{bundle.counts[name]:,} of {n:,} ({name})" for name, n in bundle.sizes.items()]
    return all(said in text for said in (bundle.commitment, *counts))


def _answers(bundle: Bundle, challenge: Challenge) -> bool:
    labels = challenge.predict(bundle.checkpoint.params)
    found = read_archive(bundle.path / MODEL_LABELS)
    return _same({name: array.reshape(-1) for name, array in found.items()}, {"labels": labels})


def _readable(kind: Kind) -> Mapping[str, str]:
    return _foreign_files(kind) if find_spec("torch") is not None else {}


def _foreign_files(kind: Kind) -> Mapping[str, str]:
    """File -> format: the network in other tools' forms."""
    return kind_of_challenge(kind).sealing.foreign_files


def _is_network(bundle: Bundle, name: str) -> bool:
    theirs = import_network(bundle.path / name, _foreign_files(bundle.kind)[name]).params
    return _same(leaves_by_path(theirs), leaves_by_path(bundle.checkpoint.params))


def _same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], array) for name, array in expected.items()
    )
