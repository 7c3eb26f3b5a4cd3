"""Reading, editing and resuming many inputs agree with the readable model on each."""

import jax
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.explanation.edits import at, zero
from jaxmi.explanation.network import Network


@pytest.fixture(params=["transformer", "cnn"])
def case(request: pytest.FixtureRequest):
    challenge: Challenge = request.getfixturevalue(request.param)
    params = jax.jit(challenge.init)(jax.random.key(5))
    inputs = challenge.inputs[4000:4011]  # not a multiple of the chunk
    return Network(challenge.model, params, chunk=4), inputs, request.param


def test_many_inputs_are_each_one_s_run(case) -> None:
    network, inputs, name = case
    site = "blocks.0.hook_resid_mid" if name == "transformer" else "fc1.post"
    logits, read = network.logits(inputs), network.read(inputs, [site])
    assert set(read) == {site}
    for i in (0, 7, 10):
        single, activations = network.model.apply({"params": network.params}, inputs[i])
        expected = single[-1] if single.ndim == 2 else single
        np.testing.assert_allclose(logits[i], expected, atol=1e-5)
        np.testing.assert_allclose(read[site][i], activations[site], atol=1e-5)


def test_edits_reach_what_is_read_and_answered(case) -> None:
    network, inputs, name = case
    site, component = (
        ("blocks.0.attn.hook_z", {"head": 2})
        if name == "transformer"
        else ("pool2", {"channel": 3})
    )
    edit = at(site, zero(), **component)
    read = network.read(inputs, [site], edit)[site]
    assert (read[:, :, 2] if name == "transformer" else read[..., 3]).max() == 0
    assert not np.allclose(network.logits(inputs, edit), network.logits(inputs), atol=1e-6)


def test_resuming_from_a_site_gives_the_logits_that_it_would_have_led_to(case) -> None:
    network, inputs, name = case
    site = "blocks.0.hook_resid_mid" if name == "transformer" else "fc1.post"
    activations = network.read(inputs, [site])[site]
    resumed = network.resume(site, activations, inputs[0])
    np.testing.assert_allclose(resumed, network.logits(inputs), atol=1e-5)
    other = Network(network.model, jax.tree.map(lambda p: 2 * p, network.params), network.chunk)
    doubled = other.resume(site, activations, inputs[0])  # the same program, other parameters
    assert not np.allclose(doubled, resumed, atol=1e-3)


def test_patched_inputs_go_on_with_their_own_patches(case) -> None:
    """A donor's activations give the donor's logits; a path around the site keeps the input's."""
    network, inputs, name = case
    site, later, around = (
        ("blocks.0.hook_resid_mid", "blocks.0.mlp.hook_pre", "blocks.0.hook_mlp_out")
        if name == "transformer"
        else ("pool2", "fc1.pre", None)
    )
    read, logits = network.read(inputs, [site, later]), network.logits(inputs)
    donors = np.arange(len(inputs))[::-1]
    patches = {site: read[site][donors]}
    np.testing.assert_allclose(network.patched(inputs, patches), logits[donors], atol=1e-5)
    patched = network.patched(inputs, patches, later)
    np.testing.assert_allclose(patched, read[later][donors], atol=1e-5)
    if around is not None:
        own = network.read(inputs, [around])[around]
        np.testing.assert_allclose(network.patched(inputs, {around: own}), logits, atol=1e-5)
        exchanged = network.patched(inputs, {around: own[donors]})
        assert not np.allclose(exchanged, logits[donors], atol=1e-3)
