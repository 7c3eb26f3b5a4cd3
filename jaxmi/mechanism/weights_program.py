"""Reads a program off a network's weights, and judges it beside programs that should not do.

The controls are the same program with its classes permuted, one curve for all values of x instead
of one for each class, and a program read off an untrained network whose read-out was fitted to this
network's logit difference.
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
"""Permutations of the classes; the one of most labels kept is the control."""

Judge = Callable[[table.Kept, Float[np.ndarray, "n"]], Metrics]
"""From two metrics and a logit difference to what it keeps of the labels and of the mistakes."""

Partitions = Mapping[str, Sequence[Partition]]
"""Operand -> the classes of its values that the weights tell apart."""


@dataclass(frozen=True)
class WeightsProgram:
    """A program that was read off a network's weights, and the neurons that place its parts."""

    reading: Reading
    placements: Sequence[Placement]


def read_weights(
    smaller: Replacement,
    untrained: Replacement | None,
    values: Int[np.ndarray, "p"],
    partitions: Partitions,
    judge: Judge,
    truth: Bool[np.ndarray, "n"] | None = None,
) -> tuple[WeightsProgram | None, Metrics]:
    """Read a program off a smaller network of pairs.

    Args:
      smaller: The network.
      untrained: One of the same form, cut out of an untrained network; None: there is none.
      values: The values of each operand.
      partitions: The classes that were found.
      judge: Measures what labels keep.
      truth: The true labels; None: they are not known.

    Returns:
      The program, or None if it is too long for the language; and the metrics.
    """
    smoothed = smooth_network(smaller, values, partitions)
    reading = read_program(smoothed)
    if reading is None:
        return None, {}
    metrics: Metrics = {
        **judge(table.SMOOTH, _centred(smoothed.labels.reshape(-1))),
        **judge(table.PROGRAM, _centred(reading.labels)),
        table.PROGRAM_NUMBERS.key: reading.numbers,
        table.PROGRAM_SIZE.key: reading.size,
    }
    if truth is not None:
        metrics[table.PROGRAM_ACCURACY.key] = float((reading.labels == truth).mean())
    without: Partitions = dict.fromkeys(OPERANDS, ())

    def control(kept: table.Kept, network: Replacement, classes: Partitions) -> Metrics:
        other = read_program(smooth_network(network, values, classes))
        return {} if other is None else judge(kept, _centred(other.labels))

    if any(partitions.values()):
        rng = np.random.default_rng(0)
        draws = [
            control(table.PROGRAM_PERMUTED, smaller, _permuted(partitions, rng))
            for _ in range(PERMUTATIONS)
        ]
        metrics |= max(draws, key=lambda draw: draw.get(table.PROGRAM_PERMUTED.agreement.key, 0.0))
        metrics |= control(table.PROGRAM_WITHOUT, smaller, without)
    if untrained is not None:
        metrics |= control(table.PROGRAM_UNTRAINED, untrained, without)
    placements = place_thresholds(reading, smaller)
    changes = mean_change(placements)
    if changes is not None:
        metrics[table.PLACED.key], metrics[table.PLACED_OTHERS.key] = changes
    return WeightsProgram(reading, placements), metrics


def _permuted(partitions: Partitions, rng: np.random.Generator) -> Partitions:
    return {
        name: [Partition(part.text, rng.permutation(part.classes)) for part in parts]
        for name, parts in partitions.items()
    }


def _centred(labels: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Return labels as a logit difference."""
    return labels - 0.5
