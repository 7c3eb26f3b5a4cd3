"""Recoveries as the command gives them, and as solutions of sealed challenges."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.sealed import correct_counts
from jaxmi.cli.answers import Answers, from_checkpoint, read_answers
from jaxmi.cli.explanation import NUMBERS, REPORT
from jaxmi.cli.network import load_labelled
from jaxmi.cli.sealed_checks import read_bundle
from jaxmi.cli.verb import log
from jaxmi.data.mnist import load_mnist
from jaxmi.errors import InputError
from jaxmi.judge.reference import Reference
from jaxmi.programs.show import show
from jaxmi.recover.recovery import Recovery, recover
from jaxmi.report.score_figures import difference_figure
from jaxmi.weights.native import write_json
from jaxmi.weights.whole import check_files, whole_files

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
    recovery = recover(answers.domain, answers.evidence)
    result = {"network": str(path), "challenge": answers.challenge.name, **recovery.figures()}
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
    recovery = recover(answers.domain, answers.evidence)
    stated = [_as_stated(answers, one.labels, bundle.counts) for one in recovery.candidates]
    chosen = stated.index(True) if any(stated) else 0
    program = recovery.candidates[chosen].program
    with whole_files(out.parent) as folder:
        (folder / out.name).write_text(show(program))
    return {
        **recovery.figures(),
        "challenge": str(bundle_path),
        "commitment": bundle.commitment,
        "submitted": show(program),
        "as_stated": any(stated),
        "files": [str(out)],
    }


def _as_stated(answers: Answers, labels: np.ndarray, counts: Mapping[str, int]) -> bool:
    posed = replace(answers.challenge, labels=labels.astype(np.int32))
    return correct_counts(posed, answers.labels.astype(np.int32)) == dict(counts)


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
        digits=load_mnist(data_dir).digits if answers.challenge.name == "cnn" else None,
    )
    score = reference.score(recovery.best.labels.astype(np.int32), answers.rows)
    figure = difference_figure(reference, score, answers.rows, "the recovered program")
    with whole_files(out) as folder:
        (folder / PROGRAM).write_text(show(recovery.best.program))
        write_json(folder / RECOVERY, result)
        figure.savefig(folder / MAP, dpi=110)
    result["files"] = [str(out / name) for name in (PROGRAM, RECOVERY, MAP)]
    if not recovery.found:
        log(f"not found: confidence {recovery.judgement.confidence:.2f}")
