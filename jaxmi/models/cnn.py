"""Challenge 1's network: a small CNN on 28x28 images, every step a named site.

The architecture is that of Casper's post and of its published state dict; initial parameters are
drawn as PyTorch, in which the original was trained, draws them. Arrays are height, width, channels,
as in Flax.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float, PRNGKeyArray, UInt8

from jaxmi.models.sites import Sites
from jaxmi.types import Activations, Array, Edits

_MAP = ("height", "width", "channel")
SITES = {
    "conv1.pre": _MAP,
    "conv1.post": _MAP,
    "pool1": _MAP,
    "conv2.pre": _MAP,
    "conv2.post": _MAP,
    "pool2": _MAP,
    "fc1.pre": ("neuron",),
    "fc1.post": ("neuron",),
}
"""The CNN's sites and their axes, in order of computation; "pre" and "post" refer to the ReLU."""


@dataclass(frozen=True)
class CnnConfig:
    """The CNN's sizes; the defaults are the published network's."""

    channels: tuple[int, int] = (8, 16)
    """Output channels of the two 3x3 convolutions."""
    neurons: int = 200
    """Hidden neurons, fc1."""
    classes: int = 2
    """Logits, fc2."""
    dropout: float = 0.2
    """Probability that training drops a unit after each convolution's ReLU; 0 <= dropout < 1."""


def _uniform_init(fan_in: int) -> nn.initializers.Initializer:
    """Return PyTorch's default for weights and biases: uniform within +-1 / sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Conv3x3(nn.Module):
    """A 3x3 convolution without padding, as one matrix product over unfolded patches.

    Under `vmap` over seeds it stays a batched product; the convolution primitive would become a
    grouped convolution, which is slow on every backend.
    """

    channels: int

    @nn.compact
    def __call__(self, image: Float[jax.Array, "h w cin"]) -> Float[jax.Array, "h-2 w-2 cout"]:
        """Return the feature maps."""
        height, width, c_in = image.shape
        init = _uniform_init(9 * c_in)
        kernel = self.param("kernel", init, (3, 3, c_in, self.channels))
        bias = self.param("bias", init, (self.channels,))
        shifted = [image[i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3)]
        patches = jnp.concatenate(shifted, axis=-1)
        return patches @ kernel.reshape(9 * c_in, self.channels) + bias[None, None]


class Linear(nn.Module):
    """A fully connected layer."""

    features: int

    @nn.compact
    def __call__(self, x: Float[jax.Array, "n"]) -> Float[jax.Array, "m"]:
        """Return the weighted sums plus biases."""
        init = _uniform_init(x.shape[0])
        kernel = self.param("kernel", init, (x.shape[0], self.features))
        return x @ kernel + self.param("bias", init, (self.features,))


def max_pool(x: Float[jax.Array, "h w c"]) -> Float[jax.Array, "h//2 w//2 c"]:
    """Return the maximum of each 2x2 block; an odd last row or column is ignored, as in PyTorch."""
    height, width, channels = x.shape
    blocks = x[: height // 2 * 2, : width // 2 * 2]
    return blocks.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))


def dropout(
    key: PRNGKeyArray, x: Float[jax.Array, "h w c"], rate: float
) -> Float[jax.Array, "h w c"]:
    """Zero each unit with probability `round(65536 * rate) / 65536`, and scale the rest to match.

    Two units share each 32-bit word of the generator, 16 bits each: a rate of 0.2 becomes
    13107/65536 = 0.199997. The scale uses that exact probability, so the expectation is preserved.

    Args:
      key: Used once.
      x: A feature map after its ReLU.
      rate: Probability of dropping a unit, 0 <= rate < 1.
    """
    threshold = round(2**16 * rate)
    words = jax.random.bits(key, (-(-x.size // 2),), jnp.uint32)
    bits = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: x.size]
    return jnp.where(bits.reshape(x.shape) >= threshold, x * (2**16 / (2**16 - threshold)), 0)


class Cnn(nn.Module):
    """The network, for one image."""

    config: CnnConfig = CnnConfig()

    @nn.compact
    def __call__(
        self,
        image: UInt8[Array, "28 28"] | Float[Array, "28 28"],
        edits: Edits | None = None,
        dropout_key: PRNGKeyArray | None = None,
    ) -> tuple[Float[jax.Array, "classes"], Activations]:
        """Run the network.

        Args:
          image: Pixels 0..255; the network divides them by 255 and does not normalise them
            further. Floats allow a gradient.
          edits: Site name -> function from the activation at the site to its replacement.
          dropout_key: Drop units as in training, from this key; None evaluates without dropout.

        Returns:
          Logits of the classes 0 and 1, (2,), and the activation at each site.

        Raises:
          InputError: if an edit names an unknown site or changes a shape.
        """
        c = self.config
        site = Sites(SITES, edits)
        x = jnp.asarray(image)[..., None].astype(jnp.float32) / 255
        for layer, channels in enumerate(c.channels, start=1):
            x = site(f"conv{layer}.pre", Conv3x3(channels, name=f"conv{layer}")(x))
            x = site(f"conv{layer}.post", jax.nn.relu(x))
            if dropout_key is not None:
                x = dropout(jax.random.fold_in(dropout_key, layer), x, c.dropout)
            x = site(f"pool{layer}", max_pool(x))
        x = site("fc1.pre", Linear(c.neurons, name="fc1")(x.reshape(-1)))
        x = site("fc1.post", jax.nn.relu(x))
        return Linear(c.classes, name="fc2")(x), site.activations
