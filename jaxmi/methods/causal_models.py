"""Causal models of a planted network's labels: a program's variables, or a look-up's places."""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from jaxmi.methods.questions import Asked
from jaxmi.planted.look_up import changes
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.language import Program
from jaxmi.programs.variables import Hypothesis, Variable, hypotheses

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


def of_look_up(labels: Bool[np.ndarray, "p p"], along: str) -> list[Asked]:
    """Return a look-up's variables: whether an operand is below each place of the other's.

    The label is 1 if one more of the odd places than of the even ones is at or below the operand.

    Args:
      labels: The labels, row = x.
      along: The operand that is compared: "y" in rows, "x" in columns.

    Returns:
      Those variables whose value can change a label.
    """
    by = "x" if along == "y" else "y"
    table = labels if along == "y" else labels.T
    places = changes(table)
    operand = np.arange(len(labels))
    below = operand[None, None] < places[:, :, None]  # place, by, along
    if along == "x":
        below = below.swapaxes(1, 2)
    signs = np.where(np.arange(len(places)) % 2 == 0, 1, -1)
    below = below.reshape(len(places), -1)
    total = signs @ ~below
    own = labels.reshape(-1)
    found = []
    for k, (sign, values) in enumerate(zip(signs, below, strict=True)):
        rest = total - sign * ~values
        counterfactual = np.stack([rest + sign > 0, rest > 0])
        variable = Variable(
            f"{along} < place {k + 1} of {by}", "condition", values.astype(int), counterfactual
        )
        if values.any() and not values.all() and (counterfactual != own).any():
            found.append(Asked(variable, own))
    return found


LEAST_WRONG = 0.25
"""Least share of the strict pairs on which the exchange of a whole operand gives a wrong label."""


def can_be_asked(one: Asked, least: int, seed: int) -> bool:
    """Tell whether a variable has enough strict pairs that no exchange of an operand explains.

    A variable of one operand, beside others of the other operand only, is held by everything that
    holds the operand: no network would be without it.

    Args:
      one: The variable.
      least: The least number of such pairs, of those that are drawn.
      seed: Draws them.
    """
    pairs = one.strict(4 * least, np.random.default_rng(seed))
    if len(pairs.bases) < 4 * least:
        return False
    p = round(len(one.own) ** 0.5)
    (x, y), (other_x, other_y) = np.divmod(pairs.bases, p), np.divmod(pairs.sources, p)
    mixed = (other_x * p + y, x * p + other_y)
    return all((one.own[mix] != pairs.labels).mean() >= LEAST_WRONG for mix in mixed)
