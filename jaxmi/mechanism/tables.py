"""A transformer of one block as tables: an exact account of what it computes at the last position.

There is no LayerNorm, and only the last position is read. So an input's numbers enter by look-up:
each head has a table of attention scores and a table of value vectors for each operand. The rest is
a layer of ReLU neurons and a sum. `Tables` holds these in float64, and computes every step from
them; each step takes its input as an argument, so that it can be replaced.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxmi.errors import InputError
from jaxmi.models.transformer import TransformerConfig, part_name
from jaxmi.types import Params

Patterns = Float[np.ndarray, "n source head"]
"""Attention from the last position: to each operand, then to the last token; for each head."""

Streams = Float[np.ndarray, "n d_model"]
"""The residual stream before the MLP, at the last position."""


@dataclass(frozen=True)
class LastMlp:
    """The last block's MLP and the difference of the two logits that decide the label."""

    w_in: Float[np.ndarray, "d_model neuron"]
    b_in: Float[np.ndarray, "neuron"]
    weights: Float[np.ndarray, "neuron"]
    """The weight of each neuron's activation in the logit difference."""
    direct: Float[np.ndarray, "d_model"]
    """The weight in it of the residual stream before the MLP, past the MLP."""
    bias: float
    """The constant that is added for every input."""

    def neurons(self, resid_mid: Streams) -> Float[np.ndarray, "n neuron"]:
        """Return the neurons' activations."""
        return np.maximum(resid_mid @ self.w_in + self.b_in, 0)

    def difference(self, resid_mid: Streams) -> Float[np.ndarray, "n"]:
        """Return logit 1 minus logit 0: the label is 1 where it is positive."""
        return self.neurons(resid_mid) @ self.weights + resid_mid @ self.direct + self.bias

    def gradient(self, neurons: Float[np.ndarray, "n neuron"]) -> Streams:
        """Return the difference's gradient in the residual stream, from neurons' activations."""
        return (neurons > 0) * self.weights @ self.w_in.T + self.direct


def last_mlp(params: Params, config: TransformerConfig) -> LastMlp:
    """Return a transformer's last MLP and read-out, in float64; of any number of blocks."""
    mlp = params[part_name("mlp", config.n_layers - 1)]
    unembed = _float64(params["W_U"])
    direct = unembed[:, 1] - unembed[:, 0]
    return LastMlp(
        w_in=_float64(mlp["W_in"]),
        b_in=_float64(mlp["b_in"]),
        weights=_float64(mlp["W_out"]) @ direct,
        direct=direct,
        bias=float(_float64(mlp["b_out"]) @ direct),
    )


@dataclass(frozen=True)
class Tables:
    """A transformer of one block, in tables."""

    scores: Float[np.ndarray, "operand p head"]
    """The score of the attention that the last position pays to an operand, by its value."""
    last_score: Float[np.ndarray, "head"]
    """That of the attention to itself."""
    values: Float[np.ndarray, "operand p head d_model"]
    """The vector that a head writes into the residual stream if it attends to one operand only."""
    last_value: Float[np.ndarray, "head d_model"]
    """The vector that it writes if it attends to the last position only."""
    skip: Float[np.ndarray, "d_model"]
    """The last token's embedding, which attention is added to."""
    mlp: LastMlp

    def patterns(self, operands: Int[np.ndarray, "n operand"]) -> Patterns:
        """Return every head's attention from the last position, which sums to 1 over sources."""
        sources = [self.scores[i, operands[:, i]] for i in range(len(self.scores))]
        last = np.broadcast_to(self.last_score, sources[0].shape)
        scores = np.stack([*sources, last], axis=1)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def resid_mid(self, patterns: Patterns, operands: Int[np.ndarray, "n operand"]) -> Streams:
        """Return the residual stream before the MLP that follows from attention patterns."""
        total = self.skip + patterns[:, -1] @ self.last_value
        for i, table in enumerate(self.values):
            for head in range(table.shape[1]):
                total += patterns[:, i, head, None] * table[operands[:, i], head]
        return total


def tables_of(params: Params, config: TransformerConfig) -> Tables:
    """Return the tables of a transformer, in float64.

    Args:
      params: Its parameters.
      config: Its sizes; the last token is the largest.

    Raises:
      InputError: if it has several blocks: what the last block reads is then no table.
    """
    if config.n_layers != 1:
        raise InputError(f"a network of {config.n_layers} blocks is not a sum of tables")
    p, n_operands = config.d_vocab - 1, config.n_ctx - 1
    embed, position = _float64(params["W_E"]), _float64(params["W_pos"])
    w_q, w_k, w_v, w_o = (
        _float64(params[part_name("attn", 0)][name]) for name in ("W_Q", "W_K", "W_V", "W_O")
    )
    operands = embed[None, :p] + position[:n_operands, None]
    last = embed[p] + position[-1]
    query = np.einsum("m,hmd->hd", last, w_q) / np.sqrt(config.d_head)
    key = np.einsum("hmd,hd->mh", w_k, query)
    value = np.einsum("hmd,hdk->mhk", w_v, w_o)
    return Tables(
        scores=operands @ key,
        last_score=last @ key,
        values=np.einsum("ipm,mhk->iphk", operands, value, optimize=True),
        last_value=np.einsum("m,mhk->hk", last, value),
        skip=last,
        mlp=last_mlp(params, config),
    )


def _float64(array: object) -> np.ndarray:
    return np.asarray(array, np.float64)
