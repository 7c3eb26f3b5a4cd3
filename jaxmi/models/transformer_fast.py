"""The transformer from look-up tables: the function of `transformer.py`, to train with.

Only the last position's logits are read, keys and values depend only on a token and its position,
and the last token is always the same. So keys and values are needed for 2 * 113 + 1 rows, not for
every example; an example then costs a look-up, a weighted sum of three rows, the MLP and the
unembedding, at one position instead of three.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxmi.types import Array, Params


def last_logits(params: Params, tokens: Int[Array, "n 3"]) -> Float[jax.Array, "n d_vocab"]:
    """Return the logits at the last position of each sequence [x, y, p], p being the last token.

    Args:
      params: Parameters of `transformer.Transformer`.
      tokens: Sequences that all end in the vocabulary's last token, as all inputs of challenge 2
        do.
    """
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
    post = jax.nn.relu(resid_mid @ mlp["W_in"] + mlp["b_in"][None])
    mlp_out = _narrow_product(post, mlp["W_out"]) + mlp["b_out"][None]
    return (resid_mid + mlp_out) @ params["W_U"]


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
