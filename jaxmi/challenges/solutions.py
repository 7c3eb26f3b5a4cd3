"""The published solutions: how each looked into its network, and the figures it found there.

Both by Stefan Heimersheim and Marius Hobbhahn (2023), on Casper's published weights. What they say
of a network is recomputed by `jaxmi.explain`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClueSolution:
    """Challenge 1: two groups of neurons detect the clue image and its inverse."""

    clue_index: int = 6
    """The clue among the training images: the hint that came with the challenge."""

    images: int = 60_000
    """The network is looked at on the first so many images: MNIST's training images."""

    arm_split: float = -2.0
    """Images to the left of this on the first principal component form the left arm."""

    arm_lengths: tuple[float, float] = (3.0, 5.0)
    """How far the two arms' vectors go along the first principal component."""

    noises: tuple[float, ...] = (0.0001, 0.001, 0.01, 0.1)
    """Causal scrubbing: noise on the similarity, as shares of its range."""

    control_noise: float = 0.001
    """The noise at which controls are scrubbed too; one of `noises`."""

    figures: Mapping[str, float] = field(
        default_factory=lambda: {
            "pca_variance_1": 0.602,
            "pca_variance_2": 0.290,
            "similarity_band_agreement": 0.9625,
            "l1_band_agreement": 0.9624,
            "logit_diff_median": 0.38,
            "logit_diff_mean": 3.44,
            "zero_anti1_median": -0.64,
            "zero_anti1_mean": 4.07,
            "zero_one_median": -4.08,
            "zero_one_mean": -1.03,
            "zero_both_median": -0.40,
            "zero_both_mean": -0.40,
            "kept_anti1half_min_anti1": 0.48,
            "kept_anti1half_min_one": 0.99,
            "kept_anti1half_min_both": 0.48,
            "kept_onehalf_min_anti1": 0.94,
            "kept_onehalf_min_one": 0.48,
            "kept_onehalf_min_both": 0.48,
            "scrub_0.0001": 0.95,
            "scrub_0.001": 0.95,
            "scrub_0.01": 0.93,
            "scrub_0.1": 0.64,
            "scrub_random": 0.50,
            "scrub_random_groups": 0.946,
            "armwise_true": 0.94,
            "armwise_random_mean": 0.75,
            "armwise_swapped": 0.50,
            "recovered_clue_index": 6,
            "recovered_template_correlation": 0.87,
            "recovered_template_agreement": 0.960,
            "recovered_band_agreement": 0.962,
            "recovered_l1_agreement": 0.962,
        }
    )
    """On the published network, shares in 0..1. The published solution's own figures, but for the
    L1 band, the arm-wise scrub, the random groups and the clue found without the hint, which were
    recomputed on the published weights."""


@dataclass(frozen=True)
class FilterSolution:
    """Challenge 2: two filters, which the embeddings compute and the MLP joins by AND."""

    figures: Mapping[str, float] = field(default_factory=dict)
    """None: the published percentages are drawn into pictures and quoted nowhere."""
