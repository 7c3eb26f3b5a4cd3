"""The empirical neural tangent kernel of challenge 2's network, exactly.

The kernel of two inputs is the product of the gradients, with respect to all parameters, of the
logit difference. A layer's gradient is an outer product of what comes in and what is asked of what
goes out, so its share of the kernel is a product of two small ones; no gradient is ever written
down. After Jacot, Gabriel and Hongler, "Neural tangent kernel" (2018).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxmi.models.transformer import Transformer
from jaxmi.types import Array, Params

ATTN, MLP = "blocks.0.attn.", "blocks.0.mlp."
TAPPED = {
    "pre": "blocks.0.hook_resid_pre",
    "q": ATTN + "hook_q",
    "k": ATTN + "hook_k",
    "v": ATTN + "hook_v",
    "attn_out": "blocks.0.hook_attn_out",
    "hidden": MLP + "hook_pre",
    "mlp_out": "blocks.0.hook_mlp_out",
}
"""Name -> the site whose gradient is taken."""

ROWS = 1000
"""Rows of the kernel to compute at once."""


def tangent_kernel(
    model: Transformer,
    params: Params,
    inputs: Int[np.ndarray, "n 3"],
    others: Int[np.ndarray, "m 3"],
) -> Float[np.ndarray, "n m"]:
    """Computes the kernel of logit 1 - logit 0 at the last position.

    Args:
      model: The network.
      params: Its parameters.
      inputs: Token sequences.
      others: Token sequences to pair each of them with.
    """
    gather = jax.jit(partial(_factors, model))
    with jax.default_matmul_precision("float32"):
        right = gather(params, jnp.asarray(others))
        parts = []
        for first in range(0, len(inputs), ROWS):
            left = gather(params, jnp.asarray(inputs[first : first + ROWS]))
            parts.append(np.asarray(_product(left, right)))
    return np.concatenate(parts)


def _factors(model: Transformer, params: Params, inputs: Array) -> dict[str, jax.Array]:
    """What comes into every layer, and the gradient at what goes out, for each input."""

    def one(tokens: jax.Array) -> dict[str, jax.Array]:
        def difference(taps: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
            edits = {
                site: (lambda value, name=name: value + taps[name]) for name, site in TAPPED.items()
            }
            ran: Any = model.apply({"params": params}, tokens, edits)
            logits, activations = ran
            return logits[-1, 1] - logits[-1, 0], activations

        shapes: Any = jax.eval_shape(lambda: model.apply({"params": params}, tokens)[1])
        taps = {name: jnp.zeros(shapes[site].shape) for name, site in TAPPED.items()}
        gradients, activations = jax.grad(difference, has_aux=True)(taps)
        last = {name: gradients[name][-1].reshape(-1) for name in ("q", "attn_out", "hidden")}
        heads = {name: gradients[name].reshape(len(tokens), -1) for name in ("k", "v")}
        return {
            "tokens": tokens,
            "d_pre": gradients["pre"],
            "pre": activations[TAPPED["pre"]],
            "z": activations[ATTN + "hook_z"][-1].reshape(-1),
            "mid": activations["blocks.0.hook_resid_mid"][-1],
            "post": activations[MLP + "hook_post"][-1],
            "end": activations["blocks.0.hook_resid_post"][-1],
            "d_mlp_out": gradients["mlp_out"][-1],
            **{f"d_{name}": value for name, value in {**last, **heads}.items()},
        }

    return jax.lax.map(one, inputs, batch_size=200)


@jax.jit
def _product(a: dict[str, jax.Array], b: dict[str, jax.Array]) -> Float[jax.Array, "n m"]:
    """The kernel, a parameter after the other."""

    def dot(name: str) -> jax.Array:
        return a[name] @ b[name].T

    positions = range(a["tokens"].shape[1])
    total = 2 * dot("end")  # W_U: logit 1's column, and logit 0's
    total += (dot("post") + 1) * dot("d_mlp_out")  # W_out and b_out
    total += (dot("mid") + 1) * dot("d_hidden")  # W_in and b_in
    total += dot("z") * dot("d_attn_out")  # W_O
    total += (a["pre"][:, -1] @ b["pre"][:, -1].T) * dot("d_q")  # W_Q, at the last position
    for i in positions:
        for j in positions:
            stream = a["pre"][:, i] @ b["pre"][:, j].T
            for name in ("d_k", "d_v"):
                total += stream * (a[name][:, i] @ b[name][:, j].T)
            same = a["tokens"][:, i, None] == b["tokens"][None, :, j]
            shared = same + 0.0 + (i == j)  # W_E where the token is the same; W_pos
            total += shared * (a["d_pre"][:, i] @ b["d_pre"][:, j].T)
    return total
