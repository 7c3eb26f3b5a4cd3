"""Interventions: each action replaces its component and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.edits import (
    at,
    compose,
    constant,
    mean,
    minimum,
    patch,
    resample,
    shift,
    zero,
)

SITE = "blocks.0.attn.hook_z"  # pos, head, d_head
X = np.arange(3 * 8 * 16, dtype=np.float32).reshape(3, 8, 16) + 1
MANY = np.stack([X, 3 * X, -X])


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (zero(), 0 * X),
        (constant(2.5), 0 * X + 2.5),
        (constant(7 * X), 7 * X),
        (mean(MANY), X),
        (minimum(MANY), -X),
        (patch(5 * X), 5 * X),
        (resample(MANY, 1), 3 * X),
        (shift(X, 2.0), 3 * X),
        (shift(np.ones(16, np.float32)), X + 1),
    ],
)
def test_an_action_replaces_the_component_and_nothing_else(action, expected) -> None:
    for component, chosen in (
        ({}, np.s_[:]),
        ({"head": 3}, np.s_[:, 3]),
        ({"head": [1, 5], "pos": -1}, np.s_[-1, [1, 5]]),
        ({"d_head": np.arange(16) % 2 == 0}, np.s_[..., ::2]),
        ({"pos": slice(1, None), "head": [2]}, np.s_[1:, 2]),
    ):
        wanted = X.copy()
        wanted[chosen] = expected[chosen]
        edited = at(SITE, action, **component)[SITE](jnp.asarray(X))
        np.testing.assert_allclose(edited, wanted, rtol=1e-6)


def test_edits_of_one_site_follow_each_other_and_of_several_stand_side_by_side() -> None:
    edit = compose(
        at("fc1.post", constant(2.0)), at("fc1.post", shift(np.ones(4)), neuron=[0, 1]),
        at("pool2", zero()),
    )  # fmt: skip
    assert set(edit) == {"fc1.post", "pool2"}
    np.testing.assert_array_equal(edit["fc1.post"](jnp.zeros(4)), [3, 3, 2, 2])
    other = compose(at("fc1.post", shift(np.ones(4)), neuron=[0]), at("fc1.post", constant(2.0)))
    np.testing.assert_array_equal(other["fc1.post"](jnp.zeros(4)), [2, 2, 2, 2])


@pytest.mark.parametrize(
    ("component", "words"),
    [
        ({"head": []}, r"head=\[\] matches nothing: head has the positions 0\.\.7"),
        ({"head": np.zeros(8, bool)}, "matches nothing"),
        ({"pos": slice(3, None)}, "matches nothing"),
        ({"head": 8}, "head=8 matches nothing"),
        ({"head": np.ones(7, bool)}, "matches nothing"),
        ({"head": True}, "head=True"),
        ({"head": np.zeros((2, 2), int)}, "flat list"),
    ],
)
def test_an_edit_that_matches_nothing_is_refused(component, words) -> None:
    with pytest.raises(InputError, match=words):
        at(SITE, zero(), **component)[SITE](jnp.asarray(X))


def test_unknown_names_and_misshapen_values_are_refused() -> None:
    with pytest.raises(InputError, match="hook_zz"):
        at("blocks.0.attn.hook_zz", zero())
    with pytest.raises(InputError, match="no axis 'neuron'; its axes are: pos, head, d_head"):
        at(SITE, zero(), neuron=3)
    with pytest.raises(InputError, match=r"\(16,\), not \(3, 8, 16\)"):
        at(SITE, constant(np.ones(16)))[SITE](jnp.asarray(X))
    for donor in (3, -1, np.array(7)):
        with pytest.raises(InputError, match=f"no donor {donor}"):
            resample(MANY, donor)
    with pytest.raises(InputError, match=r"\(7,\) does not fit \(3, 8, 16\)"):
        at(SITE, shift(np.ones(7, np.float32)))[SITE](jnp.asarray(X))
    with pytest.raises(InputError, match="no edit to compose"):
        compose()
    for action in (mean, minimum):
        with pytest.raises(InputError, match="0 examples"):
            action(MANY[:0])


def test_a_network_computes_on_with_what_was_put_there(cnn: Challenge) -> None:
    """A patched donor gives the donor's logits, also with a donor per example under vmap."""
    params = cnn.init(jax.random.key(0))

    def run(image, edits=None):
        return cnn.model.apply({"params": params}, image, edits)

    images = cnn.inputs[:6]
    logits, activations = jax.vmap(run)(images)
    donors = np.array([3, 3, 1, 0, 5, 2])
    patched = jax.vmap(
        lambda image, donor: run(image, at("fc1.post", resample(activations["fc1.post"], donor)))[0]
    )(images, donors)
    np.testing.assert_allclose(patched, logits[donors], rtol=1e-5, atol=1e-6)
    half = run(images[0], at("fc1.post", patch(activations["fc1.post"][3]), neuron=slice(100)))[0]
    assert not np.allclose(half, logits[3], atol=1e-6)
    assert not np.allclose(half, logits[0], atol=1e-6)
