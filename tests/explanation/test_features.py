"""Gradient ascent increases each objective, and penalties reduce what they penalise."""

import jax
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.features import Ascent, visualise
from jaxmi.explanation.network import Network

SITE = "fc1.pre"
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def network(cnn: Challenge) -> Network:
    return Network(cnn.model, jax.jit(cnn.init)(jax.random.key(2)))


def climb(network: Network, objectives, **numbers):
    return visualise(network, SITE, objectives, (28, 28), KEY, Ascent(**numbers))


def test_each_image_drives_its_own_neuron_beyond_every_real_image(network, cnn) -> None:
    chosen = np.eye(200)[[3, 50, 120, 199]]
    images, reached = climb(network, chosen)
    assert images.shape == (4, 28, 28)
    assert images.min() >= 0
    assert images.max() <= 1
    real = network.read(cnn.inputs[:2000], [SITE])[SITE] @ chosen.T
    assert (reached > real.max(axis=0)).all()
    own = network.read(255 * images, [SITE])[SITE] @ chosen.T
    np.testing.assert_allclose(np.diag(own), reached, rtol=1e-4)
    assert (own.argmax(axis=0) == np.arange(4)).all()


def test_more_steps_climb_higher_and_a_direction_is_climbed_the_other_way_too(network) -> None:
    direction = np.random.default_rng(0).normal(size=(1, 200))
    _, low = climb(network, direction, steps=1)
    _, high = climb(network, direction, steps=60)
    _, down = climb(network, -direction, steps=60)
    assert high > low
    assert -down < low
    with pytest.raises(InputError, match=r"fc1\.pr'"):
        visualise(network, "fc1.pr", direction, (28, 28), KEY)


def test_penalties_spare_ink_and_smooth(network) -> None:
    objective = np.eye(200)[:1]
    (plain,), _ = climb(network, objective)
    (spare,), _ = climb(network, objective, l1=0.01)
    (smooth,), _ = climb(network, objective, total_variation=0.01)
    assert spare.sum() < 0.7 * plain.sum()
    assert np.abs(np.diff(smooth)).sum() < 0.7 * np.abs(np.diff(plain)).sum()


@pytest.mark.parametrize(
    ("numbers", "named"),
    [({"steps": 0}, "0"), ({"learning_rate": 0.0}, "0.0"), ({"l1": -1.0}, "l1"),
     ({"total_variation": -2.0}, "total_variation"), ({"start_noise": -1.0}, "start_noise")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(numbers, named) -> None:
    with pytest.raises(InputError, match=named):
        Ascent(**numbers)
