"""Sealed challenges as folders: what is in one, and how it is written."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.sealed import SCHEME, Answer, correct_counts
from jaxmi.programs.language import Kind
from jaxmi.report import templates
from jaxmi.sealed import NETWORK, STATEMENT
from jaxmi.storage.atomic import SUMS, checksums, fingerprint
from jaxmi.storage.checkpoints import Checkpoint, write_checkpoint, write_json
from jaxmi.storage.foreign import export_network
from jaxmi.types import Params

FORMAT = 1
"""Version of the layout below; raised whenever an older reader would misread it."""

README, DOMAIN, MODEL_LABELS = "README.md", "domain.npz", "model_labels.npz"

FOREIGN: dict[Kind, dict[str, str]] = {
    "pairs": {"network.pt": "casper", "transformer_lens.pt": "transformer-lens"},
    "image": {"network.pt": "casper"},
}
"""Kind -> file -> format: the network in other tools' forms."""

_WORDS: dict[Kind, dict[str, str]] = {
    "pairs": {
        "inputs": "12,769 pairs of numbers",
        "trained_on": "one half of them",
        "test_name": "the other half",
        "example": "z = 0\nif x ** 2 < 200 * sqrt(y):\n    z += 3\nreturn z >= 0",
    },
    "image": {
        "inputs": "MNIST's 70,000 images",
        "trained_on": "the first 50,000",
        "test_name": "the 10,000 test images",
        "example": "return 24772 <= l1(image, template(6)) < 34270",
    },
}
"""What the README calls things."""


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
    sizes = split_sizes(challenge)
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
    np.savez_compressed(folder / DOMAIN, allow_pickle=False, **domain_tables(challenge))
    if kind == "pairs":
        p = round(len(predictions) ** 0.5)
        predictions = predictions.reshape(p, p)
    np.savez_compressed(folder / MODEL_LABELS, allow_pickle=False, labels=predictions)
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
    (folder / README).write_text(_readme(kind, sizes, counts, answer.commitment))
    (folder / SUMS).write_text(checksums(folder))
    now = int(time.time())
    for path in [*folder.rglob("*"), folder]:  # when which was written is nobody's business
        os.utime(path, (now, now))
    return fingerprint(folder)


def split_sizes(challenge: Challenge) -> dict[str, int]:
    """Returns how many inputs each split has, and the "domain"."""
    sizes = {name: len(rows) for name, rows in challenge.splits.items()}
    return {**sizes, "domain": len(challenge.inputs)}


def domain_tables(challenge: Challenge) -> dict[str, np.ndarray]:
    """Returns what `DOMAIN` holds: each split's rows, and the inputs if they are pairs."""
    inputs = {"inputs": challenge.inputs} if challenge.name == "transformer" else {}
    return {**inputs, **challenge.splits}


def _readme(
    kind: Kind, sizes: Mapping[str, int], counts: Mapping[str, int], commitment: str
) -> str:
    splits = [f"`{name}`" for name in sizes if name != "domain"]
    return templates.render(
        "sealed.md.jinja",
        kind=kind,
        sizes=sizes,
        counts=counts,
        p=round(sizes["domain"] ** 0.5),
        test=counts["test"] / sizes["test"],
        splits=", ".join(splits[:-1]) + f" and {splits[-1]}",
        commitment=commitment,
        scheme=SCHEME,
        filters=None,
        **_WORDS[kind],
    )
