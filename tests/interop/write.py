"""Writes what TransformerLens is to open, and our activations to hold beside its own.

    python write.py FOLDER

Into the folder go a bundle of checkpoints/transformer, the same network in TransformerLens 4's own
layout, and activations.npz: the logits, and every site on all 12,769 pairs. Each of its folders
one-block/ and two-blocks/ holds the same of a random network of another size, whose challenge a
user made; there sizes.json stands for the README, challenge/ is the challenge and network/ the
checkpoint.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.cli.main import main as jaxmi
from jaxmi.storage.checkpoints import definition_of, save_checkpoint
from jaxmi.types import Params
from jaxmi.workflows.challenges import define, write_challenge
from jaxmi.workflows.networks import load_network

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "transformer"
OWN = {"one-block": 1, "two-blocks": 2}
"""Folder -> the number of blocks of the network in it."""
SIZES = {"d_model": 64, "n_heads": 4, "d_mlp": 256}


def export(checkpoint: Path, to: str, out: Path) -> None:
    """Exports a network."""
    jaxmi(["export", str(checkpoint), "--to", to, "--out", str(out), "--force"])


def write_activations(challenge: Challenge, params: Params, folder: Path) -> None:
    """Writes the logits and every site on all pairs."""
    run = jax.jit(jax.vmap(lambda tokens: challenge.model.apply({"params": params}, tokens)))
    logits, activations = run(challenge.inputs)
    np.savez(folder / "activations.npz", logits=logits, **activations)


def write_own(folder: Path, n_layers: int) -> None:
    """Writes a random network of another size; its biases are not zero."""
    own = define("return x * y % 5 < 2", p=59, network={**SIZES, "n_layers": n_layers})
    write_challenge(own, folder / "challenge", force=True)
    challenge = load_challenge(own)
    rng = np.random.default_rng(n_layers)
    params = jax.tree.map(
        lambda leaf: leaf + rng.normal(size=leaf.shape, scale=0.02).astype(np.float32),
        challenge.init(jax.random.key(n_layers)),
    )
    config = {"challenge": challenge.name, "model": challenge.model_config}
    save_checkpoint(
        folder / "network", params, {**config, **definition_of(challenge)}, {}, force=True
    )
    export(folder / "network", "transformer-lens", folder / "transformer_lens_model.pt")
    export(folder / "network", "transformer-lens-4", folder / "native_4.pt")
    sizes = {"d_head": 16, "d_vocab": 60, "n_ctx": 3, "n_layers": n_layers, **SIZES}
    (folder / "sizes.json").write_text(json.dumps(sizes))
    write_activations(challenge, params, folder)


def main() -> None:
    """Writes the published challenge's network and the others."""
    folder = Path(sys.argv[1])
    export(CHECKPOINT, "bundle", folder)
    export(CHECKPOINT, "transformer-lens-4", folder / "native_4.pt")
    write_activations(*load_network(CHECKPOINT), folder)
    for name, n_layers in OWN.items():
        (folder / name).mkdir(exist_ok=True)
        write_own(folder / name, n_layers)


if __name__ == "__main__":
    main()
