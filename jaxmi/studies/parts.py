"""Challenge 2's program taken apart, to be put together otherwise.

A label depends on three sides of a boundary, and on a number that is the row's own: the residue
⌊x^1.5⌋ mod 8. Exchanging one part and keeping the others is an intervention on the labels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from jaxmi.programs.domain import P

Part = np.ndarray | np.bool_ | np.integer

X, Y = np.meshgrid(np.arange(P, dtype=np.int64), np.arange(P, dtype=np.int64), indexing="ij")


@dataclass(frozen=True, eq=False)
class Parts:
    """What the label of a pair is made of; tables with row = x."""

    small_x: Bool[np.ndarray, "p p"]
    """x^4 < 40000 y, in the published program: +3."""
    small_y: Bool[np.ndarray, "p p"]
    """y^4 < 360000 x: -2."""
    below_line: Bool[np.ndarray, "p p"]
    """x + y < p + 20: +5.5, if the rest is below -3."""
    residues: Int[np.ndarray, "p"]
    """⌊x^1.5⌋ mod 8: + this, - 5."""

    @property
    def labels(self) -> Int[np.ndarray, "p p"]:
        """1 where the sum is not negative."""
        return combine(self.small_x, self.small_y, self.below_line, self.residues[:, None])


def combine(
    small_x: Part, small_y: Part, below_line: Part, residues: Part
) -> Int[np.ndarray, "*shape"]:
    """Labels pairs from their parts, which broadcast."""
    twice = 6 * small_x - 4 * small_y + 2 * (residues - 5)  # doubled: the last term is 5.5
    return np.asarray(twice + 11 * (below_line & (twice < -6)) >= 0, np.int32)


def published() -> Parts:
    """The published program's parts."""
    residues = np.array([int(x**1.5) % 8 for x in range(P)])
    return Parts(X**4 < 40_000 * Y, Y**4 < 360_000 * X, X + Y < P + 20, residues)


def straightened() -> Parts:
    """Both curves replaced by straight lines between their ends.

    x^4 = 40000 y runs from (0, 0) to (46, 112), y^4 = 360000 x from (1, 24) to (112, 80).
    """
    own = published()
    small_x = 46 * Y > 112 * X
    small_y = 111 * (Y - 24) < 56 * (X - 1)
    return Parts(small_x, small_y & (X > 0), own.below_line, own.residues)


def bent() -> Parts:
    """The straight line replaced by an arc between its ends, (21, 112) and (112, 21).

    A quarter of a circle around (113, 113), so it comes nearest to (0, 0) in its middle.
    """
    own = published()
    below = (P - X) ** 2 + (P - Y) ** 2 > (P - 21) ** 2
    return Parts(own.small_x, own.small_y, below, own.residues)
