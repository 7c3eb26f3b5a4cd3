"""Sealed challenges as folders: what is in one, how it is written, how it is verified."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.challenges.sealed import KINDS, SCHEME, Answer, correct_counts, posed
from jaxmi.cli.submissions import STATEMENT
from jaxmi.errors import InputError
from jaxmi.programs.language import Kind
from jaxmi.programs.show import show
from jaxmi.types import Params
from jaxmi.weights.checksums import SUMS, check_checksums, checksums, fingerprint
from jaxmi.weights.foreign import export_network, import_network
from jaxmi.weights.native import (
    Checkpoint,
    flatten,
    load_checkpoint,
    read_json,
    write_checkpoint,
    write_json,
)

FORMAT = 1
"""Version of the layout below; raised whenever an older reader would misread it."""

NETWORK = "network"

FOREIGN: dict[Kind, dict[str, str]] = {
    "pairs": {"network.pt": "casper", "transformer_lens.pt": "transformer-lens"},
    "image": {"network.pt": "casper"},
}
"""Kind -> file -> format: the network in other tools' forms."""


@dataclass(frozen=True)
class Bundle:
    """A sealed challenge read from disk, intact."""

    path: Path
    kind: Kind
    commitment: str
    counts: Mapping[str, int]
    """How many inputs of each split, and of the "domain", the network gives the true label."""
    checkpoint: Checkpoint
    fingerprint: str
    """The SHA-256 of its checksums: what stands for all of its bytes."""

    @property
    def challenge_name(self) -> str:
        """The challenge whose inputs and network it has."""
        return KINDS[self.kind]


def write_bundle(
    folder: Path, challenge: Challenge, params: Params, answer: Answer, recipe: Mapping[str, Any]
) -> str:
    """Fills a folder with a challenge, from which its program cannot be told.

    Args:
      folder: An empty folder.
      challenge: With the program's labels.
      params: The network that was trained on them.
      answer: Only its commitment is written.
      recipe: How it was trained, as JSON types; the seed is not written.

    Returns:
      The bundle's fingerprint.
    """
    kind = answer.program.kind
    predictions = challenge.logits(params).argmax(axis=-1).astype(np.int32)
    counts = correct_counts(challenge, predictions)
    sizes = {**{name: len(rows) for name, rows in challenge.splits.items()}}
    sizes["domain"] = len(challenge.labels)
    config = {
        "challenge": challenge.name,
        "model": challenge.model_config,
        "recipe": recipe,
        "sealed": answer.commitment,
        "jaxmi_version": jaxmi.__version__,
    }
    metrics = {f"{name}_accuracy": counts[name] / size for name, size in sizes.items()}
    checkpoint = Checkpoint(params, config, metrics)
    (folder / NETWORK).mkdir()
    write_checkpoint(folder / NETWORK, params, config, metrics)
    for name, format_name in FOREIGN[kind].items():
        export_network(checkpoint, format_name, folder / name)
    tables: dict[str, np.ndarray] = {**challenge.splits}
    if kind == "pairs":
        p = round(len(predictions) ** 0.5)
        predictions = predictions.reshape(p, p)
        tables["inputs"] = challenge.inputs
    np.savez_compressed(folder / "domain.npz", allow_pickle=False, **tables)
    np.savez_compressed(folder / "model_labels.npz", allow_pickle=False, labels=predictions)
    write_json(
        folder / STATEMENT,
        {
            "format": FORMAT,
            "kind": kind,
            "commitment": answer.commitment,
            "scheme": SCHEME,
            "labels": [0, 1],
            "sizes": sizes,
            "network_is_right_on": counts,
            "jaxmi_version": jaxmi.__version__,
        },
    )
    (folder / "README.md").write_text(_readme(kind, sizes, counts, answer.commitment))
    (folder / SUMS).write_text(checksums(folder))
    now = int(time.time())
    for path in [*folder.rglob("*"), folder]:  # when which was written is nobody's business
        os.utime(path, (now, now))
    return fingerprint(folder)


def read_bundle(path: Path) -> Bundle:
    """Reads a sealed challenge, and checks that nothing in it was altered.

    Raises:
      InputError: naming the first file that is altered, missing or not part of it.
    """
    if not (path / STATEMENT).is_file() or not (path / SUMS).is_file():
        raise InputError(f"{path} is no sealed challenge (it lacks {STATEMENT} or {SUMS})")
    check_checksums(path)
    statement = read_json(path / STATEMENT)
    if statement.get("format") != FORMAT:
        raise InputError(f"{path}: format {statement.get('format')!r}, this jaxmi reads {FORMAT}")
    try:
        kind, commitment = statement["kind"], statement["commitment"]
        counts, sizes = statement["network_is_right_on"], statement["sizes"]
        checkpoint = load_checkpoint(path / NETWORK)
        if checkpoint.challenge != KINDS[kind] or checkpoint.config["sealed"] != commitment:
            raise InputError(f"{path}: {NETWORK} is of another challenge")
        if any(not 0 <= counts[name] <= size for name, size in sizes.items()):
            raise InputError(f"{path}: {STATEMENT} counts what cannot be")
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}/{STATEMENT} or the network's config.json: {error!r}") from error
    return Bundle(path, kind, commitment, counts, checkpoint, fingerprint(path))


def check_forms(bundle: Bundle, data_dir: Path | None) -> list[str]:
    """Checks that all forms of the network are one, and that its labels are those it gives.

    Returns:
      What was compared; the .pt files are left out where PyTorch is not installed.

    Raises:
      InputError: if they are not.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    params, compared = bundle.checkpoint.params, ["model_labels.npz"]
    challenge = load_challenge(bundle.challenge_name, data_dir)
    with np.load(bundle.path / "model_labels.npz", allow_pickle=False) as archive:
        labels = archive["labels"].reshape(-1)
    if not np.array_equal(labels, challenge.logits(params).argmax(axis=-1)):
        raise InputError(f"{bundle.path}/model_labels.npz is not what the network answers")
    ours = flatten(params)
    for name, format_name in FOREIGN[bundle.kind].items():
        if find_spec("torch") is None:
            break
        theirs = flatten(import_network(bundle.path / name, format_name).params)
        if any(not np.array_equal(ours[key], theirs[key]) for key in ours):
            raise InputError(f"{bundle.path / name} is not the network in {NETWORK}")
        compared.append(name)
    return compared


class Opened(NamedTuple):
    """A sealed challenge whose answer is known."""

    program: str
    """The program's text."""
    challenge: Challenge
    """The challenge, with its labels."""


def open_bundle(bundle: Bundle, answer_path: Path, data_dir: Path | None) -> Opened:
    """Checks an answer: that it is what was committed to, and what the network was trained on.

    Raises:
      InputError: if it is not.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    content = read_json(answer_path)
    try:
        answer = Answer.from_json(content)
    except InputError as error:
        raise InputError(f"{answer_path}: {error}") from error
    if answer.commitment != bundle.commitment:
        raise InputError(
            f"{answer_path} is not the answer to {bundle.path}: its commitment is "
            f"{answer.commitment}, the challenge's is {bundle.commitment}"
        )
    if content.get("fingerprint") not in (None, bundle.fingerprint):
        raise InputError(f"{bundle.path} was made anew: the answer is to another fingerprint")
    challenge = posed(load_challenge(bundle.challenge_name, data_dir), answer.program)
    predictions = challenge.logits(bundle.checkpoint.params).argmax(axis=-1)
    counts = correct_counts(challenge, predictions)
    if counts != bundle.counts:
        raise InputError(
            f"{bundle.path}: by this program the network is right on {counts}, and "
            f"{dict(bundle.counts)} was stated"
        )
    return Opened(show(answer.program), challenge)


def _readme(
    kind: Kind, sizes: Mapping[str, int], counts: Mapping[str, int], commitment: str
) -> str:
    template = resources.files("jaxmi.cli").joinpath("sealed.md.jinja").read_text()
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    splits = [f"`{name}`" for name in sizes if name != "domain"]
    return environment.from_string(template).render(
        kind=kind,
        inputs="12,769 pairs of numbers" if kind == "pairs" else "MNIST's 70,000 images",
        p=round(sizes["domain"] ** 0.5),
        test=counts["test"] / sizes["test"],
        trained_on="one half of them" if kind == "pairs" else "the first 50,000",
        test_name="the other half" if kind == "pairs" else "the 10,000 test images",
        domain=counts["domain"] / sizes["domain"],
        domain_count=f"{counts['domain']:,}",
        domain_size=f"{sizes['domain']:,}",
        splits=", ".join(splits[:-1]) + f" and {splits[-1]}",
        commitment=commitment,
        scheme=SCHEME,
    )
