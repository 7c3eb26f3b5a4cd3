"""Writes what TransformerLens is to open, and our activations to hold beside its own.

    python write.py FOLDER

Into the folder go a bundle of checkpoints/transformer, the same network in TransformerLens 4's own
layout, and activations.npz: the logits, and every site on all 12,769 pairs.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from jaxmi.cli.main import main as jaxmi
from jaxmi.workflows.networks import load_network

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "transformer"


def main() -> None:
    """Writes both."""
    folder = Path(sys.argv[1])
    jaxmi(["export", str(CHECKPOINT), "--to", "bundle", "--out", str(folder), "--force"])
    native = ["--to", "transformer-lens-4", "--out", str(folder / "native_4.pt"), "--force"]
    jaxmi(["export", str(CHECKPOINT), *native])
    challenge, params = load_network(CHECKPOINT)
    run = jax.jit(jax.vmap(lambda tokens: challenge.model.apply({"params": params}, tokens)))
    logits, activations = run(challenge.inputs)
    np.savez(folder / "activations.npz", logits=logits, **activations)


if __name__ == "__main__":
    main()
