"""Recoveries as the command gives them, and as solutions of sealed challenges.

A network's answers as `jaxmi recover` takes them: from a checkpoint, or a table of labels.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import NAMES, load_challenge, registered
from jaxmi.errors import InputError
from jaxmi.judge.score import Reference
from jaxmi.programs.domain import Domain
from jaxmi.programs.show import show
from jaxmi.recovery.evidence import Evidence, gather_evidence
from jaxmi.recovery.recover import Recovery, recover
from jaxmi.report.scores import difference_figure
from jaxmi.sealed.read import read_bundle
from jaxmi.storage.atomic import atomic_files, check_files
from jaxmi.storage.checkpoints import Checkpoint, write_json
from jaxmi.types import Params
from jaxmi.workflows.explain import NUMBERS, REPORT
from jaxmi.workflows.label_tables import LABELS, read_label_table
from jaxmi.workflows.networks import load_labelled, load_published

logger = logging.getLogger(__name__)

MODEL_LABELS, LOGITS, IS_TRAIN = "model_labels", "logits", "is_train"
"""Arrays that a table may hold beside `LABELS`. The published file has both kinds of labels: then
`labels` are the true ones. Without `is_train` the challenge's own split is taken."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network answers, and on which inputs of which challenge."""

    challenge: Challenge
    rows: slice
    """Of the challenge's inputs."""
    labels: Bool[np.ndarray, "m"]
    """1 or not."""
    margins: Float[np.ndarray, "m"] | None
    """Logit of 1 less that of 0."""
    splits: Int[np.ndarray, "m"]
    """Which split each input is in, as a number."""
    truth: Int[np.ndarray, "m"] | None
    """The true labels; None if nobody knows them. No search sees them."""

    @property
    def domain(self) -> Domain:
        """Returns what programs label: these inputs."""
        return self.challenge.program_domain.part(self.rows)

    @property
    def evidence(self) -> Evidence:
        """Returns what the search may see."""
        return gather_evidence(self.labels, self.margins, self.splits)


def read_answers(path: Path, data_dir: Path | None) -> Answers:
    """Reads a network, and asks it for all its answers; or reads a table of them.

    Raises:
      InputError: if it cannot be used.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if (path / "run.json").is_file():
        raise InputError(f"{path} is a run of many networks: name one, such as {path}/seed-00000")
    if path.suffix == ".npz" and path.is_file():
        return _from_table(path, data_dir)
    return from_checkpoint(load_published(path), data_dir)


def from_checkpoint(checkpoint: Checkpoint, data_dir: Path | None) -> Answers:
    """Asks a network for all its answers.

    Raises:
      UnavailableError: if MNIST is needed and cannot be had.
    """
    challenge = load_challenge(checkpoint.challenge, data_dir)
    return from_network(challenge, checkpoint.params, checkpoint.sealed is None)


def from_network(challenge: Challenge, params: Params, truth_known: bool = True) -> Answers:
    """Run a network over its challenge's whole domain.

    Args:
      challenge: The challenge whose inputs it takes.
      params: The network.
      truth_known: Whether the challenge's labels are the true ones.
    """
    logits = challenge.logits(params)
    return Answers(
        challenge,
        slice(None),
        logits.argmax(axis=-1) == 1,
        _margins(logits),
        _split_numbers(challenge),
        challenge.labels if truth_known else None,
    )


def search(answers: Answers, source: str) -> Recovery:
    """Search for the program behind predictions.

    Args:
      answers: The predictions.
      source: What messages call the network.

    Raises:
      InputError: if there is one label for every input.
    """
    if answers.labels.all() or not answers.labels.any():
        raise InputError(f"{source}: one label for every input; there is no program to recover")
    return recover(answers.domain, answers.evidence)


def _from_table(path: Path, data_dir: Path | None) -> Answers:
    names = {shape: name for name in NAMES for shape in registered(name).label_tables}
    shapes = {shape: registered(name).label_tables[shape] for shape, name in names.items()}
    table = read_label_table(path, shapes, (MODEL_LABELS, LABELS))
    arrays, rows = table.arrays, table.rows
    challenge = load_challenge(names[table.shape], data_dir)
    truth = challenge.labels[rows]
    if MODEL_LABELS in arrays and LABELS in arrays and arrays[LABELS].shape == table.shape:
        truth = (arrays[LABELS] == 1).reshape(-1).astype(np.int32)
    margins = None
    if LOGITS in arrays:
        logits = arrays[LOGITS]
        if logits.shape[:-1] != table.shape or logits.shape[-1] < 2 or logits.dtype.kind != "f":
            raise InputError(f"{path}: `{LOGITS}` is {logits.shape}, for labels {table.shape}")
        if not np.isfinite(logits[..., :2]).all():
            raise InputError(f"{path}: `{LOGITS}` has numbers that are not finite")
        margins = _margins(logits.reshape(-1, logits.shape[-1]))
    splits = _split_numbers(challenge)[rows]
    if IS_TRAIN in arrays:
        if arrays[IS_TRAIN].shape != table.shape or arrays[IS_TRAIN].dtype != bool:
            raise InputError(
                f"{path}: `{IS_TRAIN}` is {arrays[IS_TRAIN].shape} {arrays[IS_TRAIN].dtype}, "
                f"expected {table.shape} bool"
            )
        splits = 1 - arrays[IS_TRAIN].reshape(-1).astype(np.int64)
    return Answers(challenge, rows, table.labels == 1, margins, splits, truth)


def _split_numbers(challenge: Challenge) -> Int[np.ndarray, "n"]:
    numbers = np.zeros(len(challenge.inputs), np.int64)
    for number, rows in enumerate(challenge.splits.values()):
        numbers[rows] = number
    return numbers


def _margins(logits: Float[np.ndarray, "m classes"]) -> Float[np.ndarray, "m"]:
    return logits[:, 1].astype(np.float64) - logits[:, 0]


PROGRAM, RECOVERY, MAP = "program.txt", "recovery.json", "recovery.png"


def write_recovery(
    path: Path, out: Path, truth: bool, force: bool, data_dir: Path | None
) -> dict[str, Any]:
    """Recovers a network's program and writes it down.

    Args:
      path: A checkpoint, or a table of labels.
      out: The folder to write to.
      truth: Compare with the true labels; they are looked at when the program is fixed.
      force: Replace files that are there.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Returns:
      What `jaxmi recover --json` prints.

    Raises:
      InputError: if something cannot be used.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    check_files(out, (PROGRAM, RECOVERY, MAP), force)
    answers = read_answers(path, data_dir)
    if truth and answers.truth is None:
        raise InputError(f"--truth: {path} is a sealed challenge's network, true labels unknown")
    recovery = search(answers, str(path))
    result = {"network": str(path), "challenge": answers.challenge.name, **recovery.to_json()}
    if truth and answers.truth is not None:
        _compare(result, recovery, answers.truth)
    _write(out, answers, recovery, result, truth, data_dir)
    return result


def check_explainable(path: Path, out: Path, force: bool) -> None:
    """Checks beforehand that a network can be explained, too, and the report written.

    Raises:
      InputError: if it is a table, a sealed network, or a report is in the way.
    """
    if path.suffix == ".npz":
        raise InputError(f"--explain: {path} is a table; there is no network in it")
    load_labelled(path)
    check_files(out, (REPORT, NUMBERS), force)


def solve(bundle_path: Path, out: Path, force: bool, data_dir: Path | None) -> dict[str, Any]:
    """Recovers a sealed challenge's program.

    Of all candidates it takes the first that gives the counts that the challenge states: on how
    many inputs of each split the network is right. Nearly all wrong programs give others.

    Args:
      bundle_path: The challenge's folder.
      out: The submission to write, a program's text.
      force: Replace it.
      data_dir: As in `write_recovery`.

    Returns:
      What `jaxmi challenge solve --json` prints.

    Raises:
      InputError: if something cannot be used.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if out.suffix not in (".txt", ".py"):
        raise InputError(f"--out {out}: a submission's name ends in .txt or .py")
    check_files(out.parent, (out.name,), force)
    bundle = read_bundle(bundle_path)
    answers = from_checkpoint(bundle.checkpoint, data_dir)
    recovery = search(answers, str(bundle_path))
    stated = [_as_stated(answers, one.labels, bundle.counts) for one in recovery.candidates]
    chosen = stated.index(True) if any(stated) else 0
    program = recovery.candidates[chosen].program
    with atomic_files(out.parent) as folder:
        (folder / out.name).write_text(show(program))
    return {
        **recovery.to_json(),
        "challenge": str(bundle_path),
        "commitment": bundle.commitment,
        "submitted": show(program),
        "as_stated": any(stated),
        "files": [str(out)],
    }


def _as_stated(answers: Answers, labels: np.ndarray, counts: Mapping[str, int]) -> bool:
    posed = replace(answers.challenge, labels=labels.astype(np.int32))
    return posed.correct_counts(answers.labels.astype(np.int32)) == dict(counts)


def _compare(result: dict[str, Any], recovery: Recovery, truth: np.ndarray) -> None:
    true = truth == 1
    result["agreement_truth"] = recovery.agreement(true)
    result["network_truth"] = float((recovery.evidence.labels == true).mean())
    for shown, one in zip(result["runners_up"], recovery.candidates[1:], strict=True):
        shown["agreement_truth"] = float((one.labels == true).mean())


def _write(
    out: Path,
    answers: Answers,
    recovery: Recovery,
    result: dict[str, Any],
    truth: bool,
    data_dir: Path | None,
) -> None:
    n = len(answers.challenge.inputs)
    network = np.zeros(n, np.int32)
    network[answers.rows] = answers.labels
    known = np.zeros(n, np.int32)
    if answers.truth is not None:
        known[answers.rows] = answers.truth
    reference = Reference(
        answers.challenge,
        truth=known if truth else None,
        network=network,
    )
    score = reference.score(recovery.best.labels.astype(np.int32), answers.rows)
    figure = difference_figure(reference, score, answers.rows, "the recovered program")
    with atomic_files(out) as folder:
        (folder / PROGRAM).write_text(show(recovery.best.program))
        write_json(folder / RECOVERY, result)
        figure.savefig(folder / MAP, dpi=110)
    result["files"] = [str(out / name) for name in (PROGRAM, RECOVERY, MAP)]
    if not recovery.found:
        logger.info(f"not found: confidence {recovery.judgement.confidence:.2f}")
