"""The published solution of challenge 1 on any network, with the controls that it lacked."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.solutions import ClueSolution
from jaxmi.errors import InputError
from jaxmi.explain.bands import best_band
from jaxmi.explain.clue_recovery import Recovery, measure, recover
from jaxmi.explain.clue_search import pixel_moments
from jaxmi.explain.cnn_controls import next_image, other_features, other_network
from jaxmi.explain.cnn_detectors import (
    SITE,
    Detectors,
    Groups,
    Halves,
    Neurons,
    find_detectors,
    halve,
    observe,
    similarity,
)
from jaxmi.explain.cnn_experiments import (
    ablate_to_zero,
    kept_at_minimum,
    kept_without_other,
    scrub_armwise,
    scrub_near,
    scrub_random,
    specificity,
)
from jaxmi.explain.directions import logit_difference_direction
from jaxmi.explain.edits import at, patch
from jaxmi.explain.features import visualise
from jaxmi.explain.network import Network
from jaxmi.explain.scrub import DonorRule, chance_level, difference, near
from jaxmi.types import Figures, Params

DRAWS = 5
"""How often donors are drawn for each row of scrubbing."""

SHAPE = (28, 28)

RANDOM_GROUPS = 30
"""How many random partitions of the neurons the true groups are compared with."""


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
    differences = _ablations(neurons, groups)
    figures = _structure(neurons, detectors)
    figures |= _bands(neurons, images, clue)
    for name, values in differences.items():
        figures[f"{name}_median"] = float(np.median(values))
        figures[f"{name}_mean"] = float(values.mean())
    figures |= _minima(neurons, groups, halves)
    figures |= _scrubs(neurons, groups, scores, solution)
    armwise, random_armwise = _armwise(
        neurons, groups, halves, near(scores, solution.control_noise)
    )
    figures |= armwise
    recovery = recover(images, moments, neurons.activations, neurons.labels)
    figures |= _recovered(recovery, clue, solution)
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


def _structure(neurons: Neurons, detectors: Detectors) -> Figures:
    labels = neurons.labels
    shares = detectors.plane.variance_shares
    return {
        "label1_share": float(labels.mean()),
        "chance": chance_level(labels),
        "pca_variance_1": float(shares[0]),
        "pca_variance_2": float(shares[1]),
        "neurons_left": int(detectors.groups.anti1.sum()),
        "neurons_right": int(detectors.groups.one.sum()),
        "neurons_dead": int(neurons.dead.sum()),
    }


def _bands(neurons: Neurons, images: np.ndarray, clue: np.ndarray) -> Figures:
    figures: Figures = {}
    for metric in ("l1", "similarity"):
        band = best_band(measure(images, clue, metric), neurons.labels)
        figures[f"{metric}_band_agreement"] = band.agreement
    return figures


def _ablations(neurons: Neurons, groups: Groups) -> dict[str, np.ndarray]:
    named = {**groups._asdict(), "both": groups.both}
    ablated = {f"zero_{name}": ablate_to_zero(neurons, g) for name, g in named.items()}
    return {"logit_diff": difference(neurons.logits), **ablated}


def _minima(neurons: Neurons, groups: Groups, halves: Halves) -> Figures:
    """Labels kept with neurons at their minimum; a network that answers 0 keeps the share of 0."""
    figures: Figures = {}
    named = {**groups._asdict(), "both": groups.both}
    for half, members in halves._asdict().items():
        for name, group in named.items():
            kept = kept_at_minimum(neurons, group, members)
            figures[f"kept_{half}half_min_{name}"] = kept
        figures[f"class0_{half}half"] = float((neurons.labels[members] == 0).mean())
    figures["min_specificity"] = specificity(neurons, groups, halves)
    figures["kept_without_other"] = kept_without_other(neurons, groups, halves)
    shuffled = [groups.shuffled(seed) for seed in range(RANDOM_GROUPS)]
    for name, measure_of in (
        ("min_specificity", specificity),
        ("kept_without_other", kept_without_other),
    ):
        random = [measure_of(neurons, random_groups, halves) for random_groups in shuffled]
        figures[f"{name}_random_mean"] = float(np.mean(random))
    return figures


def _scrubs(
    neurons: Neurons, groups: Groups, scores: np.ndarray, solution: ClueSolution
) -> Figures:
    figures: Figures = {}
    both = groups.both
    outcomes = {
        f"{noise:g}": scrub_near(neurons, both, scores, noise, DRAWS) for noise in solution.noises
    }
    outcomes["random"] = scrub_random(neurons, both, DRAWS)
    for name, outcome in outcomes.items():
        figures[f"scrub_{name}"] = outcome.kept
        figures[f"scrub_{name}_std"] = outcome.kept_std
        figures[f"scrub_{name}_logit_error"] = outcome.logit_error
    return figures


def _armwise(
    neurons: Neurons, groups: Groups, halves: Halves, relevant: DonorRule
) -> tuple[Figures, np.ndarray]:
    true = scrub_armwise(neurons, groups, halves, DRAWS, relevant)
    swapped = scrub_armwise(neurons, groups.swapped, halves, DRAWS, relevant)
    alone = scrub_armwise(neurons, groups, halves, DRAWS)
    random = np.array(
        [
            scrub_armwise(neurons, groups.shuffled(seed), halves, 1, relevant).kept
            for seed in range(RANDOM_GROUPS)
        ]
    )
    figures: Figures = {
        "armwise_true": true.kept,
        "armwise_true_std": true.kept_std,
        "armwise_true_logit_error": true.logit_error,
        "armwise_random_mean": float(random.mean()),
        "armwise_random_std": float(random.std(ddof=1)),
        "armwise_random_max": float(random.max()),
        "armwise_swapped": swapped.kept,
        "armwise_irrelevant_only": alone.kept,
    }
    return figures, random


def _recovered(recovery: Recovery, clue: np.ndarray, solution: ClueSolution) -> Figures:
    order, correlation = recovery.ranking
    pixels = np.corrcoef(recovery.template.reshape(-1), clue.reshape(-1))
    first, second = correlation[order[:2]]
    figures = {
        "recovered_clue_index": recovery.clue,
        "recovered_clue_correlation": float(first),
        "recovered_clue_margin": float(first - second),
        "recovered_true_clue_rank": recovery.ranking.rank_of(solution.clue_index),
        "recovered_template_correlation": float(pixels[0, 1]),
        "recovered_template_agreement": recovery.template_band.agreement,
        "recovered_band_agreement": recovery.band.agreement,
        "recovered_band_low": recovery.band.low,
        "recovered_band_high": recovery.band.high,
    }
    figures |= {f"recovered_{m}_agreement": b.agreement for m, b in recovery.bands.items()}
    if recovery.baseline is not None:
        figures["baseline_clue_index"] = int(recovery.baseline.order[0])
        figures["baseline_true_clue_rank"] = recovery.baseline.rank_of(solution.clue_index)
    return figures


def _visualise(
    network: Network, detectors: Detectors, towards_1: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Images that drive each neuron (before its ReLU, for the dead ones) and three directions."""
    neurons, _ = visualise(network, "fc1.pre", np.eye(len(towards_1)), SHAPE, jax.random.key(0))
    arms = detectors.arms.directions @ detectors.plane.components[:2]
    directions, _ = visualise(network, SITE, np.stack([*arms, towards_1]), SHAPE, jax.random.key(0))
    return neurons, directions
