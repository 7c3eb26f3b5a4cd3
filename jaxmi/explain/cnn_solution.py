"""The published solution of challenge 1 on any network, with the controls that it lacked."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.solutions import ClueSolution
from jaxmi.errors import InputError
from jaxmi.explain import cnn_measures as measures
from jaxmi.explain.bands import best_band
from jaxmi.explain.clue_recovery import Recovery, recover
from jaxmi.explain.clue_search import pixel_moments
from jaxmi.explain.cnn_controls import next_image, other_features, other_network
from jaxmi.explain.cnn_detectors import (
    SITE,
    Detectors,
    Neurons,
    find_detectors,
    halve,
    observe,
    similarity,
)
from jaxmi.explain.directions import logit_difference_direction
from jaxmi.explain.edits import at, patch
from jaxmi.explain.features import visualise
from jaxmi.explain.network import Network
from jaxmi.explain.scrub import near
from jaxmi.types import Figures, Params

SHAPE = (28, 28)


@dataclass(frozen=True)
class CnnExplanation:
    """What was found; `figures` in shares of 0..1, the arrays to draw."""

    figures: Figures
    neurons: Neurons
    scores: Float[np.ndarray, "n"]
    detectors: Detectors
    differences: dict[str, Float[np.ndarray, "n"]]
    """Logit differences: "clean", "zero_anti1", "zero_one", "zero_both"."""
    random_armwise: Float[np.ndarray, "draws"]
    """The arm-wise scrub's outcome for each random partition."""
    recovery: Recovery
    clue: UInt8[np.ndarray, "h w"]
    neuron_images: Float[np.ndarray, "d h w"]
    """For each neuron, an image that drives it."""
    direction_images: Float[np.ndarray, "3 h w"]
    """Images that drive the left arm, the right, and logit 1 - logit 0."""


def explain_cnn(
    challenge: Challenge,
    params: Params,
    digits: UInt8[np.ndarray, "n"],
    control_networks: Mapping[str, Params],
) -> CnnExplanation:
    """Explains a network of challenge 1.

    Args:
      challenge: Challenge 1.
      params: The network.
      digits: The digit that each image shows, for the control by other images of the clue's.
      control_networks: Name -> a network that was not trained on the challenge.

    Raises:
      InputError: if nothing can be said of the network: it does not respond to its input.
    """
    solution = challenge.solution
    assert isinstance(solution, ClueSolution)
    images = challenge.inputs[: solution.images]
    clue = images[solution.clue_index]
    moments = pixel_moments(images)
    scores = similarity(images, clue)
    network = Network(challenge.model, params)
    neurons = observe(network, images)
    if np.ptp(neurons.activations, axis=0).max() == 0:
        raise InputError("this network's neurons do the same on every image: nothing to explain")
    detectors = find_detectors(neurons, scores, solution)
    groups = detectors.groups
    halves = halve(scores, best_band(scores, neurons.labels))
    differences = measures.ablations(neurons, groups)
    figures = measures.structure(neurons, detectors)
    figures |= measures.bands(neurons, images, clue)
    for name, values in differences.items():
        figures[f"{name}_median"] = float(np.median(values))
        figures[f"{name}_mean"] = float(values.mean())
    figures |= measures.contributions(differences, neurons.labels)
    figures |= measures.minima(neurons, groups, halves)
    figures |= measures.scrubs(neurons, groups, scores, solution)
    armwise, random_armwise = measures.armwise(
        neurons, groups, halves, near(scores, solution.control_noise)
    )
    figures |= armwise
    recovery = recover(images, moments, neurons.activations, neurons.labels)
    figures |= measures.recovered(recovery, clue, solution)
    figures |= other_features(neurons, groups, scores, images, digits, solution)
    figures |= next_image(neurons, groups, recovery.ranking, images, solution)
    for name, control in control_networks.items():
        found = other_network(Network(challenge.model, control), images, moments, scores, solution)
        figures |= {f"control_{name}_{key}": value for key, value in found.items()}
    towards_1 = logit_difference_direction(
        lambda activations: network.run(clue, at(SITE, patch(activations)))[0],
        neurons.activations[:100],
    )
    figures["live_neurons_towards_1"] = float((towards_1[~neurons.dead] > 0).mean())
    neuron_images, direction_images = _visualise(network, detectors, towards_1)
    clean = differences.pop("logit_diff")
    return CnnExplanation(
        figures, neurons, scores, detectors, {"clean": clean, **differences}, random_armwise,
        recovery, clue, neuron_images, direction_images,
    )  # fmt: skip


def _visualise(
    network: Network, detectors: Detectors, towards_1: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Images that drive each neuron, the two arms and the logit difference.

    All before the ReLU: after it, neurons that do not fire at the start give no gradient.
    """
    arms = detectors.arms.directions @ detectors.plane.components[:2]
    objectives = np.stack([*np.eye(len(towards_1)), *arms, towards_1])
    images, _ = visualise(network, "fc1.pre", objectives, SHAPE, jax.random.key(0))
    return images[:-3], images[-3:]
