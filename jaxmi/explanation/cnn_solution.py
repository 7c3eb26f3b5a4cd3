"""The published solution of challenge 1 on any network, with the controls that it lacked.

Controls of challenge 1's evidence: features and networks that it should fail for.

Every figure of challenge 1's explanation, from what was observed of the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.errors import InputError
from jaxmi.explanation.clue_search import (
    PixelMoments,
    Ranking,
    Recovery,
    find_clue,
    measure,
    pixel_moments,
    recover,
)
from jaxmi.explanation.cnn_detectors import (
    SITE,
    Detectors,
    Groups,
    Halves,
    Neurons,
    ablate_to_zero,
    find_detectors,
    halve,
    kept_at_minimum,
    kept_by_half,
    observe,
    scrub_armwise,
    scrub_near,
    scrub_random,
    similarity,
)
from jaxmi.explanation.directions import logit_difference_direction
from jaxmi.explanation.edits import at, patch
from jaxmi.explanation.features import visualise
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import DonorRule, chance_level, difference, near
from jaxmi.programs.bands import best_band
from jaxmi.types import Figures, Params

OTHER_ONES = 30
"""How many other images of the clue's digit are tried as the clue."""


def other_features(
    neurons: Neurons,
    groups: Groups,
    scores: np.ndarray,
    images: np.ndarray,
    digits: np.ndarray,
    solution: ClueSolution,
) -> Figures:
    """The band and the scrub with other features in the similarity's place."""
    rng = np.random.default_rng(0)
    same_digit = np.flatnonzero(digits[: len(images)] == digits[solution.clue_index])
    others = rng.choice(np.setdiff1d(same_digit, [solution.clue_index]), OTHER_ONES, replace=False)
    noise = solution.control_noise

    def scrubbed(feature: np.ndarray) -> float:
        return scrub_near(neurons, groups.both, feature, noise, 1).kept

    figures: Figures = {}
    for name, feature in (
        ("permuted", rng.permutation(scores)),
        ("brightness", images.sum(axis=(1, 2), dtype=np.float64)),
    ):
        figures[f"control_{name}_band_agreement"] = best_band(feature, neurons.labels).agreement
        figures[f"control_{name}_scrub"] = scrubbed(feature)
    features = [similarity(images, images[other]) for other in others]
    agreements = [best_band(feature, neurons.labels).agreement for feature in features]
    figures["control_other_ones_band_agreement_mean"] = float(np.mean(agreements))
    figures["control_other_ones_band_agreement_max"] = float(np.max(agreements))
    kept = [scrubbed(feature) for feature in features]
    figures["control_other_ones_scrub_mean"] = float(np.mean(kept))
    figures["control_other_ones_scrub_max"] = float(np.max(kept))
    # With one donor for both groups, only which neurons they are together can matter.
    shuffled = groups.shuffled(0)
    outcome = scrub_near(neurons, shuffled.both, scores, noise, 1)
    figures["scrub_random_groups"] = outcome.kept
    return figures


def next_image(
    neurons: Neurons,
    groups: Groups,
    ranking: Ranking,
    images: np.ndarray,
    solution: ClueSolution,
) -> Figures:
    """The same with the image that fits the network's template best but for the clue.

    The strictest of the controls by features: how much is due to this image, not to one like it.
    """
    image = next(int(i) for i in ranking.order if i != solution.clue_index)
    scores = similarity(images, images[image])
    outcome = scrub_near(neurons, groups.both, scores, solution.control_noise, 1)
    return {
        "control_next_image_index": image,
        "control_next_image_band_agreement": best_band(scores, neurons.labels).agreement,
        "control_next_image_scrub": outcome.kept,
    }


def other_network(
    network: Network,
    images: np.ndarray,
    moments: PixelMoments,
    scores: np.ndarray,
    solution: ClueSolution,
) -> Figures:
    """What the same pipeline says of a network that knows nothing of the clue."""
    neurons = observe(network, images).balanced()
    groups = find_detectors(neurons, scores, solution).groups
    band = best_band(scores, neurons.labels)
    halves = halve(scores, band)
    relevant = near(scores, solution.control_noise)

    def armwise(groups: Groups) -> float:
        return scrub_armwise(neurons, groups, halves, 1, relevant).kept

    _, ranking = find_clue(moments, neurons.activations)
    kept = kept_by_half(neurons, groups, halves)
    noise = solution.control_noise
    return {
        "similarity_band_agreement": band.agreement,
        f"scrub_{noise:g}": scrub_near(neurons, groups.both, scores, noise, 1).kept,
        "armwise_true": armwise(groups),
        "armwise_swapped": armwise(groups.swapped),
        "armwise_random_mean": float(np.mean([armwise(groups.shuffled(s)) for s in range(5)])),
        "kept_without_other": min(kept.without_other),
        "min_specificity": kept.specificity,
        "recovered_true_clue_rank": ranking.rank_of(solution.clue_index),
    }


DRAWS = 5
"""How often donors are drawn for each row of scrubbing."""

RANDOM_GROUPS = 30
"""How many random partitions of the neurons the true groups are compared with."""


def structure(neurons: Neurons, detectors: Detectors) -> Figures:
    """Returns class shares, variance shares, and how many neurons each group has."""
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


def bands(neurons: Neurons, images: np.ndarray, clue: np.ndarray) -> Figures:
    """Returns how well bands on L1 distance and similarity fit the network's labels."""
    figures: Figures = {}
    for metric in ("l1", "similarity"):
        band = best_band(measure(images, clue, metric), neurons.labels)
        figures[f"{metric}_band_agreement"] = band.agreement
    return figures


def ablations(neurons: Neurons, groups: Groups) -> dict[str, np.ndarray]:
    """Returns logit differences: untouched, and with either group and both at zero."""
    named = {**groups._asdict(), "both": groups.both}
    ablated = {f"zero_{name}": ablate_to_zero(neurons, g) for name, g in named.items()}
    return {"logit_diff": difference(neurons.logits), **ablated}


def contributions(differences: dict[str, np.ndarray], labels: np.ndarray) -> Figures:
    """What each group adds to the logit difference, on average over the images of either label."""
    figures: Figures = {}
    for group in ("anti1", "one"):
        added = differences["logit_diff"] - differences[f"zero_{group}"]
        for label in (0, 1):
            chosen = added[labels == label]
            figures[f"adds_{group}_label{label}"] = float(chosen.mean()) if chosen.size else 0.0
    return figures


def minima(neurons: Neurons, groups: Groups, halves: Halves) -> Figures:
    """Labels kept with neurons at their minimum; a network that answers 0 keeps the share of 0."""
    figures: Figures = {}
    named = {**groups._asdict(), "both": groups.both}
    for half, members in halves._asdict().items():
        for name, group in named.items():
            kept = kept_at_minimum(neurons, group, members)
            figures[f"kept_{half}half_min_{name}"] = kept
        figures[f"class0_{half}half"] = float((neurons.labels[members] == 0).mean())
    true = kept_by_half(neurons, groups, halves)
    random = [kept_by_half(neurons, groups.shuffled(seed), halves) for seed in range(RANDOM_GROUPS)]
    figures["min_specificity"] = true.specificity
    figures["min_specificity_random_mean"] = float(np.mean([kept.specificity for kept in random]))
    figures["kept_without_other"] = min(true.without_other)
    worse = [min(kept.without_other) for kept in random]
    figures["kept_without_other_random_mean"] = float(np.mean(worse))
    return figures


def scrubs(neurons: Neurons, groups: Groups, scores: np.ndarray, solution: ClueSolution) -> Figures:
    """Returns the published scrub at every noise, and with any image as donor."""
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


def armwise(
    neurons: Neurons, groups: Groups, halves: Halves, relevant: DonorRule
) -> tuple[Figures, np.ndarray]:
    """Returns the arm-wise scrub of true, swapped and random groups; and each random outcome."""
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


def recovered(recovery: Recovery, clue: np.ndarray, solution: ClueSolution) -> Figures:
    """Returns what the search without the hint found, and how it compares with the hint."""
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
    control_networks: Mapping[str, Params],
) -> CnnExplanation:
    """Explains a network of challenge 1.

    Args:
      challenge: Challenge 1.
      params: The network.
      control_networks: Name -> a network that was not trained on the challenge.

    Raises:
      InputError: if nothing can be said of the network: it does not respond to its input.
    """
    solution = challenge.solution
    assert isinstance(solution, ClueSolution)
    images = challenge.inputs[: solution.images]
    digits = challenge.digits
    assert digits is not None
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
    differences = ablations(neurons, groups)
    figures = structure(neurons, detectors)
    figures |= bands(neurons, images, clue)
    for name, values in differences.items():
        figures[f"{name}_median"] = float(np.median(values))
        figures[f"{name}_mean"] = float(values.mean())
    figures |= contributions(differences, neurons.labels)
    figures |= minima(neurons, groups, halves)
    figures |= scrubs(neurons, groups, scores, solution)
    by_arms, random_armwise = armwise(neurons, groups, halves, near(scores, solution.control_noise))
    figures |= by_arms
    recovery = recover(images, moments, neurons.activations, neurons.labels)
    figures |= recovered(recovery, clue, solution)
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
