"""A network's answers as `jaxmi recover` takes them: from a checkpoint, or a table of labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.challenges.sealed import program_domain
from jaxmi.cli.network import load_published
from jaxmi.errors import InputError
from jaxmi.programs.domain import Domain, ImageDomain, PairDomain
from jaxmi.recover.evidence import Evidence, gather_evidence
from jaxmi.weights.archive import read_archive
from jaxmi.weights.native import Checkpoint

MODEL_LABELS, LABELS, LOGITS, IS_TRAIN = "model_labels", "labels", "logits", "is_train"
"""Arrays of a table; only labels must be there. The published file has both kinds of labels: then
`labels` are the true ones. Without `is_train` the challenge's own split is taken."""

IMAGE_ROWS = {70_000: slice(0, None), 60_000: slice(0, 60_000), 10_000: slice(60_000, None)}
"""By how many labels there are, which of MNIST's images they are of."""


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
        domain = program_domain(self.challenge)
        if isinstance(domain, PairDomain):
            return domain
        return ImageDomain(domain.images[self.rows], domain.templates)

    @property
    def evidence(self) -> Evidence:
        """Returns what the search may see."""
        return gather_evidence(self.labels, self.margins, self.splits)


def read_answers(path: Path, data_dir: Path | None) -> Answers:
    """Reads a network, and asks it for all its answers; or reads a table of them.

    Raises:
      InputError: if it cannot be used, or gives one label throughout.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if (path / "run.json").is_file():
        raise InputError(f"{path} is a run of many networks: name one, such as {path}/seed-00000")
    if path.suffix == ".npz" and path.is_file():
        answers = _from_table(path, data_dir)
    else:
        answers = from_checkpoint(load_published(path), data_dir)
    if answers.labels.all() or not answers.labels.any():
        raise InputError(f"{path}: one label for every input; there is no program to recover")
    return answers


def from_checkpoint(checkpoint: Checkpoint, data_dir: Path | None) -> Answers:
    """Asks a network for all its answers.

    Raises:
      UnavailableError: if MNIST is needed and cannot be had.
    """
    challenge = load_challenge(checkpoint.challenge, data_dir)
    logits = challenge.logits(checkpoint.params)
    truth = None if checkpoint.sealed else challenge.labels
    labels = logits.argmax(axis=-1) == 1
    return Answers(
        challenge, slice(None), labels, _margins(logits), _split_numbers(challenge), truth
    )


def _from_table(path: Path, data_dir: Path | None) -> Answers:
    arrays = read_archive(path)
    name = MODEL_LABELS if MODEL_LABELS in arrays else LABELS
    if name not in arrays:
        raise InputError(f"{path} holds no array `{LABELS}`")
    labels = arrays[name]
    pairs = load_challenge("transformer")
    p = round(len(pairs.inputs) ** 0.5)
    if labels.shape in ((p, p), (p * p,)):
        challenge, rows = pairs, slice(None)
    elif labels.ndim == 1 and len(labels) in IMAGE_ROWS:
        challenge, rows = load_challenge("cnn", data_dir), IMAGE_ROWS[len(labels)]
    else:
        counts = ", ".join(f"({n},)" for n in IMAGE_ROWS)
        raise InputError(f"{path}: `{name}` is {labels.shape}, expected {(p, p)} or {counts}")
    if labels.dtype.kind not in "biuf" or not np.isin(labels, np.arange(2**15)).all():
        raise InputError(f"{path}: `{name}` is {labels.dtype}, expected small whole numbers")
    truth = challenge.labels[rows]
    if name == MODEL_LABELS and LABELS in arrays and arrays[LABELS].shape == labels.shape:
        truth = (arrays[LABELS] == 1).reshape(-1).astype(np.int32)
    margins = None
    if LOGITS in arrays:
        logits = arrays[LOGITS]
        if logits.shape[:-1] != labels.shape or logits.shape[-1] < 2 or logits.dtype.kind != "f":
            raise InputError(f"{path}: `{LOGITS}` is {logits.shape}, for labels {labels.shape}")
        if not np.isfinite(logits[..., :2]).all():
            raise InputError(f"{path}: `{LOGITS}` has numbers that are not finite")
        margins = _margins(logits.reshape(-1, logits.shape[-1]))
    splits = _split_numbers(challenge)[rows]
    if IS_TRAIN in arrays:
        if arrays[IS_TRAIN].shape != labels.shape or arrays[IS_TRAIN].dtype != bool:
            raise InputError(f"{path}: `{IS_TRAIN}` is no table of truth values like `{name}`")
        splits = 1 - arrays[IS_TRAIN].reshape(-1).astype(np.int64)
    return Answers(challenge, rows, (labels == 1).reshape(-1), margins, splits, truth)


def _split_numbers(challenge: Challenge) -> Int[np.ndarray, "n"]:
    numbers = np.zeros(len(challenge.inputs), np.int64)
    for number, rows in enumerate(challenge.splits.values()):
        numbers[rows] = number
    return numbers


def _margins(logits: Float[np.ndarray, "m classes"]) -> Float[np.ndarray, "m"]:
    return logits[:, 1].astype(np.float64) - logits[:, 0]
