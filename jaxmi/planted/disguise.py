"""Other weights with the same labels: planted structure that cannot be read off single entries.

The residual stream is rotated, and so are queries and keys, values and outputs of each head; heads
and neurons change places, and each neuron is scaled. Decoys (`decoys`) can be added before, and
noise after. All of it follows from a seed. What the key says is carried along.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxmi.models.transformer import TransformerConfig, part_name
from jaxmi.planted.compile import Compiled
from jaxmi.planted.decoys import with_decoys
from jaxmi.planted.key import Decoys, Entry, Key, block_of
from jaxmi.planted.network import as_float32

SCALE = 4.0
"""Each neuron's activation is scaled by a factor from 1 / SCALE to SCALE."""


def disguise(
    compiled: Compiled,
    config: TransformerConfig,
    seed: int,
    *,
    cancelling: int = 0,
    idle_heads: int = 0,
    noise: int | float = 0,
) -> Compiled:
    """Return weights that compute the same in another basis, with their key.

    Args:
      compiled: What `plant` returned.
      config: The sizes of the network.
      seed: Decides the basis, the order of heads and neurons, the scales, the decoys, the noise.
      cancelling: How many pairs of neurons to add whose outputs cancel.
      idle_heads: How many heads to add that write only where nothing reads.
      noise: The standard deviation of normal noise that is added to every weight and bias. Labels
        are not checked here.

    Raises:
      InputError: if there is no room for the decoys; says for how many there is.
    """
    compiled = with_decoys(compiled, config, cancelling, idle_heads, seed)
    rng = np.random.default_rng(seed)
    turn = _rotation(config.d_model, rng)
    params: dict[str, Any] = {
        "W_E": compiled.params["W_E"] @ turn,
        "W_pos": compiled.params["W_pos"] @ turn,
        "W_U": turn.T @ compiled.params["W_U"],
    }
    orders: dict[int, _Order] = {}
    for block in reversed(range(config.n_layers)):  # an order kept: seeds give what they gave
        heads, neurons = rng.permutation(config.n_heads), rng.permutation(config.d_mlp)
        scales = SCALE ** rng.uniform(-1, 1, config.d_mlp)
        attention, mlp = (part_name(part, block) for part in ("attn", "mlp"))
        params[attention] = _attention(compiled.params[attention], turn, heads, config, rng)
        params[mlp] = _mlp(compiled.params[mlp], turn, neurons, scales)
        orders[block] = _Order(_places(heads), _places(neurons), scales)
    key = compiled.key
    return replace(
        compiled,
        params=as_float32(_noisy(params, noise, np.random.default_rng([seed, 1]))),
        key=Key(
            key.mechanism,
            key.words,
            [_entry(one, turn, orders) for one in key.entries],
            {
                name: sorted(orders[0].heads[head] for head in those)
                for name, those in key.heads.items()
            },
            [_decoys(one, orders[one.block]) for one in key.decoys],
        ),
    )


@dataclass(frozen=True, eq=False)
class _Order:
    """Where a block's parts are, by where they were, and by what its neurons are scaled."""

    heads: Mapping[int, int]
    neurons: Mapping[int, int]
    scales: Float[np.ndarray, "neuron"]


def _places(order: Int[np.ndarray, "_"]) -> dict[int, int]:
    """Return where each part goes, by where it was."""
    return {int(old): new for new, old in enumerate(order)}


def _noisy(tree: Mapping[str, Any], size: int | float, rng: np.random.Generator) -> dict[str, Any]:
    if not size:
        return dict(tree)
    return {
        name: _noisy(part, size, rng)
        if isinstance(part, Mapping)
        else part + rng.normal(scale=size, size=part.shape)
        for name, part in sorted(tree.items())
    }


def _decoys(decoys: Decoys, order: _Order) -> Decoys:
    return Decoys(
        decoys.block,
        [(order.neurons[one], order.neurons[other]) for one, other in decoys.cancelling],
        sorted(order.heads[head] for head in decoys.idle_heads),
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
    entry: Entry, turn: Float[np.ndarray, "d_model d_model"], orders: Mapping[int, _Order]
) -> Entry:
    order = orders[block_of(entry.neurons_at)]
    factors = {
        order.neurons[neuron]: float(factor / order.scales[order.neurons[neuron]])
        for neuron, factor in (entry.neurons or {}).items()
    }
    return replace(
        entry,
        directions=None if entry.directions is None else entry.directions @ turn,
        neurons=factors or None,
        heads=sorted(orders[0].heads[head] for head in entry.heads),
        also=[replace(place, directions=place.directions @ turn) for place in entry.also],
    )
