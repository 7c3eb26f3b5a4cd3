"""A transformer under construction: heads that look numbers up, and neurons that compare them.

All that is planted happens at the last position. A head of the first block attends to one operand
only, and writes numbers that it looks up in the operand's embedding into dimensions of the residual
stream. Neurons compare these with each other, and write into the dimension of the logit difference,
or into dimensions that a later block's neurons read. The unembedding reads the logit difference: a
weighted sum of dimensions. Numbers are whole wherever a comparison depends on them, and so float32
holds them exactly. The attention of further blocks adds nothing, nor do their MLPs if no neuron is
planted there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Num

from jaxmi.errors import InputError
from jaxmi.models.transformer import TransformerConfig, part_name

ONE, AT_X, AT_Y, OUT, FIRST = range(5)
"""Dimensions of the residual stream: constant at the end, positions, the logit difference."""

SELECT = 400.0
"""The attention score by which a head attends to one position only: exp(-400) is 0 in float32."""

X, Y = 0, 1
"""Positions of the operands."""

Real = int | float


@dataclass(frozen=True, eq=False)
class _Neuron:
    reads: Mapping[int, Real]
    bias: Real
    writes: dict[int, Real]
    """Dimension of the residual stream -> the weight of the activation in it."""


class Planted:
    """A network under construction; `params` returns its weights once it is complete."""

    def __init__(self, config: TransformerConfig) -> None:
        """Start with empty weights of a network on pairs."""
        assert config.n_ctx == 3, "a network on pairs"
        self.config, self.p = config, config.d_vocab - 1
        self.n_dims, self.const, self.sign = FIRST, 0.0, 1
        self.readout: dict[int, Real] = {OUT: 1}
        """Dimension -> its weight in the logit difference, before `sign`."""
        self._columns: dict[int, np.ndarray] = {}
        """Dimension of the embedding -> each token's value."""
        self._writes: dict[int, dict[int, dict[int, Real]]] = {X: {}, Y: {}}
        """Position -> dimension of the embedding -> dimension a head writes it to -> factor."""
        self._neurons: list[list[_Neuron]] = [[] for _ in range(config.n_layers)]
        self._biases: list[dict[int, Real]] = [{} for _ in range(config.n_layers)]
        """What each block's MLP adds to dimensions, on every input."""

    def dimension(self) -> int:
        """Return a new dimension of the residual stream."""
        self.n_dims += 1
        return self.n_dims - 1

    def write(
        self, dim: int, values: Num[np.ndarray, "p"], position: int, factor: Real = 1
    ) -> None:
        """Have a head add a number that depends on one operand into a dimension, at the end.

        Args:
          dim: The dimension.
          values: The number for each value of the operand.
          position: The operand, `X` or `Y`.
          factor: Multiplies the values.

        Numbers that are written into one dimension add up.
        """
        place = next(
            (one for one, column in self._columns.items() if np.array_equal(column, values)), None
        )
        if place is None:
            # The embedding of the last token is 0, so a dimension can serve both ends of a head.
            place = dim if dim not in self._columns else self.dimension()
            self._columns[place] = np.asarray(values)
        targets = self._writes[position].setdefault(place, {})
        targets[dim] = targets.get(dim, 0) + factor

    def feature(self, values: Num[np.ndarray, "p"], position: int) -> int:
        """Return a new dimension into which a head adds a number that depends on one operand."""
        dim = self.dimension()
        self.write(dim, values, position)
        return dim

    def neuron(
        self, reads: Mapping[int, Real], bias: Real, weight: Real = 0, block: int = 0
    ) -> int:
        """Add a neuron, ReLU(sum of dimensions times factors + bias); return its number.

        Args:
          reads: Dimension -> its factor.
          bias: Added to the sum.
          weight: The weight of the activation in the logit difference.
          block: The block whose MLP has the neuron; numbers count from 0 in each.
        """
        neurons = self._neurons[block]
        neurons.append(_Neuron(reads, bias, {OUT: weight} if weight else {}))
        return len(neurons) - 1

    def send(
        self, neurons: Mapping[int, Real], dim: int, factor: Real, offset: Real, block: int = 0
    ) -> None:
        """Add what neurons hold to a dimension.

        Args:
          neurons: Neuron -> its weight in what they hold.
          dim: The dimension.
          factor: Multiplies what they hold.
          offset: Added on every input.
          block: The block of the neurons.
        """
        for neuron, weight in neurons.items():
            writes = self._neurons[block][neuron].writes
            writes[dim] = writes.get(dim, 0) + factor * weight
        biases = self._biases[block]
        biases[dim] = biases.get(dim, 0) + offset

    def step(
        self, reads: Mapping[int, Real], place: Real, weight: Real = 0, block: int = 0
    ) -> list[int]:
        """Add `weight` to the logit difference where a whole number is at least `place`.

        Args:
          reads: Dimension -> its factor in the number.
          place: A whole number.
          weight: What is added.
          block: The block whose MLP has the neurons.

        Returns:
          Two neurons: the first minus the second is 1 there, and 0 elsewhere.
        """
        return [
            self.neuron(reads, 1 - place, weight, block),
            self.neuron(reads, -place, -weight, block),
        ]

    def below(self, y: int, threshold: int, weight: Real) -> list[int]:
        """Add `weight` to the logit difference where y < threshold; return the two neurons."""
        return self.step({threshold: 1.0, y: -1.0}, 1, weight)

    def needs(self) -> dict[str, int]:
        """Return the sizes that are used: "d_model", "n_heads", "d_mlp"."""
        heads = sum(-(-len(reads) // self.config.d_head) for reads in self._writes.values())
        return {
            "d_model": self.n_dims,
            "n_heads": heads,
            "d_mlp": max(len(neurons) for neurons in self._neurons),
        }

    def check_sizes(self, what: str) -> None:
        """Check that all of it fits into the network.

        Args:
          what: What is planted, for the message.

        Raises:
          InputError: naming each size that is too small, what is needed and what is there.
        """
        words = {
            "d_model": "dimensions of the residual stream",
            "n_heads": f"heads of {self.config.d_head}",
            "d_mlp": "neurons",
        }
        short = [
            f"{needed} {words[name]}, and the network has {name} = {getattr(self.config, name)}"
            for name, needed in self.needs().items()
            if needed > getattr(self.config, name)
        ]
        if short:
            raise InputError(f"{what} needs {'; '.join(short)}: take a larger network")

    def heads_writing(self, dim: int) -> list[int]:
        """Return the heads that write into a dimension."""
        return sorted({head for head, _, _, targets in self._slots() if dim in targets})

    def heads_at(self, position: int) -> list[int]:
        """Return the heads that attend to an operand."""
        others = -(-len(self._writes[X]) // self.config.d_head)
        here = -(-len(self._writes[position]) // self.config.d_head)
        return [head + (others if position == Y else 0) for head in range(here)]

    def _slots(self) -> list[tuple[int, int, int, dict[int, Real]]]:
        """Return head, number within it, dimension read, dimensions written, of each number."""
        return [
            (self.heads_at(position)[i // self.config.d_head], i % self.config.d_head, place, to)
            for position, reads in self._writes.items()
            for i, (place, to) in enumerate(reads.items())
        ]

    def params(self, what: str = "it") -> dict[str, Any]:
        """Return the parameters, float32.

        Args:
          what: What is planted, for the message.

        Raises:
          InputError: as `check_sizes`.
        """
        self.check_sizes(what)
        c = self.config
        shape = (c.n_heads, c.d_model, c.d_head)
        embed, position = np.zeros((c.d_vocab, c.d_model)), np.zeros((3, c.d_model))
        for place, values in self._columns.items():
            embed[: self.p, place] = values
        position[X, AT_X] = position[Y, AT_Y] = position[2, ONE] = 1
        query, key, value = (np.zeros(shape) for _ in range(3))
        out = np.zeros((c.n_heads, c.d_head, c.d_model))
        for where, at in ((X, AT_X), (Y, AT_Y)):
            for head in self.heads_at(where):
                query[head, ONE, 0], key[head, at, 0] = np.sqrt(c.d_head), SELECT
        for head, i, place, targets in self._slots():
            value[head, place, i] = 1
            out[head, i, list(targets)] = list(targets.values())
        # All other logits are 0, so that the larger of these two is the largest of all.
        unembed = np.zeros((c.d_model, c.d_vocab))
        for dim, weight in self.readout.items():
            unembed[dim, :2] = -self.sign * weight / 2, self.sign * weight / 2
        attention = {"W_Q": query, "W_K": key, "W_V": value, "W_O": out}
        tree: dict[str, Any] = as_float32({"W_E": embed, "W_pos": position, "W_U": unembed})
        empty = {name: np.zeros_like(array) for name, array in attention.items()}
        for block in range(c.n_layers):
            tree[part_name("attn", block)] = as_float32(attention if block == 0 else empty)
            tree[part_name("mlp", block)] = as_float32(self._mlp(block))
        return tree

    def _mlp(self, block: int) -> dict[str, np.ndarray]:
        c = self.config
        w_in, b_in = np.zeros((c.d_model, c.d_mlp)), np.zeros(c.d_mlp)
        w_out, b_out = np.zeros((c.d_mlp, c.d_model)), np.zeros(c.d_model)
        for i, neuron in enumerate(self._neurons[block]):
            w_in[list(neuron.reads), i] = list(neuron.reads.values())
            w_out[i, list(neuron.writes)] = list(neuron.writes.values())
            b_in[i] = neuron.bias
        biases = self._biases[block]
        b_out[list(biases)] = list(biases.values())
        b_out[OUT] += self.const if block == 0 else 0
        return {"W_in": w_in, "b_in": b_in, "W_out": w_out, "b_out": b_out}


def as_float32(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as float32."""
    with np.errstate(over="ignore"):  # an infinity is seen when the network is run
        return {
            name: as_float32(part) if isinstance(part, Mapping) else np.asarray(part, np.float32)
            for name, part in tree.items()
        }
