"""Which neurons place each threshold of a program that was read off a network's weights.

Across a threshold the logit difference changes its sign. That change is a sum over neurons, so each
has a share of it. The neurons of the largest shares are then set to their mean: if they place the
threshold, labels change near it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.mechanism.pieces import Threshold
from jaxmi.mechanism.reading import Reading
from jaxmi.mechanism.replacement import Replacement, inputs_of

PLACING = 3
"""Neurons that are said to place a threshold."""

ACROSS = 5
"""The change of the logit difference is taken from so far before a threshold to so far behind."""

NEAR = 10
"""Labels are counted as near a threshold up to this distance along y."""

DRAWS = 20
"""Draws of as many other neurons: the control."""


@dataclass(frozen=True)
class Placement:
    """The neurons that place one threshold."""

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
    changed_others: float
    """The same for as many of the other neurons, mean over draws."""


def place_thresholds(reading: Reading, network: Replacement) -> list[Placement]:
    """Find the neurons that place each threshold.

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
                at = np.polynomial.polynomial.polyval(values[inside].astype(float), threshold)
                seen = (at > values[cell.columns[0]]) & (at < values[cell.columns[-1]])
                if not seen.any():
                    continue
                rows, at = inside[seen], at[seen]
                shares = _shares_of_change(effects, values, cell.columns, rows, at)
                chosen = np.argsort(-shares)[:PLACING]
                near = _near(values, cell.columns, rows, at)
                if not near.any():
                    continue  # between two columns that are far apart
                near_threshold = difference[near], without[near]
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
      without: What each neuron at its mean adds to that.
      neurons: The neurons.
    """
    changed = difference + without[:, neurons].sum(axis=1)
    return float(((changed > 0) != (difference > 0)).mean())


def mean_change(placements: Sequence[Placement]) -> tuple[float, float] | None:
    """Return the labels that change near thresholds, and the control's, a row counting once."""
    if not placements:
        return None
    counts = [len(placement.rows) for placement in placements]
    return (
        float(np.average([placement.changed for placement in placements], weights=counts)),
        float(np.average([placement.changed_others for placement in placements], weights=counts)),
    )


def _shares_of_change(
    effects: Float[np.ndarray, "p p neuron"],
    values: Int[np.ndarray, "p"],
    columns: Int[np.ndarray, "column"],
    rows: Int[np.ndarray, "row"],
    at: Float[np.ndarray, "row"],
) -> Float[np.ndarray, "neuron"]:
    """Return each neuron's share of the change of the logit difference across a threshold."""
    last = len(columns) - 1
    before = columns[np.clip(np.searchsorted(values[columns], at - ACROSS) - 1, 0, last)]
    behind = columns[np.clip(np.searchsorted(values[columns], at + ACROSS), 0, last)]
    change = (effects[rows, behind] - effects[rows, before]).sum(axis=0)
    change = change if change.sum() >= 0 else -change
    return change / (np.abs(change).sum() or 1.0)


def _near(
    values: Int[np.ndarray, "p"],
    columns: Int[np.ndarray, "column"],
    rows: Int[np.ndarray, "row"],
    at: Float[np.ndarray, "row"],
) -> Bool[np.ndarray, "p p"]:
    """Return which pairs are near a threshold."""
    near = np.zeros((len(values), len(values)), bool)
    close = np.abs(values[columns][None, :] - at[:, None]) <= NEAR
    near[np.ix_(rows, columns)] = close
    return near
