"""What a submission is judged by, from files: a published challenge or a sealed one."""

from pathlib import Path

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.cli.sealed_bundle import open_bundle, read_bundle
from jaxmi.data.mnist import load_mnist
from jaxmi.errors import InputError
from jaxmi.judge.reference import Reference
from jaxmi.types import Params
from jaxmi.weights.native import load_checkpoint


def published_reference(name: str, checkpoint: Path | None, data_dir: Path | None) -> Reference:
    """Returns a published challenge's labels, and those of any network of it.

    Raises:
      InputError: if the checkpoint cannot be used, or is of another challenge.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    network = load_checkpoint(checkpoint) if checkpoint is not None else None
    if network is not None and network.challenge != name:
        raise InputError(f"{checkpoint} is a network of {network.challenge}, not of {name}")
    if network is not None and network.sealed:
        raise InputError(f"{checkpoint} is a sealed challenge's network: name that as --challenge")
    challenge = load_challenge(name, data_dir)
    return Reference(
        challenge,
        truth=challenge.labels,
        network=_labels(challenge, network.params) if network else None,
        digits=_digits(challenge, data_dir),
    )


def sealed_reference(path: Path, answer: Path | None, data_dir: Path | None) -> Reference:
    """Returns a sealed challenge's network's labels, and with its answer the true ones.

    Raises:
      InputError: if the challenge was altered, or the answer is not to it.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    bundle = read_bundle(path)
    if answer is not None:
        challenge = open_bundle(bundle, answer, data_dir).challenge
    else:
        challenge = load_challenge(bundle.challenge_name, data_dir)
    return Reference(
        challenge,
        truth=challenge.labels if answer is not None else None,
        network=_labels(challenge, bundle.checkpoint.params),
        stated=bundle.counts["domain"] / len(challenge.inputs),
        digits=_digits(challenge, data_dir),
    )


def _labels(challenge: Challenge, params: Params) -> np.ndarray:
    return challenge.logits(params).argmax(axis=-1).astype(np.int32)


def _digits(challenge: Challenge, data_dir: Path | None) -> np.ndarray | None:
    return load_mnist(data_dir).digits if challenge.name == "cnn" else None
