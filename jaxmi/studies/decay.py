"""How do data and weight decay change what is learned, and is there any grokking?

Grokking is test accuracy that rises long after training accuracy has stopped rising (Power and
others, 2022). Two grids, one for each challenge, vary the share of the data that is trained on and
the weight decay; on challenge 2 some cells are trained six times as long at a constant learning
rate. The control is the same network, trained in the same way on addition modulo 113, which is
known to be grokked: it shows that grokking would be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxmi.data.pairs import split_indices
from jaxmi.programs.domain import P
from jaxmi.studies.bootstrap import estimate, estimate_share, exact
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    plain,
    variant,
)

SHARES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
"""Shares of the data, in per cent: of all pairs, or of the 50,000 training images."""

DECAYS = {"transformer": (0.0, 0.1, 0.3, 1.0, 3.0), "cnn": (0.0, 0.03, 0.1, 0.3, 1.0)}
"""Challenge -> weight decays, with those of the recipes, 0.3 and 0, among them."""

LONG_SHARES, LONG_DECAYS = (10, 30, 50), (0.0, 1.0)
LONG = {"steps": 6000, "eval_every": 100, "learning_rate": 1e-3, "schedule": "constant"}
"""The recipe's settings that long runs change."""

ADDITION = (40, 1.0)
"""The share of the pairs, in per cent, and the weight decay with which addition is trained."""


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return both grids, the long runs, and addition."""
    pairs, images = (plain(name, quick, data_dir) for name in ("transformer", "cnn"))
    shares = (10, 50) if quick else SHARES
    decays = {name: grid[1:2] if quick else grid for name, grid in DECAYS.items()}
    long = pairs
    if not quick:
        recipe = replace(pairs.recipe, **LONG)
        long = replace(pairs, recipe_name=f"{pairs.recipe_name}-long", recipe=recipe)
    return [
        *(
            _cell(with_share(base, percent), decay)
            for base, with_share in ((pairs, _pairs), (images, _images))
            for percent in shares
            for decay in decays[base.challenge.name]
        ),
        *(
            _cell(_pairs(long, percent, "long"), decay)
            for percent in (LONG_SHARES[:1] if quick else LONG_SHARES)
            for decay in (LONG_DECAYS[1:] if quick else LONG_DECAYS)
        ),
        _cell(_addition(long), ADDITION[1]),
    ]


def _pairs(base: Training, percent: int, kind: str = "") -> Training:
    """Return challenge 2's training on another share of its pairs."""
    name = f"{kind}-share-{percent}".strip("-")
    train = split_indices(P, percent / 100)[0]
    return variant(base, name, f"{percent} % of the pairs", train=train)


def _images(base: Training, percent: int) -> Training:
    """Return challenge 1's training on another share of its training images; other splits stay."""
    challenge = base.challenge
    train = challenge.splits["train"]
    train = train[: len(train) * percent // 100]
    curve_train = challenge.curve_splits["train"][: len(train)]
    return replace(
        base,
        name=f"{base.name}-share-{percent}",
        variant=f"the first {len(train)} of the training images",
        challenge=replace(
            challenge,
            splits={**challenge.splits, "train": train},
            curve_splits={**challenge.curve_splits, "train": curve_train},
        ),
    )


def _addition(base: Training) -> Training:
    """Return the control: x + y modulo 113, with all 113 classes."""
    x, y = np.divmod(np.arange(P * P), P)
    train = split_indices(P, ADDITION[0] / 100)[0]
    description = f"(x + y) mod {P}, {ADDITION[0]} % of the pairs"
    return variant(base, "addition", description, labels=(x + y) % P, train=train)


def _cell(base: Training, decay: float) -> Training:
    """Return a training with another weight decay."""
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
    return Conclusion(findings, {"cells": cells, "grokked": GROKKED})


def group_of(training: Training) -> str:
    """Return the name of the grid that a training belongs to."""
    if "-addition" in training.name:
        return "addition"
    return "transformer_long" if "-long-" in training.name else training.challenge.name


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
