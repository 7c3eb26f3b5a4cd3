"""Programs recovered from networks, from files to files, and sealed challenges solved."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import Definition, pack
from jaxmi.challenges.registry import NAMES, load_challenge, registered
from jaxmi.drawing import try_to_save
from jaxmi.errors import InputError
from jaxmi.files import takes_any_path, write_text
from jaxmi.judge.score import Reference
from jaxmi.programs.domain import NUMBER_DOMAINS, Domain
from jaxmi.programs.language import SIGNATURES, Kind
from jaxmi.programs.show import show
from jaxmi.recovery.evidence import Evidence, gather_evidence
from jaxmi.recovery.recover import METHODS, Recovery, recover
from jaxmi.report.scores import difference_figure
from jaxmi.sealed import NETWORK
from jaxmi.sealed.read import read_bundle
from jaxmi.storage.atomic import atomic_files, check_files
from jaxmi.storage.checkpoints import Checkpoint, write_json
from jaxmi.types import Params
from jaxmi.workflows.challenges import load_any
from jaxmi.workflows.label_tables import (
    LABELS,
    LOGITS,
    MODEL_LABELS,
    as_truth_values,
    find_labels,
    hint_if_transposed,
    is_table,
    possible_shapes,
    read_label_table,
    read_table_arrays,
)
from jaxmi.workflows.networks import check_kind, is_bundle, load_published, network_folder
from jaxmi.workflows.submissions import find_domain

logger = logging.getLogger(__name__)

KIND_OF_AXES: Mapping[int, Kind] = {len(SIGNATURES[kind].operands): kind for kind in NUMBER_DOMAINS}
"""Number of axes of a table -> the kind of numbers that it labels."""

IS_TRAIN = "is_train"
"""An array that a table may hold; without it the challenge's own split is taken."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A network's predictions on inputs of a challenge."""

    challenge: Challenge
    rows: slice
    """The challenge's inputs that are labelled."""
    labels: Bool[np.ndarray, "m"]
    """Whether the predicted label is 1."""
    margins: Float[np.ndarray, "m"] | None
    """Logit of label 1 less that of label 0; None if only labels are known."""
    splits: Int[np.ndarray, "m"]
    """The number of the split that each input is in."""
    truth: Int[np.ndarray, "m"] | None
    """The true labels; None if they are not known. The search does not see them."""

    @property
    def domain(self) -> Domain:
        """The inputs, as programs take them."""
        return self.challenge.program_domain.part(self.rows)

    @property
    def evidence(self) -> Evidence:
        """What the search sees."""
        return gather_evidence(self.labels, self.margins, self.splits)


@takes_any_path
def read_predictions(
    path: Path, data_dir: Path | None, challenge: str | None = None
) -> Predictions:
    """Run a network over its domain, or read a table of labels.

    Args:
      path: A checkpoint, a sealed challenge's folder, or a table (.npz).
      data_dir: A folder with the images, for images; None looks in the cache, then downloads.
      challenge: The challenge that a table labels, a name or a folder; None goes by its shape.

    Raises:
      InputError: if it cannot be used.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if (path / "run.json").is_file():
        raise InputError(f"{path} is a run of many networks: name one, such as {path}/seed-00000")
    if is_table(path) and path.is_file():
        return _from_table(path, data_dir, challenge)
    if challenge is not None:
        raise InputError(
            f"--challenge {challenge}: {path} is no table (.npz, .npy, .csv, .pkl); a network "
            "names its own challenge"
        )
    checkpoint = load_published(network_folder(path))
    check_kind(checkpoint.origin.kind, METHODS, "recover", path)
    return from_checkpoint(checkpoint, data_dir)


@takes_any_path
def from_checkpoint(checkpoint: Checkpoint, data_dir: Path | None) -> Predictions:
    """Run a checkpoint's network over its challenge's whole domain.

    Raises:
      UnavailableError: if MNIST is needed and cannot be had.
    """
    challenge = checkpoint.load_challenge(data_dir)
    return from_network(challenge, checkpoint.params, checkpoint.sealed is None)


def from_network(challenge: Challenge, params: Params, truth_known: bool = True) -> Predictions:
    """Run a network over its challenge's whole domain.

    Args:
      challenge: The challenge whose inputs it takes.
      params: The network.
      truth_known: Whether the challenge's labels are the true ones.
    """
    logits = challenge.logits(params)
    return Predictions(
        challenge,
        slice(None),
        logits.argmax(axis=-1) == 1,
        _margins(logits),
        _split_numbers(challenge),
        challenge.labels if truth_known else None,
    )


def search(predictions: Predictions, source: str) -> Recovery:
    """Search for the program behind predictions.

    Args:
      predictions: From `from_network` or `read_predictions`.
      source: What messages call the network.

    Raises:
      InputError: if programs of this kind cannot be searched, or there is one label for every
        input.
    """
    check_kind(predictions.challenge.kind, METHODS, "recover", source)
    if predictions.labels.all() or not predictions.labels.any():
        raise InputError(f"{source}: one label for every input; there is no program to recover")
    return recover(predictions.domain, predictions.evidence)


def _from_table(path: Path, data_dir: Path | None, name: str | None) -> Predictions:
    if name is not None:
        check_kind(find_domain(name)[0], METHODS, "recover", name)
    challenge, shapes, split_known = _labelled_by(path, data_dir, name)
    table = read_label_table(path, shapes, (MODEL_LABELS, LABELS))
    arrays, rows = table.arrays, table.rows
    known = split_known and not challenge.sealed
    truth = challenge.labels[rows] if known else None
    if MODEL_LABELS in arrays and LABELS in arrays and arrays[LABELS].size == len(table.labels):
        truth = (arrays[LABELS] == 1).reshape(-1).astype(np.int32)
    margins = None
    if LOGITS in arrays:
        logits = arrays[LOGITS]
        n = len(table.labels)
        fits = logits.ndim > 1 and logits.size == n * logits.shape[-1] and logits.shape[-1] > 1
        if not fits or logits.dtype.kind != "f":
            raise InputError(f"{path}: `{LOGITS}` is {logits.shape}, for labels {table.shape}")
        if not np.isfinite(logits[..., :2]).all():
            raise InputError(f"{path}: `{LOGITS}` has numbers that are not finite")
        margins = _margins(logits.reshape(-1, logits.shape[-1]))
    splits = _split_numbers(challenge)[rows]
    if not split_known and IS_TRAIN not in arrays:
        splits = np.zeros_like(splits)
        logger.info(
            f"{path} is of {challenge.kind} below {challenge.p}; which of them were trained on is "
            "not known: "
            f"name its challenge with --challenge, or give `{IS_TRAIN}` in the table"
        )
    if IS_TRAIN in arrays:
        is_train = as_truth_values(arrays[IS_TRAIN], table.shape, f"{path}: `{IS_TRAIN}`")
        splits = 1 - is_train.astype(np.int64)
    if truth is not None and challenge.grid is not None:
        hint_if_transposed(table.labels == 1, truth == 1, challenge.grid, path)
    return Predictions(challenge, rows, table.labels == 1, margins, splits, truth)


def _labelled_by(
    path: Path, data_dir: Path | None, name: str | None
) -> tuple[Challenge, Mapping[tuple[int, ...], slice], bool]:
    """Return the challenge that a table labels, the tables' shapes, and if its split is known.

    Without a challenge, the shape tells the published ones apart; another square is of pairs, and a
    cube of triples, of which neither the true labels nor the split are known.
    """
    if name is not None:
        folder = Path(name)
        sealed = name not in NAMES and is_bundle(folder)
        challenge = (
            read_bundle(folder).checkpoint.load_challenge(data_dir)
            if sealed
            else load_any(name, data_dir)
        )
        return challenge, challenge.program_domain.table_shapes, True
    names = {shape: name for name in NAMES for shape in registered(name).label_tables}
    shapes = {shape: registered(name).label_tables[shape] for shape, name in names.items()}
    arrays = read_table_arrays(path)
    found = find_labels(arrays, (MODEL_LABELS, LABELS))
    possible = [] if found is None else possible_shapes(arrays[found])
    known = next((shape for shape in possible if shape in names), None)
    even = (shape for shape in possible if len(set(shape)) == 1)
    grid = next((shape for shape in even if len(shape) in KIND_OF_AXES), None)
    if known is not None or grid is None:
        # Who reads a table of no known shape says so.
        name = NAMES[0] if known is None else names[known]
        return load_challenge(name, data_dir), shapes, True
    unlabelled = pack(np.zeros(np.prod(grid), bool))
    kind = KIND_OF_AXES[len(grid)]
    unknown = Definition(kind, None, labels=unlabelled, domain={"p": max(grid)})
    challenge = load_challenge(unknown)
    return challenge, challenge.program_domain.table_shapes, False


def _split_numbers(challenge: Challenge) -> Int[np.ndarray, "n"]:
    numbers = np.zeros(len(challenge.inputs), np.int64)
    for number, rows in enumerate(challenge.splits.values()):
        numbers[rows] = number
    return numbers


def _margins(logits: Float[np.ndarray, "m classes"]) -> Float[np.ndarray, "m"]:
    return logits[:, 1].astype(np.float64) - logits[:, 0]


PROGRAM, RECOVERY, MAP = "program.txt", "recovery.json", "recovery.png"


@takes_any_path
def write_recovery(
    path: Path,
    out: Path,
    truth: bool,
    force: bool,
    data_dir: Path | None,
    challenge: str | None = None,
) -> dict[str, Any]:
    """Recover a network's program and write it to a folder.

    Args:
      path: A checkpoint, a sealed challenge's folder, or a table of labels.
      out: The folder to write to.
      truth: Compare with the true labels, after the search.
      force: Replace files that exist.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.
      challenge: As in `read_predictions`.

    Returns:
      What `jaxmi recover --json` prints.

    Raises:
      InputError: if a file is invalid, or a number out of range.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    check_files(out, (PROGRAM, RECOVERY, MAP), force)
    predictions = read_predictions(path, data_dir, challenge)
    if truth and predictions.truth is None:
        reason = (
            "is a sealed challenge's network, whose true labels are not known"
            if predictions.challenge.sealed
            else "names no challenge whose true labels are known; name one with --challenge"
        )
        raise InputError(f"--truth: {path} {reason}")
    recovery = search(predictions, str(path))
    result = {"network": str(path), "challenge": predictions.challenge.name, **recovery.to_json()}
    if truth and predictions.truth is not None:
        _compare(result, recovery, predictions.truth)
    _write(out, predictions, recovery, result, truth, data_dir)
    return result


@takes_any_path
def solve(bundle_path: Path, out: Path, force: bool, data_dir: Path | None) -> dict[str, Any]:
    """Recover a sealed challenge's program.

    The submission is the first candidate that has the counts that the challenge states: on how many
    inputs of each split the network is right. Nearly all wrong programs have other counts.

    Args:
      bundle_path: The challenge's folder.
      out: The submission to write, a program's text.
      force: Replace the file if it exists.
      data_dir: As in `write_recovery`.

    Returns:
      What `jaxmi challenge solve --json` prints.

    Raises:
      InputError: if a file is invalid, or a number out of range.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if out.suffix not in (".txt", ".py"):
        raise InputError(f"--out {out}: a submission's name ends in .txt or .py")
    check_files(out.parent, (out.name,), force)
    bundle = read_bundle(bundle_path)
    if bundle.task != "program":
        raise InputError(
            f"{bundle_path} asks for a mechanism, and solve finds programs: look into the network "
            f"with `jaxmi explain {bundle_path}/{NETWORK} --out explained`, and write an "
            "explanation (docs/sealed-challenges.md)"
        )
    check_kind(bundle.kind, METHODS, "recover", bundle_path)
    predictions = from_checkpoint(bundle.checkpoint, data_dir)
    recovery = search(predictions, str(bundle_path))
    stated = [_as_stated(predictions, one.labels, bundle.counts) for one in recovery.candidates]
    chosen = stated.index(True) if any(stated) else 0
    program = recovery.candidates[chosen].program
    with atomic_files(out.parent) as folder:
        write_text(folder / out.name, show(program))
    return {
        **recovery.to_json(),
        "challenge": str(bundle_path),
        "commitment": bundle.commitment,
        "submitted": show(program),
        "as_stated": any(stated),
        "files": [str(out)],
    }


def _as_stated(predictions: Predictions, labels: np.ndarray, counts: Mapping[str, int]) -> bool:
    posed = replace(predictions.challenge, labels=labels.astype(np.int32))
    return posed.correct_counts(predictions.labels.astype(np.int32)) == dict(counts)


def _compare(result: dict[str, Any], recovery: Recovery, truth: np.ndarray) -> None:
    true = truth == 1
    result["agreement_truth"] = recovery.agreement(true)
    result["network_truth"] = float((recovery.evidence.labels == true).mean())
    for shown, one in zip(result["runners_up"], recovery.candidates[1:], strict=True):
        shown["agreement_truth"] = float((one.labels == true).mean())


def _write(
    out: Path,
    predictions: Predictions,
    recovery: Recovery,
    result: dict[str, Any],
    truth: bool,
    data_dir: Path | None,
) -> None:
    n = len(predictions.challenge.inputs)
    network = np.zeros(n, np.int32)
    network[predictions.rows] = predictions.labels
    known = np.zeros(n, np.int32)
    if predictions.truth is not None:
        known[predictions.rows] = predictions.truth
    reference = Reference(
        predictions.challenge,
        truth=known if truth else None,
        network=network,
    )
    score = reference.score(recovery.best.labels.astype(np.int32), predictions.rows)
    drawing = partial(
        difference_figure, reference, score, predictions.rows, "the recovered program"
    )
    with atomic_files(out) as folder:
        write_text(folder / PROGRAM, show(recovery.best.program))
        write_json(folder / RECOVERY, result)
        has_map = try_to_save(folder / MAP, drawing, dpi=110)
    written = (PROGRAM, RECOVERY, *([MAP] if has_map else []))
    result["files"] = [str(out / name) for name in written]
    if not recovery.found:
        logger.info(f"not found: confidence {recovery.judgement.confidence:.2f}")
