"""The parts of a study: networks to train, measurements of each network, conclusions from all.

`Study.measure` is a pure function of one network and `Study.conclude` one of all measurements, so a
study can stop anywhere and be resumed, and can be tested on synthetic networks. The end of the file
has the trainings that several studies use: a challenge as it is, and variants of its labels and
split.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.errors import InputError
from jaxmi.models.transformer import Transformer
from jaxmi.programs.language import PUBLISHED
from jaxmi.training.recipe import RECIPES, Recipe, recipes_for, with_a_batch_that_fits
from jaxmi.training.seeds import Point
from jaxmi.types import Params

QUICK = "quick"
"""The name of recipes with so few steps that the networks learn little."""


@dataclass(frozen=True, eq=False)
class Training:
    """Networks that are trained alike, one per seed."""

    name: str
    """The name of their run folder."""

    challenge: Challenge
    """What they are trained on: a challenge, or one with other labels or another split."""

    recipe_name: str
    recipe: Recipe

    variant: str | None = None
    """How labels or split differ from the challenge's; None: they do not. Run folders store this
    text, and a run is resumed only if it is the same."""

    data_dir: Path | None = None
    """The folder with MNIST that the user named, if any."""

    max_seeds: int | None = None
    """Train at most so many of the seeds, for networks that take long; None: all."""

    group: str = ""
    """The part of the study that it belongs to, if the study has several."""

    @property
    def is_quick(self) -> bool:
        """Whether the networks only serve to try a study."""
        return self.recipe_name == QUICK


@dataclass(frozen=True, eq=False)
class Trained:
    """One network of a training."""

    seed: int
    params: Params
    """Parameters after the last step."""
    curve: Sequence[Point]
    other: Params | None = None
    """Those of the next seed, for a study that compares each network with another."""


Measured = Mapping[str, np.ndarray]
"""The measurements of one network, by name. Names are stored on disk."""

Measurements = Mapping[str, Mapping[int, Measured]]
"""Training's name -> seed -> measurements of that network."""


@dataclass(frozen=True)
class Finding:
    """A number with its interval."""

    value: float
    low: float
    """The lower end of the 95 % interval, by bootstrap over networks unless `description` says
    otherwise."""
    high: float
    n: int
    """How many networks it is computed from; 0: it follows from labels and split alone."""
    description: str
    """What the number is, and its unit."""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as `result.schema.json` describes it."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "words": self.description,
        }


@dataclass(frozen=True)
class Conclusion:
    """What follows from a study's measurements."""

    findings: Mapping[str, Finding]
    data: Mapping[str, Any]
    """What the figure shows beside the findings, as JSON types."""


@dataclass(frozen=True)
class Study:
    """A question, and the functions that answer it."""

    name: str
    question: str
    n_seeds: int
    """The number of seeds per training, unless the user names seeds."""

    trainings: Callable[[bool, Path | None], list[Training]]
    """(quick, folder with MNIST) -> what to train; quick networks only show that the study runs."""

    main: tuple[str, ...]
    """The names of the findings that answer the question."""

    measure: Callable[[Training, Trained], Measured]
    conclude: Callable[[Sequence[Training], Measurements], Conclusion]

    trainings_of: Callable[[Training], list[Training]] | None = None
    """The plain training of one challenge -> what to train to ask the question of that challenge.
    Raises an `InputError` that says why, if the question has no meaning for it."""

    challenges: tuple[str, ...] = ()
    """The published challenges that it asks about, unless the user names a challenge."""

    compares: bool = False
    """Whether `measure` compares a network with the next seed's; the last one's next is the
    first."""


FIRST_SEED = 100
"""The first seed of every study. The recipes were chosen on smaller seeds."""

ORIGINAL = "transformer-published"
"""The run folder of transformers by the published recipe, as `jaxmi regenerate` names it."""

ORIGINAL_SEEDS = 4
"""The number of networks by the published recipe: one takes as long as thirty `fast` ones."""

QUICK_STEPS = {"transformer": (100, 50), "cnn": (40, 20)}
"""Network, as `network_of` returns it -> steps, and steps between points of the curve, of quick
trainings."""


def network_of(challenge: Challenge) -> str:
    """Return which network a challenge's kind has: "transformer" (pairs, triples) or "cnn".

    Names of findings begin with it, whatever the challenge is called.
    """
    return PUBLISHED[challenge.kind]


def recipe_for(challenge: Challenge, quick: bool) -> tuple[str, Recipe]:
    """Return the name and the recipe of a challenge's trainings: `fast`, or a quick form of it."""
    recipe = recipes_for(challenge)["fast"]
    if not quick:
        return "fast", recipe
    steps, every = QUICK_STEPS[network_of(challenge)]
    return QUICK, replace(recipe, steps=steps, eval_every=every, warmup_steps=10)


def plain_of(challenge: Challenge, quick: bool, data_dir: Path | None = None) -> Training:
    """Return a challenge's training, without any variation.

    Its name is that of the run folder. A published challenge's is as `jaxmi regenerate` names it;
    another's has the beginning of its definition's checksum, since names are not unique.
    """
    recipe_name, recipe = recipe_for(challenge, quick)
    definition = challenge.definition
    name = challenge.name if definition is None else f"{definition.name}@{definition.sha256[:12]}"
    return Training(f"{name}-{recipe_name}", challenge, recipe_name, recipe, data_dir=data_dir)


def plain(name: str, quick: bool, data_dir: Path | None = None) -> Training:
    """Return a published challenge's training, in the run folder of `jaxmi regenerate NAME`."""
    return plain_of(load_challenge(name, data_dir), quick, data_dir)


def original_recipe(base: Training) -> list[Training]:
    """Return challenge 2's training by the recipe of the published network, with few seeds.

    Nothing in the quick form, and for other challenges: no published network is trained on them.
    """
    if base.is_quick or base.challenge.name != "transformer":
        return []
    return [
        replace(
            base,
            name=ORIGINAL,
            recipe_name="published",
            recipe=RECIPES["transformer"]["published"],
            max_seeds=ORIGINAL_SEEDS,
        )
    ]


def variant(
    base: Training,
    name: str,
    description: str,
    labels: Int[np.ndarray, "..."] | None = None,
    train: Int[np.ndarray, "m"] | None = None,
) -> Training:
    """Return a training of the same network on other labels, or another split, or both.

    A batch is never larger than the split.

    Args:
      base: The training to vary.
      name: Added to the name.
      description: What is different.
      labels: Labels of the whole domain.
      train: Indices of the inputs to train on; all others are tested on.
    """
    challenge = base.challenge
    if labels is not None:
        labels = labels.reshape(-1).astype(np.int32)
        challenge = replace(challenge, labels=labels, program=None)
    if train is not None:
        test = np.setdiff1d(np.arange(len(challenge.inputs), dtype=np.int32), train)
        splits = {"train": train.astype(np.int32), "test": test}
        challenge = replace(challenge, splits=splits, curve_splits=splits)
    description = f"{description} (labels and split {_digest(challenge)})"
    return replace(
        base,
        name=f"{base.name}-{name}",
        challenge=challenge,
        recipe=with_a_batch_that_fits(base.recipe, len(challenge.splits["train"])),
        variant=description,
    )


def refuse(study: str, challenge: Challenge, asks: str, has: str) -> InputError:
    """Return the error that a study's question has no meaning for a challenge.

    Args:
      study: The study's name.
      challenge: The challenge.
      asks: What the study asks about, or needs, with the verb.
      has: What the challenge has instead, with the verb.
    """
    return InputError(f"study {study} {asks}; {challenge.name} {has}")


def one_block_on_pairs(study: str, base: Training) -> list[Training]:
    """Return the training alone, for a study of what was published about challenge 2's network.

    Raises:
      InputError: if the challenge is not on pairs, or its network has several blocks or a stream of
        fewer than three dimensions, which has no plane as a control.
    """
    challenge, model = base.challenge, base.challenge.model
    asks = "asks about transformers of one block on pairs"
    if challenge.kind != "pairs" or not isinstance(model, Transformer):
        raise refuse(study, challenge, asks, f"is of {challenge.kind}")
    if model.config.n_layers > 1:
        raise refuse(study, challenge, asks, f"has {model.config.n_layers} blocks")
    if model.config.d_model < 3:
        raise refuse(study, challenge, asks, f"has a stream of {model.config.d_model} dimensions")
    return [base]


@contextmanager
def naming_the_seed(training: Training, trained: Trained) -> Iterator[None]:
    """Name the network in the error that it cannot be explained, and say what to do.

    Raises:
      InputError: if the body does.
    """
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{training.name}, seed {trained.seed}: {error}; leave the seed out with --seeds"
        ) from error


def _digest(challenge: Challenge) -> str:
    """Return a digest that tells variants apart whose descriptions are the same."""
    arrays = (challenge.labels, challenge.splits["train"])
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:12]
