"""Few neurons: planted ones are found, others are not; nothing but the fitted rows is used."""

import numpy as np

from jaxmi.mechanism.neurons import Pursuit, in_doubt


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return 60 neurons on 900 inputs, and a logit difference that neurons 3, 20, 41 make."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(900, 8))
    neurons = np.maximum(points @ rng.normal(size=(8, 60)) + rng.normal(size=60), 0)
    difference = neurons[:, [3, 20, 41]] @ np.array([1.5, -2.0, 1.0]) + 0.7
    return neurons.astype(np.float32), difference


def test_planted_neurons_are_found_with_their_weights() -> None:
    neurons, difference = planted()
    fits = Pursuit(neurons, difference).best((1, 3, 100))
    assert set(fits) == {1, 3}  # there are no 100 neurons
    assert set(fits[3].neurons) == {3, 20, 41} and fits[1].neurons[0] == fits[3].neurons[0]
    weights = dict(zip(fits[3].neurons.tolist(), fits[3].weights, strict=True))
    for neuron, weight in {3: 1.5, 20: -2.0, 41: 1.0}.items():
        assert abs(weights[neuron] - weight) < 1e-2
    np.testing.assert_allclose(fits[3].difference(neurons), difference, atol=0.05)
    other, _ = planted(seed=1)  # the control: another network's neurons
    refit = Pursuit(other, difference).best((3,))[3].difference(other)
    assert np.abs(refit - difference).mean() > 1


def test_given_neurons_are_refitted() -> None:
    neurons, difference = planted()
    pursuit = Pursuit(neurons, difference)
    right = pursuit.refit(np.array([41, 3, 20])).difference(neurons)
    wrong = pursuit.refit(np.array([1, 2, 4])).difference(neurons)
    np.testing.assert_allclose(right, difference, atol=0.05)
    assert np.abs(wrong - difference).mean() > 0.3


def test_inputs_outside_of_the_rows_have_no_influence() -> None:
    neurons, difference = planted()
    rows = np.arange(450)
    changed, target = neurons.copy(), difference.copy()
    changed[450:] = 7
    target[450:] = -100
    fits = [
        Pursuit(n, d, rows).best((4,))[4] for n, d in ((neurons, difference), (changed, target))
    ]
    np.testing.assert_array_equal(fits[0].neurons, fits[1].neurons)
    np.testing.assert_allclose(fits[0].weights, fits[1].weights)
    everything = Pursuit(changed, target).best((4,))[4]  # the control
    assert not np.allclose(everything.weights, fits[0].weights)


def test_dead_neurons_are_never_chosen() -> None:
    neurons, difference = planted()
    neurons[:, 3:] = 0
    fits = Pursuit(neurons, difference).best((2, 3, 4))
    assert set(fits) == {2, 3} and set(fits[3].neurons) == {0, 1, 2}
    doubt = in_doubt(neurons)
    assert not doubt[3:].any() and doubt[:3].any()
