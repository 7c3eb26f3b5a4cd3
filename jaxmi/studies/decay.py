"""How do data and weight decay change what is learned, and is there any grokking?

Grokking is test accuracy that rises long after training accuracy has stopped rising (Power and
others, 2022). A grid for each challenge varies the share of the data that is trained on and the
weight decay; on numbers some cells are trained six times as long at a constant learning rate. The
control is the same network, trained in the same way on addition modulo p, which is known to be
grokked for p = 113: it shows that grokking would be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.data.pairs import split_indices
from jaxmi.studies.bootstrap import estimate, estimate_share, exact
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    network_of,
    plain,
    refuse,
    variant,
)
from jaxmi.training.recipe import RECIPES, rounded, with_a_batch_that_fits

SHARES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
"""Shares of the data, in per cent: of all pairs or triples, or of the training images."""

MIN_IMAGES = 100 // SHARES[0]
"""Training images of which every share has one at least."""

DECAYS = {"transformer": (0.0, 0.1, 0.3, 1.0, 3.0), "cnn": (0.0, 0.03, 0.1, 0.3, 1.0)}
"""Network, as `network_of` returns it -> weight decays, with those of the recipes, 0.3 and 0, among
them. Where a challenge's recipe has another weight decay than 0.3, all are scaled alike."""

LONG_SHARES, LONG_DECAYS = (10, 30, 50), (0.0, 1.0)
LONG_STEPS, LONG_EVERY, LONG_RATE = 6, 2, 1.25
"""The factors by which long runs change the recipe's steps, steps between points of the curve, and
learning rate, which stays constant: on challenge 2 to 6,000, 100 and 1e-3."""

ADDITION = (40, 1.0)
"""The share of the inputs, in per cent, and the weight decay with which addition is trained."""


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return both grids, the long runs, and addition."""
    pairs, images = (plain(name, quick, data_dir) for name in ("transformer", "cnn"))
    return [*_grid(pairs), *_grid(images), *_long_runs(pairs)]


def trainings_of(base: Training) -> list[Training]:
    """Return a challenge's grid, and on numbers the long runs and addition.

    Raises:
      InputError: if there are too few training images for the grid.
    """
    challenge = base.challenge
    if isinstance(challenge, NumberChallenge):
        return [*_grid(base), *_long_runs(base)]
    n_train = len(challenge.splits["train"])
    if n_train < MIN_IMAGES:
        asks = f"trains on {SHARES[0]} % of the training images, so it needs {MIN_IMAGES}"
        raise refuse("decay", challenge, asks, f"has {n_train}")
    return _grid(base)


def _grid(base: Training) -> list[Training]:
    network = network_of(base.challenge)
    base = replace(base, group=network)
    with_share = _numbers if isinstance(base.challenge, NumberChallenge) else _images
    decays = DECAYS[network][1:2] if base.is_quick else DECAYS[network]
    return [
        _cell(with_share(base, percent), decay)
        for percent in ((10, 50) if base.is_quick else SHARES)
        for decay in decays
    ]


def _long_runs(base: Training) -> list[Training]:
    """Return the long runs on numbers, and addition, the last; none is longer if they are quick."""
    quick, recipe = base.is_quick, base.recipe
    long = replace(base, group=f"{network_of(base.challenge)}_long")
    if not quick:
        recipe = replace(
            recipe,
            steps=LONG_STEPS * recipe.steps,
            eval_every=LONG_EVERY * recipe.eval_every,
            learning_rate=rounded(LONG_RATE * recipe.learning_rate),
            schedule="constant",
        )
        long = replace(long, recipe_name=f"{base.recipe_name}-long", recipe=recipe)
    return [
        *(
            _cell(_numbers(long, percent, "long"), decay)
            for percent in (LONG_SHARES[:1] if quick else LONG_SHARES)
            for decay in (LONG_DECAYS[1:] if quick else LONG_DECAYS)
        ),
        _cell(_addition(replace(long, group="addition")), ADDITION[1]),
    ]


def _numbers(base: Training, percent: int, kind: str = "") -> Training:
    """Return a training on another share of the pairs or triples."""
    assert isinstance(base.challenge, NumberChallenge)
    name = f"{kind}-share-{percent}".strip("-")
    description = f"{percent} % of the {base.challenge.noun}s"
    return variant(base, name, description, train=_share(base.challenge, percent))


def _share(challenge: NumberChallenge, percent: int) -> Int[np.ndarray, "train"]:
    """Return the indices of a share of all inputs: by the seed of the challenge's own split."""
    split = {} if challenge.definition is None else challenge.definition.split
    operands = len(challenge.axes)
    return split_indices(challenge.p, percent / 100, split.get("seed", 0), operands)[0]


def _images(base: Training, percent: int) -> Training:
    """Return a training on another share of the training images; other splits stay."""
    challenge = base.challenge
    train = challenge.splits["train"]
    train = train[: len(train) * percent // 100]
    curve_train = challenge.curve_splits["train"][: len(train)]
    return replace(
        base,
        name=f"{base.name}-share-{percent}",
        variant=f"the first {len(train)} of the training images",
        recipe=with_a_batch_that_fits(base.recipe, len(train)),
        challenge=replace(
            challenge,
            splits={**challenge.splits, "train": train},
            curve_splits={**challenge.curve_splits, "train": curve_train},
        ),
    )


def _addition(base: Training) -> Training:
    """Return the control: the operands' sum modulo p, with all p classes."""
    challenge = base.challenge
    assert isinstance(challenge, NumberChallenge)
    total, p = " + ".join(challenge.axes), challenge.p
    description = f"({total}) mod {p}, {ADDITION[0]} % of the {challenge.noun}s"
    labels = challenge.inputs[:, :-1].sum(axis=1) % p
    return variant(base, "addition", description, labels, _share(challenge, ADDITION[0]))


def _cell(base: Training, decay: float) -> Training:
    """Return a training with another weight decay, on the scale of the recipe's own."""
    usual = RECIPES[network_of(base.challenge)]["fast"].weight_decay
    if base.recipe.weight_decay != usual:
        decay = rounded(decay * base.recipe.weight_decay / usual)
    return replace(
        base, name=f"{base.name}-decay-{decay:g}", recipe=replace(base.recipe, weight_decay=decay)
    )


def measure(training: Training, trained: Trained) -> Measured:
    """Return the learning curve."""
    keys = ("step", "train_accuracy", "test_accuracy")
    return {key: np.array([point[key] for point in trained.curve]) for key in keys}


GROKKED = 0.05
"""Grokking is a gain in test accuracy, after the fit, of more than this."""

FITTED = 0.01
"""Training accuracy counts as fitted if it is so near its maximum over the run."""


@dataclass(frozen=True)
class Learning:
    """A summary of one network's learning curve."""

    fit_step: int
    """The first step at which training accuracy is within `FITTED` of its maximum."""

    final: float
    """Test accuracy after the last step."""

    train_final: float
    """Training accuracy after the last step."""

    gain: float
    """The largest rise of test accuracy after `fit_step`: near 1 where there is grokking, near 0
    where test accuracy rises together with training accuracy."""


def summarise(
    steps: Int[np.ndarray, "points"],
    train: Float[np.ndarray, "points"],
    test: Float[np.ndarray, "points"],
) -> Learning:
    """Summarise a learning curve."""
    fitted = int(np.argmax(train >= train.max() - FITTED))
    return Learning(
        fit_step=int(steps[fitted]),
        final=float(test[-1]),
        train_final=float(train[-1]),
        gain=float(test[fitted:].max() - test[fitted]),
    )


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate test accuracy and the gain after the fit in every cell, and over each grid."""
    findings: dict[str, Finding] = {}
    cells: list[dict[str, Any]] = []
    learned: dict[str, list[list[Learning]]] = {}
    for training in trainings:
        group = group_of(training)
        curves = list(measurements[training.name].values())
        networks = [summarise(m["step"], m["train_accuracy"], m["test_accuracy"]) for m in curves]
        learned.setdefault(group, []).append(networks)
        final = estimate("", np.array([network.final for network in networks]))
        gain = estimate("", np.array([network.gain for network in networks]))
        size = len(training.challenge.splits["train"])
        cells.append(
            {
                "group": group,
                "train": size,
                "decay": training.recipe.weight_decay,
                **{f"test_{key}": getattr(final, key) for key in ("value", "low", "high")},
                **{f"gain_{key}": getattr(gain, key) for key in ("value", "low", "high")},
                "train_accuracy": float(np.mean([network.train_final for network in networks])),
                "fit_step": float(np.median([network.fit_step for network in networks])),
                "steps": curves[0]["step"].tolist(),
                "train_curve": np.mean([m["train_accuracy"] for m in curves], 0).round(4).tolist(),
                "test_curve": np.mean([m["test_accuracy"] for m in curves], 0).round(4).tolist(),
            }
        )
    for group, grid in learned.items():
        findings |= _grid_findings(group, grid)
        own_cells = [cell for cell in cells if cell["group"] == group]
        for which, key in (("best", "test"), ("largest_gain", "gain")):
            cell = max(own_cells, key=lambda cell, key=key: cell[f"{key}_value"])
            setting = f"{cell['train']} examples, weight decay {cell['decay']:g}"
            value, low, high = (cell[f"{key}_{end}"] for end in ("value", "low", "high"))
            description = {
                "best": f"test accuracy of the best of {len(own_cells)} cells",
                "largest_gain": f"largest mean gain of {len(own_cells)} cells",
            }
            findings[f"{group}_{which}"] = Finding(
                value,
                low,
                high,
                len(grid[0]),
                f"{group}: {description[which]}, {setting}; interval of this cell alone",
            )
    data: dict[str, Any] = {"cells": cells, "grokked": GROKKED}
    if (p := trainings[0].challenge.p) is not None:
        data["p"] = p
    return Conclusion(findings, data)


def group_of(training: Training) -> str:
    """Return the name of the grid that a training belongs to."""
    return training.group


def _grid_findings(group: str, grid: Sequence[Sequence[Learning]]) -> dict[str, Finding]:
    """Estimate over all cells of a grid; seeds are resampled, for all cells have the same seeds."""
    gains = np.array([[network.gain for network in cell] for cell in grid])
    fitted = np.array([[network.train_final >= 1 - FITTED for network in cell] for cell in grid])
    grokked = gains > GROKKED
    condition = f"test accuracy gains more than {100 * GROKKED:g} points after the fit"
    return {
        f"{group}_networks": exact(f"{group}: networks in {len(grid)} cells", gains.size),
        f"{group}_fitted": estimate(
            f"{group}: share with training accuracy of {1 - FITTED:.0%} or more",
            fitted.mean(axis=0),
        ),
        f"{group}_grokked": estimate(f"{group}: share whose {condition}", grokked.mean(axis=0)),
        f"{group}_grokked_seeds": estimate_share(
            f"{group}: share of seeds with a network whose {condition}", np.any(grokked, axis=0)
        ),
        f"{group}_gain": estimate(
            f"{group}: mean gain in test accuracy after the fit", gains.mean(axis=0)
        ),
    }


STUDY = Study(
    name="decay",
    question="How do data and weight decay change what is learned, and is there any grokking?",
    n_seeds=8,
    trainings=trainings,
    trainings_of=trainings_of,
    challenges=("transformer", "cnn"),
    main=(
        "transformer_best",
        "transformer_grokked_seeds",
        "cnn_best",
        "cnn_grokked_seeds",
        "transformer_long_grokked_seeds",
        "addition_grokked_seeds",
    ),
    measure=measure,
    conclude=conclude,
)
