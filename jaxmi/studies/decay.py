"""How much data and how much weight decay, and is there any grokking?

Grokking is test accuracy that rises long after training accuracy has stopped rising (Power and
others, 2022). Two grids, one for each challenge, vary the share of the data that is trained on and
the weight decay; on challenge 2 some cells are trained six times as long at a constant rate. The
same network, trained in the same way on addition modulo 113, which is known to be grokked, shows
that it would be seen.

What a learning curve says of grokking.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxmi.data.pairs import split_indices
from jaxmi.programs.domain import P
from jaxmi.studies.bootstrap import exactly, find, share
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

FITTED = 0.01
"""Training accuracy so near its maximum over the run counts as fitted."""


@dataclass(frozen=True)
class Learning:
    """One network's learning curve, summed up."""

    fit_step: int
    """The first step at which training accuracy is within `FITTED` of its maximum."""

    final: float
    """Test accuracy after the last step."""

    train_final: float
    """Training accuracy after the last step."""

    gain: float
    """How far test accuracy rises after `fit_step`, at most: near 1 where there is grokking, near 0
    where both are learned together."""


def learn(
    steps: Int[np.ndarray, "points"],
    train: Float[np.ndarray, "points"],
    test: Float[np.ndarray, "points"],
) -> Learning:
    """Sums up a learning curve."""
    fitted = int(np.argmax(train >= train.max() - FITTED))
    return Learning(
        fit_step=int(steps[fitted]),
        final=float(test[-1]),
        train_final=float(train[-1]),
        gain=float(test[fitted:].max() - test[fitted]),
    )


SHARES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
"""Of the data, in per cent: of all pairs, and of the 50,000 training images."""

DECAYS = {"transformer": (0.0, 0.1, 0.3, 1.0, 3.0), "cnn": (0.0, 0.03, 0.1, 0.3, 1.0)}
"""Weight decays; those of the recipes, 0.3 and 0, are among them."""

LONG_SHARES, LONG_DECAYS = (10, 30, 50), (0.0, 1.0)
LONG = {"steps": 6000, "eval_every": 100, "learning_rate": 1e-3, "schedule": "constant"}
"""What long runs change of the recipe."""

ADDITION = (40, 1.0)
"""Share and decay with which addition is trained."""

GROKKED = 0.05
"""A gain that is called grokking: so much of the test accuracy comes after the fit."""


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Both grids, the long runs, and addition."""
    pairs, images = (plain(name, quick, data_dir) for name in ("transformer", "cnn"))
    shares = (10, 50) if quick else SHARES
    decays = {name: of[1:2] if quick else of for name, of in DECAYS.items()}
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
    """Challenge 2 with another share of its pairs to train on."""
    name = f"{kind}-share-{percent}".strip("-")
    train = split_indices(P, percent / 100)[0]
    return variant(base, name, f"{percent} % of the pairs", train=train)


def _images(base: Training, percent: int) -> Training:
    """Challenge 1 with another share of its training images; the other splits stay."""
    challenge = base.challenge
    train = challenge.splits["train"]
    train = train[: len(train) * percent // 100]
    followed = challenge.curve_splits["train"][: len(train)]
    return replace(
        base,
        name=f"{base.name}-share-{percent}",
        variant=f"the first {len(train)} of the training images",
        challenge=replace(
            challenge,
            splits={**challenge.splits, "train": train},
            curve_splits={**challenge.curve_splits, "train": followed},
        ),
    )


def _addition(base: Training) -> Training:
    """The control: x + y modulo 113, all 113 classes."""
    x, y = np.divmod(np.arange(P * P), P)
    train = split_indices(P, ADDITION[0] / 100)[0]
    words = f"(x + y) mod {P}, {ADDITION[0]} % of the pairs"
    return variant(base, "addition", words, labels=(x + y) % P, train=train)


def _cell(base: Training, decay: float) -> Training:
    return replace(
        base, name=f"{base.name}-decay-{decay:g}", recipe=replace(base.recipe, weight_decay=decay)
    )


def measure(training: Training, trained: Trained) -> Measured:
    """The learning curve."""
    keys = ("step", "train_accuracy", "test_accuracy")
    return {key: np.array([point[key] for point in trained.curve]) for key in keys}


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Test accuracy and the gain after the fit, in every cell."""
    findings: dict[str, Finding] = {}
    cells: list[dict[str, Any]] = []
    learned: dict[str, list[list[Learning]]] = {}
    for training in trainings:
        group = group_of(training)
        curves = list(measurements[training.name].values())
        networks = [learn(m["step"], m["train_accuracy"], m["test_accuracy"]) for m in curves]
        learned.setdefault(group, []).append(networks)
        final = find("", np.array([one.final for one in networks]))
        gain = find("", np.array([one.gain for one in networks]))
        size = len(training.challenge.splits["train"])
        cells.append(
            {
                "group": group,
                "train": size,
                "decay": training.recipe.weight_decay,
                **{f"test_{key}": getattr(final, key) for key in ("value", "low", "high")},
                **{f"gain_{key}": getattr(gain, key) for key in ("value", "low", "high")},
                "train_accuracy": float(np.mean([one.train_final for one in networks])),
                "fit_step": float(np.median([one.fit_step for one in networks])),
                "steps": curves[0]["step"].tolist(),
                "train_curve": np.mean([m["train_accuracy"] for m in curves], 0).round(4).tolist(),
                "test_curve": np.mean([m["test_accuracy"] for m in curves], 0).round(4).tolist(),
            }
        )
    for group, of_cells in learned.items():
        findings |= _summary(group, of_cells)
        here = [cell for cell in cells if cell["group"] == group]
        for which, key in (("best", "test"), ("largest_gain", "gain")):
            cell = max(here, key=lambda cell, key=key: cell[f"{key}_value"])
            about = f"{cell['train']} examples, weight decay {cell['decay']:g}"
            value, low, high = (cell[f"{key}_{end}"] for end in ("value", "low", "high"))
            words = {
                "best": f"test accuracy of the best of {len(here)} cells",
                "largest_gain": f"largest mean gain of {len(here)} cells",
            }
            findings[f"{group}_{which}"] = Finding(
                value,
                low,
                high,
                len(of_cells[0]),
                f"{group}: {words[which]}, {about}; interval of this cell alone",
            )
    return Conclusion(findings, {"cells": cells, "grokked": GROKKED})


def group_of(training: Training) -> str:
    """Which grid a training belongs to."""
    if "-addition" in training.name:
        return "addition"
    return "transformer_long" if "-long-" in training.name else training.challenge.name


def _summary(group: str, of_cells: Sequence[Sequence[Learning]]) -> dict[str, Finding]:
    """What all cells of a group say; seeds are drawn again, for all cells have the same."""
    gains = np.array([[one.gain for one in cell] for cell in of_cells])
    fitted = np.array([[one.train_final >= 1 - FITTED for one in cell] for cell in of_cells])
    grokked = gains > GROKKED
    more = f"test accuracy gains more than {100 * GROKKED:g} points after the fit"
    return {
        f"{group}_networks": exactly(f"{group}: networks in {len(of_cells)} cells", gains.size),
        f"{group}_fitted": find(
            f"{group}: share right on {1 - FITTED:.0%} or more of what they were trained on",
            fitted.mean(axis=0),
        ),
        f"{group}_grokked": find(f"{group}: share whose {more}", grokked.mean(axis=0)),
        f"{group}_grokked_seeds": share(
            f"{group}: share of seeds with any whose {more}", np.any(grokked, axis=0)
        ),
        f"{group}_gain": find(
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
