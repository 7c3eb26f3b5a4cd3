"""Challenge 2's labels with other rules for the rows' residues, and rows to hold out."""

import numpy as np
from jaxtyping import Int

from jaxmi.programs.domain import P
from jaxmi.studies import parts

RESIDUES = 8
CONSTANT = 3
"""The residue with which all three sides of the program matter."""

RULES = {
    "published": "published labels",
    "residues": "residues dealt out anew",
    "shuffled": "rows in a random order",
    "constant": f"residue {CONSTANT} in every row",
}
"""What gives a row its labels. In the last, a row has nothing of its own: all that is to be known
of an unseen one follows from the others."""

ROWS_OF_EACH = 2
"""Held-out rows of each residue, in each set."""

SETS = 2


def parts_of(rule: str) -> parts.Parts:
    """What the labels of a rule are made of; of rows in a random order, the published program's."""
    own = parts.published()
    residues = {
        "residues": own.residues[_order()],
        "constant": np.full(P, CONSTANT),
    }.get(rule, own.residues)
    return parts.Parts(own.small_x, own.small_y, own.below_line, residues)


def labels_of(rule: str) -> Int[np.ndarray, "p p"]:
    """The labels of a rule."""
    labels = parts_of(rule).labels
    return labels[_order()] if rule == "shuffled" else labels


def residues_of(rule: str) -> Int[np.ndarray, "p"]:
    """Each row's residue under a rule."""
    residues = parts_of(rule).residues
    return residues[_order()] if rule == "shuffled" else residues


def held_out_rows() -> Int[np.ndarray, "sets rows"]:
    """Rows to hold out, disjoint sets; each has two of each residue of the published program."""
    rng = np.random.default_rng(1)
    residues = parts.published().residues
    drawn = [
        rng.permutation(np.flatnonzero(residues == residue))[: SETS * ROWS_OF_EACH]
        for residue in range(RESIDUES)
    ]
    sets = np.stack(drawn).reshape(RESIDUES, SETS, ROWS_OF_EACH).swapaxes(0, 1)
    return np.sort(sets.reshape(SETS, -1))


def _order() -> Int[np.ndarray, "p"]:
    """The random order that rows, or their residues, are put in."""
    return np.random.default_rng(0).permutation(P)
