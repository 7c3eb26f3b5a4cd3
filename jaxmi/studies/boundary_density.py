"""Rows that are trained on densely among rows that are not: do their own pairs help?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from jaxmi.programs.domain import P
from jaxmi.studies.bootstrap import exactly, find, ratio, ratio_of_ratios
from jaxmi.studies.boundary_counts import Mistakes
from jaxmi.studies.interpolators import SAME_ROW, neighbours
from jaxmi.studies.study import Finding

SHARES = (0.8, 0.2)
"""Of a dense row's pairs, and of another's, those that are trained on."""

ARRANGEMENTS = ("alternate", "blocks")
"""Every other row is dense, or every other block of rows."""

BLOCK = 14
"""Rows in a block."""


def is_dense(arrangement: str, turn: int) -> Bool[np.ndarray, "p"]:
    """Which rows are dense; in the other turn, the others are."""
    size = 1 if arrangement == "alternate" else BLOCK
    return np.arange(P) // size % 2 == turn


def dense_rows(arrangement: str, turn: int) -> Int[np.ndarray, "m"]:
    """Row numbers of the pairs to train on."""
    rng = np.random.default_rng(turn)
    counts = [round(P * SHARES[0 if dense else 1]) for dense in is_dense(arrangement, turn)]
    chosen = [P * x + rng.permutation(P)[:count] for x, count in enumerate(counts)]
    return np.concatenate(chosen).astype(np.int32)


def by_density(arrangement: str, turns: Sequence[Mistakes]) -> dict[str, Finding]:
    """Error rates near curves and line in dense rows and in others, both turns together.

    Beside them those of the rule that copies the nearest training pair of the same row: what an
    interpolator within rows would gain by density.
    """
    found: dict[str, Finding] = {}
    columns = {}
    for side, words in ((0, "dense"), (1, "sparse")):
        networks = np.zeros((len(turns[0].wrong), 2))
        rule = np.zeros(2)
        for turn, mistakes in enumerate(turns):
            rows = is_dense(arrangement, turn) == (side == 0)
            here = mistakes.near_curves & rows[:, None]
            networks += mistakes.rate(here)
            missed = _row_rule(mistakes) & here
            rule += [missed.sum(), (mistakes.test & here).sum()]
        columns[words] = networks
        about = f"{int(rule[1])} test pairs near curves and line, {words} rows ({arrangement})"
        found[f"{arrangement}_rate_{words}"] = find(
            f"share that is wrong of {about}", networks, ratio
        )
        found[f"{arrangement}_row_rule_{words}"] = exactly(
            "the same for the nearest training pair of the row", rule[0] / rule[1]
        )
    both = np.concatenate([columns["sparse"], columns["dense"]], axis=1)
    found[f"{arrangement}_sparse_over_dense"] = find(
        "the networks' rate in sparse rows over that in dense ones", both, ratio_of_ratios
    )
    return found


def _row_rule(mistakes: Mistakes) -> Bool[np.ndarray, "p p"]:
    """What the nearest training pair of the row gets wrong."""
    train, labels = ~mistakes.test, mistakes.labels == 1
    guess = neighbours(
        np.argwhere(train), labels[train], np.argwhere(mistakes.test), k=1, row_weight=SAME_ROW
    )
    wrong = np.zeros((P, P), bool)
    wrong[mistakes.test] = guess.labels != labels[mistakes.test]
    return wrong
