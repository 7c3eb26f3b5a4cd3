"""Parts that look active and have no effect: pairs of neurons that cancel, and idle heads.

Cancelling neurons read a random mixture of what the network's own neurons read, and respond as
strongly; each writes into the logit difference and where nothing reads, and its partner takes it
back. Idle heads attend to operands by what the embedding holds, and write where nothing reads.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jaxmi.errors import InputError
from jaxmi.models.transformer import TransformerConfig, part_name
from jaxmi.planted.compile import Compiled
from jaxmi.planted.key import Decoys
from jaxmi.planted.network import ONE, OUT

MIXED = 3
"""How many of the network's own neurons a cancelling pair reads a mixture of, at most."""

UNREAD = 4
"""Into how many dimensions that nothing reads a decoy writes, at most."""


def with_decoys(
    compiled: Compiled, config: TransformerConfig, cancelling: int, idle_heads: int, seed: int
) -> Compiled:
    """Return a network with decoys, as its key says.

    Args:
      compiled: What `plant` returned, not disguised.
      config: The sizes of the network.
      cancelling: How many pairs of neurons to add whose outputs cancel, spread over blocks that
        have neurons.
      idle_heads: How many heads to add that write only where nothing reads, spread over blocks.
      seed: Draws them.

    Raises:
      InputError: if there is no room for them; says for how many there is.
    """
    if not cancelling and not idle_heads:
        return compiled
    rng = np.random.default_rng([seed, 2])
    params = {
        name: {key: np.array(array) for key, array in part.items()}
        if isinstance(part, Mapping)
        else np.array(part)
        for name, part in compiled.params.items()
    }
    unread = np.arange(compiled.sizes["d_model"], config.d_model)
    neurons = _add_neurons(params, config, cancelling, unread, rng)
    heads = _add_heads(params, config, idle_heads, unread, rng)
    blocks = range(config.n_layers)
    decoys = [Decoys(block, neurons[block], heads[block]) for block in blocks]
    decoys = [one for one in decoys if one.cancelling or one.idle_heads]
    return replace(compiled, params=params, key=replace(compiled.key, decoys=decoys))


def _room(wanted: int, places: list[tuple[int, int]], what: str, rng: np.random.Generator) -> list:
    if wanted > len(places):
        raise InputError(f"{wanted} {what}: there is room for {len(places)}; take a larger network")
    chosen = rng.permutation(len(places))[:wanted]
    return [places[i] for i in chosen]


def _add_neurons(
    params: Mapping[str, Any],
    config: TransformerConfig,
    n_pairs: int,
    unread: np.ndarray,
    rng: np.random.Generator,
) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {block: [] for block in range(config.n_layers)}
    free: dict[int, list[int]] = {}
    places: list[tuple[int, int]] = []
    for block in found:
        mlp = params[part_name("mlp", block)]
        used = mlp["W_in"].any(axis=0) | (mlp["b_in"] != 0)
        free[block] = [int(i) for i in np.flatnonzero(~used)]
        if used.any():
            places += [(block, i) for i in range(len(free[block]) // 2)]
    for block, _ in _room(n_pairs, places, "pairs of neurons that cancel", rng):
        mlp = params[part_name("mlp", block)]
        own = np.setdiff1d(np.arange(config.d_mlp), [*free[block], *sum(found[block], ())])
        pair = free[block].pop(), free[block].pop()
        mixed = rng.choice(own, min(MIXED, len(own)), replace=False)
        factors = rng.normal(size=len(mixed)) / np.sqrt(len(mixed))
        out = np.zeros(config.d_model)
        out[OUT] = rng.choice([-1, 1]) * rng.uniform(0.5, 2)
        to = rng.permutation(unread)[:UNREAD]
        out[to] = rng.normal(size=len(to))
        scales = 2.0 ** rng.integers(-1, 2, 2)  # powers of two: they cancel exactly
        for neuron, scale, sign in zip(pair, scales, (1, -1), strict=True):
            mlp["W_in"][:, neuron] = scale * np.float32(mlp["W_in"][:, mixed] @ factors)
            mlp["b_in"][neuron] = scale * np.float32(mlp["b_in"][mixed] @ factors)
            mlp["W_out"][neuron] = sign * np.float32(out) / scale
        found[block].append(pair)
    return found


def _add_heads(
    params: Mapping[str, Any],
    config: TransformerConfig,
    n_heads: int,
    unread: np.ndarray,
    rng: np.random.Generator,
) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {block: [] for block in range(config.n_layers)}
    places = [
        (block, head)
        for block in found
        for head in range(config.n_heads)
        if not params[part_name("attn", block)]["W_O"][head].any()
    ]
    if n_heads and not len(unread):
        raise InputError(
            f"{n_heads} idle heads: no dimension of the residual stream is left to write into; "
            "take a larger d_model"
        )
    embed, d_head = np.asarray(params["W_E"], np.float64), config.d_head
    spread = np.maximum(embed.std(axis=0), 1e-9)
    held = np.flatnonzero(embed.any(axis=0))
    for block, head in _room(n_heads, places, "idle heads", rng):
        attention = params[part_name("attn", block)]
        to = rng.permutation(unread)[:UNREAD]
        # Scores of some units: the attention depends on what the operands' embeddings hold.
        attention["W_Q"][head, ONE] = rng.normal(size=d_head)
        weights = rng.normal(size=(len(held), d_head)) / spread[held, None]
        attention["W_K"][head, held] = weights / np.sqrt(max(len(held), 1))
        values = rng.normal(size=(len(held), d_head)) / np.sqrt(max(len(held), 1))
        attention["W_V"][head, held] = values
        attention["W_O"][np.ix_([head], np.arange(d_head), to)] = rng.normal(
            size=(1, d_head, len(to))
        ) / np.sqrt(d_head)
        found[block].append(head)
    return {block: sorted(heads) for block, heads in found.items()}
