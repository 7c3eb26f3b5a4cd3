"""Controls of challenge 1's evidence: features and networks that it should fail for."""

import numpy as np

from jaxmi.challenges.solutions import ClueSolution
from jaxmi.explain.bands import best_band
from jaxmi.explain.clue_recovery import find_clue
from jaxmi.explain.clue_search import PixelMoments, Ranking
from jaxmi.explain.cnn_detectors import Groups, Neurons, find_detectors, halve, observe, similarity
from jaxmi.explain.cnn_experiments import kept_by_half, scrub_armwise, scrub_near
from jaxmi.explain.network import Network
from jaxmi.explain.scrub import near
from jaxmi.types import Figures

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
