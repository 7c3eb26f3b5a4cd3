"""Feature visualisation: images that maximise a neuron's activation, or that along a direction.

Gradient ascent on the input, for many objectives at once, after Erhan et al., "Visualizing
higher-layer features of a deep network" (2009), and Olah et al., "Feature visualization" (2017).
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Float, PRNGKeyArray

from jaxmi.errors import InputError
from jaxmi.explanation.components import check_axes
from jaxmi.explanation.network import Network
from jaxmi.types import Params


@dataclass(frozen=True)
class Ascent:
    """Settings of the ascent. Penalties are subtracted from the objective; pixels are in 0..1."""

    steps: int = 100
    """Number of steps of Adam."""
    learning_rate: float = 0.05
    """Learning rate of Adam, in units of the pixels' range."""
    l1: float = 0.0
    """Penalty per unit of the sum of pixels."""
    total_variation: float = 0.0
    """Penalty per unit of the summed absolute differences of neighbouring pixels."""
    start_noise: float = 0.01
    """Standard deviation of the starting image's pixels around 0.5."""

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
          InputError: if one is out of range.
        """
        if self.steps < 1:
            raise InputError(f"an ascent takes at least one step, not {self.steps}")
        if self.learning_rate <= 0:
            raise InputError(f"an ascent's learning rate must be positive: {self.learning_rate}")
        for name in ("l1", "total_variation", "start_noise"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative: {getattr(self, name)}")


def visualise(
    network: Network,
    site: str,
    objectives: Float[np.ndarray, "k d"],
    shape: tuple[int, int],
    key: PRNGKeyArray,
    ascent: Ascent = Ascent(),
) -> tuple[Float[np.ndarray, "k height width"], Float[np.ndarray, "k"]]:
    """Find, for each objective, an image that maximises `objective @ activations` at a site.

    Args:
      network: A network that takes images with pixels 0..255.
      site: A site of the network; its activations are flattened to d numbers.
      objectives: One per image: a row of the identity for a neuron, or any direction.
      shape: Height and width of the images.
      key: Draws the starting images.
      ascent: Settings of the ascent.

    Returns:
      The images, with pixels in 0..1; and the value of each objective, in units of activation,
      without the penalties.

    Raises:
      InputError: if there is no such site.
    """
    check_axes(site, {})
    keys = jax.random.split(key, len(objectives))
    objectives = np.asarray(objectives, np.float32)
    with jax.default_matmul_precision("float32"):
        images, reached = _climb_all(
            network.params, objectives, keys, network.model, site, shape, ascent
        )
    return np.asarray(images), np.asarray(reached)


Climb = tuple[jax.Array, optax.OptState]
"""An image and its optimiser's state, between two steps."""


@partial(jax.jit, static_argnames=("model", "site", "shape", "ascent"))
def _climb_all(
    params: Params,
    objectives: jax.Array,
    keys: jax.Array,
    model: nn.Module,
    site: str,
    shape: tuple[int, int],
    ascent: Ascent,
) -> tuple[jax.Array, jax.Array]:
    network, optimiser = Network(model, params), optax.adam(ascent.learning_rate)

    def reached(image: jax.Array, objective: jax.Array) -> jax.Array:
        return objective @ network.run(255 * image)[1][site].reshape(-1)

    def loss(image: jax.Array, objective: jax.Array) -> jax.Array:
        return _penalty(image, ascent) - reached(image, objective)

    def climb(objective: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(_: jax.Array, carry: Climb) -> Climb:
            image, state = carry
            updates, state = optimiser.update(jax.grad(loss)(image, objective), state)
            image = jnp.asarray(optax.apply_updates(image, updates))
            return jnp.clip(image, 0, 1), state

        start = jnp.clip(0.5 + ascent.start_noise * jax.random.normal(key, shape), 0, 1)
        image, _ = jax.lax.fori_loop(0, ascent.steps, step, (start, optimiser.init(start)))
        return image, reached(image, objective)

    return jax.vmap(climb)(objectives, keys)


def _penalty(image: jax.Array, ascent: Ascent) -> jax.Array:
    down = jnp.abs(jnp.diff(image, axis=0)).sum()
    right = jnp.abs(jnp.diff(image, axis=1)).sum()
    return ascent.l1 * image.sum() + ascent.total_variation * (down + right)
