"""Matrix products are as precise as a recipe says, on every kind of device."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.storage.checkpoints import load_checkpoint

N = 256


def relative_error(found: Any, exact: np.ndarray) -> float:
    return float(np.abs(np.asarray(found, np.float64) - exact).max() / np.abs(exact).max())


@pytest.mark.device
def test_float32_products_have_float32s_errors() -> None:
    a = np.random.default_rng(0).normal(size=(N, N)).astype(np.float32)
    exact = a.astype(np.float64) @ a
    with jax.default_matmul_precision("float32"):
        full = jax.jit(jnp.matmul)(a, a)
    assert relative_error(full, exact) < 1e-6
    rounded = jnp.asarray(a).astype(jnp.bfloat16).astype(jnp.float32)
    assert relative_error(rounded @ rounded, exact) > 1e-4, "the control: eight bits"


@pytest.mark.device
@pytest.mark.parametrize("form", ["fast", "readable"])
def test_a_networks_logits_are_those_of_float64(
    transformer: Challenge, checkpoints: Path, form: str
) -> None:
    params, forward = load_checkpoint(checkpoints / "transformer").params, transformer.forms[form]
    inputs = transformer.inputs[:2000]
    found = jax.jit(lambda params: forward(params, inputs, None))(params)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        exact = np.asarray(jax.jit(lambda params: forward(params, inputs, None))(double))
    assert exact.dtype == np.float64
    assert relative_error(found, exact) < 1e-5
    coarse = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(jnp.bfloat16), params)
    coarse = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), coarse)
    assert relative_error(forward(coarse, inputs, None), exact) > 1e-4, "the control"
