"""What the published solutions claim of a network, each against a control of the same network."""

from dataclasses import dataclass

from jaxmi.types import Figures


@dataclass(frozen=True)
class Claim:
    """Something said of a network: a figure, against a control or a bar."""

    name: str
    words: str
    figure: str
    control: str | int | float
    """Another figure that it must exceed, or a number."""
    equal: bool = False
    """Whether it must equal the number instead."""

    def holds(self, figures: Figures) -> bool:
        """Whether it holds of a network."""
        bar = figures[self.control] if isinstance(self.control, str) else self.control
        value = figures[self.figure]
        return value == bar if self.equal else value > bar


CLAIMS = {
    "cnn": (
        Claim("detectors", "there are 1 detectors", "neurons_right", 0),
        Claim("anti_detectors", "there are anti-1 detectors", "neurons_left", 0),
        Claim(
            "specific",
            "each half of the images needs its own group more than random groups, on average",
            "kept_without_other",
            "kept_without_other_random_mean",
        ),
        Claim(
            "armwise",
            "arm-wise scrubbing: the true groups keep more labels than the best of 30 random ones",
            "armwise_true",
            "armwise_random_max",
        ),
        Claim(
            "similarity",
            "scrubbing by similarity to the clue keeps more than by any of 30 other 1s",
            "scrub_0.001",
            "control_other_ones_scrub_max",
        ),
        Claim(
            "armwise_trained",
            "arm-wise scrubbing keeps more than in the same seed's network before training",
            "armwise_true",
            "control_untrained_armwise_true",
        ),
        Claim(
            "trained",
            "scrubbing by similarity keeps more than in the same seed's network before training",
            "scrub_0.001",
            "control_untrained_scrub_0.001",
        ),
        Claim("clue", "the clue is found without the hint", "recovered_true_clue_rank", 1, True),
    ),
    "transformer": (
        Claim(
            "fixed_95",
            "fixing attention keeps more than 95 % of the labels",
            "fixed_baseline",
            0.95,
        ),
        Claim(
            "plane",
            "scrub 1 in the plane of most variance keeps more than in the best of 5 random planes",
            "full_scrub_1",
            "control_leading_plane_scrub_1_max",
        ),
        Claim(
            "filters",
            "two filters in that plane agree better than in the best of 5 random planes",
            "full_filters_agreement",
            "control_leading_plane_filters_agreement_max",
        ),
        Claim(
            "sides",
            "scrub 1+2 keeps more than with any of 5 pairs of turned sides",
            "full_scrub_1_2",
            "control_wrong_sides_scrub_1_2_max",
        ),
        Claim(
            "goal_95", "the two filters alone give more than 95 % of the labels", "full_goal", 0.95
        ),
        Claim("mlp", "the MLP alone keeps more than 99 % of the labels", "mlp_alone_kept", 0.99),
    ),
}

SCRUBS = ("1", "1star", "2", "3a", "3b", "1_2", "1_3a", "1_3b", "1_2_3a", "1_2_3b", "1_2_3a_3b")
SHOWN = {
    "cnn": (
        *("pca_variance_1", "pca_variance_2", "neurons_left", "neurons_right", "neurons_dead"),
        *("live_neurons_towards_1", "similarity_band_agreement", "l1_band_agreement"),
        *("logit_diff_median", "logit_diff_mean"),
        *(f"zero_{group}_{of}" for group in ("anti1", "one", "both") for of in ("median", "mean")),
        *(
            f"kept_{half}half_min_{group}"
            for half in ("anti1", "one")
            for group in ("anti1", "one", "both")
        ),
        *("kept_without_other", "kept_without_other_random_mean"),
        *(f"scrub_{noise}" for noise in ("0.0001", "0.001", "0.01", "0.1", "random")),
        *("control_other_ones_scrub_max", "control_brightness_scrub", "control_permuted_scrub"),
        *("control_untrained_scrub_0.001", "scrub_random_groups"),
        *("control_untrained_armwise_true",),
        *("armwise_true", "armwise_random_mean", "armwise_random_max", "armwise_swapped"),
        *("recovered_template_correlation", "recovered_template_agreement"),
        *("recovered_clue_correlation", "recovered_band_agreement"),
    ),
    "transformer": (
        *("accuracy", "fixed_baseline", "control_untrained_fixed_baseline"),
        *("full_pca_variance_1", "full_pca_variance_2", "full_pca_variance_3"),
        *("full_filters_agreement", "control_leading_plane_filters_agreement_max"),
        *("full_probe_resid_mid", "full_goal", "fixed_goal"),
        *(f"{run}_scrub_{row}" for run in ("full", "fixed") for row in SCRUBS),
        *("control_leading_plane_scrub_1", "control_leading_plane_scrub_1_max"),
        *("control_wrong_sides_scrub_2_max", "control_wrong_sides_scrub_1_2_max"),
        *("control_random_plane_scrub_1", "mlp_zero_kept", "mlp_alone_kept", "constant_answer"),
    ),
}
"""Challenge -> the figures whose spread over seeds is reported, as `jaxmi explain` names them."""
