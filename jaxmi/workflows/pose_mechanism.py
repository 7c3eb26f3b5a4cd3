"""Sealed mechanisms posed: a program drawn unseen, compiled by a mechanism drawn unseen."""

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.registry import load_challenge
from jaxmi.challenges.sealed import posed
from jaxmi.challenges.sealed_mechanism import TASK, MechanismKey, seal_mechanism
from jaxmi.errors import InputError, UnavailableError
from jaxmi.files import takes_any_path
from jaxmi.judge.key_check import check_key
from jaxmi.judge.key_explanation import check_fits
from jaxmi.planted.compile import MECHANISMS
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.language import PUBLISHED
from jaxmi.sealed.write import write_mechanism
from jaxmi.storage.atomic import atomic_folder
from jaxmi.workflows.plants import MAX_SEED, Plant, compile_network
from jaxmi.workflows.pose import check_paths, draw, private_file, write_key

logger = logging.getLogger(__name__)

DISGUISE: Mapping[str, Any] = {"cancelling": 16, "idle_heads": 1}
"""How many decoys a network gets, as arguments of `compile_network`, where it has room for them."""


@takes_any_path
def pose_mechanism(
    out: Path,
    key_path: Path,
    programs: int,
    definition: Definition | None = None,
    hide_program: bool = False,
) -> dict[str, Any]:
    """Draw a program and a mechanism, compile them in disguise; write the bundle and its key.

    A program is taken if every mechanism can have it and an explanation can name all that is held:
    so the program does not tell the mechanism. Program, mechanism, salt and the seed of the
    disguise are separate draws from the operating system's entropy.

    Args:
      out: The bundle's folder; it must not exist.
      key_path: The file to write the key to, outside of the folder, readable by its owner only.
      programs: How many programs to try at most.
      definition: Domain and network, without labels; None: as published.
      hide_program: Seal the program, too.

    Returns:
      What `jaxmi challenge new --json` prints, which does not reveal the mechanism.

    Raises:
      InputError: if a path is in use, or cannot be written.
      UnavailableError: if no program was fit for every mechanism, and for the disguise.
    """
    began = time.perf_counter()
    check_paths(out, key_path)
    base = load_challenge(definition or PUBLISHED[PairDomain.kind])
    for tried in range(1, programs + 1):
        program = draw(base)[0].program
        challenge = posed(base, program)  # in canonical form, as the key has it
        try:
            plain = _plain(challenge)
        except InputError as error:
            logger.info(f"a program does not fit every mechanism ({error}): trying again")
            continue
        try:
            plant = _compile(challenge, _decoys(plain))
            key = seal_mechanism(program, plant.key)
            check_key(key.mechanism, challenge, plant.params)
        except InputError:  # the message could tell the mechanism
            logger.info("a program does not survive its disguise: trying again")
            continue
        fingerprint = _write(out, key_path, challenge, plant, key, hide_program)
        return {
            "bundle": str(out),
            "answer": str(key_path),
            "kind": challenge.kind,
            "task": TASK,
            "program_hidden": hide_program,
            "commitment": key.commitment,
            "fingerprint": fingerprint,
            "programs_tried": tried,
            "seconds": round(time.perf_counter() - began, 1),
        }
    raise UnavailableError(
        f"{programs} programs, and none that fits every mechanism in this network; try again, or "
        "take a larger network"
    )


def _plain(challenge: Challenge) -> list[Plant]:
    """Return the network of each mechanism, undisguised.

    Raises:
      InputError: if some mechanism cannot have the program, or an explanation not name all; names
        the mechanism only, since more could tell the program.
    """
    plain = []
    for mechanism in MECHANISMS:
        try:
            plain.append(compile_network(challenge, mechanism))
            check_fits(plain[-1].key)
        except InputError:
            raise InputError(mechanism) from None
    return plain


def _decoys(plain: Sequence[Plant]) -> dict[str, Any]:
    """Return how many decoys each mechanism has room for: their number must not tell which it is.

    Args:
      plain: The network of each mechanism, undisguised.
    """
    free = [
        {
            name: size - plant.config["compiled"]["used"][name]
            for name, size in plant.challenge.model_config.items()
            if name in ("d_model", "n_heads", "d_mlp")
        }
        for plant in plain
    ]
    pairs = min(one["d_mlp"] // 2 for one in free)
    heads = min(one["n_heads"] if one["d_model"] else 0 for one in free)
    return {
        "cancelling": min(DISGUISE["cancelling"], pairs),
        "idle_heads": min(DISGUISE["idle_heads"], heads),
    }


def _compile(challenge: Challenge, decoys: Mapping[str, Any]) -> Plant:
    mechanism = secrets.choice(list(MECHANISMS))
    seed = secrets.randbelow(MAX_SEED)
    return compile_network(challenge, mechanism, disguise_seed=seed, **decoys)


def _write(
    out: Path,
    key_path: Path,
    challenge: Challenge,
    plant: Plant,
    key: MechanismKey,
    hide_program: bool,
) -> str:
    """Write the bundle and its key, or neither."""
    with private_file(key_path) as descriptor, atomic_folder(out) as folder:
        fingerprint = write_mechanism(folder, challenge, plant.params, key, hide_program)
        compiled = {
            **plant.config["compiled"],
            "disguise": str(plant.config["compiled"]["disguise"]),
        }
        write_key(descriptor, {**key.to_json(), "fingerprint": fingerprint, "compiled": compiled})
    return fingerprint
