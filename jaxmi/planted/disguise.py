"""Other weights with the same answers: planted structure that cannot be read off single entries.

The residual stream is rotated, and so are queries and keys, values and outputs of each head; heads
and neurons change places, and each neuron is scaled. All of it follows from a seed. What the key
says is carried along.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxmi.models.transformer import TransformerConfig, part_name
from jaxmi.planted.compile import Compiled
from jaxmi.planted.key import Entry, Key

SCALE = 4.0
"""Each neuron's activation is scaled by a factor from 1 / SCALE to SCALE."""


def disguise(compiled: Compiled, config: TransformerConfig, seed: int) -> Compiled:
    """Return weights that compute the same in another basis, with their key.

    Args:
      compiled: What `plant` returned.
      config: The sizes of the network.
      seed: Decides the basis, the order of heads and neurons, and the scales.
    """
    rng = np.random.default_rng(seed)
    turn = _rotation(config.d_model, rng)
    params: dict[str, Any] = {
        "W_E": compiled.params["W_E"] @ turn,
        "W_pos": compiled.params["W_pos"] @ turn,
        "W_U": turn.T @ compiled.params["W_U"],
    }
    heads, neurons, scales = np.arange(0), np.arange(0), np.zeros(0)
    for block in reversed(range(config.n_layers)):  # the key is about the first
        heads, neurons = rng.permutation(config.n_heads), rng.permutation(config.d_mlp)
        scales = SCALE ** rng.uniform(-1, 1, config.d_mlp)
        attention, mlp = (part_name(part, block) for part in ("attn", "mlp"))
        params[attention] = _attention(compiled.params[attention], turn, heads, config, rng)
        params[mlp] = _mlp(compiled.params[mlp], turn, neurons, scales)
    key = compiled.key
    places = {int(old): new for new, old in enumerate(heads)}
    entries = [_entry(one, turn, places, neurons, scales) for one in key.entries]
    moved = {name: sorted(places[head] for head in those) for name, those in key.heads.items()}
    return replace(
        compiled,
        params=_float32(params),
        key=Key(key.mechanism, key.words, entries, moved),
    )


def _rotation(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def _attention(
    params: Mapping[str, np.ndarray],
    turn: Float[np.ndarray, "d_model d_model"],
    heads: np.ndarray,
    config: TransformerConfig,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    both = [
        np.stack([_rotation(config.d_head, rng) for _ in range(config.n_heads)]) for _ in range(2)
    ]
    scores, values = both
    return {
        "W_Q": turn.T @ params["W_Q"][heads] @ scores,
        "W_K": turn.T @ params["W_K"][heads] @ scores,
        "W_V": turn.T @ params["W_V"][heads] @ values,
        "W_O": values.transpose(0, 2, 1) @ params["W_O"][heads] @ turn,
    }


def _mlp(
    params: Mapping[str, np.ndarray],
    turn: Float[np.ndarray, "d_model d_model"],
    neurons: np.ndarray,
    scales: Float[np.ndarray, "neuron"],
) -> dict[str, np.ndarray]:
    return {
        "W_in": (turn.T @ params["W_in"])[:, neurons] * scales[None],
        "b_in": params["b_in"][neurons] * scales,
        "W_out": params["W_out"][neurons] / scales[:, None] @ turn,
        "b_out": params["b_out"] @ turn,
    }


def _entry(
    entry: Entry,
    turn: Float[np.ndarray, "d_model d_model"],
    heads: Mapping[int, int],
    neurons: np.ndarray,
    scales: Float[np.ndarray, "neuron"],
) -> Entry:
    places = {int(old): new for new, old in enumerate(neurons)}
    factors = {
        places[neuron]: float(factor / scales[places[neuron]])
        for neuron, factor in (entry.neurons or {}).items()
    }
    return replace(
        entry,
        directions=None if entry.directions is None else entry.directions @ turn,
        neurons=factors or None,
        heads=sorted(heads[head] for head in entry.heads),
    )


def _float32(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _float32(part) if isinstance(part, Mapping) else np.asarray(part, np.float32)
        for name, part in tree.items()
    }
