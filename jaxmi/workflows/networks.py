"""Checkpoints loaded with their challenge; labels, predictions and accuracies as files."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.files import takes_any_path
from jaxmi.programs.language import Kind
from jaxmi.sealed import NETWORK
from jaxmi.sealed.read import Bundle, is_bundle, read_bundle
from jaxmi.storage.archive import check_archive, write_archive
from jaxmi.storage.checkpoints import Checkpoint, load_checkpoint, read_json
from jaxmi.types import Params
from jaxmi.workflows.challenges import load_any

logger = logging.getLogger(__name__)


@takes_any_path
def load_network(path: Path, data_dir: Path | None = None) -> tuple[Challenge, Params]:
    """Load a checkpoint, and the challenge whose inputs and network it has.

    Raises:
      InputError: as `load_checkpoint`.
      UnavailableError: if the challenge needs MNIST and it cannot be had.
    """
    checkpoint = load_checkpoint(path)
    return checkpoint.load_challenge(data_dir), checkpoint.params


@takes_any_path
def load_labelled(path: Path) -> Checkpoint:
    """Load a checkpoint that was trained on its challenge's own labels and split.

    Raises:
      InputError: as `load_checkpoint`, or if it is a sealed challenge's or a study's.
    """
    checkpoint = load_published(path)
    if checkpoint.sealed:
        raise InputError(
            f"{path} is a sealed challenge's network, whose true labels are not known; "
            "`jaxmi score` compares programs with it"
        )
    return checkpoint


@takes_any_path
def load_published(path: Path) -> Checkpoint:
    """Load a checkpoint, unless it was trained on other labels or another split.

    Raises:
      InputError: as `load_checkpoint`, or if it was trained on others.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.variant:
        raise InputError(
            f"{path} was trained on other labels or another split than its challenge's: "
            f"{checkpoint.variant}"
        )
    return checkpoint


def check_kind(kind: Kind, known: Collection[Kind], subcommand: str, network: object) -> None:
    """Check that a subcommand takes networks of a kind.

    Args:
      kind: The kind of the network's challenge.
      known: The kinds that it takes.
      subcommand: Its name.
      network: What messages call the network.

    Raises:
      InputError: if it does not.
    """
    if kind not in known:
        taken = ", ".join(known)
        raise InputError(f"{network} is of {kind}; {subcommand} takes {taken}")


@takes_any_path
def network_folder(path: Path) -> Path:
    """Return the folder of a sealed challenge's network, or any other path as it is.

    Raises:
      InputError: if it is a sealed challenge of which a file was altered.
    """
    return read_bundle(path).path / NETWORK if is_bundle(path) else path


@takes_any_path
def find_networks(path: Path) -> dict[str, Path]:
    """Return the checkpoints at a path: the path itself under "", or a run's seeds by name.

    Raises:
      InputError: if it is neither a checkpoint nor a run with a finished seed.
    """
    if not (path / "run.json").is_file():
        return {"": path}
    folders = sorted(path.glob("seed-*[0-9]"), key=lambda seed: (len(seed.name), seed.name))
    seeds = {seed.name: seed for seed in folders}
    if not seeds:
        raise InputError(f"{path} is a run without a finished seed")
    if not read_json(path / "run.json").get("finished"):
        logger.info(f"{path} is not finished; it has {len(seeds)} seeds")
    return seeds


@takes_any_path
def write_labels(name: str, out: Path, force: bool, data_dir: Path | None) -> dict[str, Any]:
    """Write a challenge's true labels over the whole domain.

    Args:
      name: A challenge's name, or its folder.
      out: The .npz file; `Challenge.label_tables` says what it holds.
      force: Replace a file that exists.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Returns:
      What `jaxmi labels --json` prints.

    Raises:
      InputError: if there is no such challenge, or the file exists.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    check_archive(out, force)
    challenge = load_any(name, data_dir)
    write_archive(out, challenge.label_tables())
    return {
        "challenge": challenge.name,
        "label1_share": float(challenge.labels.mean()),
        "out": str(out),
    }


@takes_any_path
def write_predictions(path: Path, out: Path, force: bool, data_dir: Path | None) -> dict[str, Any]:
    """Write a network's logits and labels.

    Args:
      path: A checkpoint.
      out: The .npz file: "logits" and "labels" of `Challenge.predict_rows`.
      force: Replace a file that exists.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Returns:
      What `jaxmi predict --json` prints.

    Raises:
      InputError: if the checkpoint cannot be used, or the file exists.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    check_archive(out, force)
    challenge, params = load_network(path, data_dir)
    logits = challenge.logits(params, challenge.predict_rows)
    if isinstance(challenge.predict_rows, slice):
        logits = challenge.as_table(logits)
    labels = logits.argmax(axis=-1).astype(np.int32)
    write_archive(out, {"logits": logits, "labels": labels})
    return {
        "challenge": challenge.name,
        "checkpoint": str(path),
        "label1_share": float((labels == 1).mean()),
        "out": str(out),
    }


@takes_any_path
def evaluate(path: Path, data_dir: Path | None) -> dict[str, Any]:
    """Recompute a network's accuracies from its weights; a sealed one's are those that are stated.

    Args:
      path: A checkpoint, or a sealed challenge's folder.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Returns:
      What `jaxmi evaluate --json` prints. Of a sealed challenge's network the accuracies are None,
      and "stated" has for each split and the "domain" the numbers that its folder states: "right",
      "inputs" and "share".

    Raises:
      InputError: if the checkpoint cannot be used, or is a sealed challenge's outside of its
        folder.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    checkpoint = load_published(network_folder(path))
    if checkpoint.sealed:
        return _stated(_bundle_of(path), path)
    challenge = checkpoint.load_challenge(data_dir)
    metrics = challenge.metrics(challenge.predict(checkpoint.params))
    return {"challenge": challenge.name, "checkpoint": str(path), **metrics}


def _bundle_of(path: Path) -> Bundle:
    for folder in (path, path.resolve().parent):
        if is_bundle(folder):
            return read_bundle(folder)
    raise InputError(
        f"{path} is a sealed challenge's network outside of its folder, which states how often the "
        "network is right; name that folder"
    )


def _stated(bundle: Bundle, path: Path) -> dict[str, Any]:
    unknown = {f"{name}_accuracy": None for name in bundle.sizes}
    return {
        "challenge": bundle.checkpoint.challenge,
        "checkpoint": str(path),
        **unknown,
        "casper_figure": None,
        "stated": bundle.stated(),
    }
