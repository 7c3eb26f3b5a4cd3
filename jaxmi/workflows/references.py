"""The reference that a submission is judged by, from files: a published or a sealed challenge."""

from pathlib import Path

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import is_challenge_folder
from jaxmi.challenges.registry import NAMES, Origin, name_of, origin
from jaxmi.errors import InputError
from jaxmi.judge.score import Reference
from jaxmi.sealed.read import Bundle, open_bundle, read_bundle
from jaxmi.storage.checkpoints import Checkpoint
from jaxmi.types import Params
from jaxmi.workflows.challenges import find, load_any
from jaxmi.workflows.networks import load_labelled
from jaxmi.workflows.submissions import Against


def load_reference(against: Against) -> Reference:
    """Load a challenge's true labels, if they are known, and its network's predictions.

    Raises:
      InputError: if a file cannot be used, or they do not belong together.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    challenge, network, bundle = _load(against)
    if bundle is not None and against.answer is not None:
        challenge = open_bundle(bundle, against.answer, against.data_dir).challenge
    known = bundle is None or against.answer is not None
    return Reference(
        challenge,
        truth=challenge.labels if known else None,
        network=challenge.predict(network.params) if network else None,
        stated=bundle.counts if bundle else {},
    )


def load_judged_network(against: Against) -> tuple[Challenge, Params]:
    """Load the network that an explanation is about, and its challenge.

    Raises:
      InputError: as `load_reference`, or if no network is named.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    challenge, network, _ = _load(against)
    if network is None:
        raise InputError("an explanation is of a network: name it with --checkpoint")
    return challenge, network.params


def _load(against: Against) -> tuple[Challenge, Checkpoint | None, Bundle | None]:
    bundle, folder = None, Path(against.challenge)
    if against.challenge in NAMES or is_challenge_folder(folder):
        if against.answer is not None:
            raise InputError(f"--answer {against.answer}: {against.challenge} is not sealed")
        path = against.checkpoint
        network = load_labelled(path) if path is not None else None
        found = find(against.challenge)
        if network is not None and (network.definition or network.challenge) != found:
            raise InputError(
                f"{path} is a network of {network.challenge}, not of {against.challenge}"
            )
        challenge = load_any(against.challenge, against.data_dir)
    else:
        if against.checkpoint is not None:
            raise InputError(
                f"--checkpoint {against.checkpoint}: a sealed challenge has a network of its own"
            )
        bundle = read_bundle(folder)
        network = bundle.checkpoint
        challenge = network.load_challenge(against.data_dir)
    return challenge, network, bundle


def find_origin(challenge: str) -> tuple[str, Origin]:
    """Return a challenge's name, its kind and its network, without its data.

    Args:
      challenge: A name, or a folder; also a sealed challenge's.

    Raises:
      InputError: if there is no such challenge.
    """
    folder = Path(challenge)
    if challenge in NAMES or is_challenge_folder(folder):
        found = find(challenge)
        return name_of(found), origin(found)
    checkpoint = read_bundle(folder).checkpoint
    return checkpoint.challenge, checkpoint.origin
