"""Does the transformer compute the horizontal bars, or look them up row by row?

The post says that the network learns the term ⌊x^1.5⌋ mod 8 very well, and asks why. A network that
runs the program knows the bars of rows that it never saw; one that looks rows up does not. So whole
rows are held out of training, for the published labels and for three controls. In two of them, rows
follow no rule: the residues are randomly permuted while the sides of the curves stay, or whole rows
are put in a random order. In the third, every row has the same residue, so a network that can carry
anything over to unseen rows can carry over everything. Linear probes ask besides whether a row's
embedding tells its residue, and whether that carries over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs.domain import P
from jaxmi.studies import parts
from jaxmi.studies.bootstrap import estimate, estimate_over_rows, exact
from jaxmi.studies.parts import CURVES, Parts, check_published, find_changes, published
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

RESIDUES = 8
CONSTANT = 3
"""A residue with which all three sides of the program matter."""

RULES = {
    "published": "published labels",
    "residues": "residues randomly permuted",
    "shuffled": "rows in a random order",
    "constant": f"residue {CONSTANT} in every row",
}
"""The rules by which rows get their labels, and their descriptions. Under the last, a row has
nothing of its own: everything about an unseen row follows from the others."""

VARIANTS = {**RULES, "residues": "residues dealt out anew"}
"""The descriptions that run folders store. They stay, so that older runs can be resumed."""

QUICK_RULES = ("published", "residues")

SETS = 2
"""The number of sets of rows to hold out."""

ROWS_PER_RESIDUE = 2
"""The number of held-out rows of each residue, in each set."""


def parts_of(rule: str) -> Parts:
    """Return the parts of a rule's labels; "shuffled" has those of the published program."""
    own = published()
    residues = {
        "residues": own.residues[_random_order()],
        "constant": np.full(P, CONSTANT),
    }.get(rule, own.residues)
    return Parts(own.small_x, own.small_y, own.below_line, residues)


def labels_of(rule: str) -> Int[np.ndarray, "p p"]:
    """Return the labels under a rule."""
    labels = parts_of(rule).labels
    return labels[_random_order()] if rule == "shuffled" else labels


def residues_of(rule: str) -> Int[np.ndarray, "p"]:
    """Return each row's residue under a rule."""
    residues = parts_of(rule).residues
    return residues[_random_order()] if rule == "shuffled" else residues


def _random_order() -> Int[np.ndarray, "p"]:
    return np.random.default_rng(0).permutation(P)


def held_out_rows() -> Int[np.ndarray, "sets rows"]:
    """Return disjoint sets of rows to hold out, balanced over the published residues."""
    rng = np.random.default_rng(1)
    residues = published().residues
    drawn = [
        rng.permutation(np.flatnonzero(residues == residue))[: SETS * ROWS_PER_RESIDUE]
        for residue in range(RESIDUES)
    ]
    sets = np.stack(drawn).reshape(RESIDUES, SETS, ROWS_PER_RESIDUE).swapaxes(0, 1)
    return np.sort(sets.reshape(SETS, -1))


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return the published challenge, permuted residues, and every rule with rows held out."""
    return trainings_of(plain("transformer", quick, data_dir))


def trainings_of(base: Training) -> list[Training]:
    """Return a training with the published labels, and its variations.

    Raises:
      InputError: if the challenge has other labels.
    """
    check_published(base.challenge, "periodic", "the residue, floor(x^1.5) mod 8,")
    base = replace(base, group="published")
    train, quick = base.challenge.splits["train"], base.is_quick
    permuted = variant(base, "residues", VARIANTS["residues"], labels_of("residues"))
    return [
        base,
        replace(permuted, group="residues"),
        *(
            replace(
                variant(
                    base,
                    f"{rule}-rows-out-{number}",
                    f"{VARIANTS[rule]}, rows held out, set {number}",
                    labels_of(rule),
                    train[~np.isin(train // P, rows)],
                ),
                group=rule,
            )
            for number, rows in enumerate(held_out_rows()[: 1 if quick else SETS])
            for rule in (QUICK_RULES if quick else RULES)
        ),
    ]


def measure(training: Training, trained: Trained) -> Measured:
    """Predict all pairs, and probe the embedding of each row's number for the residue."""
    predictions = training.challenge.logits(trained.params).argmax(axis=-1)
    seen = np.zeros(P, bool)
    seen[training.challenge.splits["train"] // P] = True
    embeddings = np.asarray(trained.params["W_E"], np.float64)[:P]
    probes = probe_rows(embeddings, residues_of(training.group), seen, seed=trained.seed)
    return {"answers": predictions.reshape(P, P).astype(np.uint8), **probes}


FOLDS = 8
DRAWS = 20
"""How often residues are permuted for the control."""

RIDGES = tuple(10.0**k for k in range(-4, 3))
"""Penalties to choose from, in units of the mean squared length of an embedding."""


def probe_rows(
    embeddings: Float[np.ndarray, "p d"],
    residues: Int[np.ndarray, "p"],
    seen: Bool[np.ndarray, "p"],
    seed: int,
) -> dict[str, np.ndarray]:
    """Probe the embeddings of rows for their residues.

    Args:
      embeddings: The embedding of each row's number.
      residues: The residue of each row, 0 to 7.
      seen: The rows that were trained on.
      seed: The seed of the folds and of the control's permutations.

    Returns:
      Shares of rows whose residue is read correctly: "probe_seen", of rows that were trained on,
      each by a probe that was fitted to other rows; "probe_random", the same with the residues
      randomly permuted; and, if there are rows that were not trained on, "probe_unseen", of these
      by a probe that was fitted to all others.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(seen)
    shares = {
        "probe_seen": _cross_validate(embeddings[rows], residues[rows], rng),
        "probe_random": np.mean(
            [
                _cross_validate(embeddings[rows], rng.permutation(residues[rows]), rng)
                for _ in range(DRAWS)
            ]
        ),
    }
    if not seen.all():
        guessed = _read_residues(embeddings[rows], residues[rows], embeddings[~seen])
        shares["probe_unseen"] = np.mean(guessed == residues[~seen])
    return {name: np.asarray(value) for name, value in shares.items()}


def _cross_validate(
    embeddings: np.ndarray, residues: np.ndarray, rng: np.random.Generator
) -> np.floating:
    folds = rng.permutation(len(residues)) % FOLDS
    correct = np.zeros(len(residues), bool)
    for fold in range(FOLDS):
        out = folds == fold
        guessed = _read_residues(embeddings[~out], residues[~out], embeddings[out])
        correct[out] = guessed == residues[out]
    return correct.mean()


def _read_residues(fit: np.ndarray, residues: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Predict residues by ridge regression on indicators, the penalty chosen by leave-one-out."""
    mean = fit.mean(axis=0)
    centred, targets = fit - mean, np.eye(RESIDUES)[residues]
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


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Networks that were trained without some rows."""

    rule: str
    training: Training
    predictions: Int[np.ndarray, "n p p"]

    @property
    def rows(self) -> Int[np.ndarray, "rows"]:
        """The rows that the networks did not see."""
        return np.setdiff1d(np.arange(P), self.training.challenge.splits["train"] // P)

    @property
    def correct(self) -> Bool[np.ndarray, "n p p"]:
        """The pairs that the networks get right."""
        return self.predictions == labels_of(self.rule)

    @property
    def unseen(self) -> Float[np.ndarray, "n rows"]:
        """Each network's accuracy in each unseen row."""
        return self.correct[:, self.rows].mean(axis=2)

    @property
    def seen(self) -> Float[np.ndarray, "n"]:
        """Each network's accuracy on the test pairs of all other rows."""
        test = self.training.challenge.splits["test"]
        test = test[~np.isin(test // P, self.rows)]
        return self.correct.reshape(len(self.correct), -1)[:, test].mean(axis=1)

    @property
    def residue_fits(self) -> Float[np.ndarray, "residues n rows"]:
        """1 for the residue that fits the predictions best; 1 / k for each of k that do."""
        own, rows = parts_of(self.rule), self.rows
        fits = np.stack(
            [
                (self.predictions[:, rows] == labels).mean(axis=2)
                for labels in _labels_by_residue(own, rows)
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
    def permuted_residue_fits(self) -> float:
        """The mean of the same if the residues of these rows were randomly permuted."""
        return float(self.residue_fits.mean(axis=(1, 2))[residues_of(self.rule)[self.rows]].mean())


def _labels_by_residue(
    own: Parts, rows: Int[np.ndarray, "rows"]
) -> list[Int[np.ndarray, "rows p"]]:
    """Return the labels that rows would have with each residue in all of them."""
    sides = own.small_x[rows], own.small_y[rows], own.below_line[rows]
    return [parts.combine(*sides, residues=np.array(residue)) for residue in range(RESIDUES)]


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate accuracies in seen and in unseen rows by rule, with what guessing would give."""
    base, permuted = (training.name for training in trainings[:2])
    predictions = {
        name: np.stack([measured["answers"] for measured in by_seed.values()]).astype(np.int32)
        for name, by_seed in measurements.items()
    }
    held_out = {
        rule: [
            HeldOut(rule, training, predictions[training.name])
            for training in trainings
            if training.name.startswith(f"{base}-{rule}-rows")
        ]
        for rule in RULES
    }
    test = np.zeros(P * P, bool)
    test[trainings[0].challenge.splits["test"]] = True
    findings = bar_findings(predictions[base], predictions[permuted], test.reshape(P, P))
    findings["unseen_published_sides_known"] = sides_known()
    for rule in (rule for rule in RULES if held_out[rule]):
        sets = held_out[rule]
        findings |= accuracy_findings(rule, sets)
        findings |= reference_findings(rule, np.concatenate([networks.rows for networks in sets]))
        if rule != "constant":
            findings |= guessing_findings(rule, sets)
    for rule in ("published", "residues"):
        findings |= residue_findings(rule, held_out[rule])
    names = {rule: [networks.training.name for networks in held_out[rule]] for rule in held_out}
    findings |= probe_findings(measurements, base, permuted, names)
    shown = held_out["published"]
    shares = [networks.predictions.mean(axis=0)[networks.rows] for networks in shown]
    data = {
        "rows": np.concatenate([networks.rows for networks in shown]).tolist(),
        "labels": labels_of("published").tolist(),
        "answers": np.concatenate(shares).round(3).tolist(),
    }
    return Conclusion(findings, data)


def bar_findings(
    predictions: Int[np.ndarray, "n p p"],
    permuted: Int[np.ndarray, "n p p"],
    test: Bool[np.ndarray, "p p"],
) -> dict[str, Finding]:
    """Estimate how well bars of seen rows are learned, with and without a rule behind them.

    Args:
      predictions: Of networks on the published labels.
      permuted: Of networks on labels with permuted residues.
      test: The pairs that neither was trained on.
    """
    correct = predictions == labels_of("published")
    findings = {
        f"accuracy_residue_{residue}": estimate(
            f"accuracy on test pairs of rows with residue {residue}, nothing held out",
            correct[:, test & (residues_of("published") == residue)[:, None]].mean(axis=1),
        )
        for residue in range(RESIDUES)
    }
    for name, rule, own_predictions in (
        ("accuracy_bars", "published", predictions),
        ("accuracy_bars_dealt", "residues", permuted),
    ):
        away = ~np.isin(find_changes(parts_of(rule)).zones, range(len(CURVES)))
        findings[name] = estimate(
            f"accuracy on test pairs away from curves and line, nothing held out, {RULES[rule]}",
            (own_predictions == labels_of(rule))[:, test & away].mean(axis=1),
        )
    return findings


def accuracy_findings(rule: str, sets: Sequence[HeldOut]) -> dict[str, Finding]:
    """Estimate accuracy in seen and in unseen rows; a seed's sets count together."""
    unseen = np.concatenate([networks.unseen for networks in sets], axis=1)
    description = f"accuracy in {unseen.shape[1]} unseen rows, {RULES[rule]}"
    return {
        f"seen_{rule}": estimate(
            f"accuracy on test pairs of seen rows, {RULES[rule]}",
            np.mean([networks.seen for networks in sets], axis=0),
        ),
        f"unseen_{rule}": estimate(description, unseen.mean(axis=1)),
        f"unseen_{rule}_over_rows": estimate_over_rows(description, unseen),
    }


def residue_findings(rule: str, sets: Sequence[HeldOut]) -> dict[str, Finding]:
    """Estimate how often the predictions in an unseen row fit its own residue best."""
    fits = np.concatenate([networks.own_residue_fits for networks in sets], axis=1)
    description = f"share of unseen rows whose own residue fits the predictions best, {RULES[rule]}"
    ceiling = [
        replace(networks, predictions=labels_of(rule)[None]).own_residue_fits for networks in sets
    ]
    return {
        f"residue_read_{rule}_by_chance": exact(
            "the same by chance: with the residues of these rows randomly permuted",
            float(np.mean([networks.permuted_residue_fits for networks in sets])),
        ),
        f"residue_read_{rule}_ceiling": exact(
            "the same if every prediction were right: several residues can give the same row",
            np.concatenate(ceiling, axis=1).mean(),
        ),
        f"residue_read_{rule}": estimate(description, fits.mean(axis=1)),
        f"residue_read_{rule}_over_rows": estimate_over_rows(description, fits),
    }


def guessing_findings(rule: str, sets: Sequence[HeldOut]) -> dict[str, Finding]:
    """Compare accuracy in unseen rows with that of guessing what is a row's own.

    The guess is the row's residue, with all three sides known; for rows in a random order, it is
    another row.
    """
    guessed = np.concatenate([_guessing_accuracy(rule, networks.rows) for networks in sets])
    unseen = np.concatenate([networks.unseen for networks in sets], axis=1)
    guess = "rows" if rule == "shuffled" else "residues with the sides known"
    return {
        f"unseen_{rule}_guessed": exact(
            f"accuracy in unseen rows of guessing {guess}, {RULES[rule]}", guessed.mean()
        ),
        f"unseen_{rule}_beyond": estimate_over_rows(
            f"accuracy in unseen rows minus that of guessing {guess}, {RULES[rule]}",
            unseen - guessed,
        ),
    }


def _guessing_accuracy(rule: str, rows: Int[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
    """Return the expected accuracy of a guess in each row."""
    labels = labels_of(rule)[rows]
    if rule == "shuffled":
        return (labels[:, None] == labels_of("published")[None]).mean(axis=(1, 2))
    guesses = _labels_by_residue(parts_of(rule), rows)
    return np.mean([(guess == labels).mean(axis=1) for guess in guesses], axis=0)


def reference_findings(rule: str, rows: Int[np.ndarray, "rows"]) -> dict[str, Finding]:
    """Compute the accuracy in unseen rows of guesses that know nothing of these rows.

    Args:
      rule: The rule of the labels.
      rows: Rows that were not seen in some training; all others count as seen.
    """
    own = labels_of(rule)
    seen = np.setdiff1d(np.arange(P), rows)
    nearest = seen[np.abs(seen[None] - rows[:, None]).argmin(axis=1)]
    ones = own[rows].mean()
    return {
        f"unseen_{rule}_one_label": exact(
            f"accuracy in unseen rows of always giving the more frequent label, {RULES[rule]}",
            max(ones, 1 - ones),
        ),
        f"unseen_{rule}_nearest_row": exact(
            f"accuracy in unseen rows of copying the nearest other row, {RULES[rule]}",
            (own[nearest] == own[rows]).mean(),
        ),
    }


def sides_known() -> Finding:
    """Compute the accuracy in unseen rows of a guess that knows everything but the residue."""
    rows = held_out_rows().reshape(-1)
    ones = np.mean(_labels_by_residue(published(), rows), axis=0)
    return exact(
        "accuracy in unseen rows of giving each pair its label under most residues, with the sides "
        "known",
        ((ones > 0.5) == labels_of("published")[rows]).mean(),
    )


def probe_findings(
    measurements: Measurements, base: str, permuted: str, rows_out: Mapping[str, list[str]]
) -> dict[str, Finding]:
    """Estimate how often probes of the embeddings read the residue.

    Args:
      measurements: With the shares that `probe_rows` returned.
      base: The training that saw all rows.
      permuted: The training that saw all rows, with residues randomly permuted.
      rows_out: Rule -> trainings that did not see some rows.
    """

    def values(names: Sequence[str], key: str) -> Float[np.ndarray, "n"]:
        table = [[float(m[key]) for m in measurements[name].values()] for name in names]
        return np.mean(table, axis=0)

    return {
        "probe_seen": estimate(
            "share of seen rows whose residue probes of the embedding read correctly",
            values([base], "probe_seen"),
        ),
        "probe_random": estimate(
            "the same, residues randomly permuted for the probe", values([base], "probe_random")
        ),
        "probe_seen_dealt": estimate(
            "seen rows, networks with residues randomly permuted", values([permuted], "probe_seen")
        ),
        "probe_unseen": estimate("unseen rows", values(rows_out["published"], "probe_unseen")),
        "probe_unseen_dealt": estimate(
            "unseen rows, networks with residues randomly permuted",
            values(rows_out["residues"], "probe_unseen"),
        ),
    }


STUDY = Study(
    name="periodic",
    question="Does the transformer compute the horizontal bars, or look them up row by row?",
    n_seeds=16,
    trainings=trainings,
    trainings_of=trainings_of,
    challenges=("transformer",),
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
