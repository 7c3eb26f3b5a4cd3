"""Models of challenge 2's labels that only interpolate, each tuned on the pairs it is fit to.

All choices are made by leave-one-out within the training pairs; no other label is looked at.

The empirical neural tangent kernel of challenge 2's network, exactly.

The kernel of two inputs is the product of the gradients, with respect to all parameters, of the
logit difference. A layer's gradient is an outer product of what comes in and what is asked of what
goes out, so its share of the kernel is a product of two small ones; no gradient is ever written
down. After Jacot, Gabriel and Hongler, "Neural tangent kernel" (2018).
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import cho_factor, cho_solve, get_lapack_funcs

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


NEIGHBOURS = (1, 2, 3, 5, 7, 9, 13)
ROW_WEIGHTS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How much farther a step of x is than a step of y."""

SAME_ROW = 1e4
"""A weight at which every pair of the same row is nearer than any of another."""

WIDTHS_X = (1.0, 3.0)
WIDTHS_Y = (8.0, 16.0, 32.0)
ROW_SHARES = (0.5, 0.9)
"""Of a Gaussian process's variance, what rows do not have in common."""

GP_NOISES = (1e-4, 1e-3, 1e-2)
NOISES = (1e-2, 1e-1, 1.0, 10.0)
"""Noise variances, in units of the kernel's mean diagonal."""


@dataclass(frozen=True, eq=False)
class Guess:
    """What an interpolating model makes of pairs that it was not fit to."""

    labels: Bool[np.ndarray, "m"]
    tuned: dict[str, float]
    """What was chosen."""
    accuracy: float
    """Leave-one-out, on what it was fit to."""


def neighbours(
    fit: Int[np.ndarray, "n 2"],
    labels: Bool[np.ndarray, "n"],
    others: Int[np.ndarray, "m 2"],
    k: int | None = None,
    row_weight: float | None = None,
) -> Guess:
    """The majority of the k nearest pairs; the nearest one's label if there is none.

    Args:
      fit: Pairs (x, y).
      labels: Their labels.
      others: Pairs to guess.
      k: How many; None: chosen.
      row_weight: A step of x in steps of y; `SAME_ROW`: only pairs of the same row; None: chosen.
    """
    best: Guess | None = None
    counts = NEIGHBOURS if k is None else (k,)
    for weight in ROW_WEIGHTS if row_weight is None else (row_weight,):
        scale = np.array([weight, 1.0])
        own = _nearest(fit * scale, fit * scale, max(counts), skip_self=True)
        far = _nearest(others * scale, fit * scale, max(counts), skip_self=False)
        for count in counts:
            accuracy = float((_vote(labels[own], count) == labels).mean())
            if best is None or accuracy > best.accuracy:
                chosen = {"k": float(count), "row_weight": weight}
                best = Guess(_vote(labels[far], count), chosen, accuracy)
    assert best is not None
    return best


def _nearest(points: np.ndarray, fit: np.ndarray, k: int, skip_self: bool) -> np.ndarray:
    """The k nearest of `fit` for each point, nearest first; of equals, the first in order."""
    found = []
    for chunk in np.array_split(points, max(1, len(points) // 500)):
        distances = ((chunk[:, None] - fit[None]) ** 2).sum(axis=2).astype(np.float64)
        if skip_self:
            distances[distances == 0] = np.inf
        distances += 1e-6 * np.arange(len(fit))
        nearest = np.argpartition(distances, min(k, len(fit) - 1), axis=1)[:, : k + 1]
        nearest.sort(axis=1)
        order = np.take_along_axis(distances, nearest, axis=1).argsort(axis=1, kind="stable")
        found.append(np.take_along_axis(nearest, order, axis=1)[:, :k])
    return np.concatenate(found)


def _vote(labels: Bool[np.ndarray, "m k"], k: int) -> Bool[np.ndarray, "m"]:
    return labels[:, :k].mean(axis=1) + 1e-6 * (labels[:, 0] - 0.5) > 0.5


def gaussian_process(
    fit: Int[np.ndarray, "n 2"],
    labels: Bool[np.ndarray, "n"],
    others: Int[np.ndarray, "m 2"],
    quick: bool = False,
) -> Guess:
    """Regression on labels -1 and 1 by a Gaussian process that knows rows and neighbourhoods.

    Its kernel is a product of Gaussians in x and y, for what neighbouring rows have in common, and
    the same in y within a row, for what they have not. After Rasmussen and Williams, "Gaussian
    processes for machine learning" (2006), chapters 2 and 5.
    """
    best: Guess | None = None
    for width_x, width_y, share in list(product(WIDTHS_X, WIDTHS_Y, ROW_SHARES))[
        : 1 if quick else None
    ]:
        inner, outer = (_row_kernel(rows, fit, width_x, width_y, share) for rows in (fit, others))
        guess = kernel_regression(inner, outer, labels, GP_NOISES)
        chosen = {"width_x": width_x, "width_y": width_y, "row_share": share, **guess.tuned}
        if best is None or guess.accuracy > best.accuracy:
            best = Guess(guess.labels, chosen, guess.accuracy)
    assert best is not None
    return best


def _row_kernel(
    rows: np.ndarray, fit: np.ndarray, width_x: float, width_y: float, share: float
) -> Float[np.ndarray, "m n"]:
    dx = (rows[:, None, 0] - fit[None, :, 0]).astype(np.float32)
    dy = (rows[:, None, 1] - fit[None, :, 1]).astype(np.float32)
    common = np.exp(-0.5 * (dx / width_x) ** 2)
    return ((1 - share) * common + share * (dx == 0)) * np.exp(-0.5 * (dy / width_y) ** 2)


def kernel_regression(
    inner: Float[np.ndarray, "n n"],
    outer: Float[np.ndarray, "m n"],
    labels: Bool[np.ndarray, "n"],
    noises: tuple[float, ...] = NOISES,
) -> Guess:
    """Regression on labels -1 and 1 with a given kernel, the noise chosen by leave-one-out.

    Args:
      inner: The kernel among the pairs that are fit.
      outer: Between pairs to guess and those.
      labels: Of the pairs that are fit.
      noises: Variances to choose from, in units of the mean diagonal.
    """
    signs = np.where(labels, 1.0, -1.0)
    offset = signs.mean()
    (invert,) = get_lapack_funcs(("potri",), (signs,))
    best: Guess | None = None
    for noise in noises:
        matrix = np.asarray(inner, np.float64).copy()
        matrix[np.diag_indices(len(matrix))] += noise * np.trace(inner) / len(inner)
        factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
        weights = cho_solve(factor, signs - offset, check_finite=False)
        inverse, _ = invert(factor[0], lower=1, overwrite_c=1)
        left_out = signs - weights / np.diag(inverse)
        accuracy = float(((left_out > 0) == labels).mean())
        if best is None or accuracy > best.accuracy:
            guessed = outer @ weights + offset > 0
            best = Guess(guessed, {"noise": noise}, accuracy)
    assert best is not None
    return best
