"""Networks whose mechanism is known: weights that compute conditions, or look rows up."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jaxmi.models.transformer import TransformerConfig
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Program
from jaxmi.programs.parse import parse

ONE, AT_X, AT_Y, OUT, FIRST = range(5)
"""Dimensions of the residual stream: constant at the end, positions, the logit difference."""

SELECT = 400.0
"""The attention score by which a head attends to one position only."""


class Planted:
    """A network of one block under construction: one head reads x, the other y."""

    def __init__(self, p: int, width: int, neurons: int) -> None:
        """Start with empty weights."""
        self.p = p
        self.config = TransformerConfig(
            d_vocab=p + 1, d_model=width, n_heads=2, d_head=width // 2, d_mlp=neurons, n_ctx=3
        )
        self.embed = np.zeros((p + 1, width))
        self.mlp_in, self.mlp_bias = np.zeros((width, neurons)), np.zeros(neurons)
        self.mlp_out, self.const = np.zeros((neurons, width)), 0.0
        self.read: dict[int, list[int]] = {0: [], 1: []}
        self.n_neurons, self.n_dims = 0, FIRST

    def feature(self, values: Num[np.ndarray, "p"], position: int) -> int:
        """Return a new dimension in which the operand at a position adds these values."""
        dim, self.n_dims = self.n_dims, self.n_dims + 1
        self.embed[: self.p, dim] = values
        self.read[position].append(dim)
        return dim

    def below(self, y: int, threshold: int, weight: int | float) -> list[int]:
        """Add `weight` to the logit difference where y < threshold; return the two neurons."""
        neurons = [self.n_neurons, self.n_neurons + 1]
        for neuron, (bias, sign) in zip(neurons, ((0.0, 1.0), (-1.0, -1.0)), strict=True):
            self.mlp_in[[threshold, y], neuron] = 1.0, -1.0
            self.mlp_bias[neuron] = bias
            self.mlp_out[neuron, OUT] = sign * weight
        self.n_neurons += 2
        return neurons

    def params(self) -> dict:
        """Return the parameters, float32."""
        c = self.config
        position, unembed = np.zeros((3, c.d_model)), np.zeros((c.d_model, c.d_vocab))
        position[0, AT_X] = position[1, AT_Y] = position[2, ONE] = 1
        unembed[OUT, 1] = 1
        query, key, value = (np.zeros((2, c.d_model, c.d_head)) for _ in range(3))
        out = np.zeros((2, c.d_head, c.d_model))
        for head, where in enumerate((AT_X, AT_Y)):
            query[head, ONE, 0], key[head, where, 0] = np.sqrt(c.d_head), SELECT
            for i, dim in enumerate(self.read[head]):
                value[head, dim, i] = out[head, i, dim] = 1
        bias = np.zeros(c.d_model)
        bias[OUT] = self.const
        mlp = {"W_in": self.mlp_in, "b_in": self.mlp_bias, "W_out": self.mlp_out, "b_out": bias}
        attention = {"W_Q": query, "W_K": key, "W_V": value, "W_O": out}
        tree = {"W_E": self.embed, "W_pos": position, "W_U": unembed}
        parts = {"attn": attention, "mlp": mlp}
        return {
            **{name: np.asarray(array, np.float32) for name, array in tree.items()},
            **{
                part: {name: np.asarray(a, np.float32) for name, a in arrays.items()}
                for part, arrays in parts.items()
            },
        }


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
    network = Planted(len(addend), width, neurons)
    for threshold, weight in zip(thresholds, weights, strict=True):
        y = network.feature(np.arange(network.p), 1)
        network.below(y, network.feature(threshold, 0), weight)
    # A neuron adds the residue, so that it can be exchanged there as well.
    dim = network.feature(addend - addend.min() + 1, 0)
    neuron, network.n_neurons = network.n_neurons, network.n_neurons + 1
    network.mlp_in[dim, neuron], network.mlp_out[neuron, OUT] = 1, 1
    network.const = const + addend.min() - 1
    return network


def plant_rows(labels: Bool[np.ndarray, "p p"], width: int, neurons: int) -> Planted:
    """Plant a label map as it is: in each row of x, the places along y where the label changes."""
    p = len(labels)
    network = Planted(p, width, neurons)
    y = network.feature(np.arange(p), 1)
    changes = [np.flatnonzero(np.diff(row.astype(int), prepend=0, append=0)) for row in labels]
    for k in range(max(map(len, changes))):
        places = np.array([row[k] if k < len(row) else p for row in changes])
        # From the place on: 1 - [y < place], added with alternating signs.
        sign = 1.0 if k % 2 == 0 else -1.0
        network.below(y, network.feature(places, 0), -sign)
        network.const += sign
    network.const -= 0.5
    return network


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
