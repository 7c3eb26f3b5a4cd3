"""Are the horizontal bars computed, or looked up row by row?

The post: the network learns the term ⌊x^1.5⌋ mod 8 very well, "why is unsolved". A network that
runs the program knows the bars of rows that it never saw; one that looks rows up does not. So whole
rows are held out of training, of the published labels and of three controls. In two, rows follow no
rule: the residues are dealt out anew to the rows, the sides of the curves kept; or whole rows are
put in a random order. In the third every row has the same residue, so that a network which can
carry over anything to unseen rows carries over all of it.

How networks do in rows that they saw, and in rows that they did not.

Linear probes: what a row's embedding says of its residue, and whether that carries over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs.domain import P
from jaxmi.studies import parts
from jaxmi.studies.bootstrap import exactly, find, find_over_rows
from jaxmi.studies.parts import (
    CURVES,
    RESIDUES,
    RULES,
    SETS,
    find_changes,
    held_out_rows,
    labels_of,
    parts_of,
    residues_of,
)
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


@dataclass(frozen=True, eq=False)
class RowsOut:
    """Networks that were trained without some rows."""

    rule: str
    training: Training
    answers: Int[np.ndarray, "n p p"]

    @property
    def rows(self) -> Int[np.ndarray, "rows"]:
        """The rows that they did not see."""
        return np.setdiff1d(np.arange(P), self.training.challenge.splits["train"] // P)

    @property
    def right(self) -> Bool[np.ndarray, "n p p"]:
        """Where they are right."""
        return self.answers == labels_of(self.rule)

    @property
    def unseen(self) -> Float[np.ndarray, "n rows"]:
        """Their accuracy in each of these rows."""
        return self.right[:, self.rows].mean(axis=2)

    @property
    def seen(self) -> Float[np.ndarray, "n"]:
        """Their accuracy on the test pairs of all other rows."""
        test = self.training.challenge.splits["test"]
        test = test[~np.isin(test // P, self.rows)]
        return self.right.reshape(len(self.right), -1)[:, test].mean(axis=1)

    @property
    def residue_fits(self) -> Float[np.ndarray, "residues n rows"]:
        """1 for a residue that explains the answers in a row best; of k that do, 1 / k each."""
        own, rows = parts_of(self.rule), self.rows
        fits = np.stack(
            [
                (
                    self.answers[:, rows]
                    == parts.combine(
                        own.small_x[rows],
                        own.small_y[rows],
                        own.below_line[rows],
                        np.array(residue),
                    )
                ).mean(axis=2)
                for residue in range(RESIDUES)
            ]
        )
        best = fits == fits.max(axis=0)
        return best / best.sum(axis=0)

    @property
    def own_residue_fits(self) -> Float[np.ndarray, "n rows"]:
        """The same for the row's own residue."""
        rows = np.arange(len(self.rows))
        return self.residue_fits[residues_of(self.rule)[self.rows], :, rows].T

    @property
    def any_residue_fits(self) -> float:
        """The same if the rows' residues were dealt out at random among these rows, on average."""
        return float(self.residue_fits.mean(axis=(1, 2))[residues_of(self.rule)[self.rows]].mean())


def bars_learned(
    published: Int[np.ndarray, "n p p"],
    dealt: Int[np.ndarray, "n p p"],
    test: Bool[np.ndarray, "p p"],
) -> dict[str, Finding]:
    """How well bars are learned that were trained on, with and without a rule behind them."""
    right = published == labels_of("published")
    findings = {
        f"accuracy_residue_{residue}": find(
            f"accuracy on test pairs of rows with residue {residue}, nothing held out",
            right[:, test & (residues_of("published") == residue)[:, None]].mean(axis=1),
        )
        for residue in range(RESIDUES)
    }
    for name, rule, answers in (
        ("accuracy_bars", "published", published),
        ("accuracy_bars_dealt", "residues", dealt),
    ):
        away = ~np.isin(find_changes(parts_of(rule)).zones, range(len(CURVES)))
        findings[name] = find(
            f"accuracy on test pairs away from curves and line, nothing held out, {RULES[rule]}",
            (answers == labels_of(rule))[:, test & away].mean(axis=1),
        )
    return findings


def rows_accuracy(rule: str, sets: Sequence[RowsOut]) -> dict[str, Finding]:
    """Accuracy in seen and unseen rows; a seed's sets count together."""
    unseen = np.concatenate([one.unseen for one in sets], axis=1)
    words = f"accuracy in {unseen.shape[1]} unseen rows, {RULES[rule]}"
    return {
        f"seen_{rule}": find(
            f"accuracy on test pairs of seen rows, {RULES[rule]}",
            np.mean([one.seen for one in sets], axis=0),
        ),
        f"unseen_{rule}": find(words, unseen.mean(axis=1)),
        f"unseen_{rule}_over_rows": find_over_rows(words, unseen),
    }


def residues_read(rule: str, sets: Sequence[RowsOut]) -> dict[str, Finding]:
    """How often the answers in an unseen row fit its own residue best."""
    fits = np.concatenate([one.own_residue_fits for one in sets], axis=1)
    words = f"unseen rows whose own residue fits the answers best, {RULES[rule]}"
    perfect = [replace(one, answers=labels_of(rule)[None]).own_residue_fits for one in sets]
    return {
        f"residue_read_{rule}_by_chance": exactly(
            "the same by chance: with the residues of these rows dealt out to them at random",
            float(np.mean([one.any_residue_fits for one in sets])),
        ),
        f"residue_read_{rule}_ceiling": exactly(
            "the same if every answer were right: several residues can give the same row",
            np.concatenate(perfect, axis=1).mean(),
        ),
        f"residue_read_{rule}": find(words, fits.mean(axis=1)),
        f"residue_read_{rule}_over_rows": find_over_rows(words, fits),
    }


def beyond_guessing(rule: str, sets: Sequence[RowsOut]) -> dict[str, Finding]:
    """Accuracy in unseen rows beyond that of a network which guesses what is a row's own.

    Its residue, with all three sides known; or, of rows in a random order, another row whole.
    """
    guessed = np.concatenate([_guessed(rule, one.rows) for one in sets])
    unseen = np.concatenate([one.unseen for one in sets], axis=1)
    what = "rows" if rule == "shuffled" else "residues, sides known"
    return {
        f"unseen_{rule}_guessed": exactly(
            f"accuracy in unseen rows of guessing {what}, {RULES[rule]}", guessed.mean()
        ),
        f"unseen_{rule}_beyond": find_over_rows(
            f"accuracy in unseen rows beyond guessing {what}, {RULES[rule]}", unseen - guessed
        ),
    }


def _guessed(rule: str, rows: Int[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
    """The expected accuracy of a guess in each row."""
    labels, own = labels_of(rule)[rows], parts_of(rule)
    if rule == "shuffled":
        others = labels_of("published")
        return (labels[:, None] == others[None]).mean(axis=(1, 2))
    sides = own.small_x[rows], own.small_y[rows], own.below_line[rows]
    guesses = [parts.combine(*sides, residues=np.array(r)) for r in range(RESIDUES)]
    return np.mean([(guess == labels).mean(axis=1) for guess in guesses], axis=0)


def references(rule: str, rows: Int[np.ndarray, "rows"]) -> dict[str, Finding]:
    """What can be had in unseen rows without knowing anything of the rows themselves.

    Args:
      rule: Whose labels.
      rows: Rows that were not seen in some training; all others count as seen.
    """
    own = labels_of(rule)
    seen = np.setdiff1d(np.arange(P), rows)
    nearest = seen[np.abs(seen[None] - rows[:, None]).argmin(axis=1)]
    ones = own[rows].mean()
    return {
        f"unseen_{rule}_one_label": exactly(
            f"unseen rows, if the more frequent label is always given, {RULES[rule]}",
            max(ones, 1 - ones),
        ),
        f"unseen_{rule}_nearest_row": exactly(
            f"unseen rows, if the nearest other row's labels are copied, {RULES[rule]}",
            (own[nearest] == own[rows]).mean(),
        ),
    }


def sides_known() -> Finding:
    """What can be had in unseen rows of the published labels with everything but the residue."""
    own, rows = parts_of("published"), held_out_rows().reshape(-1)
    sides = own.small_x[rows], own.small_y[rows], own.below_line[rows]
    share = np.mean([parts.combine(*sides, residues=np.array(r)) for r in range(RESIDUES)], axis=0)
    return exactly(
        "unseen rows, if the sides are known and each pair has its label under most residues",
        ((share > 0.5) == own.labels[rows]).mean(),
    )


FOLDS = 8
DRAWS = 20
"""How often random residues are drawn, for the control."""

RIDGES = tuple(10.0**k for k in range(-4, 3))
"""Penalties to choose from, in units of the mean squared length of an embedding."""


def probe_rows(
    embeddings: Float[np.ndarray, "p d"],
    residues: Int[np.ndarray, "p"],
    seen: Bool[np.ndarray, "p"],
    seed: int,
) -> dict[str, np.ndarray]:
    """Probes the embeddings of rows for their residues.

    Args:
      embeddings: Of each row's number.
      residues: 0..7, one per row.
      seen: The rows that were trained on.
      seed: Deals rows into folds, and draws the control's residues.

    Returns:
      Shares of rows whose residue is read rightly: "probe_seen", of rows that were trained on, each
      by a probe that was fit on others; "probe_random", the same for residues dealt out at random;
      and, if there are rows that were not trained on, "probe_unseen", of these by a probe fit on
      all others.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(seen)
    found = {
        "probe_seen": _cross_validate(embeddings[rows], residues[rows], rng),
        "probe_random": np.mean(
            [
                _cross_validate(embeddings[rows], rng.permutation(residues[rows]), rng)
                for _ in range(DRAWS)
            ]
        ),
    }
    if not seen.all():
        guessed = _read(embeddings[rows], residues[rows], embeddings[~seen])
        found["probe_unseen"] = np.mean(guessed == residues[~seen])
    return {name: np.asarray(value) for name, value in found.items()}


def _cross_validate(
    embeddings: np.ndarray, residues: np.ndarray, rng: np.random.Generator
) -> np.floating:
    folds = rng.permutation(len(residues)) % FOLDS
    right = np.zeros(len(residues), bool)
    for fold in range(FOLDS):
        out = folds == fold
        right[out] = _read(embeddings[~out], residues[~out], embeddings[out]) == residues[out]
    return right.mean()


def _read(fit: np.ndarray, residues: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Residues by ridge regression on indicators; the penalty by leave-one-out on what is fit."""
    mean = fit.mean(axis=0)
    centred, targets = fit - mean, np.eye(8)[residues]
    offset = targets.mean(axis=0)
    gram = centred @ centred.T
    scale = np.trace(gram) / len(gram)
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ (targets - offset)

    def weights(ridge: float) -> np.ndarray:
        return vectors @ (rotated / (values + ridge * scale)[:, None])

    def left_out(ridge: float) -> float:
        inverse = np.einsum("ij,j,ij->i", vectors, 1 / (values + ridge * scale), vectors)
        predicted = targets - weights(ridge) / inverse[:, None]
        return float((predicted.argmax(axis=1) == residues).mean())

    best = max(RIDGES, key=left_out)
    return ((others - mean) @ centred.T @ weights(best) + offset).argmax(axis=1)


def probe_findings(
    measurements: Measurements, base: str, dealt: str, rows_out: Mapping[str, list[str]]
) -> dict[str, Finding]:
    """What probes read off the embeddings of all networks.

    Args:
      measurements: With what `probe_rows` returned.
      base: The training that saw all rows.
      dealt: The one that saw all rows with residues dealt out anew.
      rows_out: Rule -> trainings that did not see some rows.
    """

    def over(names: Sequence[str], key: str) -> Float[np.ndarray, "n"]:
        values = [[float(m[key]) for m in measurements[name].values()] for name in names]
        return np.mean(values, axis=0)

    return {
        "probe_seen": find(
            "probes of the embedding: residue read rightly, seen rows", over([base], "probe_seen")
        ),
        "probe_random": find(
            "the same, residues drawn at random for the probe", over([base], "probe_random")
        ),
        "probe_seen_dealt": find(
            "seen rows, networks with residues dealt out anew", over([dealt], "probe_seen")
        ),
        "probe_unseen": find("unseen rows", over(rows_out["published"], "probe_unseen")),
        "probe_unseen_dealt": find(
            "unseen rows, residues dealt out anew", over(rows_out["residues"], "probe_unseen")
        ),
    }


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
