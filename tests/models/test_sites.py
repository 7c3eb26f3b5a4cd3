"""Sites of both networks: recorded, edited, and refused when an edit means nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.models import cnn as cnn_module
from jaxmi.models import transformer as transformer_module

NETWORKS = ("transformer", "cnn")
AXES = {"transformer": transformer_module.sites(), "cnn": cnn_module.SITES}
SITES = {name: list(axes) for name, axes in AXES.items()}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest):
    """A challenge's name, its readable network as a function of (input, edits), and an input."""
    challenge: Challenge = request.getfixturevalue(request.param)
    params = challenge.init(jax.random.key(3))

    @jax.jit
    def plain(x):
        return challenge.model.apply({"params": params}, x)

    def run(x, edits=None):
        return challenge.model.apply({"params": params}, x, edits) if edits else plain(x)

    return request.param, run, challenge.inputs[4321]


def test_every_declared_site_is_recorded_in_order(network) -> None:
    name, run, x = network
    assert set(run(x)[1]) == set(SITES[name])


def test_every_site_has_the_axes_that_it_declares(network) -> None:
    name, run, x = network
    sizes = {"d_model": 128, "head": 8, "d_head": 16, "pos": 3, "query": 3, "key": 3}
    for site, activation in run(x)[1].items():
        axes = AXES[name][site]
        assert activation.ndim == len(axes), site
        for axis, size in zip(axes, activation.shape, strict=True):
            assert sizes.get(axis, size) == size, (site, axis)


def test_an_identity_edit_changes_nothing(network) -> None:
    name, run, x = network
    logits, activations = run(x, {site: lambda a: a for site in SITES[name]})
    plain_logits, plain_activations = run(x)
    np.testing.assert_allclose(logits, plain_logits, rtol=1e-5, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        activations,
        plain_activations,
    )


def test_every_site_is_causally_upstream_of_the_logits(network) -> None:
    """An edit at any site is seen by the network, and recorded as edited."""
    name, run, x = network
    plain, _ = run(x)
    for site in SITES[name]:
        edited, activations = run(x, {site: lambda a: a[..., ::-1] * 0.5 + 0.01})
        assert not np.allclose(edited, plain, atol=1e-7), site
        assert np.isfinite(activations[site]).all() or "scores" in site


def test_replacing_an_activation_by_another_inputs_is_that_inputs_run(network) -> None:
    """Patching the last site in full gives the other input's logits: nothing bypasses it."""
    name, run, x = network
    other = np.roll(x, 1) if name == "cnn" else x[::-1].copy()
    site = SITES[name][-1]
    other_logits, other_activations = run(other)
    patched, _ = run(x, {site: lambda _: other_activations[site]})
    np.testing.assert_allclose(patched, other_logits, rtol=1e-5, atol=1e-6)
    assert not np.allclose(patched, run(x)[0], atol=1e-6)


def test_an_unknown_site_is_refused_by_name(network) -> None:
    name, run, x = network
    with pytest.raises(InputError, match=r"hook_resid_mdi.*the sites are: .*" + SITES[name][0]):
        run(x, {"blocks.0.hook_resid_mdi": lambda a: a})


def test_an_edit_that_changes_a_shape_is_refused(network) -> None:
    name, run, x = network
    with pytest.raises(InputError, match=SITES[name][-1]):
        run(x, {SITES[name][-1]: lambda a: a[..., :-1]})


def test_edits_work_under_vmap_with_a_donor_per_example(cnn: Challenge) -> None:
    params = cnn.init(jax.random.key(0))
    images, donors = cnn.inputs[:4], jnp.arange(4.0)[:, None] * jnp.ones((1, 200))

    def run(image, donor):
        return cnn.model.apply({"params": params}, image, {"fc1.post": lambda _: donor})[0]

    logits = jax.vmap(run)(images, donors)
    expected = donors @ params["fc2"]["kernel"] + params["fc2"]["bias"][None]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
