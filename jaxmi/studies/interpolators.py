"""Models of a challenge's labels that only interpolate between training pairs.

They are nearest neighbours, a Gaussian process, and regression with the network's own neural
tangent kernel. Each is tuned by leave-one-out on the pairs that it is fitted to; no other label is
used.
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
from jaxmi.programs.domain import P
from jaxmi.types import Array, Params

NEIGHBOURS = (1, 2, 3, 5, 7, 9, 13)
ROW_WEIGHTS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Lengths of a step of x, in steps of y."""

SAME_ROW = 1e4
"""A weight with which every pair of the same row is nearer than any other pair."""

WIDTHS_X = (1.0, 3.0)
WIDTHS_Y = (8.0, 16.0, 32.0)
"""Widths of a Gaussian process's kernel, in rows and, for pairs below 113, in steps of y."""

ROW_SHARES = (0.5, 0.9)
"""Shares of a Gaussian process's variance that rows do not have in common."""

GP_NOISES = (1e-4, 1e-3, 1e-2)
NOISES = (1e-2, 1e-1, 1.0, 10.0)
"""Noise variances, in units of the kernel's mean diagonal."""


@dataclass(frozen=True, eq=False)
class Guess:
    """An interpolating model's labels of pairs that it was not fitted to."""

    labels: Bool[np.ndarray, "m"]
    tuned: dict[str, float]
    """The tuned settings."""
    accuracy: float
    """Leave-one-out accuracy on the pairs that it was fitted to."""


def neighbours(
    fit: Int[np.ndarray, "n 2"],
    labels: Bool[np.ndarray, "n"],
    others: Int[np.ndarray, "m 2"],
    k: int | None = None,
    row_weight: float | None = None,
) -> Guess:
    """Label pairs by the majority of the k nearest pairs; a tie goes to the nearest one's label.

    Args:
      fit: Pairs (x, y) with known labels.
      labels: Their labels.
      others: Pairs to label.
      k: The number of neighbours; None: tuned.
      row_weight: The length of a step of x in steps of y, `SAME_ROW` for only pairs of the same
        row; None: tuned.
    """
    best: Guess | None = None
    counts = [count for count in NEIGHBOURS if count < len(fit)] if k is None else [k]
    for weight in ROW_WEIGHTS if row_weight is None else (row_weight,):
        scale = np.array([weight, 1.0])
        own = _nearest(fit * scale, fit * scale, max(counts), skip_self=True)
        far = _nearest(others * scale, fit * scale, max(counts), skip_self=False)
        for count in counts:
            accuracy = float((_vote(labels[own], count) == labels).mean())
            if best is None or accuracy > best.accuracy:
                tuned = {"k": float(count), "row_weight": weight}
                best = Guess(_vote(labels[far], count), tuned, accuracy)
    assert best is not None
    return best


def _nearest(points: np.ndarray, fit: np.ndarray, k: int, skip_self: bool) -> np.ndarray:
    """Return the k nearest of `fit` for each point, nearest first; ties go to the lower index."""
    indices = []
    for chunk in np.array_split(points, max(1, len(points) // 500)):
        distances = ((chunk[:, None] - fit[None]) ** 2).sum(axis=2).astype(np.float64)
        if skip_self:
            distances[distances == 0] = np.inf
        distances += 1e-6 * np.arange(len(fit))
        nearest = np.argpartition(distances, min(k, len(fit) - 1), axis=1)[:, : k + 1]
        nearest.sort(axis=1)
        order = np.take_along_axis(distances, nearest, axis=1).argsort(axis=1, kind="stable")
        indices.append(np.take_along_axis(nearest, order, axis=1)[:, :k])
    return np.concatenate(indices)


def _vote(labels: Bool[np.ndarray, "m k"], k: int) -> Bool[np.ndarray, "m"]:
    return labels[:, :k].mean(axis=1) + 1e-6 * (labels[:, 0] - 0.5) > 0.5


def gaussian_process(
    fit: Int[np.ndarray, "n 2"],
    labels: Bool[np.ndarray, "n"],
    others: Int[np.ndarray, "m 2"],
    quick: bool = False,
    p: int = P,
) -> Guess:
    """Label pairs by regression on -1 and 1 with a Gaussian process over rows and neighbourhoods.

    The kernel is a product of Gaussians in x and y, for what neighbouring rows have in common, plus
    a Gaussian in y within a row, for what they do not. After Rasmussen and Williams, "Gaussian
    processes for machine learning" (2006), chapters 2 and 5.

    Args:
      fit: Pairs (x, y) with known labels.
      labels: Their labels.
      others: Pairs to label.
      quick: Try one setting only.
      p: The number of values of y, with which the widths in y grow.
    """
    best: Guess | None = None
    widths_y = [width * p / P for width in WIDTHS_Y]
    for width_x, width_y, share in list(product(WIDTHS_X, widths_y, ROW_SHARES))[
        : 1 if quick else None
    ]:
        inner, outer = (_row_kernel(rows, fit, width_x, width_y, share) for rows in (fit, others))
        guess = kernel_regression(inner, outer, labels, GP_NOISES)
        tuned = {"width_x": width_x, "width_y": width_y, "row_share": share, **guess.tuned}
        if best is None or guess.accuracy > best.accuracy:
            best = Guess(guess.labels, tuned, guess.accuracy)
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
    """Label pairs by regression on -1 and 1 with a given kernel, its noise tuned by leave-one-out.

    Args:
      inner: The kernel among the pairs to fit.
      outer: The kernel between the pairs to label and those to fit.
      labels: The labels of the pairs to fit.
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
"""Name -> the site at which the gradient is taken."""

CHUNK = 1000
"""The number of inputs whose kernel is computed at once."""


def tangent_kernel(
    model: Transformer,
    params: Params,
    inputs: Int[np.ndarray, "n 3"],
    others: Int[np.ndarray, "m 3"],
) -> Float[np.ndarray, "n m"]:
    """Compute the empirical neural tangent kernel of logit 1 - logit 0 at the last position.

    The kernel of two inputs is the product of the gradients with respect to all parameters. A
    layer's gradient is the outer product of its input and the gradient at its output, so its share
    of the kernel is a product of two small kernels, and no gradient is ever stored. After Jacot,
    Gabriel and Hongler, "Neural tangent kernel" (2018).

    Args:
      model: The network, of one block.
      params: Its parameters.
      inputs: Token sequences.
      others: Token sequences to pair each of them with.
    """
    gather = jax.jit(partial(_factors, model))
    with jax.default_matmul_precision("float32"):
        right = gather(params, jnp.asarray(others))
        blocks = []
        for first in range(0, len(inputs), CHUNK):
            left = gather(params, jnp.asarray(inputs[first : first + CHUNK]))
            blocks.append(np.asarray(_product(left, right)))
    return np.concatenate(blocks)


def _factors(model: Transformer, params: Params, inputs: Array) -> dict[str, jax.Array]:
    """Return every layer's input, and the gradient at its output, for each input."""

    def factors(tokens: jax.Array) -> dict[str, jax.Array]:
        def difference(taps: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
            edits = {
                site: (lambda value, name=name: value + taps[name]) for name, site in TAPPED.items()
            }
            output: Any = model.apply({"params": params}, tokens, edits)
            logits, activations = output
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

    return jax.lax.map(factors, inputs, batch_size=200)


@jax.jit
def _product(a: dict[str, jax.Array], b: dict[str, jax.Array]) -> Float[jax.Array, "n m"]:
    """Sum the kernels of all parameters."""

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
