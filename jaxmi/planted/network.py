"""A transformer under construction: heads that look numbers up, and neurons that compare them.

All that is planted happens in the first block, at the last position. A head attends to one operand
only, and writes numbers that it looks up in the operand's embedding into dimensions of the residual
stream. Neurons compare these with each other, and write into one dimension, which the unembedding
reads as the difference of the two logits. Numbers are whole wherever a comparison depends on them,
and so float32 holds them exactly. Further blocks add nothing.
"""

from collections.abc import Mapping
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


class Planted:
    """A network under construction; `params` returns its weights once it is complete."""

    def __init__(self, config: TransformerConfig) -> None:
        """Start with empty weights of a network on pairs."""
        assert config.n_ctx == 3, "a network on pairs"
        self.config, self.p = config, config.d_vocab - 1
        self.n_dims, self.const, self.sign = FIRST, 0.0, 1
        self._columns: dict[
            int, np.ndarray
        ] = {}  # dimension of the embedding -> each token's value
        self._writes: dict[int, dict[int, dict[int, Real]]] = {X: {}, Y: {}}
        # Position -> dimension of the embedding -> dimension that a head writes it to -> factor.
        self._neurons: list[tuple[Mapping[int, Real], Real, Real]] = []

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
        """
        place = next(
            (one for one, column in self._columns.items() if np.array_equal(column, values)), None
        )
        if place is None:
            # The embedding of the last token is 0, so a dimension can serve both ends of a head.
            place = dim if dim not in self._columns else self.dimension()
            self._columns[place] = np.asarray(values)
        self._writes[position].setdefault(place, {})[dim] = factor

    def feature(self, values: Num[np.ndarray, "p"], position: int) -> int:
        """Return a new dimension into which a head adds a number that depends on one operand."""
        dim = self.dimension()
        self.write(dim, values, position)
        return dim

    def neuron(self, reads: Mapping[int, Real], bias: Real, weight: Real) -> int:
        """Add a neuron, ReLU(sum of dimensions times factors + bias); return its number.

        Args:
          reads: Dimension -> its factor.
          bias: Added to the sum.
          weight: The weight of the activation in the logit difference.
        """
        self._neurons.append((reads, bias, weight))
        return len(self._neurons) - 1

    def step(self, reads: Mapping[int, Real], place: Real, weight: Real) -> list[int]:
        """Add `weight` to the logit difference where a whole number is at least `place`.

        Args:
          reads: Dimension -> its factor in the number.
          place: A whole number.
          weight: What is added.

        Returns:
          Two neurons: the first minus the second is 1 there, and 0 elsewhere.
        """
        return [self.neuron(reads, 1 - place, weight), self.neuron(reads, -place, -weight)]

    def below(self, y: int, threshold: int, weight: Real) -> list[int]:
        """Add `weight` to the logit difference where y < threshold; return the two neurons."""
        return self.step({threshold: 1.0, y: -1.0}, 1, weight)

    def needs(self) -> dict[str, int]:
        """Return the sizes that are used: "d_model", "n_heads", "d_mlp"."""
        heads = sum(-(-len(reads) // self.config.d_head) for reads in self._writes.values())
        return {"d_model": self.n_dims, "n_heads": heads, "d_mlp": len(self._neurons)}

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
        w_in, b_in = np.zeros((c.d_model, c.d_mlp)), np.zeros(c.d_mlp)
        w_out, b_out = np.zeros((c.d_mlp, c.d_model)), np.zeros(c.d_model)
        for i, (reads, bias, weight) in enumerate(self._neurons):
            w_in[list(reads), i] = list(reads.values())
            b_in[i], w_out[i, OUT] = bias, weight
        b_out[OUT] = self.const
        # All other logits are 0, so that the larger of these two is the largest of all.
        unembed = np.zeros((c.d_model, c.d_vocab))
        unembed[OUT, :2] = -self.sign / 2, self.sign / 2
        attention = {"W_Q": query, "W_K": key, "W_V": value, "W_O": out}
        mlp = {"W_in": w_in, "b_in": b_in, "W_out": w_out, "b_out": b_out}
        tree: dict[str, Any] = _float32({"W_E": embed, "W_pos": position, "W_U": unembed})
        for block in range(c.n_layers):
            for part, arrays in (("attn", attention), ("mlp", mlp)):
                empty = {name: np.zeros_like(array) for name, array in arrays.items()}
                tree[part_name(part, block)] = _float32(arrays if block == 0 else empty)
        return tree


def _float32(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):  # an infinity is seen when the network is run
        return {name: np.asarray(array, np.float32) for name, array in arrays.items()}
