"""Directions in activation space: principal components, linear probes, and logit gradients."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxmi.errors import InputError
from jaxmi.types import Array


class Pca(NamedTuple):
    """Principal components of a set of activations."""

    mean: Float[np.ndarray, "d"]
    """Mean activation, which is subtracted before projecting."""
    components: Float[np.ndarray, "k d"]
    """Orthonormal directions, in order of falling variance."""
    variance_shares: Float[np.ndarray, "k"]
    """Share of the total variance along each, in 0..1."""

    def project(
        self, activations: Float[Array, "n d"], count: int | None = None
    ) -> Float[np.ndarray, "n k"]:
        """Return the coordinates of activations on the components, or on the first few."""
        components = self.components[:count]
        return np.asarray(activations, np.float64) @ components.T - components @ self.mean

    def like(self, activations: Float[Array, "n d"], values: Float[Array, "n"]) -> "Pca":
        """Return the same components, each with the sign that correlates positively with values.

        Args:
          activations: The examples.
          values: A number per example.
        """
        values = np.asarray(values, np.float64)
        up = (values - values.mean()) @ np.asarray(activations) @ self.components.T
        return self._replace(components=self.components * np.where(up < 0, -1.0, 1.0)[:, None])

    def unproject(self, coordinates: Float[Array, "n k"]) -> Float[np.ndarray, "n d"]:
        """Return the activations with these coordinates, and the mean's in all other directions."""
        return np.asarray(coordinates, np.float64) @ self.components + self.mean


def pca(activations: Float[Array, "n d"], like: Float[Array, "n"] | None = None) -> Pca:
    """Return principal components, in float64.

    They are the eigenvectors of the covariance. If there are fewer examples than dimensions, they
    are singular vectors of the examples.

    A component's sign is a convention. Here each component correlates positively with `like`; or,
    without it, its entry of largest magnitude is positive.

    Args:
      activations: One row per example, n >= 2.
      like: A number per example that fixes the signs.

    Raises:
      InputError: if there are fewer than two examples, or all are the same.
    """
    if len(activations) < 2:
        raise InputError(f"principal components of {len(activations)} examples: give at least 2")
    activations = np.asarray(activations, np.float64)
    mean = activations.mean(axis=0)
    centred = activations - mean
    variances, components = _decompose(centred)
    if not variances.any():
        raise InputError(f"principal components of {len(activations)} examples that are all alike")
    largest = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
    components *= np.where(largest < 0, -1.0, 1.0)[:, None]
    found = Pca(mean, components, variances / variances.sum())
    return found if like is None else found.like(centred, like)


def _decompose(
    centred: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k d"]]:
    """Return the sums of squares along the principal components, and these, the largest first."""
    if len(centred) <= centred.shape[1]:
        _, singular, components = np.linalg.svd(centred, full_matrices=False)
        return singular**2, components
    # In float64 the squares resolve components down to 1e-8 of the largest one's deviation.
    squares, vectors = np.linalg.eigh(centred.T @ centred)
    return np.maximum(squares[::-1], 0), vectors.T[::-1].copy()


class Probe(NamedTuple):
    """A linear read-out of two classes: class 1 where `activations @ direction > threshold`."""

    direction: Float[np.ndarray, "d"]
    """Weights, not normalised, in labels per unit of activation."""
    threshold: float
    """The score half-way between the two labels."""
    accuracy: float
    """Share of held-out examples that the probe classifies correctly, in 0..1."""


def linear_probe(
    activations: Float[Array, "n d"],
    labels: Array,
    held_out: Float[Array, "m d"],
    held_out_labels: Array,
    ridge: float = 0.0,
) -> Probe:
    """Fit labels 0 and 1 linearly by least squares and test the fit on other examples.

    Args:
      activations: Examples to fit.
      labels: Their labels, 0 or 1, (n,).
      held_out: Examples to test on.
      held_out_labels: Their labels, (m,).
      ridge: Penalty on the squared length of the direction, in the activations' units squared, for
        the sum over examples. 0 is ordinary least squares; of several best fits it takes the
        shortest direction.

    Raises:
      InputError: if a label is neither 0 nor 1, or the penalty is negative.
    """
    for checked in (labels, held_out_labels):
        others = np.setdiff1d(checked, [0, 1])
        if others.size:
            raise InputError(f"a probe's labels are 0 and 1, not {others[0]}")
    direction, intercept = ridge_regression(activations, np.asarray(labels, np.float64), ridge)
    threshold = 0.5 - intercept
    predicted = np.asarray(held_out, np.float64) @ direction > threshold
    return Probe(direction, float(threshold), float((predicted == held_out_labels).mean()))


def ridge_regression(
    inputs: Float[Array, "n d"], targets: Float[Array, "n"], ridge: float
) -> tuple[Float[np.ndarray, "d"], float]:
    """Return the weights and the unpenalised intercept of a ridge regression, in float64.

    Args:
      inputs: Examples, one per row.
      targets: The number to predict for each.
      ridge: Penalty on the squared length of the weights; 0 is ordinary least squares.

    Raises:
      InputError: if the penalty is negative.
    """
    if ridge < 0:
        raise InputError(f"the ridge penalty must not be negative: {ridge}")
    inputs = np.asarray(inputs, np.float64)
    mean = inputs.mean(axis=0)
    centred = inputs - mean
    products = centred.T @ (np.asarray(targets, np.float64) - np.mean(targets))
    if ridge:
        weights = np.linalg.solve(centred.T @ centred + ridge * np.eye(len(mean)), products)
    else:
        weights = np.linalg.lstsq(centred, targets - np.mean(targets), rcond=None)[0]
    return weights, float(np.mean(targets) - mean @ weights)


def logit_difference_direction(
    logits: Callable[[jax.Array], jax.Array], activations: Float[Array, "n ..."]
) -> Float[np.ndarray, "..."]:
    """Return the mean gradient over examples of logit 1 - logit 0.

    Where the logits are linear in the activation, this is exactly the difference of the two
    read-out vectors.

    Args:
      logits: From one example's activation to its logits.
      activations: The examples.

    Returns:
      An array of one activation's shape, in logits per unit of activation.
    """

    def difference(activation: jax.Array) -> jax.Array:
        class_logits = logits(activation)
        return class_logits[1] - class_logits[0]

    with jax.default_matmul_precision("float32"):
        return np.asarray(jax.vmap(jax.grad(difference))(activations).mean(axis=0))
