"""The fast forms are the readable networks of any sizes: logits and gradients, in float64.

In float32 rounding decides which of two nearly equal units a pool passes on, and whether a neuron
close to zero is on, so that gradients are compared in float64.
"""

from collections.abc import Mapping

import jax
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jaxmi.challenges import images, numbers
from jaxmi.challenges.challenge import Forward
from jaxmi.challenges.registry import param_shapes
from jaxmi.models.cnn import Cnn, CnnConfig
from jaxmi.models.transformer import Transformer, TransformerConfig

TOLERANCE = 1e-9
"""Of logits and of gradients, relative to the largest value of each."""


def draw_params(model, kind, seed: int):
    """Weights of the order of 1 / sqrt(fan in), and biases that are not zero."""
    rng = np.random.default_rng(seed)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        return rng.normal(size=leaf.shape) / fan_in**0.5

    return jax.tree.map(draw, param_shapes(model, kind))


def logits_and_gradients(forward: Forward, inputs):
    """The function from parameters to logits, and the gradient of their sum with some weights."""
    classes = np.random.default_rng(1).normal(size=1000)

    def loss(params):
        logits = forward(params, inputs, None)
        return (logits * classes[None, : logits.shape[1]]).sum(), logits

    # Compiling takes longer than anything else here, and most of that is optimisation.
    return jax.jit(
        jax.grad(loss, has_aux=True), compiler_options={"xla_backend_optimization_level": 0}
    )


def largest_difference(found, expected) -> float:
    """Of all arrays, relative to each one's largest value or, if that is less, to 1e-3."""
    differences = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max() / max(1e-3, np.abs(b).max())), found, expected
    )
    return max(jax.tree.leaves(differences))


def check(forms: Mapping[str, Forward], params, inputs) -> None:
    """Compares the forms; the control is that a change of 1 % would be seen."""
    with jax.enable_x64(True):
        run = logits_and_gradients(forms["fast"], inputs)
        fast = jax.device_get(run(params))
        changed = jax.device_get(run(jax.tree.map(lambda leaf: 1.01 * leaf, params)))
        readable = jax.device_get(logits_and_gradients(forms["readable"], inputs)(params))
    assert largest_difference(fast, readable) < TOLERANCE
    assert largest_difference(changed, readable) > 1e3 * TOLERANCE, "the control"


QUICK = settings(max_examples=4, phases=[Phase.explicit, Phase.reuse, Phase.generate])
"""Each example is compiled, so that shrinking a failing one would take minutes."""


@pytest.mark.parametrize(
    "n_layers", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))]
)
@QUICK
@given(
    p=st.integers(5, 40),
    d_model=st.integers(1, 24),
    n_heads=st.integers(1, 5),
    d_head=st.integers(1, 9),
    d_mlp=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_a_transformer_of_any_size(n_layers: int, p: int, seed: int, **sizes: int) -> None:
    model = Transformer(TransformerConfig(d_vocab=p + 1, n_layers=n_layers, **sizes))
    drawn = np.random.default_rng(seed).integers(0, p, (30, 2))
    tokens = np.concatenate([[[0, p - 1], [p - 1, 0]], drawn])  # the ends of the tables
    tokens = np.concatenate([tokens, np.full((32, 1), p)], axis=1).astype(np.int32)
    check(numbers.forms(model), draw_params(model, "pairs", seed), tokens)


@QUICK
@given(
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    neurons=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_a_cnn_of_any_size(channels: tuple[int, int], neurons: int, seed: int) -> None:
    model = Cnn(CnnConfig(channels=channels, neurons=neurons))
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 28, 28), np.uint8)
    check(images._forms(model), draw_params(model, "image", seed), pixels)
