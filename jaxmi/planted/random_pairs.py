"""Random programs planted in two ways, as conditions and as rows: for studies and tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.models.transformer import TransformerConfig
from jaxmi.planted.look_up import plant_look_up
from jaxmi.planted.network import Planted, X, Y
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Program
from jaxmi.programs.parse import parse


def plant_conditions(
    thresholds: Sequence[Int[np.ndarray, "p"]],
    weights: Sequence[int | float],
    addend: Float[np.ndarray, "p"],
    const: int | float,
    width: int,
    neurons: int,
) -> Planted:
    """Plant z = sum of w [y < t(x)] + addend(x) + const: each condition has dimensions of its own.

    The label is 1 where z > 0.
    """
    network = Planted(_config(len(addend), width, neurons))
    for threshold, weight in zip(thresholds, weights, strict=True):
        y = network.feature(np.arange(network.p), Y)
        network.below(y, network.feature(threshold, X), weight)
    # A neuron adds the residue, so that it can be exchanged there as well.
    network.neuron({network.feature(addend - addend.min() + 1, X): 1.0}, 0, 1)
    network.const = const + addend.min() - 1
    return network


def plant_rows(labels: Bool[np.ndarray, "p p"], width: int, neurons: int) -> Planted:
    """Plant a label map as it is: in each row of x, the places along y where the label changes."""
    network = Planted(_config(len(labels), width, neurons))
    # The end of a row is one, too.
    plant_look_up(network, np.pad(labels, ((0, 0), (0, 1))), X)
    return network


def _config(p: int, width: int, neurons: int) -> TransformerConfig:
    return TransformerConfig(
        d_vocab=p + 1, d_model=width, n_heads=2, d_head=width // 2, d_mlp=neurons
    )


@dataclass(frozen=True, eq=False)
class PlantedPair:
    """A random program, and two networks that give its labels and differ inside."""

    program: Program
    domain: PairDomain
    labels: Bool[np.ndarray, "n"]
    parts: tuple[str, ...]
    """The names of its conditions and of its remainder, as `programs.variables` has them."""
    conditions: Planted
    rows: Planted


SHARES = (0.3, 0.7)
"""A program is drawn anew until the share of its labels that are 1 lies within these."""

MOST_CHANGES = 12
"""It is drawn anew, too, if a row's label changes more often than this."""


def draw_planted(p: int, rng: np.random.Generator) -> PlantedPair:
    """Draw a program of three conditions and a remainder, and plant it in two ways.

    Args:
      p: The number of values of each operand, at least 16.
      rng: Draws it.
    """
    domain, x = PairDomain(p), np.arange(p)
    while True:
        scale, start = int(rng.integers(2, 6)), int(rng.integers(2, p // 3))
        shift, total = int(rng.integers(-p // 4, p // 4)), int(rng.integers(p // 2, 3 * p // 2))
        modulus, exponent = int(rng.integers(3, 9)), float(rng.choice([1.2, 1.5, 1.8]))
        weights = [int(w) for w in rng.integers(2, 4, 3)]
        right = f"x + {shift}" if shift >= 0 else f"x - {-shift}"
        parts = (
            f"y < {scale} * sqrt(x) + {start}",
            f"y > {right}",
            f"y < {total} - x",
            f"int(x ** {exponent}) % {modulus}",
        )
        offset = modulus // 2
        text = (
            f"z = 0\nif {parts[0]}:\n    z += {weights[0]}\n"
            f"if {parts[1]}:\n    z -= {weights[1]}\n"
            f"if {parts[2]}:\n    z += {weights[2]}\n"
            f"z += {parts[3]} - {offset}\nreturn z >= 2\n"
        )
        program = parse(text, "pairs")
        labels = label(program, domain) == 1
        grid = labels.reshape(p, p)
        changes = np.abs(np.diff(grid.astype(int), axis=1)).sum(axis=1).max() + 2
        if SHARES[0] <= labels.mean() <= SHARES[1] and changes <= MOST_CHANGES:
            break
    # y > t is 1 - [y < t + 1].
    places = [np.ceil(scale * np.sqrt(x) + start), x + shift + 1, total - x]
    thresholds = [np.clip(place, 0, p).astype(int) for place in places]
    addend = (x**exponent).astype(int) % modulus - float(offset)
    planted = plant_conditions(thresholds, weights, addend, -weights[1] - 1.5, 32, 16)
    return PlantedPair(
        program, domain, labels, parts, planted, plant_rows(grid, 64, 2 * MOST_CHANGES)
    )
