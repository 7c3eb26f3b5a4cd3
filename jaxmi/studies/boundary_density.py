"""Rows that are trained on densely among rows that are not: do their own pairs help?"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs.domain import P
from jaxmi.studies.bootstrap import exactly, find, find_over_rows, ratio, ratio_of_ratios
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
    networks, rules = [], []
    for side, words in ((0, "dense"), (1, "sparse")):
        own, rule = np.zeros((len(turns[0].wrong), P, 2)), np.zeros((1, P, 2))
        for turn, mistakes in enumerate(turns):
            rows = is_dense(arrangement, turn) == (side == 0)
            here = mistakes.near_curves & rows[:, None]
            own += mistakes.rate_rows(here)
            rule += _row_rule(mistakes).rate_rows(here)
        pairs = int(rule[..., 1].sum())
        about = f"{pairs} test pairs near curves and line, {words} rows ({arrangement})"
        found[f"{arrangement}_rate_{words}"] = find(
            f"share that is wrong of {about}", own.sum(axis=1), ratio
        )
        found[f"{arrangement}_row_rule_{words}"] = exactly(
            "the same for the nearest training pair of the row", rule[..., 0].sum() / pairs
        )
        networks.insert(0, own)
        rules.insert(0, rule)
    own, rule = np.concatenate(networks, axis=2), np.concatenate(rules, axis=2)
    words = "the networks' rate in sparse rows over that in dense ones"
    name = f"{arrangement}_sparse_over_dense"
    rule_words = "the same for the nearest training pair of the row"
    beside_rule = np.concatenate([own, np.broadcast_to(rule, own.shape)], axis=2)
    return found | {
        name: find(words, own.sum(axis=1), ratio_of_ratios),
        f"{name}_over_rows": find_over_rows(words, own, ratio_of_ratios),
        f"{name}_row_rule": replace(find_over_rows(rule_words, rule, ratio_of_ratios), n=0),
        f"{name}_against_row_rule": find_over_rows(
            "the networks' ratio over the rule's", beside_rule, _ratio_of_two_such
        ),
    }


def _ratio_of_two_such(samples: Float[np.ndarray, "draws n 8"]) -> Float[np.ndarray, "draws"]:
    return ratio_of_ratios(samples[..., :4]) / ratio_of_ratios(samples[..., 4:])


def _row_rule(mistakes: Mistakes) -> Mistakes:
    """What the nearest training pair of the row gets wrong, as if it were a network."""
    train, labels = ~mistakes.test, mistakes.labels == 1
    guess = neighbours(
        np.argwhere(train), labels[train], np.argwhere(mistakes.test), k=1, row_weight=SAME_ROW
    )
    wrong = np.zeros((P, P), bool)
    wrong[mistakes.test] = guess.labels != labels[mistakes.test]
    return replace(mistakes, wrong=wrong[None])
