"""Loading a checkpoint together with its challenge, for the verbs that take one."""

from pathlib import Path

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.errors import InputError
from jaxmi.types import Params
from jaxmi.weights.native import check_params, load_checkpoint


def load_network(path: Path, data_dir: Path | None = None) -> tuple[Challenge, Params]:
    """Loads a checkpoint and the challenge that it belongs to.

    Raises:
      InputError: if it is no checkpoint, or its parameters do not fit its challenge's network.
      UnavailableError: if the challenge needs MNIST and it cannot be had.
    """
    checkpoint = load_checkpoint(path)
    challenge = load_challenge(checkpoint.challenge, data_dir)
    try:
        if checkpoint.config.get("model") != challenge.model_config:
            raise InputError(
                f"config.json's model is not this challenge's: {challenge.model_config}"
            )
        check_params(checkpoint.params, challenge)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return challenge, checkpoint.params
