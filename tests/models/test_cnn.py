"""Challenge 1's network: size, initial distribution, dropout, agreement with PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from reference.torch_cnn import MnistNet

from jaxmi.challenges.challenge import Challenge
from jaxmi.models.cnn import SITES, dropout, max_pool

SHAPES = {
    ("conv1", "kernel"): (3, 3, 1, 8),
    ("conv1", "bias"): (8,),
    ("conv2", "kernel"): (3, 3, 8, 16),
    ("conv2", "bias"): (16,),
    ("fc1", "kernel"): (400, 200),
    ("fc1", "bias"): (200,),
    ("fc2", "kernel"): (200, 2),
    ("fc2", "bias"): (2,),
}
FAN_IN = {"conv1": 9, "conv2": 72, "fc1": 400, "fc2": 200}


def copy_to_torch(params, permute_fc1: bool = True) -> MnistNet:
    """Puts our parameters into the PyTorch network, evaluation mode."""
    model = MnistNet().eval()
    with torch.no_grad():
        for layer, arrays in params.items():
            kernel = torch.tensor(np.asarray(arrays["kernel"]))
            if layer.startswith("conv"):
                kernel = kernel.permute(3, 2, 0, 1)
            elif layer == "fc1" and permute_fc1:
                kernel = kernel.reshape(5, 5, 16, 200).permute(3, 2, 0, 1).flatten(1)
            else:
                kernel = kernel.T
            module = getattr(model, layer)
            assert module.weight.shape == kernel.shape
            module.weight.copy_(kernel)
            module.bias.copy_(torch.tensor(np.asarray(arrays["bias"])))
    return model


def run_torch(model: MnistNet, images: np.ndarray):
    with torch.no_grad():
        return model(torch.tensor(images).float()[:, None] / 255)


@pytest.fixture(scope="module")
def params(cnn: Challenge):
    """Initial parameters."""
    return cnn.init(jax.random.key(1))


def test_parameter_shapes_and_count(params) -> None:
    assert {
        (layer, name): a.shape for layer in params for name, a in params[layer].items()
    } == SHAPES
    assert sum(a.size for a in jax.tree.leaves(params)) == 81_850


@pytest.mark.slow
def test_the_initial_distribution_is_pytorchs(cnn: Challenge) -> None:
    """Uniform within 1 / sqrt(fan_in), weights and biases alike, over 50 seeds."""
    drawn = jax.vmap(cnn.init)(jax.vmap(jax.random.key)(jnp.arange(50)))
    for layer, name in SHAPES:
        values = np.asarray(drawn[layer][name]).ravel()
        bound = FAN_IN[layer] ** -0.5
        assert abs(values).max() <= bound
        assert abs(values).max() > 0.9 * bound
        assert abs(values.mean()) < 5 * bound / (3 * len(values)) ** 0.5
        assert abs(values.var() / (bound**2 / 3) - 1) < 5 * (0.8 / len(values)) ** 0.5


def test_logits_and_activations_match_pytorch(cnn: Challenge, params) -> None:
    images = cnn.inputs[60_000:62_000]
    logits, sites = run_torch(copy_to_torch(params), images)
    run = jax.jit(jax.vmap(lambda image: cnn.model.apply({"params": params}, image)))
    ours, activations = run(images)
    assert set(sites) == set(SITES)
    for name, theirs in {**sites, "logits": logits}.items():
        mine = np.asarray(ours if name == "logits" else activations[name])
        mine = mine.transpose(0, 3, 1, 2) if mine.ndim == 4 else mine
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * abs(mine).max(), err_msg=name)


def test_without_the_permutation_of_fc1_they_do_not_match(cnn: Challenge, params) -> None:
    """The control: the comparison above would see a wrong order of fc1's inputs."""
    images = cnn.inputs[60_000:60_100]
    wrong, _ = run_torch(copy_to_torch(params, permute_fc1=False), images)
    ours = cnn.logits(params, np.arange(60_000, 60_100))
    assert abs(ours - wrong.numpy()).max() > 1e-2


def test_gradients_match_pytorch(cnn: Challenge, params) -> None:
    images, labels = cnn.inputs[:64], cnn.labels[:64]

    def loss(p):
        log_p = jax.nn.log_softmax(cnn.forward(p, images, None))
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

    ours = jax.jit(jax.grad(loss))(params)
    model = copy_to_torch(params)
    logits, _ = model(torch.tensor(images).float()[:, None] / 255)
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels).long()).backward()
    for layer in params:
        theirs = getattr(model, layer).weight.grad.numpy()
        mine = np.asarray(ours[layer]["kernel"])
        if layer.startswith("conv"):
            mine = mine.transpose(3, 2, 0, 1)
        elif layer == "fc1":
            mine = mine.reshape(5, 5, 16, 200).transpose(3, 2, 0, 1).reshape(200, 400)
        else:
            mine = mine.T
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * abs(theirs).max())


def test_max_pool_leaves_out_an_odd_last_row_and_column() -> None:
    x = jnp.arange(5 * 5, dtype=jnp.float32).reshape(5, 5, 1)
    assert max_pool(x)[..., 0].tolist() == [[6, 8], [16, 18]]


def test_dropout_drops_the_stated_share_and_keeps_the_mean() -> None:
    keys = jax.random.split(jax.random.key(0), 200)
    x = jnp.ones((26, 26, 8))
    dropped = np.asarray(jax.vmap(lambda key: dropout(key, x, 0.2))(keys))
    n, p = dropped.size, 13107 / 65536
    assert abs((dropped == 0).mean() - p) < 5 * (p * (1 - p) / n) ** 0.5
    assert np.unique(dropped).tolist() == [0, np.float32(1 / (1 - p))]
    # Units are independent: neighbours, and the halves of one random word, are dropped together as
    # often as chance has it; so are the same unit's fates in two draws.
    flat = (dropped == 0).reshape(200, -1)
    for together in (
        flat[:, ::2] & flat[:, 1::2],
        flat[:, :-8] & flat[:, 8:],
        flat[1:] & flat[:-1],
    ):
        assert abs(together.mean() - p**2) < 5 * (p**2 / together.size) ** 0.5


@pytest.mark.slow
def test_dropout_is_the_keys_own_and_acts_only_when_asked(cnn: Challenge, params) -> None:
    def run(seed):
        key = None if seed is None else jax.random.key(seed)
        return np.asarray(cnn.forward(params, cnn.inputs[:8], key))

    np.testing.assert_array_equal(run(1), run(1))
    assert not np.allclose(run(1), run(2))
    assert not np.allclose(run(1), run(None))
    images = np.repeat(cnn.inputs[:1], 2, axis=0)
    twins = np.asarray(cnn.forward(params, images, jax.random.key(0)))
    assert not np.allclose(twins[0], twins[1]), "each example has its own mask"
