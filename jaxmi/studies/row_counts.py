"""How networks do in rows that they saw, and in rows that they did not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs.domain import P
from jaxmi.studies import parts
from jaxmi.studies.bootstrap import exactly, find, find_over_rows
from jaxmi.studies.label_changes import CURVES, find_changes
from jaxmi.studies.row_rules import (
    RESIDUES,
    RULES,
    held_out_rows,
    labels_of,
    parts_of,
    residues_of,
)
from jaxmi.studies.study import Finding, Training


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
