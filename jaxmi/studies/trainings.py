"""The trainings that studies have in common: plain ones, and variants of labels and splits."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.studies.study import QUICK, Training
from jaxmi.training.recipe import RECIPES, Recipe

FIRST_SEED = 100
"""Studies' seeds start here: the recipes were chosen on seeds below."""

ORIGINAL = "transformer-published"
"""The run folder of transformers by the published recipe, as `jaxmi regenerate` names it."""

ORIGINAL_SEEDS = 4
"""How many of them: each takes as long as thirty of the others."""

QUICK_STEPS = {"transformer": (100, 50), "cnn": (40, 20)}
"""Challenge -> steps and points of the curve when a study is only to be tried."""


def recipe_for(name: str, quick: bool) -> tuple[str, Recipe]:
    """Returns the recipe's name and numbers: `fast`, or so few steps that little is learned."""
    recipe = RECIPES[name]["fast"]
    if not quick:
        return "fast", recipe
    steps, every = QUICK_STEPS[name]
    return QUICK, replace(recipe, steps=steps, eval_every=every, warmup_steps=10)


def plain(name: str, quick: bool, data_dir: Path | None = None) -> Training:
    """The published challenge; its run folder is that of `jaxmi regenerate NAME`."""
    recipe_name, recipe = recipe_for(name, quick)
    return Training(
        f"{name}-{recipe_name}",
        load_challenge(name, data_dir),
        recipe_name,
        recipe,
        data_dir=data_dir,
    )


def original_recipe(base: Training) -> Training:
    """Challenge 2 again, trained as the published network was; few seeds."""
    return replace(
        base,
        name=ORIGINAL,
        recipe_name="published",
        recipe=RECIPES["transformer"]["published"],
        max_seeds=ORIGINAL_SEEDS,
    )


def variant(
    base: Training,
    name: str,
    words: str,
    labels: Int[np.ndarray, "..."] | None = None,
    train: Int[np.ndarray, "m"] | None = None,
) -> Training:
    """The same network on other labels, or another split, or both.

    Args:
      base: What to vary.
      name: Added to the name.
      words: What is different.
      labels: Labels of the whole domain.
      train: Rows to train on; all others are tested on.
    """
    challenge = base.challenge
    if labels is not None:
        challenge = replace(challenge, labels=labels.reshape(-1).astype(np.int32))
    if train is not None:
        test = np.setdiff1d(np.arange(len(challenge.inputs), dtype=np.int32), train)
        splits = {"train": train.astype(np.int32), "test": test}
        challenge = replace(challenge, splits=splits, curve_splits=splits)
    words = f"{words} (labels and split {_digest(challenge)})"
    return replace(base, name=f"{base.name}-{name}", challenge=challenge, variant=words)


def _digest(challenge: Challenge) -> str:
    """Tells two variants apart, should their words stay and their arrays change."""
    arrays = (challenge.labels, challenge.splits["train"])
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:12]
