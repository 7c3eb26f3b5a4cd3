"""What a study is: networks to train, what to measure on each, what follows from all.

Measuring is a pure function of one network, concluding one of all measurements; so a study can stop
anywhere and go on, and its parts can be tested on networks that were made up.

The trainings that studies have in common: plain ones, and variants of labels and splits.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.training.recipe import RECIPES, Recipe
from jaxmi.training.seeds import Point
from jaxmi.types import Params

QUICK = "quick"
"""The name of recipes that take so few steps that little is learned."""


@dataclass(frozen=True, eq=False)
class Training:
    """Networks that are trained alike, one per seed."""

    name: str
    """The name of their run folder."""

    challenge: Challenge
    """What they are trained on: the published challenge, or one with other labels or splits."""

    recipe_name: str
    recipe: Recipe

    variant: str | None = None
    """How labels or splits differ from the published challenge's; None: they do not."""

    data_dir: Path | None = None
    """The folder with MNIST that was named, if one was."""

    max_seeds: int | None = None
    """Train only the first so many seeds, for networks that take long; None: all."""

    @property
    def is_quick(self) -> bool:
        """Whether they are trained only to see that a study works."""
        return self.recipe_name == QUICK


@dataclass(frozen=True, eq=False)
class Trained:
    """One network of a training."""

    seed: int
    params: Params
    """After the last step."""
    curve: Sequence[Point]


Measured = Mapping[str, np.ndarray]
"""What was measured on a network, by name."""

Measurements = Mapping[str, Mapping[int, Measured]]
"""Training's name -> seed -> what was measured."""


@dataclass(frozen=True)
class Finding:
    """A number, with its interval."""

    value: float
    low: float
    """The interval's lower end; 95 %, by bootstrap over seeds unless `words` say otherwise."""
    high: float
    n: int
    """How many networks it is of; 0: none, it follows from labels and split alone."""
    words: str
    """What it is, and in which unit."""

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Conclusion:
    """What a study found."""

    findings: Mapping[str, Finding]
    data: Mapping[str, Any]
    """What its figure is drawn from beside the findings, as JSON types."""


@dataclass(frozen=True)
class Study:
    """A question, and how it is answered."""

    name: str
    question: str
    n_seeds: int
    """How many seeds of each training answer it, unless the user says otherwise."""

    trainings: Callable[[bool, Path | None], list[Training]]
    """(quick, folder with MNIST) -> what to train; quick networks show only that all works."""

    main: tuple[str, ...]
    """The findings that answer the question."""

    measure: Callable[[Training, Trained], Measured]
    conclude: Callable[[Sequence[Training], Measurements], Conclusion]


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
        labels = labels.reshape(-1).astype(np.int32)
        challenge = replace(challenge, labels=labels, program=None)
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
