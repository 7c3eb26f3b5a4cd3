"""Trains the control network that comes with jaxmi: a CNN that tells odd digits from even ones.

Command:   .venv/bin/python scripts/make_control.py
Time:      about half a minute on 2 cores
Writes:    jaxmi/controls/cnn-parity
Expected:  odd or even: test accuracy near 99.3 %
"""

from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np

from jaxmi.challenges.registry import load_challenge
from jaxmi.data.mnist import load_mnist
from jaxmi.storage.checkpoints import save_checkpoint
from jaxmi.training.loop import make_train
from jaxmi.training.recipe import RECIPES

TARGET = Path(__file__).resolve().parent.parent / "jaxmi" / "controls" / "cnn-parity"


def main() -> None:
    """Train the network and save it."""
    parity = load_mnist().digits.astype(np.int32) % 2
    challenge = replace(load_challenge("cnn"), labels=parity)
    recipe = RECIPES["cnn"]["fast"]
    params = jax.jit(make_train(challenge, recipe))(jax.random.key(0)).params
    metrics = challenge.metrics(challenge.logits(params).argmax(axis=-1))
    config = {
        "challenge": "cnn",
        "labels": "1 if the digit is odd: a control, not the challenge's labels",
        "model": challenge.model_config,
        "recipe": asdict(recipe),
        "seed": 0,
    }
    params = jax.tree.map(np.asarray, params)
    save_checkpoint(TARGET, params, config, metrics, force=True)
    print(f"odd or even: test accuracy {metrics['test_accuracy']:.2%}")


if __name__ == "__main__":
    main()
