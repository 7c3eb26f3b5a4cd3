"""The challenges by name."""

from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmi.challenges.challenge import Challenge, sizes
from jaxmi.challenges.mnist_cnn import load_mnist_cnn
from jaxmi.challenges.pair_transformer import load_pair_transformer
from jaxmi.errors import InputError
from jaxmi.models.cnn import Cnn
from jaxmi.models.transformer import Transformer
from jaxmi.types import Params

NAMES = ("transformer", "cnn")
"""Every challenge's name."""


def load_challenge(name: str, data_dir: Path | None = None) -> Challenge:
    """Builds a challenge.

    Args:
      name: One of `NAMES`.
      data_dir: A folder with MNIST, for "cnn"; None looks in the cache, then downloads.

    Raises:
      InputError: if there is no such challenge, or the data folder cannot be used.
      UnavailableError: if MNIST cannot be had.
    """
    if name == "transformer":
        return load_pair_transformer()
    if name == "cnn":
        return load_mnist_cnn(data_dir)
    raise _unknown(name)


def model_config(name: str) -> dict[str, Any]:
    """Returns `Challenge.model_config`, without the challenge's data.

    Raises:
      InputError: if there is no such challenge.
    """
    return sizes(_network(name)[0])


@cache
def param_shapes(name: str) -> Params:
    """Returns the shapes and types of what `Challenge.init` draws, without the challenge's data.

    Raises:
      InputError: if there is no such challenge.
    """
    model, example = _network(name)
    return jax.eval_shape(model.init, jax.random.key(0), example)["params"]


def _network(name: str) -> tuple[Cnn | Transformer, np.ndarray]:
    """A challenge's network, and an input of the right shape."""
    if name == "transformer":
        return Transformer(), np.zeros(3, np.int32)
    if name == "cnn":
        return Cnn(), np.zeros((28, 28), np.uint8)
    raise _unknown(name)


def _unknown(name: str) -> InputError:
    return InputError(f"unknown challenge {name!r}; the challenges are: {', '.join(NAMES)}")
