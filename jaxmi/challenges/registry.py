"""The challenges by name."""

from pathlib import Path

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.mnist_cnn import load_mnist_cnn
from jaxmi.challenges.pair_transformer import load_pair_transformer
from jaxmi.errors import InputError

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
    raise InputError(f"unknown challenge {name!r}; the challenges are: {', '.join(NAMES)}")
