"""Are the horizontal bars computed, or looked up row by row?

The post: the network learns the term ⌊x^1.5⌋ mod 8 very well, "why is unsolved". A network that
runs the program knows the bars of rows that it never saw; one that looks rows up does not. So whole
rows are held out of training, of the published labels and of three controls. In two, rows follow no
rule: the residues are dealt out anew to the rows, the sides of the curves kept; or whole rows are
put in a random order. In the third every row has the same residue, so that a network which can
carry over anything to unseen rows carries over all of it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmi.programs.domain import P
from jaxmi.studies.row_counts import (
    RowsOut,
    bars_learned,
    beyond_guessing,
    references,
    residues_read,
    rows_accuracy,
    sides_known,
)
from jaxmi.studies.row_probes import probe_findings, probe_rows
from jaxmi.studies.row_rules import RULES, SETS, held_out_rows, labels_of, residues_of
from jaxmi.studies.study import Conclusion, Measured, Measurements, Study, Trained, Training
from jaxmi.studies.trainings import plain, variant

QUICK_RULES = ("published", "residues")
OTHERS = tuple(rule for rule in RULES if rule != "published")


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """The published challenge, residues dealt out anew, and every rule with rows held out."""
    base = plain("transformer", quick, data_dir)
    half = base.challenge.splits["train"]
    return [
        base,
        variant(base, "residues", RULES["residues"], labels_of("residues")),
        *(
            variant(
                base,
                f"{rule}-rows-out-{number}",
                f"{RULES[rule]}, rows held out, set {number}",
                labels_of(rule),
                half[~np.isin(half // P, rows)],
            )
            for number, rows in enumerate(held_out_rows()[: 1 if quick else SETS])
            for rule in (QUICK_RULES if quick else RULES)
        ),
    ]


def measure(training: Training, trained: Trained) -> Measured:
    """The answers to all pairs, and what probes read off the embedding of each row's number."""
    answers = training.challenge.logits(trained.params).argmax(axis=-1)
    seen = np.zeros(P, bool)
    seen[training.challenge.splits["train"] // P] = True
    rule = next((rule for rule in OTHERS if f"-{rule}" in training.name), "published")
    embeddings = np.asarray(trained.params["W_E"], np.float64)[:P]
    probes = probe_rows(embeddings, residues_of(rule), seen, seed=trained.seed)
    return {"answers": answers.reshape(P, P).astype(np.uint8), **probes}


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Accuracies in rows that were seen and in rows that were not, by rule."""
    base, dealt = (training.name for training in trainings[:2])
    answers = {
        name: np.stack([measured["answers"] for measured in of.values()]).astype(np.int32)
        for name, of in measurements.items()
    }
    out = {
        rule: [
            RowsOut(rule, training, answers[training.name])
            for training in trainings
            if training.name.startswith(f"{base}-{rule}-rows")
        ]
        for rule in RULES
    }
    test = np.zeros(P * P, bool)
    test[trainings[0].challenge.splits["test"]] = True
    findings = bars_learned(answers[base], answers[dealt], test.reshape(P, P))
    findings["unseen_published_sides_known"] = sides_known()
    for rule in (rule for rule in RULES if out[rule]):
        findings |= rows_accuracy(rule, out[rule])
        findings |= references(rule, np.concatenate([one.rows for one in out[rule]]))
        if rule != "constant":
            findings |= beyond_guessing(rule, out[rule])
    for rule in ("published", "residues"):
        findings |= residues_read(rule, out[rule])
    names = {rule: [one.training.name for one in sets] for rule, sets in out.items()}
    findings |= probe_findings(measurements, base, dealt, names)
    data = {
        "rows": np.concatenate([one.rows for one in out["published"]]).tolist(),
        "labels": labels_of("published").tolist(),
        "answers": np.concatenate([one.answers.mean(axis=0)[one.rows] for one in out["published"]])
        .round(3)
        .tolist(),
    }
    return Conclusion(findings, data)


STUDY = Study(
    name="periodic",
    question="Does the transformer compute the horizontal bars, or look them up row by row?",
    n_seeds=16,
    trainings=trainings,
    main=(
        "seen_published",
        "unseen_published",
        "unseen_published_guessed",
        "unseen_published_beyond",
        "unseen_constant",
    ),
    measure=measure,
    conclude=conclude,
)
