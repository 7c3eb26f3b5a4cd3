"""Challenge 2's network: size, initial distribution, causality, agreement with PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference.torch_transformer import PairTransformer

from jaxmi.challenges.challenge import Challenge
from jaxmi.models.transformer import sites as transformer_sites

SHAPES = {
    ("W_E",): (114, 128),
    ("W_pos",): (3, 128),
    ("attn", "W_Q"): (8, 128, 16),
    ("attn", "W_K"): (8, 128, 16),
    ("attn", "W_V"): (8, 128, 16),
    ("attn", "W_O"): (8, 16, 128),
    ("mlp", "W_in"): (128, 1024),
    ("mlp", "b_in"): (1024,),
    ("mlp", "W_out"): (1024, 128),
    ("mlp", "b_out"): (128,),
    ("W_U",): (128, 114),
}


def leaf(params, path):
    for name in path:
        params = params[name]
    return params


@pytest.fixture(scope="module")
def params(transformer: Challenge):
    """Initial parameters, biases moved off zero so that they are seen."""
    drawn = transformer.init(jax.random.key(1))
    key = jax.random.key(2)
    drawn["mlp"]["b_in"] = 0.1 * jax.random.normal(key, (1024,))
    drawn["mlp"]["b_out"] = 0.1 * jax.random.normal(key, (128,))
    return drawn


def test_parameter_names_shapes_and_count(transformer: Challenge) -> None:
    drawn = transformer.init(jax.random.key(0))
    assert {path: leaf(drawn, path).shape for path in SHAPES} == SHAPES
    assert sum(a.size for a in jax.tree.leaves(drawn)) == sum(map(np.prod, SHAPES.values()))


@pytest.mark.slow
def test_the_initial_distribution_is_the_originals(transformer: Challenge) -> None:
    """Zero-mean normals of the stated scale, over 20 seeds; biases exactly zero."""
    drawn = jax.vmap(transformer.init)(jax.vmap(jax.random.key)(jnp.arange(20)))
    for path in SHAPES:
        values = np.asarray(leaf(drawn, path)).ravel()
        if path[-1].startswith("b_"):
            assert not values.any()
            continue
        scale = 114**-0.5 if path == ("W_U",) else 128**-0.5
        standard_error = scale / len(values) ** 0.5
        assert abs(values.mean()) < 5 * standard_error, path
        assert abs(values.std() / scale - 1) < 5 / (2 * len(values)) ** 0.5, path
        kurtosis = (values**4).mean() / (values**2).mean() ** 2
        assert abs(kurtosis - 3) < 5 * (24 / len(values)) ** 0.5, path


def test_a_checkpoints_parameters_serve_as_they_are(transformer: Challenge, params) -> None:
    """They are NumPy arrays, which traced tokens cannot index."""
    loaded = jax.device_get(params)
    run = jax.vmap(lambda tokens: transformer.model.apply({"params": loaded}, tokens)[0])
    assert run(transformer.inputs[:2]).shape == (2, 3, 114)


def test_earlier_positions_do_not_see_later_tokens(transformer: Challenge, params) -> None:
    a, _ = transformer.model.apply({"params": params}, np.array([5, 7, 113]))
    b, _ = transformer.model.apply({"params": params}, np.array([5, 90, 113]))
    np.testing.assert_array_equal(a[0], b[0])
    assert not np.allclose(a[1], b[1])
    assert not np.allclose(a[2], b[2])


def test_attention_patterns_are_causal_distributions(transformer: Challenge, params) -> None:
    _, activations = transformer.model.apply({"params": params}, np.array([5, 7, 113]))
    pattern = np.asarray(activations["blocks.0.attn.hook_pattern"])
    np.testing.assert_allclose(pattern.sum(axis=-1), 1, rtol=1e-6)
    assert not pattern[:, np.triu_indices(3, k=1)[0], np.triu_indices(3, k=1)[1]].any()


def test_logits_and_activations_match_pytorch(transformer: Challenge, params) -> None:
    """On the whole domain, every site, within 1e-5 of the largest value there."""
    reference = PairTransformer()
    with torch.no_grad():
        for path, tensor in _torch_tensors(reference).items():
            value = torch.tensor(np.asarray(leaf(params, path)))
            if path[0] == "attn":
                value = value.permute(2, 0, 1).flatten(1) if path[1] == "W_O" else value.mT
            elif path[-1] in ("W_E", "W_in", "W_out"):
                value = value.T
            assert tensor.shape == value.shape, path
            tensor.copy_(value)
        logits, sites = reference(torch.tensor(transformer.inputs, dtype=torch.long))
    run = jax.jit(jax.vmap(lambda tokens: transformer.model.apply({"params": params}, tokens)))
    ours, activations = run(transformer.inputs)
    assert set(sites) == set(transformer_sites()) - {"blocks.0.attn.hook_attn_scores"}
    for name, theirs in {**sites, "logits": logits}.items():
        mine = np.asarray(ours if name == "logits" else activations[name])
        theirs = theirs.detach().numpy()
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * abs(mine).max(), err_msg=name)


def _torch_tensors(model: PairTransformer) -> dict[tuple[str, ...], torch.Tensor]:
    block = model.blocks[0]
    return {
        ("W_E",): model.embed.W_E,
        ("W_pos",): model.pos_embed.W_pos,
        ("W_U",): model.unembed.W_U,
        **{("attn", name): p for name, p in block.attn.named_parameters()},
        **{("mlp", name): p for name, p in block.mlp.named_parameters()},
    }
