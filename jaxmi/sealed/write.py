"""Sealed challenges written as folders: what is in a bundle, and its README."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.sealed import SCHEME, Key
from jaxmi.files import takes_any_path, write_text
from jaxmi.sealed import NETWORK, STATEMENT
from jaxmi.storage.checkpoints import (
    Checkpoint,
    definition_of,
    write_checkpoint,
    write_json,
)
from jaxmi.storage.checksums import SUMS, checksums, fingerprint
from jaxmi.storage.foreign import export_network
from jaxmi.storage.pytorch_file import SUFFIXES, has_torch
from jaxmi.types import Params

FORMAT = 1
"""Version of the bundle's layout; raised whenever an older reader would misread it."""

README, DOMAIN, MODEL_LABELS = "README.md", "domain.npz", "model_labels.npz"


@takes_any_path
def write_bundle(
    folder: Path, challenge: Challenge, params: Params, key: Key, recipe: Mapping[str, Any]
) -> str:
    """Fill a folder with a sealed challenge, without anything that reveals its program.

    Args:
      folder: An empty folder.
      challenge: The challenge, with the program's labels; its definition, if it has one, without.
      params: The network that was trained on these labels.
      key: The program and its salt; only the commitment is written.
      recipe: The recipe of the training, as JSON types; the seed is not written.

    Returns:
      The bundle's fingerprint.
    """
    predictions = challenge.predict(params)
    counts = challenge.correct_counts(predictions)
    sizes = challenge.split_sizes()
    config = {
        "challenge": challenge.name,
        "model": challenge.model_config,
        "recipe": recipe,
        "sealed": key.commitment,
        "jaxmi_version": jaxmi.__version__,
        **definition_of(challenge),
    }
    metrics = {f"{name}_accuracy": counts[name] / size for name, size in sizes.items()}
    checkpoint = Checkpoint(params, config, metrics)
    (folder / NETWORK).mkdir()
    write_checkpoint(folder / NETWORK, params, config, metrics)
    foreign_files = {
        name: layout
        for name, layout in challenge.sealing.foreign_files.items()
        if has_torch() or Path(name).suffix not in SUFFIXES
    }
    for name, layout in foreign_files.items():
        export_network(checkpoint, layout, folder / name)
    np.savez_compressed(folder / DOMAIN, allow_pickle=False, **challenge.domain_tables())
    labels = challenge.as_table(predictions)
    np.savez_compressed(folder / MODEL_LABELS, allow_pickle=False, labels=labels)
    write_json(
        folder / STATEMENT,
        {
            "format": FORMAT,
            "kind": key.program.kind,
            "commitment": key.commitment,
            "scheme": SCHEME,
            "labels": [0, 1],
            "sizes": sizes,
            "network_is_right_on": counts,
            "jaxmi_version": jaxmi.__version__,
            **_domain(challenge),
        },
    )
    readme = _readme(challenge, counts, key.commitment, foreign_files)
    write_text(folder / README, readme)
    write_text(folder / SUMS, checksums(folder))
    now = int(time.time())
    for path in [*folder.rglob("*"), folder]:  # equal time stamps: the order must not leak
        os.utime(path, (now, now))
    return fingerprint(folder)


def _domain(challenge: Challenge) -> dict[str, Any]:
    """Return the statement's key for another domain than the published challenge's."""
    definition = challenge.definition
    return {} if definition is None else {"domain": dict(definition.domain)}


def _readme(
    challenge: Challenge,
    counts: Mapping[str, int],
    commitment: str,
    foreign_files: Mapping[str, str],
) -> str:
    from jaxmi.report import templates  # only here: it loads matplotlib and Jinja

    sizes, sealing, words = challenge.split_sizes(), challenge.sealing, challenge.sealing_words
    splits = [f"`{name}`" for name in challenge.splits]
    return templates.render(
        "sealed.md.jinja",
        kind=challenge.kind,
        sizes=sizes,
        counts=counts,
        test=counts["test"] / sizes["test"],
        splits=", ".join(splits[:-1]) + f" and {splits[-1]}",
        lists_inputs="inputs" in challenge.domain_tables(),
        commitment=commitment,
        scheme=SCHEME,
        inputs=words.inputs,
        trained_on=words.train,
        test_name=words.test,
        task=words.task,
        foreign_files={name: _LAYOUTS[layout] for name, layout in foreign_files.items()},
        example=sealing.example,
    )


_LAYOUTS = {
    "casper": "a PyTorch state dict in the layout of the published challenges; "
    'a transformer\'s is under "model"',
    "safetensors": "the same tensors in a file that needs no PyTorch",
    "transformer-lens": "`HookedTransformer.state_dict()` of TransformerLens 2 and 3",
    "transformer-lens-4": "`TransformerBridge.state_dict()` of TransformerLens 4",
}
"""Foreign layout -> what the README says of a file that has it."""
