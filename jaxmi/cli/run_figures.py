"""The figures of a run folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.data.pairs import is_train_table
from jaxmi.programs.clue_labels import CALIBRATED_BAND, CLUE_INDEX, l1_distances
from jaxmi.report import figures
from jaxmi.training.seeds import SeedResult

DPI = 110


def draw_run(path: Path, challenge: Challenge, results: Sequence[SeedResult]) -> None:
    """Draws a run's learning curves, and what its first seed's network has learned, as PNG."""
    curves = {result.seed: result.curve for result in results}
    title = f"{challenge.title}, {len(results)} seed{'s' if len(results) > 1 else ''}"
    drawn = {"curves": figures.learning_curves(curves, challenge.published.test_accuracy, title)}
    first, name = results[0].params, f"seed {results[0].seed}"
    if challenge.name == "transformer":
        p = round(len(challenge.labels) ** 0.5)
        drawn["labels"] = figures.label_maps(
            truth=challenge.labels.reshape(p, p),
            learned=challenge.logits(first).argmax(axis=-1).reshape(p, p),
            is_train=is_train_table(p, challenge.splits["train"]),
            name=name,
        )
    else:
        test, clue = challenge.splits["test"], challenge.inputs[CLUE_INDEX]
        drawn["distances"] = figures.distance_figure(
            images=challenge.inputs[test],
            distances=np.asarray(l1_distances(challenge.inputs[test], clue)),
            labels=challenge.labels[test],
            learned=challenge.logits(first, test).argmax(axis=-1),
            clue=clue,
            band=CALIBRATED_BAND,
            name=name,
        )
    for file_name, figure in drawn.items():
        figure.savefig(path / f"{file_name}.png", dpi=DPI)
