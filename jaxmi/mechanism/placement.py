"""Find which neurons have the largest shares of the change across each threshold of a program.

Across a threshold of a program that was read off a network's weights, the logit difference changes
its sign. That change is a sum over neurons, so each has a share of it. The neurons of the largest
shares are then set to their mean: labels should change near the threshold, more than far from it,
and more than if as many other neurons are at their mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.mechanism.pieces import Threshold
from jaxmi.mechanism.reading import Reading
from jaxmi.mechanism.replacement import Replacement, inputs_of

PLACING = 3
"""Neurons that are named beside a threshold."""

ACROSS = 0.05
"""Distance along y, before and after a threshold, between which the change is taken; as a share of
y's range."""

NEAR = 0.09
"""Labels are counted as near a threshold up to this distance along y, as a share of y's range."""

DRAWS = 20
"""Draws of as many other neurons: the control."""


@dataclass(frozen=True)
class Placement:
    """The neurons of the largest shares of the change across one threshold."""

    cell: int
    """The part of the domain, as in `Reading.pieces`."""
    piece: int
    threshold: Threshold
    rows: Int[np.ndarray, "row"]
    """The values of x in which the threshold is within the values of y."""
    neurons: Int[np.ndarray, "k"]
    """Columns of the smaller network's `w_in`, the largest share first."""
    shares: Float[np.ndarray, "k"]
    """Their shares of the change across the threshold, of the sizes of all changes."""
    changed: float
    """Labels near the threshold that change if these neurons are at their mean."""
    changed_far: float
    """The same of all labels that are not near it."""
    changed_others: float
    """The same near it for as many of the other neurons, mean over draws."""


def place_thresholds(reading: Reading, network: Replacement) -> list[Placement]:
    """Find the neurons of the largest shares for each threshold.

    Args:
      reading: The program.
      network: The smaller network, with its own tables.
    """
    values = reading.smoothed.values
    shape = (len(values), len(values))
    effects = network.neurons(inputs_of(shape)) * network.weights
    effects = effects.reshape(*shape, -1)
    difference = effects.sum(axis=-1) + network.bias
    without = effects.mean(axis=(0, 1)) - effects
    rng = np.random.default_rng(0)
    placements = []
    for i, (cell, pieces) in enumerate(reading.pieces):
        start = -1
        for j, piece in enumerate(pieces):
            inside = cell.rows[(values[cell.rows] > start) & (values[cell.rows] <= piece.end)]
            start = piece.end
            for threshold in piece.thresholds:
                position = np.polynomial.polynomial.polyval(values[inside].astype(float), threshold)
                seen = (position > values[cell.columns[0]]) & (position < values[cell.columns[-1]])
                if not seen.any():
                    continue
                rows, position = inside[seen], position[seen]
                shares = _shares_of_change(effects, values, cell.columns, rows, position)
                chosen = np.argsort(-shares)[:PLACING]
                near = _near(values, cell.columns, rows, position)
                if not near.any():
                    continue  # between two columns that are far apart
                near_threshold = difference[near], without[near]
                far = difference[~near], without[~near]
                others = np.setdiff1d(np.arange(effects.shape[-1]), chosen)
                draws = [rng.permutation(others)[: len(chosen)] for _ in range(DRAWS)]
                placements.append(
                    Placement(
                        cell=i,
                        piece=j,
                        threshold=threshold,
                        rows=values[rows],
                        neurons=chosen,
                        shares=shares[chosen],
                        changed=_changed(*near_threshold, chosen),
                        changed_far=_changed(*far, chosen),
                        changed_others=float(
                            np.mean([_changed(*near_threshold, draw) for draw in draws])
                        ),
                    )
                )
    return placements


def _changed(
    difference: Float[np.ndarray, "m"],
    without: Float[np.ndarray, "m neuron"],
    neurons: Int[np.ndarray, "k"],
) -> float:
    """Return the share of labels that change if neurons are at their mean.

    Args:
      difference: The logit difference.
      without: The change of the logit difference if a neuron is set to its mean.
      neurons: The neurons.
    """
    changed = difference + without[:, neurons].sum(axis=1)
    return float(((changed > 0) != (difference > 0)).mean())


class Change(NamedTuple):
    """Labels that change if neurons are at their mean, a row of each threshold counting once."""

    near: float
    far: float
    others: float


def mean_change(placements: Sequence[Placement]) -> Change | None:
    """Return the labels that change over all thresholds; None if there are none."""
    if not placements:
        return None
    counts = [len(placement.rows) for placement in placements]
    rows = [(each.changed, each.changed_far, each.changed_others) for each in placements]
    return Change(*np.average(rows, axis=0, weights=counts).tolist())


def _shares_of_change(
    effects: Float[np.ndarray, "p p neuron"],
    values: Int[np.ndarray, "p"],
    columns: Int[np.ndarray, "column"],
    rows: Int[np.ndarray, "row"],
    position: Float[np.ndarray, "row"],
) -> Float[np.ndarray, "neuron"]:
    """Return each neuron's share of the change of the logit difference across a threshold."""
    last = len(columns) - 1
    reach = ACROSS * np.ptp(values)
    before = columns[np.clip(np.searchsorted(values[columns], position - reach) - 1, 0, last)]
    behind = columns[np.clip(np.searchsorted(values[columns], position + reach), 0, last)]
    change = (effects[rows, behind] - effects[rows, before]).sum(axis=0)
    change = change if change.sum() >= 0 else -change
    return change / (np.abs(change).sum() or 1.0)


def _near(
    values: Int[np.ndarray, "p"],
    columns: Int[np.ndarray, "column"],
    rows: Int[np.ndarray, "row"],
    position: Float[np.ndarray, "row"],
) -> Bool[np.ndarray, "p p"]:
    """Return which pairs are near a threshold."""
    near = np.zeros((len(values), len(values)), bool)
    close = np.abs(values[columns][None, :] - position[:, None]) <= NEAR * np.ptp(values)
    near[np.ix_(rows, columns)] = close
    return near
