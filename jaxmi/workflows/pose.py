"""Sealed challenges posed: programs drawn unseen, networks trained on them, bundle and key."""

import json
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.registry import load_challenge
from jaxmi.challenges.sealed import Key, posed, seal
from jaxmi.errors import DivergedError, InputError, UnavailableError
from jaxmi.files import readable_texts, takes_any_path
from jaxmi.programs.fairness import draw_fair
from jaxmi.programs.language import PUBLISHED, SIGNATURES, Kind
from jaxmi.sealed.write import write_bundle
from jaxmi.storage.atomic import atomic_folder, check_writable
from jaxmi.training.recipe import recipes_for
from jaxmi.training.seeds import Run, SeedResult, train_runs
from jaxmi.types import Params
from jaxmi.workflows.challenges import define, fairness_domain
from jaxmi.workflows.machine import prepare_devices
from jaxmi.workflows.progress import Progress

logger = logging.getLogger(__name__)

SEEDS_PER_PROGRAM = 2
"""Networks that are trained on a program before others are drawn."""


@takes_any_path
def pose(
    kind: Kind,
    out: Path,
    key_path: Path,
    programs: int,
    data_dir: Path | None,
    definition: Definition | None = None,
) -> dict[str, Any]:
    """Draw programs until a network's test accuracy is in bounds; write the bundle and its key.

    As many programs as there are devices are drawn at once, and a network is trained on each, side
    by side. The first in the order of drawing that is good enough is taken. Programs, salts and
    training seeds are separate draws from the operating system's entropy.

    Args:
      kind: What the program labels.
      out: The bundle's folder; it must not exist.
      key_path: The file to write the key to, outside of the folder, readable by its owner only.
      programs: How many programs to try at most.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.
      definition: Domain, split and network, without labels; None: as published, or the defaults
        of a kind without a published challenge.

    Returns:
      What `jaxmi challenge new --json` prints, which does not reveal the program.

    Raises:
      InputError: if a path is in use, or cannot be written.
      UnavailableError: if MNIST cannot be had, or no network was good enough.
    """
    began = time.perf_counter()
    check_paths(out, key_path)
    prepare_devices(None, programs)
    if definition is None and not SIGNATURES[kind].published:
        definition = define(None, kind=kind, name="sealed")
    base = load_challenge(definition or PUBLISHED[kind], data_dir)
    low, high = base.sealing.accuracy
    for tried in range(0, programs, jax.device_count()):
        n_drawn = min(jax.device_count(), programs - tried)
        drawn = [draw(base) for _ in range(n_drawn)]
        for _ in range(SEEDS_PER_PROGRAM):
            networks = _train([challenge for _, challenge in drawn])
            for (key, challenge), trained in zip(drawn, networks, strict=True):
                accuracy = _test_accuracy(challenge, trained.params) if trained else 0.0
                if trained and low <= accuracy <= high:
                    fingerprint = _write(out, key_path, challenge, trained, key)
                    return {
                        "bundle": str(out),
                        "answer": str(key_path),
                        "kind": kind,
                        "commitment": key.commitment,
                        "fingerprint": fingerprint,
                        "test_accuracy": accuracy,
                        "programs_tried": tried + n_drawn,
                        "seconds": round(time.perf_counter() - began, 1),
                    }
                logger.info(
                    f"test accuracy {accuracy:.2%}, wanted {low:.1%} to {high:.1%}: trying again"
                )
    raise UnavailableError(
        f"{programs} programs, and no network between {low:.1%} and {high:.1%}; try again"
    )


@takes_any_path
def check_paths(out: Path, key_path: Path) -> None:
    """Check that a bundle and its key can be written, and replace nothing.

    Args:
      out: The bundle's folder.
      key_path: The file of the key.

    Raises:
      InputError: if a path is in use, cannot be written, or lies within the other.
    """
    for path in (out, key_path):
        if os.path.lexists(path):
            raise InputError(f"{path} exists already; a sealed challenge replaces nothing")
        check_writable(path.parent)
    inner, outer = key_path.resolve(), out.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise InputError(f"{key_path} and {out} lie within each other: write the key elsewhere")


def draw(base: Challenge) -> tuple[Key, Challenge]:
    """Draw a fair program and seal it.

    Args:
      base: The challenge whose inputs the program labels.

    Returns:
      The key, and the challenge with the program's labels.
    """
    domain, digits = fairness_domain(base)
    program, _ = draw_fair(domain, secrets.SystemRandom(), digits=digits)
    return seal(program), posed(base, program)


def _train(challenges: list[Challenge]) -> list[SeedResult | None]:
    """Train a network on each challenge; None stands for one that diverged."""
    recipe = recipes_for(challenges[0])["fast"]
    progress = Progress("sealed challenge", recipe.steps, len(challenges), unit=None)
    runs = [Run(challenge, [secrets.randbelow(2**32)]) for challenge in challenges]
    results: dict[int, SeedResult] = {}
    with progress, suppress(DivergedError):
        for index, result in train_runs(runs, recipe, watchers=[progress]):
            results[index] = result
    return [results.get(index) for index in range(len(runs))]


def _test_accuracy(challenge: Challenge, params: Params) -> float:
    rows = challenge.splits["test"]
    right = challenge.predict(params, rows) == challenge.labels[rows]
    return float(right.mean())


def _write(out: Path, key_path: Path, challenge: Challenge, trained: SeedResult, key: Key) -> str:
    """Write the bundle and its key, or neither."""
    recipe = {"name": "fast", **asdict(recipes_for(challenge)["fast"])}
    with private_file(key_path) as descriptor, atomic_folder(out) as folder:
        fingerprint = write_bundle(folder, challenge, trained.params, key, recipe)
        content = {
            **key.to_json(),
            "fingerprint": fingerprint,
            "training_seed": trained.seed,
            "recipe": recipe,
        }
        write_key(descriptor, content)
    return fingerprint


def write_key(descriptor: int, content: Mapping[str, Any]) -> None:
    """Write a key to its open file, and on to the disk.

    Args:
      descriptor: As `private_file` gives it.
      content: The key, as JSON types.
    """
    os.write(descriptor, (json.dumps(readable_texts(content), indent=2) + "\n").encode())
    os.fsync(descriptor)


@takes_any_path
@contextmanager
def private_file(path: Path) -> Iterator[int]:
    """Create a file that only its owner may read; remove it if the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield descriptor
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
