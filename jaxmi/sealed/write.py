"""Sealed challenges as folders: what is in one, and how it is written."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.sealed import SCHEME, Answer
from jaxmi.report import templates
from jaxmi.sealed import NETWORK, STATEMENT
from jaxmi.storage.checkpoints import Checkpoint, write_checkpoint, write_json
from jaxmi.storage.checksums import SUMS, checksums, fingerprint
from jaxmi.storage.foreign import export_network
from jaxmi.types import Params

FORMAT = 1
"""Version of the layout below; raised whenever an older reader would misread it."""

README, DOMAIN, MODEL_LABELS = "README.md", "domain.npz", "model_labels.npz"


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
    predictions = challenge.predict(params)
    counts = challenge.correct_counts(predictions)
    sizes = challenge.split_sizes()
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
    for name, format_name in challenge.sealing.foreign_files.items():
        export_network(checkpoint, format_name, folder / name)
    np.savez_compressed(folder / DOMAIN, allow_pickle=False, **challenge.domain_tables())
    labels = challenge.as_table(predictions)
    np.savez_compressed(folder / MODEL_LABELS, allow_pickle=False, labels=labels)
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
    (folder / README).write_text(_readme(challenge, counts, answer.commitment))
    (folder / SUMS).write_text(checksums(folder))
    now = int(time.time())
    for path in [*folder.rglob("*"), folder]:  # when which was written is nobody's business
        os.utime(path, (now, now))
    return fingerprint(folder)


def _readme(challenge: Challenge, counts: Mapping[str, int], commitment: str) -> str:
    sizes = challenge.split_sizes()
    splits = [f"`{name}`" for name in challenge.splits]
    return templates.render(
        "sealed.md.jinja",
        kind=challenge.kind,
        sizes=sizes,
        counts=counts,
        p=challenge.p,
        test=counts["test"] / sizes["test"],
        splits=", ".join(splits[:-1]) + f" and {splits[-1]}",
        commitment=commitment,
        scheme=SCHEME,
        inputs=challenge.sealing.inputs,
        trained_on=challenge.sealing.train,
        test_name=challenge.sealing.test,
        example=challenge.sealing.example,
    )
