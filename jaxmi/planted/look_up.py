"""Labels as they are: in each row the places where the label changes, as numbers to compare with.

Such a network computes no condition of any program. It is what a table in the weights looks like.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxmi.planted.network import Planted, X, Y


def changes(table: Bool[np.ndarray, "row n"]) -> Int[np.ndarray, "k row"]:
    """Return where each row's values change, from False before its first.

    Args:
      table: Truth values.

    Returns:
      Places in ascending order, of each row as many as of the row with the most: n pads. So a value
      is True if an odd number of its row's places are at most its own.
    """
    steps = np.diff(table.astype(np.int8), axis=1, prepend=np.int8(0)) != 0
    places = np.where(steps, np.arange(table.shape[1]), table.shape[1])
    return np.sort(places, axis=1)[:, : steps.sum(axis=1).max()].T


class LookUp(NamedTuple):
    """What a network holds that looks labels up."""

    along: int
    """The dimension of the operand along which labels change."""
    places: list[int]
    """The dimensions of the places."""
    neurons: list[list[int]]
    """The two neurons of each place: their difference is 1 below the place."""


def plant_look_up(network: Planted, labels: Bool[np.ndarray, "p n"], by: int) -> LookUp:
    """Plant labels: for each value of one operand, the places along the other where they change.

    Args:
      network: An empty network.
      labels: Row = the operand whose embedding holds the places.
      by: That operand, `X` or `Y`.
    """
    along = network.feature(np.arange(network.p), Y if by == X else X)
    found = LookUp(along, [], [])
    for k, places in enumerate(changes(labels)):
        # From the place on: 1 - [y < place], added with alternating signs.
        sign = 1.0 if k % 2 == 0 else -1.0
        found.places.append(network.feature(np.minimum(places, network.p), by))
        found.neurons.append(network.below(along, found.places[-1], -sign))
        network.const += sign
    network.const -= 0.5
    return found
