"""A program or labels -> a network that was not trained, checked on every input."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os.path import isdir
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.registry import load_challenge
from jaxmi.errors import InputError
from jaxmi.files import takes_any_path
from jaxmi.models.transformer import Transformer
from jaxmi.planted.compile import MECHANISMS, plant
from jaxmi.planted.disguise import disguise
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.language import KIND_OF, Kind, Program
from jaxmi.programs.show import program_hash, show
from jaxmi.storage.checkpoints import check_vacant, definition_of, save_checkpoint
from jaxmi.types import Params
from jaxmi.workflows.challenges import define, find_labelled
from jaxmi.workflows.label_tables import (
    LABELS,
    MODEL_LABELS,
    find_labels,
    is_table,
    possible_shapes,
    read_table_arrays,
)
from jaxmi.workflows.submissions import path_or_text

MAX_SEED = 2**32
"""Seeds of disguises are below this."""


@dataclass(frozen=True, eq=False)
class Plant:
    """A compiled network and its challenge."""

    challenge: Challenge
    params: Params
    config: Mapping[str, Any]
    """As a checkpoint's; "compiled" has the mechanism, the program, the sizes that are used, the
    margin, the seed of the disguise, and how many decoys and how much noise it has."""
    metrics: Mapping[str, Any]
    key: Mapping[str, Any]
    """The key: what directions, neurons and heads hold, as `mechanism.json` has it."""


@takes_any_path
def compile_network(
    source: str | Program | Path | np.ndarray | Challenge,
    mechanism: str,
    p: int | None = None,
    network: Mapping[str, Any] | None = None,
    disguise_seed: int | None = None,
    *,
    cancelling: int = 0,
    idle_heads: int = 0,
    noise: int | float = 0,
) -> Plant:
    """Return weights that give every label of a challenge on pairs, by a mechanism.

    Args:
      source: A challenge, its name or folder; a program, its text or file; labels or their file.
      mechanism: One of `planted.compile.MECHANISMS`.
      p: How many values x and y take, of a program or labels; None: of a program 113, of labels
        what their shape says.
      network: The network's sizes where they differ from the challenge's.
      disguise_seed: Change basis, order and scales by this seed; None: leave the weights plain.
      cancelling: How many pairs of neurons to add whose outputs cancel; needs a disguise, as do:
      idle_heads: How many heads to add that write only where nothing reads.
      noise: Standard deviation of normal noise that is added to every weight.

    Raises:
      InputError: if it cannot be compiled; says why.
    """
    if mechanism not in MECHANISMS:
        raise InputError(f"mechanism {mechanism!r}: expected one of {', '.join(MECHANISMS)}")
    if disguise_seed is not None and not 0 <= disguise_seed < MAX_SEED:
        raise InputError(f"disguise {disguise_seed}: expected a seed from 0 to {MAX_SEED - 1:,}")
    extras = {"cancelling": cancelling, "idle_heads": idle_heads, "noise": noise}
    _check_extras(extras, disguise_seed)
    challenge = _challenge(source, p, dict(network or {}))
    assert isinstance(challenge.model, Transformer)
    config = challenge.model.config
    labels = (challenge.labels == 1).reshape(challenge.grid)
    compiled = plant(labels, challenge.program, config, mechanism)
    if disguise_seed is not None:
        compiled = disguise(
            compiled,
            config,
            disguise_seed,
            cancelling=cancelling,
            idle_heads=idle_heads,
            noise=noise,
        )
    margin, predictions = _run(challenge, compiled.params)
    wrong = int((predictions != challenge.labels).sum())
    if wrong or not margin > 0:
        share = f"{wrong:,} of {len(labels) ** 2:,}"
        if noise:
            raise InputError(f"noise {noise:g} changes {share} labels: take less")
        raise InputError(
            f"{mechanism} gives another label on {share} inputs in float32: numbers of the "
            "program are too large, or too close to each other"
        )
    program = challenge.program
    about = {
        "mechanism": mechanism,
        "program": None if program is None else show(program),
        "program_hash": None if program is None else program_hash(program),
        "used": dict(compiled.sizes),
        "margin": margin,
        "disguise": disguise_seed,
        **extras,
    }
    return Plant(
        challenge,
        compiled.params,
        {
            "challenge": challenge.name,
            "model": challenge.model_config,
            "jaxmi_version": jaxmi.__version__,
            **definition_of(challenge),
            "compiled": about,
        },
        challenge.metrics(predictions),
        {"format": 1, **compiled.key.to_json()},
    )


@takes_any_path
def write_network(
    source: str,
    mechanism: str,
    out: Path,
    p: int | None = None,
    network: Mapping[str, Any] | None = None,
    disguise_seed: int | None = None,
    force: bool = False,
    *,
    cancelling: int = 0,
    idle_heads: int = 0,
    noise: int | float = 0,
) -> dict[str, Any]:
    """Compile a network, and write it as a checkpoint with its key.

    Args:
      source: A challenge's name or folder, or a file with a program or labels.
      mechanism: As in `compile_network`.
      out: The checkpoint folder to make.
      p: As in `compile_network`.
      network: As in `compile_network`.
      disguise_seed: As in `compile_network`.
      force: Replace a checkpoint that exists.
      cancelling: As in `compile_network`.
      idle_heads: As in `compile_network`.
      noise: As in `compile_network`.

    Returns:
      What `jaxmi compile --json` prints.

    Raises:
      InputError: if it cannot be compiled, or the folder exists.
    """
    check_vacant(out, force)
    given = path_or_text(source)
    if not isinstance(given, Path) or given.is_dir():
        given = _known(source)
    plant = compile_network(
        given,
        mechanism,
        p,
        network,
        disguise_seed,
        cancelling=cancelling,
        idle_heads=idle_heads,
        noise=noise,
    )
    save_checkpoint(out, plant.params, plant.config, plant.metrics, force, plant.key)
    return {
        "challenge": plant.challenge.name,
        "checkpoint": str(out),
        **plant.config["compiled"],
        "p": plant.challenge.p,
        "inputs": len(plant.challenge.inputs),
        "network": plant.challenge.model_config,
        "variables": [
            {
                name: one.get(name)
                for name in ("name", "role", "held", "form", "words", "site", "full")
            }
            for one in plant.key["variables"]
        ],
        **plant.metrics,
    }


def _check_extras(extras: Mapping[str, int | float], disguise_seed: int | None) -> None:
    for name, value in extras.items():
        if not (value >= 0 and math.isfinite(value)):
            raise InputError(f"{name} {value:g}: expected a number of at least 0")
        if value and disguise_seed is None:
            raise InputError(f"{name} {value:g} needs the seed of a disguise, which draws it")


def _known(name: str | Path) -> Challenge:
    """Return a challenge by its name or folder; its kind is checked before its data is read."""
    found = find_labelled(name, "compile")
    _check_kind(found.kind if isinstance(found, Definition) else KIND_OF[found], name)
    return load_challenge(found)


def _challenge(
    source: str | Program | Path | np.ndarray | Challenge, p: int | None, network: dict[str, Any]
) -> Challenge:
    given = path_or_text(source)
    if _names_challenge(given):
        given = _known(given)
    if not isinstance(given, Challenge):
        name = given.stem if isinstance(given, Path) else "own"
        definition = define(given, p=_p_of(given, p), network=network)
        _check_kind(definition.kind, given if isinstance(given, Path) else "the program")
        return load_challenge(_named(definition, name))
    _check_kind(given.kind, given.name)
    if given.sealed:
        raise InputError(f"{given.name} is a sealed challenge, whose labels are not known")
    if p not in (None, given.p):
        raise InputError(f"p = {p}: {given.name} has p = {given.p}; give p with a program only")
    definition = given.definition
    own = load_challenge(given.name).program if definition is None else definition.program
    sizes = {**({} if definition is None else definition.network), **network}
    if own != given.program:  # relabelled: what it was made from has other labels
        is_train = np.zeros(len(given.inputs), bool)
        is_train[given.splits["train"]] = True
        made = define(given.program, p=given.p, network=sizes, split=is_train)
        return load_challenge(_named(made, "own", given.title))
    if not network:
        return given
    if definition is not None:
        return load_challenge(replace(definition, network=sizes))
    return load_challenge(define(given.program, p=given.p, network=sizes))


def _p_of(given: Any, p: int | None) -> int | None:
    """Return the p of a table of labels; of anything else the p that is given.

    Raises:
      InputError: if a table has another p.
    """
    array = given
    if isinstance(given, Path) and is_table(given):
        arrays = read_table_arrays(given)
        array = arrays.get(find_labels(arrays, (MODEL_LABELS, LABELS)) or "")
    if not isinstance(array, np.ndarray):
        return p
    for shape in possible_shapes(array):
        side = math.isqrt(math.prod(shape))
        if shape in ((side, side), (side * side,)):
            if p not in (None, side):
                raise InputError(f"p = {p}: the table of labels is {shape}, which is p = {side}")
            return side
    return p


def _names_challenge(given: Any) -> TypeGuard[str | Path]:
    """Tell the name or folder of a challenge from a program's text or file."""
    if isinstance(given, Path):
        return given.is_dir()
    return isinstance(given, str) and "\n" not in given and (given in KIND_OF or isdir(given))


def _named(definition: Definition, name: str, title: str | None = None) -> Definition:
    try:
        return replace(definition, name=name, title=title or name)
    except InputError:  # a file's name need not be fit for a challenge's
        return definition


def _check_kind(kind: Kind, source: object) -> None:
    if kind != PairDomain.kind:
        raise InputError(f"{source} is of kind {kind}: only pairs can be compiled yet")


def _run(challenge: Challenge, params: Params) -> tuple[float, np.ndarray]:
    """Return the smallest |logit 1 - logit 0|, and the predictions."""
    logits = challenge.logits(params)
    if not np.isfinite(logits).all():
        return 0.0, np.full(len(logits), -1, np.int32)
    margin = float(np.abs(logits[:, 1] - logits[:, 0]).min())
    return margin, logits.argmax(axis=-1).astype(np.int32)
