"""Checkpoints as the verbs need them: with their challenge, or all of a run's."""

import logging
from pathlib import Path

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.errors import InputError
from jaxmi.storage.checkpoints import Checkpoint, load_checkpoint, read_json
from jaxmi.types import Params

logger = logging.getLogger(__name__)


def load_network(path: Path, data_dir: Path | None = None) -> tuple[Challenge, Params]:
    """Loads a checkpoint and the challenge whose inputs and network it has.

    Raises:
      InputError: as `load_checkpoint`.
      UnavailableError: if the challenge needs MNIST and it cannot be had.
    """
    checkpoint = load_checkpoint(path)
    return load_challenge(checkpoint.challenge, data_dir), checkpoint.params


def load_labelled(path: Path) -> Checkpoint:
    """Loads a checkpoint that was trained on its challenge's own labels and split.

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


def load_published(path: Path) -> Checkpoint:
    """Loads a checkpoint, unless a study trained it on labels or a split of its own.

    Raises:
      InputError: as `load_checkpoint`, or if one did.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.variant:
        raise InputError(
            f"{path} was trained for a study, on other labels or another split than its "
            f"challenge's: {checkpoint.variant}"
        )
    return checkpoint


def find_networks(path: Path) -> dict[str, Path]:
    """Returns the checkpoints that a path stands for: itself under "", or a run's seeds by name.

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
