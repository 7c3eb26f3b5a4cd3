"""Read a program off a network's weights, and judge it beside its controls.

The controls are read in the same way: with permuted classes; without classes; off an untrained
network whose read-out was fitted to this network's logit difference, with the same classes. One
label throughout is a control too. Beside these stands what the weights are not needed for: the same
parts of the domain, with pieces fitted to the network's own labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.mechanism import metrics as table
from jaxmi.mechanism.placement import Placement, mean_change, place_thresholds
from jaxmi.mechanism.reading import OPERANDS, Partition, Reading, read_program, smooth_network
from jaxmi.mechanism.replacement import Replacement
from jaxmi.types import Metrics

PERMUTATIONS = 3
"""Permutations of the classes; the one that keeps most labels is the control."""

Judge = Callable[[table.Kept, Float[np.ndarray, "n"]], Metrics]
"""From two metrics and a logit difference to what it keeps of the labels and of the mistakes."""

Partitions = Mapping[str, Sequence[Partition]]
"""Operand -> the classes of its values that the weights tell apart."""


@dataclass(frozen=True)
class WeightsProgram:
    """A program that was read off a network's weights, and the neurons beside its thresholds."""

    reading: Reading
    placements: Sequence[Placement]


def read_weights(
    smaller: Replacement,
    untrained: Replacement | None,
    values: Int[np.ndarray, "p"],
    partitions: Partitions,
    own: Bool[np.ndarray, "p p"],
    judge: Judge,
    truth: Bool[np.ndarray, "n"] | None = None,
) -> tuple[WeightsProgram | None, Metrics]:
    """Read a program off a smaller network of pairs.

    Args:
      smaller: The network.
      untrained: One of the same form, cut out of an untrained network; None: there is none.
      values: The values of each operand.
      partitions: The classes that were found.
      own: The network's own labels, a row for each value of x.
      judge: Measures what labels keep.
      truth: The true labels; None: they are not known.

    Returns:
      The program, or None if it is too long for the language; and the metrics.
    """
    smoothed = smooth_network(smaller, values, partitions)
    labels = smoothed.labels.reshape(-1)
    metrics: Metrics = judge(table.SMOOTH, _centred(labels))
    reading = read_program(smoothed)
    if reading is None:
        return None, metrics
    metrics |= {
        **judge(table.PROGRAM, _centred(reading.labels)),
        table.PROGRAM_NUMBERS.key: reading.numbers,
        table.PROGRAM_SIZE.key: reading.size,
    }
    if truth is not None:
        metrics[table.PROGRAM_ACCURACY.key] = float((reading.labels == truth).mean())

    def control(kept: table.Kept, network: Replacement, classes: Partitions) -> Metrics:
        other = read_program(smooth_network(network, values, classes))
        return {} if other is None else judge(kept, _centred(other.labels))

    if any(partitions.values()):
        rng = np.random.default_rng(0)
        metrics |= _best(
            table.PROGRAM_PERMUTED,
            [
                control(table.PROGRAM_PERMUTED, smaller, _permuted(partitions, rng))
                for _ in range(PERMUTATIONS)
            ],
        )
        metrics |= control(table.PROGRAM_WITHOUT, smaller, dict.fromkeys(OPERANDS, ()))
    if untrained is not None:
        metrics |= control(table.PROGRAM_UNTRAINED, untrained, partitions)
    metrics |= _best(
        table.PROGRAM_CONSTANT,
        [judge(table.PROGRAM_CONSTANT, np.full(own.size, sign)) for sign in (-1.0, 1.0)],
    )
    of_labels = read_program(smoothed, labels=own)
    if of_labels is not None:
        metrics |= judge(table.PROGRAM_OF_LABELS, _centred(of_labels.labels))
    placements = place_thresholds(reading, smaller)
    change = mean_change(placements)
    if change is not None:
        metrics[table.PLACED.key], metrics[table.PLACED_FAR.key] = change.near, change.far
        metrics[table.PLACED_OTHERS.key] = change.others
    return WeightsProgram(reading, placements), metrics


def _best(kept: table.Kept, draws: Sequence[Metrics]) -> Metrics:
    """Return the metrics of the draw that keeps most labels."""
    return max(draws, key=lambda draw: draw.get(kept.agreement.key, 0.0))


def _permuted(partitions: Partitions, rng: np.random.Generator) -> Partitions:
    return {
        name: [Partition(part.text, rng.permutation(part.classes)) for part in parts]
        for name, parts in partitions.items()
    }


def _centred(labels: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Return labels as a logit difference."""
    return labels - 0.5
