"""Feature visualisation: inputs that drive a neuron or a direction as far as they can.

Gradient ascent on the input (Erhan et al. 2009; Olah et al. 2017), for many objectives at once.
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
from jaxmi.explanation.edits import AXES
from jaxmi.explanation.network import Network
from jaxmi.types import Params


@dataclass(frozen=True)
class Ascent:
    """How to climb; the penalties are subtracted from the objective, with pixels in 0..1."""

    steps: int = 100
    """Steps of Adam."""
    learning_rate: float = 0.05
    """Its rate, in units of the pixels' range."""
    l1: float = 0.0
    """Penalty per unit of ink, that is of the sum of pixels."""
    total_variation: float = 0.0
    """Penalty per unit of difference between neighbouring pixels, summed."""
    start_noise: float = 0.01
    """Standard deviation of the start around mid-grey."""

    def __post_init__(self) -> None:
        """Checks the numbers.

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
    """Finds an image per objective that makes `objective @ activations` at a site large.

    Args:
      network: One that takes images with pixels 0..255.
      site: Where; its activations are flattened.
      objectives: One per image wanted: a row of the identity for a neuron, or any direction.
      shape: Of the images.
      key: Of the starting points.
      ascent: How to climb.

    Returns:
      The images, with pixels in 0..1, and what each objective reaches, penalties apart.

    Raises:
      InputError: if the network has no such site.
    """
    if site not in AXES:
        raise InputError(f"no site {site!r}; the sites are: {', '.join(AXES)}")
    keys = jax.random.split(key, len(objectives))
    objectives = np.asarray(objectives, np.float32)
    with jax.default_matmul_precision("float32"):
        images, reached = _climb_all(
            network.params, objectives, keys, network.model, site, shape, ascent
        )
    return np.asarray(images), np.asarray(reached)


Climb = tuple[jax.Array, optax.OptState]
"""An image on its way, and its optimiser's state."""


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
            return jnp.clip(image, 0, 1), state  # pixels stay pixels

        start = jnp.clip(0.5 + ascent.start_noise * jax.random.normal(key, shape), 0, 1)
        image, _ = jax.lax.fori_loop(0, ascent.steps, step, (start, optimiser.init(start)))
        return image, reached(image, objective)

    return jax.vmap(climb)(objectives, keys)


def _penalty(image: jax.Array, ascent: Ascent) -> jax.Array:
    down = jnp.abs(jnp.diff(image, axis=0)).sum()
    right = jnp.abs(jnp.diff(image, axis=1)).sum()
    return ascent.l1 * image.sum() + ascent.total_variation * (down + right)
