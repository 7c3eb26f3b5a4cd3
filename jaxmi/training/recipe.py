"""Recipes: every hyperparameter of a training run, by challenge and name."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from jaxmi.errors import InputError
from jaxmi.programs.language import PUBLISHED, SIGNATURES

if TYPE_CHECKING:
    from jaxmi.challenges.challenge import Challenge

Schedule = Literal["constant", "cosine"]
Form = Literal["fast", "readable"]
MatmulPrecision = Literal["float32", "tensorfloat32", "bfloat16"]

PUBLISHED_PAIRS, PUBLISHED_WIDTH = 6384, 128
"""Training pairs of the published challenge, and its network's width."""

MAX_STEPS = 10_000_000
"""Most steps of a recipe, 640 times the longest published one; guards against typos."""


@dataclass(frozen=True)
class Recipe:
    """Training by AdamW on the cross-entropy of the logits."""

    steps: int
    """Optimiser steps."""
    batch_size: int | None
    """Examples per step, drawn without repetition within an epoch; None: all of them."""
    learning_rate: float
    """Peak learning rate."""
    eval_every: int
    """Steps between two points of the learning curve; divides `steps`."""
    b1: float = 0.9
    """Decay of the running mean of gradients."""
    b2: float = 0.999
    """Decay of the running mean of squared gradients."""
    weight_decay: float = 0.0
    """Decoupled weight decay, on every parameter; 0 makes AdamW Adam."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    schedule: Schedule = "constant"
    """The learning rate after warm-up: constant, or a half cosine down to 0 at the last step."""
    dropout: bool = True
    """Whether training uses the dropout that the network's architecture has, if any."""
    matmul_precision: MatmulPrecision = "float32"
    """Precision of matrix products where the hardware offers less than float32."""
    form: Form = "fast"
    """The network's form that is trained; both compute the same, see `Challenge.forms`."""
    microbatch: int | None = None
    """Examples whose gradient is computed at a time; divides the batch. None takes the whole batch,
    on CPUs as many as their caches hold. Changes only the order of sums."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
          InputError: naming the field and the value.
        """
        for name, is_valid in {
            "steps": 1 <= self.steps <= MAX_STEPS,
            "batch_size": self.batch_size is None or self.batch_size >= 1,
            "learning_rate": 0 < self.learning_rate < math.inf,
            "eval_every": self.eval_every >= 1,
            "b1": 0 <= self.b1 < 1,
            "b2": 0 <= self.b2 < 1,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "warmup_steps": 0 <= self.warmup_steps <= MAX_STEPS,
            "dropout": isinstance(self.dropout, bool),
            "schedule": self.schedule in get_args(Schedule),
            "form": self.form in get_args(Form),
            "microbatch": self.microbatch is None or self.microbatch >= 1,
            "matmul_precision": self.matmul_precision in get_args(MatmulPrecision),
        }.items():
            if not is_valid:
                raise InputError(f"recipe: {name} = {getattr(self, name)!r} cannot be used")
        if self.batch_size and self.microbatch and self.batch_size % self.microbatch:
            raise InputError(
                f"recipe: microbatch = {self.microbatch} does not divide "
                f"batch_size = {self.batch_size}"
            )
        if self.steps % self.eval_every:
            raise InputError(
                f"recipe: eval_every = {self.eval_every} does not divide steps = {self.steps}"
            )


RECIPES: dict[str, dict[str, Recipe]] = {
    "transformer": {
        # Neel Nanda's grokking code, on which the published network is based: full-batch AdamW.
        "published": Recipe(
            steps=5000,
            batch_size=None,
            learning_rate=5e-4,
            eval_every=50,
            b2=0.98,
            weight_decay=1.0,
            warmup_steps=10,
        ),
        "fast": Recipe(
            steps=1000,
            batch_size=512,
            learning_rate=8e-4,
            eval_every=50,
            b2=0.98,
            weight_decay=0.3,
            warmup_steps=20,
            schedule="cosine",
        ),
    },
    "cnn": {
        # The original optimiser is not published: this is Adam with its default rate, and the
        # architecture's dropout. docs/challenges.md says why that dropout costs accuracy here.
        "published": Recipe(
            steps=15_620,
            batch_size=64,
            learning_rate=1e-3,
            eval_every=781,
        ),
        "fast": Recipe(
            steps=2340,
            batch_size=128,
            learning_rate=3e-3,
            eval_every=195,
            warmup_steps=100,
            schedule="cosine",
            dropout=False,
        ),
    },
}
"""Published challenge -> recipe name -> recipe; `recipes_for` has those of other challenges."""

MIN_FAST_STEPS, MAX_FAST_STEPS = 500, 20_000
"""Bounds on the steps of a recipe that is derived from a challenge's sizes."""

MIN_RATE, MAX_RATE = 1e-4, 3.2e-3
"""Bounds on its learning rate: those of widths 1,024 and 32."""

BATCHES_PER_EPOCH = 4
"""Least number of batches in an epoch of a derived recipe, if there are enough inputs."""


def recipes_for(challenge: "Challenge") -> dict[str, Recipe]:
    """Return a challenge's recipes by name.

    Those of a published challenge are in `RECIPES`. Another's follow from the published ones of its
    kind: a batch holds no more examples than there are. The fast recipe for numbers also depends
    on the number n of training inputs and on the width d of the network, whatever its blocks:

    - steps: 1,000 * max(1, sqrt(n / 6,384)) * sqrt(128 / d), within 500 and 20,000;
    - batch size: 512, but at most n / 4;
    - learning rate: 8e-4 * 128 / d, within 1e-4 and 3.2e-3;
    - weight decay: 2.4e-4 / learning rate, so that parameters decay by the same share per step.

    At n = 6,384 and d = 128 these are the published challenge's numbers. docs/challenges.md says
    how the rule was chosen, and what it reaches.
    """
    if challenge.definition is None and challenge.name in RECIPES:
        return RECIPES[challenge.name]
    recipes = RECIPES[PUBLISHED[challenge.kind]]
    n_train = len(challenge.splits["train"])
    derived = {name: with_a_batch_that_fits(recipe, n_train) for name, recipe in recipes.items()}
    if SIGNATURES[challenge.kind].image is None:
        width = challenge.model_config["d_model"]
        derived["fast"] = fast_recipe_for_numbers(n_train, width)
    return derived


def fast_recipe_for_numbers(n_train: int, width: int) -> Recipe:
    """Return the recipe that `recipes_for` describes.

    Args:
      n_train: The number of training inputs.
      width: `d_model` of the network.
    """
    published = RECIPES[PUBLISHED["pairs"]]["fast"]
    assert published.batch_size is not None
    steps = published.steps * max(1.0, math.sqrt(n_train / PUBLISHED_PAIRS))
    steps = min(max(steps * math.sqrt(PUBLISHED_WIDTH / width), MIN_FAST_STEPS), MAX_FAST_STEPS)
    points = published.steps // published.eval_every
    every = round(steps / points)
    rate = min(max(published.learning_rate * PUBLISHED_WIDTH / width, MIN_RATE), MAX_RATE)
    decay = published.learning_rate * published.weight_decay / rate
    return replace(
        published,
        steps=points * every,
        eval_every=every,
        batch_size=max(1, min(published.batch_size, n_train // BATCHES_PER_EPOCH)),
        learning_rate=rounded(rate),
        weight_decay=rounded(decay),
    )


def rounded(value: float) -> float:
    """Return a number with two digits, as it is written in a record."""
    return float(f"{value:.2g}")


def with_a_batch_that_fits(recipe: Recipe, n_train: int) -> Recipe:
    """Return a recipe whose batch is the whole training set if that has no more examples."""
    if recipe.batch_size is not None and recipe.batch_size >= n_train:
        return replace(recipe, batch_size=None)
    return recipe
