"""The transformer from look-up tables: the function of `transformer.py`, to train with.

Only the last position's logits are read, the first block's keys and values depend only on a token
and its position, and the last token is always the same. So these are needed for 2p + 1 rows of
pairs (3p + 1 of triples), not for every example; with one block, an example then costs a look-up, a
weighted sum of three rows, the MLP and the unembedding, at one position instead of three.

With several blocks, attention is causal, so what the first position holds depends on x alone in
every block: it is computed for p tokens. The positions between the first and the last are computed
for every example up to the last block's keys and values; their queries and MLP are not needed
there.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxmi.models.transformer import part_name
from jaxmi.types import Array, Params


def last_logits(params: Params, tokens: Int[Array, "n pos"]) -> Float[jax.Array, "n d_vocab"]:
    """Return the logits at the last position of sequences such as [x, y, p], p the last token.

    Args:
      params: Parameters of `transformer.Transformer`.
      tokens: Sequences that all end in the vocabulary's last token, as all inputs of
        challenges on numbers do; of at least two positions.
    """
    if part_name("attn", 1) in params:
        return _last_logits_of_several_blocks(params, tokens)
    return _add_mlp(params["mlp"], last_resid_mid(params, tokens)) @ params["W_U"]


def last_resid_mid(params: Params, tokens: Int[Array, "n pos"]) -> Float[jax.Array, "n d_model"]:
    """Return the residual stream before the first block's MLP, at the last position.

    Args:
      params: As `last_logits`; of a network of one block.
      tokens: As `last_logits`.
    """
    w_e, w_pos, attn = (params[name] for name in ("W_E", "W_pos", "attn"))
    n_heads, d_model, d_head = attn["W_Q"].shape
    p, last = w_e.shape[0] - 1, w_pos.shape[0] - 1

    # Rows 0..p-1: token at position 0; p..2p-1: token at position 1; and so on; the last token.
    rows = jnp.concatenate(
        [*(w_e[:p] + w_pos[i][None] for i in range(last)), (w_e[p] + w_pos[last])[None]]
    )
    query = jnp.einsum("m,hmd->hd", rows[-1], attn["W_Q"]) / d_head**0.5
    scores = jnp.einsum("rm,hmd,hd->rh", rows, attn["W_K"], query)
    values = jnp.einsum("rm,hmd->rhd", rows, attn["W_V"])

    of_operands = [i * p + tokens[:, i] for i in range(last)]
    index = jnp.stack([*of_operands, jnp.full_like(tokens[:, 0], last * p)], axis=1)
    pattern = jax.nn.softmax(scores[index], axis=1)
    z = (pattern[..., None] * values[index]).sum(axis=1).reshape(-1, n_heads * d_head)
    return rows[-1][None] + z @ attn["W_O"].reshape(n_heads * d_head, d_model)


@jax.jit
def activations(
    params: Params, tokens: Int[Array, "n pos"]
) -> tuple[Float[jax.Array, "n d_model"], Float[jax.Array, "n neuron"], Float[jax.Array, "n v"]]:
    """Return the stream before the MLP, the neurons, and the logits, at the last position.

    Args:
      params: As `last_logits`; of a network of one block.
      tokens: As `last_logits`.
    """
    mlp, stream = params["mlp"], last_resid_mid(params, tokens)
    post = neurons(mlp, stream)
    return stream, post, add_neurons(mlp, stream, post) @ params["W_U"]


def _last_logits_of_several_blocks(
    params: Params, tokens: Int[Array, "n pos"]
) -> Float[jax.Array, "n d_vocab"]:
    """Return what `last_logits` does, for a network of two blocks or more."""
    w_e, w_pos = params["W_E"], params["W_pos"]
    p, n_operands = w_e.shape[0] - 1, w_pos.shape[0] - 1
    n_layers = sum(part_name("attn", i) in params for i in range(len(params)))
    x = tokens[:, 0]

    # The residual streams at each position: of each token, and at the last position of the last
    # token; from the second block on of each token at the first position, of each example at the
    # others.
    first, *others = (w_e[:p] + w_pos[i][None] for i in range(n_operands))
    last = (w_e[p] + w_pos[n_operands])[None]
    for i in range(n_layers):
        attn, mlp = (params[part_name(part, i)] for part in ("attn", "mlp"))
        is_last = i == n_layers - 1
        key_0, value_0 = (_heads(first, attn[name]) for name in ("W_K", "W_V"))
        keys, values, queries = [key_0[x]], [value_0[x]], []
        for other in others:
            keys.append(_heads(other, attn["W_K"]))
            values.append(_heads(other, attn["W_V"]))
        query, last_key, last_value = (_heads(last, attn[name]) for name in ("W_Q", "W_K", "W_V"))
        if not is_last:
            queries = [_heads(other, attn["W_Q"]) for other in others]
        if i == 0:
            for k in range(1, n_operands):
                token = tokens[:, k]
                keys[k], values[k] = keys[k][token], values[k][token]
                queries[k - 1], others[k - 1] = queries[k - 1][token], others[k - 1][token]
        attended = _attend(query, [*keys, last_key], [*values, last_value], attn["W_O"])
        last = _add_mlp(mlp, last + attended)
        if not is_last:
            for k, own_query in enumerate(queries, start=1):
                attended = _attend(own_query, keys[: k + 1], values[: k + 1], attn["W_O"])
                others[k - 1] = _add_mlp(mlp, others[k - 1] + attended)
            # The first position attends to itself only.
            first = _add_mlp(mlp, first + _joined(value_0) @ _flat(attn["W_O"]))
    return last @ params["W_U"]


def _heads(
    resid: Float[jax.Array, "n d_model"], w: Float[Array, "head d_model d_head"]
) -> Float[jax.Array, "n head d_head"]:
    """Return the queries, keys or values of rows of the residual stream."""
    n_heads, d_model, d_head = w.shape
    flat = jnp.asarray(w).transpose(1, 0, 2).reshape(d_model, n_heads * d_head)
    return (resid @ flat).reshape(len(resid), n_heads, d_head)


def _attend(
    query: Float[jax.Array, "#n head d_head"],
    keys: Sequence[Float[jax.Array, "#n head d_head"]],
    values: Sequence[Float[jax.Array, "#n head d_head"]],
    w_o: Float[Array, "head d_head d_model"],
) -> Float[jax.Array, "n d_model"]:
    """Return the heads' summed outputs at a position that attends to the positions of some keys."""
    scores = jnp.stack(jnp.broadcast_arrays(*((query * key).sum(axis=-1) for key in keys)), axis=1)
    pattern = jax.nn.softmax(scores / query.shape[-1] ** 0.5, axis=1)
    z = pattern[:, 0, :, None] * values[0]
    for k, value in enumerate(values[1:], start=1):
        z += pattern[:, k, :, None] * value
    return _joined(z) @ _flat(w_o)


def _joined(z: Float[jax.Array, "n head d_head"]) -> Float[jax.Array, "n width"]:
    return z.reshape(len(z), -1)


def _flat(w_o: Float[Array, "head d_head d_model"]) -> Float[Array, "width d_model"]:
    return w_o.reshape(-1, w_o.shape[-1])


def _add_mlp(
    mlp: Params, resid_mid: Float[jax.Array, "n d_model"]
) -> Float[jax.Array, "n d_model"]:
    """Return the residual stream after a block's MLP."""
    return add_neurons(mlp, resid_mid, neurons(mlp, resid_mid))


def neurons(mlp: Params, resid_mid: Float[jax.Array, "n d_model"]) -> Float[jax.Array, "n neuron"]:
    """Return the activations of a block's MLP."""
    return jax.nn.relu(resid_mid @ mlp["W_in"] + mlp["b_in"][None])


def add_neurons(
    mlp: Params, resid_mid: Float[jax.Array, "n d_model"], post: Float[jax.Array, "n neuron"]
) -> Float[jax.Array, "n d_model"]:
    """Return the residual stream with what neurons of these activations add."""
    return resid_mid + (_narrow_product(post, mlp["W_out"]) + mlp["b_out"][None])


@jax.custom_vjp
def _narrow_product(x: Float[jax.Array, "n many"], w: Float[Array, "many few"]) -> jax.Array:
    """Return `x @ w`, with a gradient of `w` that is fast on CPUs.

    On XLA's CPU backend a product with many rows and few columns takes more than twice as long as
    its transpose. The barrier keeps XLA from transposing it back.
    """
    return x @ w


_narrow_product.defvjp(
    lambda x, w: (x @ w, (x, w)),
    lambda saved, g: (g @ saved[1].T, jax.lax.optimization_barrier(g.T @ saved[0]).T),
)
