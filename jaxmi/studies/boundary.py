"""Are mistakes made where boundaries curve, or where few training pairs say where they run?

The post: the transformer "only makes mistakes near curved boundaries". Explanations are told apart
by interventions: the curves are made straight and the straight line an arc; and some rows are
trained on more densely than others, every other row or in blocks, each row once either way.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from jaxmi.data.pairs import is_train_table
from jaxmi.programs.domain import P
from jaxmi.studies import parts
from jaxmi.studies.boundary_counts import (
    Mistakes,
    by_distance,
    by_openness,
    by_row,
    by_zone,
    contrast,
    line_against_curves,
    predicted,
)
from jaxmi.studies.boundary_density import ARRANGEMENTS, by_density, dense_rows
from jaxmi.studies.label_changes import CURVES, LabelChanges, find_changes
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
)
from jaxmi.studies.trainings import ORIGINAL, original_recipe, plain, variant

MADE_OF = {"straight": parts.straightened, "bent": parts.bent}
"""Variant -> its labels' parts; of all others, the published program's."""


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """The published challenge, two other shapes of its boundaries, and four other samplings."""
    base = plain("transformer", quick, data_dir)
    return [
        base,
        variant(base, "straight", "both curves straight", labels=parts.straightened().labels),
        variant(base, "bent", "the straight line an arc", labels=parts.bent().labels),
        *(
            variant(
                base,
                f"dense-{arrangement}-{turn}",
                f"80 % of some rows, 20 % of the others: {arrangement}, turn {turn}",
                train=dense_rows(arrangement, turn),
            )
            for arrangement in (ARRANGEMENTS[:1] if quick else ARRANGEMENTS)
            for turn in range(2)
        ),
        *([] if quick else [original_recipe(base)]),
    ]


def measure(training: Training, trained: Trained) -> Measured:
    """Which pairs are answered wrongly."""
    challenge = training.challenge
    answers = challenge.logits(trained.params).argmax(axis=-1)
    return {"wrong": (answers != challenge.labels).reshape(P, P)}


@cache
def changes_of(name: str) -> LabelChanges:
    """Where a variant's labels change."""
    return find_changes(MADE_OF.get(name, parts.published)())


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Mistakes by zone, by row, by distance, and by intervention."""
    base = trainings[0].name
    mistakes = {}
    for training in trainings:
        name = training.name.removeprefix(base).lstrip("-")
        test = ~is_train_table(P, training.challenge.splits["train"])
        wrong = np.stack([m["wrong"] for m in measurements[training.name].values()]) & test
        labels = training.challenge.labels.reshape(P, P)
        mistakes[name] = Mistakes(wrong, test, labels, changes_of(name))
    published = mistakes[""]
    findings: dict[str, Finding] = by_zone("", published) | by_row("", published)
    findings |= by_openness(published) | line_against_curves(published)
    for name in MADE_OF:
        findings |= by_zone(f"{name}_", mistakes[name], CURVES) | by_row(f"{name}_", mistakes[name])
        findings |= contrast(f"{name}_over_published", mistakes[name], published)
        findings |= predicted(f"{name}_", mistakes[name], published)
    if (original := mistakes.get(ORIGINAL)) is not None:
        findings |= by_zone("original_", original, CURVES) | by_row("original_", original)
    for arrangement in ARRANGEMENTS:
        turns = [mistakes.get(f"dense-{arrangement}-{turn}") for turn in range(2)]
        if turns[0] and turns[1]:
            findings |= by_density(arrangement, [turns[0], turns[1]])
    data = {
        "rates": by_distance(published),
        "wrong_share": published.wrong.mean(axis=0).round(4).tolist(),
        "is_test": published.test.astype(int).tolist(),
        "labels": published.labels.tolist(),
    }
    return Conclusion(findings, data)


STUDY = Study(
    name="boundary",
    question="Does the transformer make mistakes because boundaries curve, or because few "
    "training pairs say where they run?",
    n_seeds=32,
    trainings=trainings,
    main=(
        "per_edge_x4",
        "per_edge_y4",
        "per_edge_line",
        "straight_per_edge_x4",
        "straight_per_edge_y4",
        "straight_per_edge_line",
        "line_over_x4_over_rows",
        "line_over_y4_over_rows",
        "mistakes_per_row_1",
        "mistakes_per_row_2",
    ),
    measure=measure,
    conclude=conclude,
)
