"""A program or labels -> a network with a known mechanism, checked on every input."""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
from jaxmi.models.cnn import Cnn
from jaxmi.models.transformer import Transformer
from jaxmi.planted.compile import MECHANISMS, check_mechanism, plant
from jaxmi.planted.disguise import disguise
from jaxmi.planted.image_disguise import disguise_images
from jaxmi.planted.images import IMAGE_MECHANISMS, CompiledImages, Task, plant_images
from jaxmi.planted.interchange_training import Training
from jaxmi.planted.trained import train_plant
from jaxmi.programs.domain import ImageDomain, PairDomain
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

KINDS: Mapping[Kind, Mapping[str, Any]] = {
    PairDomain.kind: MECHANISMS,
    ImageDomain.kind: IMAGE_MECHANISMS,
}
"""Kind of programs that can be compiled -> its mechanisms."""

MAX_SEED = 2**128
"""Seeds of disguises are below this. So many cannot be tried: with few, whoever has the program
could compile it with each seed and find the network."""

MAX_TRAIN_SEED = 2**32
"""Seeds of training are below this."""


@dataclass(frozen=True, eq=False)
class Plant:
    """A planted network, compiled or trained, and its challenge."""

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
    least_agreement: float | None = None,
    cancelling: int = 0,
    idle_heads: int = 0,
    noise: int | float = 0,
    train_seed: int | None = None,
    training: Training | None = None,
) -> Plant:
    """Return weights that give every label of a challenge on pairs or images, by a mechanism.

    Args:
      source: A challenge, its name or folder; a program, its text or file; labels or their file.
      mechanism: One of those that `KINDS` has of the challenge's kind.
      p: How many values x and y take, of a program or labels; None: of a program 113, of labels
        what their shape says.
      network: The network's sizes where they differ from the challenge's.
      disguise_seed: Change basis, order and scales by this seed; None: leave the weights plain.
      least_agreement: Of images: leave wrong what the convolutions do not pass on, if at least this
        share of the labels is right, 0.5 to 1; None: every label is right.
      cancelling: How many pairs of neurons to add whose outputs cancel; needs a disguise, as do:
      idle_heads: How many heads to add that write only where nothing reads.
      noise: Standard deviation of normal noise that is added to every weight.
      train_seed: Train the network from random weights of this seed to hold the mechanism's
        variables; it may then lack some labels, which `config["compiled"]` says. None: compile it.
      training: How it is trained; None: the default.

    Raises:
      InputError: if it cannot be compiled, or its variables are not where training should put
        them; says why.
    """
    check_mechanism(mechanism, dict.fromkeys(name for names in KINDS.values() for name in names))
    if disguise_seed is not None and not 0 <= disguise_seed < MAX_SEED:
        raise InputError(f"disguise {disguise_seed}: expected a seed from 0 to 2**128 - 1")
    if least_agreement is not None and not 0.5 <= least_agreement <= 1:
        raise InputError(f"least agreement {least_agreement}: expected a share from 0.5 to 1")
    if train_seed is not None and not 0 <= train_seed < MAX_TRAIN_SEED:
        raise InputError(f"seed {train_seed}: expected a seed from 0 to {MAX_TRAIN_SEED - 1:,}")
    extras = {"cancelling": cancelling, "idle_heads": idle_heads, "noise": noise}
    _check_extras(extras, disguise_seed, train_seed is not None)
    challenge = _challenge(source, p, dict(network or {}))
    mechanisms = KINDS[challenge.kind]
    if mechanism not in mechanisms:
        raise InputError(
            f"{mechanism} is no mechanism of {_PLURAL[challenge.kind]}: these have "
            f"{' and '.join(mechanisms)}"
        )
    further: dict[str, Any] = {}
    expected = challenge.labels
    if isinstance(challenge.model, Cnn):
        if train_seed is not None:
            raise InputError("only networks on pairs are trained to hold variables, not on images")
        if given := [name for name, value in extras.items() if value]:
            raise InputError(f"{given[0]} is for transformers: {challenge.name} has a CNN")
        images = _plant_images(challenge, mechanism, disguise_seed, least_agreement is None)
        further, compiled = dict(images.about), images
    elif least_agreement is not None:
        raise InputError("least agreement is for images: of pairs no label need be given up")
    else:
        assert isinstance(challenge.model, Transformer)
        config = challenge.model.config
        labels = (challenge.labels == 1).reshape(challenge.grid)
        if train_seed is None:
            compiled = plant(labels, challenge.program, config, mechanism)
        else:
            training = training or Training()
            trained = train_plant(
                labels, challenge.program, config, mechanism, train_seed, training
            )
            compiled = trained.compiled
            further = {
                "trained": {"seed": train_seed, **asdict(training)},
                "interchange": trained.measured.to_json(),
            }
            expected = _run(challenge, compiled.params)[1]
        if disguise_seed is not None:
            compiled = disguise(compiled, config, disguise_seed, **extras)
    margin, predictions = _run(challenge, compiled.params)
    n, right = len(challenge.labels), int((predictions == challenge.labels).sum())
    changed = int((predictions != expected).sum())
    if least_agreement is None and (changed or not margin):
        share = f"{changed:,} of {n:,}"
        if noise:
            raise InputError(f"noise {noise:g} changes {share} labels: take less")
        if train_seed is not None:
            raise InputError(f"the disguise changes {share} labels, by rounding: take another seed")
        raise InputError(
            f"{mechanism} gives another label on {share} inputs in float32: "
            + _TOO_CLOSE[challenge.kind]
        )
    if least_agreement is not None:
        if right / n < least_agreement:
            worst = min(further["conditions"], key=lambda one: one["train"])
            raise InputError(
                f"{mechanism} gives {right / n:.4f} of the labels without exceptions, less than "
                f"{least_agreement}: `{worst['name']}` is given on {worst['train']:.4f} of the "
                "training images"
            )
        further |= {"least_agreement": least_agreement}
    program = challenge.program
    about = {
        "mechanism": mechanism,
        "program": None if program is None else show(program),
        "program_hash": None if program is None else program_hash(program),
        "used": dict(compiled.sizes),
        "margin": margin,
        "disguise": disguise_seed,
        **extras,
        "agreement": right / n,
        **further,
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
    least_agreement: float | None = None,
    cancelling: int = 0,
    idle_heads: int = 0,
    noise: int | float = 0,
    train_seed: int | None = None,
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
      least_agreement: As in `compile_network`.
      cancelling: As in `compile_network`.
      idle_heads: As in `compile_network`.
      noise: As in `compile_network`.
      train_seed: As in `compile_network`.

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
        least_agreement=least_agreement,
        cancelling=cancelling,
        idle_heads=idle_heads,
        noise=noise,
        train_seed=train_seed,
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


def training_seed(train: bool, seed: int | None) -> int | None:
    """Return the seed of a training; None if there is none.

    Args:
      train: Whether the network is trained.
      seed: None: 0 if it is.

    Raises:
      InputError: if there is a seed of no training.
    """
    if seed is not None and not train:
        raise InputError(
            f"seed {seed} is the seed of a training, and nothing is trained: give --train, "
            "in Python train=True"
        )
    return (seed or 0) if train else None


def _check_extras(
    extras: Mapping[str, int | float], disguise_seed: int | None, is_trained: bool
) -> None:
    for name, value in extras.items():
        most = sys.float_info.max if name == "noise" else math.inf
        if not 0 <= value < most:
            raise InputError(f"{name} {value}: expected a number of at least 0")
        if value and is_trained and name != "noise":
            raise InputError(
                f"{name} {value}: decoys need free places, which a trained network has not"
            )
        if value and disguise_seed is None:
            raise InputError(f"{name} {value} needs the seed of a disguise, which draws it")


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
    if p is not None and given.p is None:
        raise InputError(f"p = {p}: {given.name} is on images, which have no p")
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
    if kind not in KINDS:
        raise InputError(f"{source} is of kind {kind}: only pairs and images can be compiled yet")


_TOO_CLOSE = {
    PairDomain.kind: "numbers of the program are too large, or too close to each other",
    ImageDomain.kind: "images of both values are too nearly alike after the convolutions",
}
"""Kind -> why rounding changes labels."""

_PLURAL = {PairDomain.kind: "pairs", ImageDomain.kind: "images"}


def _plant_images(
    challenge: Challenge, mechanism: str, disguise_seed: int | None, exact: bool
) -> CompiledImages:
    assert isinstance(challenge.model, Cnn)
    domain = challenge.program_domain
    assert isinstance(domain, ImageDomain)
    config = challenge.model.config
    task = Task(
        challenge.inputs, challenge.labels == 1, challenge.splits["train"], domain,
        challenge.program,
    )  # fmt: skip
    compiled = plant_images(task, config, mechanism, exact)
    return compiled if disguise_seed is None else disguise_images(compiled, config, disguise_seed)


def _run(challenge: Challenge, params: Params) -> tuple[float, np.ndarray]:
    """Return the smallest |logit 1 - logit 0|, and the predictions."""
    logits = challenge.logits(params)
    if not np.isfinite(logits).all():
        return 0.0, np.full(len(logits), -1, np.int32)
    margin = float(np.abs(logits[:, 1] - logits[:, 0]).min())
    return margin, logits.argmax(axis=-1).astype(np.int32)
