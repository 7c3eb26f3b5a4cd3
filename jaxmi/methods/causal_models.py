"""Causal models of a planted network's labels: a program's variables, or a look-up's places."""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from jaxmi.mechanism.look_ups import places
from jaxmi.methods.questions import Asked
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.language import Program
from jaxmi.programs.variables import Hypothesis, hypotheses

ROLES = ("condition", "residue", "term")
"""Variables that are asked about."""


@lru_cache(maxsize=8)
def of_program(program: Program, p: int) -> tuple[Hypothesis, ...]:
    """Return a program's conditions, residues and terms whose value can change the label."""
    found = hypotheses(program, PairDomain(p))
    return tuple(one for one in found if one.variable.role in ROLES)


def asked(one: Hypothesis) -> Asked:
    """Return a hypothesis as methods see it: without the wrong one that belongs to it."""
    return Asked(one.variable, one.own)


def of_look_up(labels: Bool[np.ndarray, "p p"], by: str) -> list[Asked]:
    """Return a look-up's variables: whether an operand is below each place of the other's.

    Args:
      labels: The labels, row = x.
      by: The look-up, "rows" or "columns".

    Returns:
      Those variables whose value can change a label.
    """
    own = labels.reshape(-1)
    found = [Asked(one, own) for one in places(labels, by)]
    return [
        one
        for one in found
        if one.values.any() and not one.values.all() and (one.variable.counterfactual != own).any()
    ]


LEAST_WRONG = 0.25
"""Least share of the strict pairs on which the exchange of a whole operand gives a wrong label."""


def can_be_asked(one: Asked, n_pairs: int, seed: int) -> bool:
    """Tell whether a variable has enough strict pairs that no exchange of an operand explains.

    A variable of one operand, beside others of the other operand only, is held by everything that
    holds the operand: no network would be without it.

    Args:
      one: The variable.
      n_pairs: How many strict pairs it must have.
      seed: Draws them.
    """
    pairs = one.strict(n_pairs, np.random.default_rng(seed))
    if len(pairs.bases) < n_pairs:
        return False
    p = round(len(one.own) ** 0.5)
    (x, y), (other_x, other_y) = np.divmod(pairs.bases, p), np.divmod(pairs.sources, p)
    mixed = (other_x * p + y, x * p + other_y)
    return all((one.own[mix] != pairs.labels).mean() >= LEAST_WRONG for mix in mixed)
