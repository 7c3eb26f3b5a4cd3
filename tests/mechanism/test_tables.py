"""A transformer of one block is a set of tables, exactly; what simpler forms keep of a table."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.edits import at, mean
from jaxmi.explanation.network import Network
from jaxmi.explanation.transformer_evidence import PATTERN, RESID_MID
from jaxmi.mechanism import simplify
from jaxmi.mechanism.tables import last_mlp, tables_of
from jaxmi.models.transformer import Transformer
from jaxmi.types import Params

PROGRAMS = {"pairs": "return x * y % 5 < 2", "triples": "return (x + y * w) % 3 < 1"}


def small(kind: str = "pairs", **sizes: int) -> tuple[Challenge, Params, Transformer]:
    challenge = jaxmi.make_challenge(PROGRAMS[kind], p=7, kind=kind, network=sizes)
    params = jax.jit(challenge.init)(jax.random.key(1))
    params = jax.tree.map(lambda a: 3 * np.asarray(a) + 0.1 * (a.ndim == 1), params)
    assert isinstance(challenge.model, Transformer)
    return challenge, params, challenge.model


@pytest.mark.long
@settings(max_examples=8)
@given(
    st.sampled_from(["pairs", "triples"]),
    st.sampled_from([8, 12]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([5, 16]),
)
def test_the_tables_are_the_network_at_any_size(
    kind: str, width: int, heads: int, neurons: int
) -> None:
    check_tables(kind, width, heads, neurons)


def test_the_tables_are_the_network() -> None:
    check_tables("pairs", 8, 2, 16)


def check_tables(kind: str, width: int, heads: int, neurons: int) -> None:
    challenge, params, model = small(kind, d_model=width, n_heads=heads, d_mlp=neurons)
    tables, operands = tables_of(params, model.config), challenge.inputs[:, :-1]
    network = Network(model, params)
    activations = network.read(challenge.inputs, [PATTERN, RESID_MID])
    patterns = tables.patterns(operands)
    expected = activations[PATTERN][:, :, -1].swapaxes(1, 2)
    np.testing.assert_allclose(patterns, expected, atol=1e-5)
    stream = tables.resid_mid(patterns, operands)
    np.testing.assert_allclose(stream, activations[RESID_MID][:, -1], rtol=1e-4, atol=1e-4)
    logits = network.logits(challenge.inputs)
    difference = tables.mlp.difference(stream)
    scale = np.abs(difference).max()
    np.testing.assert_allclose(difference, logits[:, 1] - logits[:, 0], atol=1e-5 * scale + 1e-5)


def test_a_replaced_pattern_acts_as_it_does_in_the_network() -> None:
    challenge, params, model = small(d_model=8, n_heads=2, d_mlp=16)
    tables, operands = tables_of(params, model.config), challenge.inputs[:, :-1]
    patterns = tables.patterns(operands)
    grid = patterns.reshape(7, 7, 3, 2)
    fixed = simplify.mean(grid, 2).reshape(patterns.shape)
    difference = tables.mlp.difference(tables.resid_mid(fixed, operands))
    network = Network(model, params)
    edit = at(PATTERN, mean(network.read(challenge.inputs, [PATTERN])[PATTERN]))
    logits = network.logits(challenge.inputs, edit)
    np.testing.assert_allclose(difference, logits[:, 1] - logits[:, 0], rtol=1e-4, atol=1e-3)
    free = tables.mlp.difference(tables.resid_mid(patterns, operands))
    assert np.abs(difference - free).max() > 0.1  # the control


def test_several_blocks_are_no_tables_but_have_a_last_mlp() -> None:
    challenge, params, model = small(d_model=8, n_heads=2, d_mlp=16, n_layers=2)
    with pytest.raises(InputError, match="2 blocks"):
        tables_of(params, model.config)
    network = Network(model, params)
    stream = network.read(challenge.inputs, ["blocks.1.hook_resid_mid"])
    logits = network.logits(challenge.inputs)
    difference = last_mlp(params, model.config).difference(stream["blocks.1.hook_resid_mid"][:, -1])
    np.testing.assert_allclose(difference, logits[:, 1] - logits[:, 0], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_simple_forms_leave_what_has_that_form(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    n = len(shape)
    factors = [rng.normal(size=(size, 2)) for size in shape]

    def on_axis(i: int) -> np.ndarray:
        return factors[i].reshape(*(s if j == i else 1 for j, s in enumerate(shape)), 2)

    total = sum((on_axis(i) for i in range(n)), np.zeros((*shape, 2)))
    product = np.prod([np.broadcast_to(on_axis(i), (*shape, 2)) for i in range(n)], axis=0)
    np.testing.assert_allclose(simplify.additive(total, n), total, atol=1e-12)
    np.testing.assert_allclose(simplify.rank_one(product, n), product, atol=1e-9)
    only = np.broadcast_to(on_axis(1), (*shape, 2))
    np.testing.assert_allclose(simplify.of_one(only, n, 1), only, atol=1e-12)
    for form, other in (
        (simplify.additive, product),
        (simplify.rank_one, total),
        (lambda values, n: simplify.of_one(values, n, 0), only),
    ):
        assert np.abs(form(other, n) - other).max() > 0.1  # the control


def test_rank_one_of_two_operands_is_the_nearest() -> None:
    table = np.random.default_rng(0).normal(size=(6, 7, 1))
    u, s, v = np.linalg.svd(table[..., 0])
    nearest = s[0] * np.outer(u[:, 0], v[0])
    np.testing.assert_allclose(simplify.rank_one(table, 2)[..., 0], nearest, atol=1e-6)


def test_components_are_those_of_most_variance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 6)) + rng.normal(size=6)
    np.testing.assert_allclose(simplify.components(values, 2), values, atol=1e-9)
    assert np.abs(simplify.components(values, 1) - values).max() > 0.1
