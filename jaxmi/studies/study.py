"""What a study is: networks to train, what to measure on each, what follows from all.

Measuring is a pure function of one network, concluding one of all measurements; so a study can stop
anywhere and go on, and its parts can be tested on networks that were made up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.training.recipe import Recipe
from jaxmi.training.trainer import Point
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
