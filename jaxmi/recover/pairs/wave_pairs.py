"""Two periodic features at once: scored for all pairs, by matrix products."""

from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Float, Int

from jaxmi.recover.pairs import accelerator
from jaxmi.recover.pairs.tables import CELL_NATS, Periodic
from jaxmi.recover.pairs.waves import Axis


def best_pairs(
    groups: Int[np.ndarray, "n"],
    signed: Float[np.ndarray, "n"],
    axes: tuple[Axis, ...],
    top: int,
) -> list[tuple[Periodic, Periodic]]:
    """Finds pairs of periodic features that, with groups, tell most of the answers.

    Args:
      groups: Which the features would divide, numbered from 0; few.
      signed: Each answer's worth, positive if it is 1.
      axes: Whose features are tried, each with each.
      top: How many pairs; at most one for each two axes.

    Returns:
      The pairs, the best first.
    """
    found = []
    for one, other in combinations_with_replacement(axes, 2):
        margins = _margins(groups, signed, one, other)
        i, j = np.unravel_index(int(margins.argmax()), margins.shape)
        pair = Periodic(one, int(i)), Periodic(other, int(j))
        found.append((float(margins[i, j]), pair))
    found.sort(key=lambda scored: -scored[0])
    return [pair for _, pair in found[:top]]


def _margins(
    groups: Int[np.ndarray, "n"], signed: Float[np.ndarray, "n"], one: Axis, other: Axis
) -> Float[np.ndarray, "waves others"]:
    """The margin that each pair of features leaves, less what its labels cost."""
    cells = one.values * other.count + other.values
    width = int(groups.max()) + 1
    shape = (width, one.count, other.count)
    table = np.bincount(groups * (one.count * other.count) + cells, signed, int(np.prod(shape)))
    tables = table.reshape(shape).astype(np.float32)
    if accelerator.is_there():
        total = accelerator.absolute_products(one.members, tables, other.members)
    else:
        total = np.zeros((len(one.members), len(other.members)), np.float32)
        for each in tables:
            total += np.abs(one.members @ each @ other.members.T)
    total = total - 2 * CELL_NATS * width
    return np.add.reduceat(np.add.reduceat(total, one.rows, axis=0), other.rows, axis=1)
