"""The transformer from look-up tables: the function of `transformer.py`, to train with.

Only the last position's logits are read, the first block's keys and values depend only on a token
and its position, and the last token is always the same. So these are needed for 2p + 1 rows, not
for every example; with one block, an example then costs a look-up, a weighted sum of three rows,
the MLP and the unembedding, at one position instead of three.

With several blocks, attention is causal, so what the first position holds depends on x alone in
every block: it is computed for p tokens. The second position is computed for every example up to
the last block's keys and values; its queries and its MLP are not needed there.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxmi.models.transformer import part_name
from jaxmi.types import Array, Params


def last_logits(params: Params, tokens: Int[Array, "n 3"]) -> Float[jax.Array, "n d_vocab"]:
    """Return the logits at the last position of each sequence [x, y, p], p being the last token.

    Args:
      params: Parameters of `transformer.Transformer`.
      tokens: Sequences that all end in the vocabulary's last token, as all inputs of challenge 2
        do.
    """
    if part_name("attn", 1) in params:
        return _last_logits_of_several_blocks(params, tokens)
    w_e, w_pos, attn, mlp = (params[name] for name in ("W_E", "W_pos", "attn", "mlp"))
    n_heads, d_model, d_head = attn["W_Q"].shape
    p = w_e.shape[0] - 1

    # Rows 0..p-1: token at position 0; p..2p-1: token at position 1; 2p: the last token.
    rows = jnp.concatenate(
        [w_e[:p] + w_pos[0][None], w_e[:p] + w_pos[1][None], (w_e[p] + w_pos[2])[None]]
    )
    query = jnp.einsum("m,hmd->hd", rows[-1], attn["W_Q"]) / d_head**0.5
    scores = jnp.einsum("rm,hmd,hd->rh", rows, attn["W_K"], query)
    values = jnp.einsum("rm,hmd->rhd", rows, attn["W_V"])

    index = jnp.stack([tokens[:, 0], p + tokens[:, 1], jnp.full_like(tokens[:, 0], 2 * p)], axis=1)
    pattern = jax.nn.softmax(scores[index], axis=1)
    z = (pattern[..., None] * values[index]).sum(axis=1).reshape(-1, n_heads * d_head)
    resid_mid = rows[-1][None] + z @ attn["W_O"].reshape(n_heads * d_head, d_model)
    return _add_mlp(mlp, resid_mid) @ params["W_U"]


def _last_logits_of_several_blocks(
    params: Params, tokens: Int[Array, "n 3"]
) -> Float[jax.Array, "n d_vocab"]:
    """Return what `last_logits` does, for a network of two blocks or more."""
    w_e, w_pos = params["W_E"], params["W_pos"]
    p = w_e.shape[0] - 1
    n_layers = sum(part_name("attn", i) in params for i in range(len(params)))
    x, y = tokens[:, 0], tokens[:, 1]

    # The residual streams at the three positions: of each token, of each token, of the last token;
    # from the second block on of each token, of each example, of each example.
    first, second = (w_e[:p] + w_pos[i][None] for i in range(2))
    third = (w_e[p] + w_pos[2])[None]
    for i in range(n_layers):
        attn, mlp = (params[part_name(part, i)] for part in ("attn", "mlp"))
        is_last = i == n_layers - 1
        key_0, value_0 = (_heads(first, attn[name]) for name in ("W_K", "W_V"))
        key_1, value_1 = (_heads(second, attn[name]) for name in ("W_K", "W_V"))
        query_2, key_2, value_2 = (_heads(third, attn[name]) for name in ("W_Q", "W_K", "W_V"))
        keys, values = [key_0[x], key_1, key_2], [value_0[x], value_1, value_2]
        query_1 = None if is_last else _heads(second, attn["W_Q"])
        if i == 0:
            keys[1], values[1] = key_1[y], value_1[y]
            query_1, second = None if query_1 is None else query_1[y], second[y]
        third = _add_mlp(mlp, third + _attend(query_2, keys, values, attn["W_O"]))
        if query_1 is not None:
            second = _add_mlp(mlp, second + _attend(query_1, keys[:2], values[:2], attn["W_O"]))
            # The first position attends to itself only.
            first = _add_mlp(mlp, first + _joined(value_0) @ _flat(attn["W_O"]))
    return third @ params["W_U"]


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
    post = jax.nn.relu(resid_mid @ mlp["W_in"] + mlp["b_in"][None])
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
