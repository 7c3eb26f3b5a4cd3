"""Forms fitted to labels with free linear conditions in place of the language's.

A distance below a threshold, and a comparison of two distances, are close to linear conditions on
the pixels once an image's sums are among the features. So before any template is searched for, the
forms are fitted with free linear conditions by gradient descent, from many random starts at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxmi.recovery.images.formula import FORMS, condition_count

STARTS = 12
"""Random starts per form."""

STEPS = 500
"""Steps of Adam, for all starts together."""

BATCH = 1500
"""Images per step."""

LEARNING_RATE = 0.03
"""Learning rate at the first step; it decays linearly to 0."""

INITIAL_SCALE = 0.5
"""Standard deviation of the initial weights."""

LABEL_NOISE = 0.01
"""Share of labels taken to be flipped at random, in either direction."""


class Fit(NamedTuple):
    """A form with free linear conditions."""

    form: str

    holds: Bool[np.ndarray, "conditions n"]
    """Where each condition holds."""

    agreement: float
    """Share of all images on which the form agrees with the labels."""


def fit_forms(
    features: Float[np.ndarray, "n d"], labels: Bool[np.ndarray, "n"], seed: int = 0
) -> list[Fit]:
    """Fit every form from every start; return all fits, the best first."""
    names = [name for name in FORMS for _ in range(STARTS)]
    tables = np.array([_table(name) for name in names], np.float32)
    inputs = np.column_stack([features, np.ones(len(features))]).astype(np.float32)
    weights = np.asarray(_fit(inputs, labels.astype(np.float32), tables, jax.random.key(seed)))
    fits = []
    for name, table, weight in zip(names, tables, weights, strict=True):
        holds = (inputs @ weight.T > 0).T
        predicted = table[tuple(holds.astype(int))] > 0.5
        agreement = float((predicted == labels).mean())
        fits.append(Fit(name, holds[: condition_count(name)], agreement))
    return sorted(fits, key=lambda fit: -fit.agreement)


def _table(form: str) -> Int[np.ndarray, "2 2 2"]:
    """Return a form's labels by three conditions, of which it may ignore the last ones."""
    count = condition_count(form)
    shape = (2,) * count + (1,) * (3 - count)
    return np.broadcast_to(np.array(FORMS[form]).reshape(shape), (2, 2, 2))


@jax.jit
def _fit(
    inputs: Float[Array, "n d"],
    labels: Float[Array, "n"],
    tables: Float[Array, "runs 2 2 2"],
    key: Array,
) -> Float[Array, "runs 3 d"]:
    """Return the weights of each run's conditions, fitted to the labels by cross-entropy.

    Conditions hold independently, each with the probability that a sigmoid gives; a label's
    probability is the expectation of the form's table.
    """
    adam = optax.adam(optax.linear_schedule(LEARNING_RATE, 0, STEPS), b1=0.9, b2=0.99, eps=1e-8)

    def loss(weights: Array, rows: Array) -> Array:
        x, y = inputs[rows], labels[rows][None]
        p = jax.nn.sigmoid(jnp.einsum("rcd,nd->rcn", weights, x))
        q = jnp.stack([1 - p, p], axis=-1)  # (runs, conditions, n, 2)
        out = jnp.einsum("rijk,rni,rnj,rnk->rn", tables, q[:, 0], q[:, 1], q[:, 2])
        out = (1 - 2 * LABEL_NOISE) * out + LABEL_NOISE
        return -jnp.mean(y * jnp.log(out) + (1 - y) * jnp.log(1 - out), axis=1).sum()

    def step(state: tuple[Array, optax.OptState], i: Array) -> tuple[tuple, None]:
        weights, adam_state = state
        rows = jax.random.randint(jax.random.fold_in(key, i), (BATCH,), 0, len(labels))
        updates, adam_state = adam.update(jax.grad(loss)(weights, rows), adam_state)
        return (optax.apply_updates(weights, updates), adam_state), None

    shape = (len(tables), 3, inputs.shape[1])
    weights = INITIAL_SCALE * jax.random.normal(jax.random.fold_in(key, STEPS), shape)
    return jax.lax.scan(step, (weights, adam.init(weights)), jnp.arange(STEPS))[0][0]
