"""Labels as and, or, sums of conditions: first with free linear conditions, by gradient descent.

A distance against a threshold, and two distances compared, are close to linear conditions on the
pixels, once an image's sums are among the features. So before any template is looked for, the forms
are fitted to the labels with free linear conditions, of which there is a continuum: from many
random starts at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxmi.recovery.images.formula import FORMS

STARTS = 12
"""Random starts of each form."""

STEPS = 500
"""Of Adam, all starts together."""

BATCH = 1500
RATE = 0.03
"""The learning rate at the first step; it falls to 0 in a line."""

DOUBT = 0.01
"""The share of answers that are wrong in either direction, whatever the conditions say."""


class Soft(NamedTuple):
    """A form with free linear conditions."""

    form: str

    holds: Bool[np.ndarray, "conditions n"]
    """Where each condition holds."""

    agreement: float
    """With the labels, on all images."""


def fit_soft_forms(
    features: Float[np.ndarray, "n d"], labels: Bool[np.ndarray, "n"], seed: int = 0
) -> list[Soft]:
    """Fits every form; returns all fits, the best first."""
    tables = np.array([_cube(table) for table in FORMS.values() for _ in range(STARTS)], np.float32)
    names = [name for name in FORMS for _ in range(STARTS)]
    inputs = np.column_stack([features, np.ones(len(features))]).astype(np.float32)
    weights = np.asarray(_fit(inputs, labels.astype(np.float32), tables, jax.random.key(seed)))
    fits = []
    for name, table, weight in zip(names, tables, weights, strict=True):
        count = int(np.log2(len(FORMS[name])))
        holds = (inputs @ weight.T > 0).T
        at = [holds[i].astype(int) for i in range(3)]
        guess = table[at[0], at[1], at[2]] > 0.5
        fits.append(Soft(name, holds[:count], float((guess == labels).mean())))
    return sorted(fits, key=lambda fit: -fit.agreement)


def _cube(table: tuple[int, ...]) -> np.ndarray:
    """A form's table with three conditions, of which the last ones may be idle."""
    count = int(np.log2(len(table)))
    return np.broadcast_to(np.array(table).reshape((2,) * count + (1,) * (3 - count)), (2, 2, 2))


@jax.jit
def _fit(
    inputs: Float[Array, "n d"],
    labels: Float[Array, "n"],
    tables: Float[Array, "runs 2 2 2"],
    key: Array,
) -> Float[Array, "runs 3 d"]:
    def loss(weights: Array, rows: Array) -> Array:
        x, y = inputs[rows], labels[rows][None]
        p = jax.nn.sigmoid(jnp.einsum("rcd,nd->rcn", weights, x))
        q = jnp.stack([1 - p, p], axis=-1)  # (runs, conditions, n, 2)
        out = jnp.einsum("rijk,rni,rnj,rnk->rn", tables, q[:, 0], q[:, 1], q[:, 2])
        out = (1 - 2 * DOUBT) * out + DOUBT
        return -jnp.mean(y * jnp.log(out) + (1 - y) * jnp.log(1 - out), axis=1).sum()

    def step(state, i):
        weights, first, second = state
        rows = jax.random.randint(jax.random.fold_in(key, i), (BATCH,), 0, len(labels))
        gradient = jax.grad(loss)(weights, rows)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        rate = RATE * (1 - i / STEPS)
        scale = jnp.sqrt(second / (1 - 0.99 ** (i + 1.0))) + 1e-8
        return (weights - rate * first / (1 - 0.9 ** (i + 1.0)) / scale, first, second), None

    shape = (len(tables), 3, inputs.shape[1])
    start = 0.5 * jax.random.normal(jax.random.fold_in(key, STEPS), shape)
    zeros = jnp.zeros(shape)
    return jax.lax.scan(step, (start, zeros, zeros), jnp.arange(STEPS))[0][0]
