"""The figures of a run folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.data.pairs import is_train_table
from jaxmi.programs.clue_labels import CALIBRATED_BAND, CLUE_INDEX, l1_distances
from jaxmi.report import figures
from jaxmi.training.trainer import Point
from jaxmi.types import Params

DPI = 110


def draw_run(
    path: Path,
    challenge: Challenge,
    params: Params,
    name: str,
    curves: Mapping[int, Sequence[Point]],
) -> None:
    """Draws the learning curves of all seeds, and what one network, by name, learned, as PNG."""
    title = f"{challenge.title}, {len(curves)} seed{'s' if len(curves) > 1 else ''}"
    drawn = {"curves": figures.learning_curves(curves, challenge.published.test_accuracy, title)}
    if challenge.name == "transformer":
        p = round(len(challenge.labels) ** 0.5)
        drawn["labels"] = figures.label_maps(
            truth=challenge.labels.reshape(p, p),
            learned=challenge.logits(params).argmax(axis=-1).reshape(p, p),
            is_train=is_train_table(p, challenge.splits["train"]),
            name=name,
        )
    else:
        test, clue = challenge.splits["test"], challenge.inputs[CLUE_INDEX]
        drawn["distances"] = figures.distance_figure(
            images=challenge.inputs[test],
            distances=np.asarray(l1_distances(challenge.inputs[test], clue)),
            labels=challenge.labels[test],
            learned=challenge.logits(params, test).argmax(axis=-1),
            clue=clue,
            band=CALIBRATED_BAND,
            name=name,
        )
    for file_name, figure in drawn.items():
        figure.savefig(path / f"{file_name}.png", dpi=DPI)
