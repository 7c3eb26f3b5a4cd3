"""Tune a smaller network to a network's labels by gradient: distillation, which shows no mechanism.

It stands beside the smaller networks that are cut out as a trap. With hundreds of free numbers it
gives every label that it was fitted to; on held-out inputs it gives less than what was cut out.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxmi.mechanism.replacement import Replacement

STEPS = 600
"""Steps of Adam, each on all fitted inputs."""

WARMUP = 30
"""Steps over which the step size rises to its peak; then it falls to 0 along a cosine."""

RATE = 1e-2
"""The peak of the step size."""

Arrays = dict[str, Float[Array, "..."]]


def tune(
    given: Replacement,
    operands: Int[np.ndarray, "n operand"],
    labels: Bool[np.ndarray, "n"],
    steps: int = STEPS,
) -> Replacement:
    """Tune every number of a smaller network to labels.

    Args:
      given: Where to start.
      operands: The inputs.
      labels: The network's labels of these.
      steps: Steps of Adam.
    """
    arrays = {name: jnp.asarray(array) for name, array in _balanced(given, operands).items()}
    tuned = _descend(arrays, jnp.asarray(operands), jnp.asarray(labels, jnp.float32), steps)
    return Replacement(**{name: np.asarray(array, np.float64) for name, array in tuned.items()})


def _balanced(
    given: Replacement, operands: Int[np.ndarray, "n operand"]
) -> dict[str, Float[np.ndarray, "..."]]:
    """Return the same network with a stream and neurons of unit size, so that one step size fits.

    Activations and logits are divided by their spread.
    """
    arrays = dict(given.arrays)
    size = given.sums.std() or 1.0
    spread = given.neurons(operands).std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    logits = given.difference(operands).std() / 4 or 1.0
    return arrays | {
        "sums": given.sums / size,
        "directions": given.directions / size,
        "w_in": given.w_in * size / spread,
        "b_in": given.b_in / spread,
        "weights": given.weights * spread / logits,
        "bias": given.bias / logits,
    }


def _difference(arrays: Arrays, operands: Int[Array, "n operand"]) -> Float[Array, "n"]:
    """Do what `Replacement.difference` does, for gradients."""
    places = range(operands.shape[1])
    sums = jnp.stack([arrays["sums"][i, operands[:, i]] for i in places]).sum(axis=0)
    products = jnp.stack([arrays["factors"][i, operands[:, i]] for i in places]).prod(axis=0)
    stream = sums + products @ arrays["directions"]
    neurons = jax.nn.relu(stream @ arrays["w_in"] + arrays["b_in"][None])
    return neurons @ arrays["weights"] + arrays["bias"]


@partial(jax.jit, static_argnames="steps")
def _descend(
    arrays: Arrays, operands: Int[Array, "n operand"], labels: Float[Array, "n"], steps: int
) -> Arrays:
    warmup = min(WARMUP, steps // 2)
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0, RATE, warmup, steps))

    def loss(arrays: Arrays) -> Float[Array, ""]:
        return optax.sigmoid_binary_cross_entropy(_difference(arrays, operands), labels).mean()

    def step(state: tuple[Arrays, optax.OptState], _: None) -> tuple[tuple, None]:
        arrays, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(arrays), moments)
        return (optax.apply_updates(arrays, updates), moments), None

    (tuned, _), _ = jax.lax.scan(step, (arrays, optimizer.init(arrays)), None, length=steps)
    return tuned
