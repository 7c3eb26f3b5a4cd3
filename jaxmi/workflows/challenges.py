"""Challenges by name or folder: loaded, made from a program or labels, and described."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from jaxmi.challenges.definition import (
    DEFAULT_TITLE,
    FILE,
    Definition,
    is_challenge_folder,
    pack,
    read_definition,
)
from jaxmi.data.mnist import load_idx_folder
from jaxmi.drawing import draw
from jaxmi.errors import InputError
from jaxmi.files import readable_texts, takes_any_path, write_text
from jaxmi.programs.domain import NUMBER_DOMAINS, Domain, ImageDomain, P
from jaxmi.programs.fairness import RULES, Candidate
from jaxmi.programs.language import KIND_OF, Kind, Program
from jaxmi.programs.parse import kind_of, parse
from jaxmi.programs.show import show
from jaxmi.sealed.read import Bundle, is_bundle, read_bundle
from jaxmi.storage.atomic import atomic_files, atomic_folder, check_files, check_writable
from jaxmi.storage.checksums import SUMS
from jaxmi.workflows.label_tables import (
    LABELS,
    as_truth_values,
    is_table,
    read_label_table,
    read_table_arrays,
)
from jaxmi.workflows.submissions import path_or_text, read_program, read_text

if TYPE_CHECKING:
    from jaxmi.challenges.challenge import Challenge

IS_TRAIN, TRAIN = "is_train", "train"
"""Arrays by which an .npz file gives a split: truth values of every input, or training rows."""

PICTURES = (".png", ".svg", ".pdf")
"""Endings of pictures."""

FAIR_ON = 10_000
"""Images on which programs are drawn, and the rules of fairness measured; of numbers all inputs."""


@takes_any_path
def load_any(name: str | Path, data_dir: Path | None = None) -> "Challenge":
    """Build a published challenge by name, or one that a user made from its folder.

    Args:
      name: "transformer", "cnn", or a folder that `make` wrote.
      data_dir: A folder with the images, for images; None looks in the cache, then downloads.

    Raises:
      InputError: if there is no such challenge, or it is sealed, or was altered.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    from jaxmi.challenges.registry import load_challenge

    found = find(name)
    if isinstance(found, Definition) and found.sealed:
        raise InputError(f"{name} has neither a program nor labels")
    return load_challenge(found, data_dir)


@takes_any_path
def find(name: str | Path) -> str | Definition:
    """Return a published challenge's name, or what a challenge folder holds.

    Raises:
      InputError: if it is neither; says so of sealed challenges.
    """
    if str(name) in KIND_OF:
        return str(name)
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(
            f"no challenge {str(name)!r}: expected {', '.join(KIND_OF)}, or a folder that `jaxmi "
            "challenge make` made"
        )
    if (folder / SUMS).is_file() and not is_challenge_folder(folder):
        raise InputError(f"{folder} is a sealed challenge, whose labels are not known")
    return read_definition(folder)


def find_labelled(name: str | Path, needs: str) -> str | Definition:
    """Return as `find` does a challenge whose labels are known.

    Args:
      name: As in `load_any`.
      needs: What needs the labels, for the message.

    Raises:
      InputError: if there is no such challenge, or its labels are secret.
    """
    secret = f"{name} is a sealed challenge: {needs} needs its program or labels, which are secret"
    if is_bundle(Path(name)):
        raise InputError(secret)
    found = find(name)
    if isinstance(found, Definition) and found.sealed:
        raise InputError(secret)
    return found


def identity(found: str | Definition) -> dict[str, Any]:
    """Return what tells a challenge from all others, in JSON types.

    Args:
      found: As `find` returns it.

    Returns:
      "name"; "kind"; and "definition_sha256", as in challenge.json, None of a published challenge.
    """
    if isinstance(found, str):
        return {"name": found, "kind": KIND_OF[found], "definition_sha256": None}
    return {"name": found.name, "kind": found.kind, "definition_sha256": found.sha256}


@takes_any_path
def define(
    source: str | Program | Path | np.ndarray | None,
    *,
    kind: Kind | None = None,
    name: str = "own",
    title: str | None = None,
    p: int | None = None,
    train_share: float | None = None,
    split_seed: int | None = None,
    split: Path | Bool[np.ndarray, "..."] | None = None,
    network: Mapping[str, Any] | None = None,
    data: Path | None = None,
) -> Definition:
    """Define a challenge; nothing is trained.

    Args:
      source: A program or its text; labels of the whole domain, 0 or 1; or a file with either: a
        program (.txt, .py) or a table of labels (.npz). None: a challenge to be sealed. A text
        that ends like the name of such a file is one.
      kind: What is labelled, "pairs", "image" or "triples"; None: the program's kind. A text that
        names `image` or `template` is of "image", as is everything if `data` is given. A text that
        is a program on triples and none on pairs is of "triples"; all else is of "pairs".
      name: The name in files and messages.
      title: The name in figures and reports; None takes the name.
      p: How many values x, y and w take; None: 113 of pairs, 23 of triples.
      train_share: Share of the pairs or triples, or of the published training images, to train on;
        None: as published, one half of the pairs or triples.
      split_seed: Seed that chooses them; None: 0.
      split: The inputs to train on, as truth values, or an .npz file with `is_train` (truth values)
        or `train` (row numbers).
      network: The network's sizes where they differ from the published network's.
      data: A folder with images in MNIST's four IDX files; None: MNIST itself.

    Raises:
      InputError: if something cannot be used; of a program, with line and column.
    """
    source = path_or_text(source)
    kind = kind or _kind(source, data)
    domain = _domain(kind, p, data)
    shapes = _shapes(kind, domain)
    definition = Definition(
        kind=kind,
        **_labels(source, kind, shapes),
        domain=domain,
        split=_split(split, train_share, split_seed, shapes),
        network=dict(network or {}),
        name=name,
        title=title or (DEFAULT_TITLE if name == "own" else name),
    )
    from jaxmi.challenges.registry import origin

    origin(definition)  # checks p and the network's sizes
    return definition


@takes_any_path
def write_challenge(definition: Definition, out: Path, force: bool = False) -> None:
    """Write a challenge folder.

    Args:
      definition: What the challenge is made of.
      out: The folder to make.
      force: Replace a challenge folder that exists.

    Raises:
      InputError: as `check_vacant`.
    """
    check_vacant(out, force)
    with atomic_folder(out, replace=force) as folder:
        text = json.dumps(readable_texts(definition.to_json()), indent=2, ensure_ascii=True)
        write_text(folder / FILE, text + "\n")


@takes_any_path
def check_vacant(out: Path, force: bool) -> None:
    """Check that a challenge folder can be written, and that nothing else is lost by it.

    Raises:
      InputError: if something exists there (with `force`: anything but a challenge alone), or the
        path cannot be written.
    """
    check_writable(out.absolute().parent)
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    if not force:
        raise InputError(f"{out} exists already; --force replaces it")
    if not is_challenge_folder(out) or [entry.name for entry in out.iterdir()] != [FILE]:
        raise InputError(f"{out} holds more than a challenge; --force does not replace it")


@takes_any_path
def make(definition: Definition, out: Path, force: bool, data_dir: Path | None) -> dict[str, Any]:
    """Write a challenge folder, once its labels have been computed, and describe the challenge.

    Args:
      definition: What the challenge is made of.
      out: The folder to make.
      force: Replace a challenge folder that exists.
      data_dir: A folder with the images, for images; None looks in the cache, then downloads.

    Returns:
      What `jaxmi challenge make --json` prints: `describe`'s keys, and "out".

    Raises:
      InputError: if something exists there, or the program fails on an input.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    check_vacant(out, force)
    from jaxmi.challenges.registry import load_challenge

    challenge = load_challenge(definition, data_dir)
    write_challenge(definition, out, force)
    return {"out": str(out), **describe(challenge)}


@takes_any_path
def show_challenge(
    name: str, out: Path | None, force: bool, data_dir: Path | None
) -> dict[str, Any]:
    """Describe a challenge, and draw it; of a sealed one, what is known of it.

    Args:
      name: As in `load_any`, or a sealed challenge's folder.
      out: The picture to write, .png, .svg or .pdf; None: NAME.png in the current folder.
      force: Replace a picture that exists.
      data_dir: As in `load_any`.

    Returns:
      What `jaxmi challenge show --json` prints: `describe`'s keys, and "picture". The labels of a
      sealed challenge are its network's: "program" is None unless it is given, and "sealed" has the
      "commitment" and "stated", as `evaluate` gives it; if a mechanism is asked for, also "task".

    Raises:
      InputError: as `load_any`, or if the picture exists, or has another ending.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    bundle = read_bundle(Path(name)) if is_bundle(Path(name)) else None
    if out is not None and out.suffix not in PICTURES:
        raise InputError(f"--out {out}: a picture's name ends in {', '.join(PICTURES)}")
    if out is None:
        found = Path(name).resolve().name if bundle else find(name)
        out = Path(f"{found.name if isinstance(found, Definition) else found}.png")
    check_files(out.parent, (out.name,), force)
    from jaxmi.report.challenge_figure import challenge_figure

    if bundle is None:
        challenge = load_any(name, data_dir)
        described = describe(challenge)
        about = None
    else:
        challenge = _answers(bundle, data_dir)
        sealed = {"commitment": bundle.commitment, "stated": bundle.stated()}
        if bundle.task != "program":
            sealed["task"] = bundle.task
        described = {**describe(challenge), "sealed": sealed, "program": bundle.program}
        lines = ["sealed; the labels drawn are the network's answers, right on"]
        about = "\n".join([*lines, *bundle.stated_in_words()])
    drawing = partial(challenge_figure, challenge, described["fairness"], about)
    picture = draw(drawing, out.suffix.removeprefix("."), dpi=110)
    with atomic_files(out.parent) as folder:
        (folder / out.name).write_bytes(picture)
    return {"picture": str(out), **described}


def _answers(bundle: Bundle, data_dir: Path | None) -> "Challenge":
    """Return a sealed challenge with its network's answers in the place of the labels."""
    challenge = bundle.checkpoint.load_challenge(data_dir)
    return replace(challenge, labels=challenge.predict(bundle.checkpoint.params), program=None)


def describe(challenge: "Challenge") -> dict[str, Any]:
    """Describe a challenge in JSON types.

    Returns:
      Its name, title and kind; "p", or None; "inputs" and "label1_share"; "split", the number of
      inputs of each; "network", its sizes; "program", or None; and "fairness": for each rule that
      applies its name, what it measures, the value and the bounds in 0..1, and whether it is kept.
    """
    return {
        "name": challenge.name,
        "title": challenge.title,
        "kind": challenge.kind,
        "p": challenge.p,
        "inputs": len(challenge.inputs),
        "label1_share": float(challenge.labels.mean()),
        "split": {name: len(rows) for name, rows in challenge.splits.items()},
        "network": challenge.model_config,
        "program": None if challenge.program is None else show(challenge.program),
        "fairness": fairness(challenge),
    }


def fairness(challenge: "Challenge") -> list[dict[str, Any]]:
    """Measure the rules of fairness; a challenge need not keep them.

    Returns:
      For each rule of the kind: "rule", "measures", "value", "low", "high", "kept". Rules about the
      program's parts are left out if there is no program.
    """
    domain, digits = fairness_domain(challenge)
    labels = challenge.labels[: math.prod(domain.shape)].astype(bool)
    program = challenge.program
    candidate = Candidate(
        parse("return 0", challenge.kind) if program is None else program, domain, labels, digits
    )
    measured = []
    for rule in RULES:
        if challenge.kind in rule.kinds and (program is not None or not rule.needs_program):
            value = float(rule.metric(candidate))
            measured.append(
                {
                    "rule": rule.name,
                    "measures": rule.description,
                    "value": value,
                    "low": rule.low,
                    "high": rule.high,
                    "kept": rule.low <= value <= rule.high,
                }
            )
    return measured


def fairness_domain(challenge: "Challenge") -> tuple[Domain, np.ndarray | None]:
    """Return the inputs on which fairness is measured, the first ones, and the digits they show."""
    domain = challenge.program_domain
    if not isinstance(domain, ImageDomain):
        return domain, None
    digits = None if challenge.digits is None else challenge.digits[:FAIR_ON]
    return replace(domain, images=domain.images[:FAIR_ON]), digits


def _kind(source: str | Program | Path | np.ndarray | None, data: Path | None) -> Kind:
    if isinstance(source, Program):
        return source.kind
    if isinstance(source, Path) and not is_table(source):
        source = read_text(source)
    if data is not None:
        return "image"
    return kind_of(source) if isinstance(source, str) else "pairs"


def _domain(kind: Kind, p: int | None, data: Path | None) -> dict[str, Any]:
    if kind in NUMBER_DOMAINS:
        if data is not None:
            raise InputError(f"data {data}: only challenges on images have data")
        return {"p": NUMBER_DOMAINS[kind]().p if p is None else p}
    if p not in (None, P):
        raise InputError(f"p = {p}: only challenges on pairs and triples have a p")
    if data is None:
        return {"data": "mnist"}
    _, digests = load_idx_folder(data)
    return {"data": data.resolve().name, "folder": str(data.resolve()), "sha256": digests}


def _shapes(kind: Kind, domain: Mapping[str, Any]) -> dict[tuple[int, ...], slice]:
    """Return the shapes of a table that covers the whole domain."""
    if kind in NUMBER_DOMAINS:
        return dict(NUMBER_DOMAINS[kind](domain["p"]).table_shapes)
    n = (
        70_000
        if domain["data"] == "mnist"
        else len(load_idx_folder(Path(domain["folder"]))[0].images)
    )
    return {(n,): slice(None)}


def _labels(
    source: str | Program | Path | np.ndarray | None,
    kind: Kind,
    shapes: Mapping[tuple[int, ...], slice],
) -> dict[str, Any]:
    if source is None or isinstance(source, Program):
        return {"program": source}
    if isinstance(source, str):
        return {"program": parse(source, kind)}
    if isinstance(source, Path):
        if not is_table(source):
            return {"program": read_program(source, kind)}
        labels = read_label_table(source, shapes, (LABELS,)).labels
    else:
        labels = np.asarray(source)
        if labels.shape not in shapes:
            expected = " or ".join(map(str, shapes))
            raise InputError(f"the labels are {labels.shape}, expected {expected}")
        labels = labels.reshape(-1)
    other = labels[(labels != 0) & (labels != 1)]
    if len(other):
        raise InputError(f"the labels must be 0 or 1; one is {other[0]}")
    return {"program": None, "labels": pack(labels)}


def _split(
    split: Path | np.ndarray | None,
    train_share: float | None,
    seed: int | None,
    shapes: Mapping[tuple[int, ...], slice],
) -> dict[str, Any]:
    if split is None:
        given = {"train_share": train_share, "seed": seed}
        return {name: value for name, value in given.items() if value is not None}
    if train_share is not None or seed is not None:
        raise InputError("a split is given by its rows, or by share and seed, not both")
    n = max(int(np.prod(shape)) for shape in shapes)
    if isinstance(split, Path):
        arrays = read_table_arrays(split)
        if IS_TRAIN in arrays:
            chosen = arrays[IS_TRAIN]
            shape = next((shape for shape in shapes if len(shape) > 1), (n,))
            chosen = as_truth_values(chosen, shape, f"{split}: `{IS_TRAIN}`").reshape(n)
            return {"train": pack(chosen)}
        elif TRAIN in arrays:
            rows = arrays[TRAIN]
            if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
                raise InputError(f"{split}: `{TRAIN}` is {rows.shape} {rows.dtype}, expected rows")
            if rows.min() < 0 or rows.max() >= n:
                raise InputError(f"{split}: `{TRAIN}` has rows outside of 0..{n - 1}")
            chosen = np.isin(np.arange(n), rows)
        else:
            raise InputError(f"{split} holds no array `{IS_TRAIN}` and no array `{TRAIN}`")
    else:
        chosen = np.asarray(split)
    if chosen.shape not in shapes or chosen.dtype != bool:
        expected = " or ".join(map(str, shapes))
        raise InputError(f"the split is {chosen.shape} {chosen.dtype}, expected {expected} bool")
    return {"train": pack(chosen.reshape(-1))}
