"""Controls of challenge 1's evidence: features and networks that it should fail for."""

import numpy as np

from jaxmi.challenges.solutions import ClueSolution
from jaxmi.explain import cnn_evidence as evidence
from jaxmi.explain.bands import best_band
from jaxmi.explain.clue_recovery import find_clue
from jaxmi.explain.clue_search import PixelMoments
from jaxmi.explain.cnn_evidence import Groups, Neurons
from jaxmi.explain.network import Network
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
    noise = solution.noises[1]

    def scrubbed(feature: np.ndarray) -> float:
        return evidence.scrub_near(neurons, groups.both, feature, noise, 1).kept

    figures: Figures = {}
    for name, feature in (
        ("permuted", rng.permutation(scores)),
        ("brightness", images.sum(axis=(1, 2), dtype=np.float64)),
    ):
        figures[f"control_{name}_band_agreement"] = best_band(feature, neurons.labels).agreement
        figures[f"control_{name}_scrub"] = scrubbed(feature)
    features = [evidence.similarity(images, images[other]) for other in others]
    agreements = [best_band(feature, neurons.labels).agreement for feature in features]
    figures["control_other_ones_band_agreement_mean"] = float(np.mean(agreements))
    figures["control_other_ones_band_agreement_max"] = float(np.max(agreements))
    figures["control_other_ones_scrub_mean"] = float(np.mean([scrubbed(f) for f in features]))
    # With one donor for both groups, only which neurons they are together can matter.
    shuffled = groups.shuffled(0)
    outcome = evidence.scrub_near(neurons, shuffled.both, scores, noise, 1)
    figures["scrub_random_groups"] = outcome.kept
    return figures


def other_network(
    network: Network,
    images: np.ndarray,
    moments: PixelMoments,
    scores: np.ndarray,
    solution: ClueSolution,
) -> Figures:
    """What the same pipeline says of a network that knows nothing of the clue."""
    neurons = evidence.observe(network, images).balanced()
    detectors = evidence.find_detectors(neurons, scores, solution)
    band = evidence.band_agreement(neurons, scores)
    halves = evidence.halve(scores, band)
    groups = detectors.groups
    _, ranking = find_clue(moments, neurons.activations)
    return {
        "similarity_band_agreement": band.agreement,
        "scrub": evidence.scrub_near(neurons, groups.both, scores, solution.noises[1], 1).kept,
        "armwise_true": evidence.scrub_armwise(neurons, groups, halves, 1).kept,
        "armwise_swapped": evidence.scrub_armwise(neurons, groups.swapped, halves, 1).kept,
        "min_specificity": evidence.specificity(neurons, groups, halves),
        "recovered_true_clue_rank": ranking.rank_of(solution.clue_index),
    }
