"""Every metric of a CNN's explanation: add a metric here, measure it in cnn_solution.

Published values are those of the published network. They are the published solution's own
(Heimersheim and Hobbhahn, 2023), except for the L1 band, the arm-wise scrub, the random groups and
the clue that is fitted without the hint: these were recomputed on the published weights.
"""

from jaxmi.challenges.challenge import ClueSolution
from jaxmi.explanation.metrics import Control, Metric, MetricTable, Unit

SOLUTION = ClueSolution()
"""Its noises are those of the scrubs in the table."""

OTHER_ONES = 30
"""Number of other images of the clue's digit that are tried as the clue, if there are as many."""

RANDOM_GROUPS = 30
"""Number of random partitions of the neurons that the true groups are compared with."""

GROUPS = {
    "anti_clue": "the anti-clue detectors",
    "clue": "the clue detectors",
    "both": "both groups",
}
"""Group of neurons -> its label."""

HALVES = {"anti_clue": "half like the inverse", "clue": "half like the clue"}
"""Half of the images -> its label."""

_IN_KEYS = {"anti_clue": "anti1", "clue": "one", "both": "both"}
"""Group or half -> its name in keys."""

CONTROL_NETWORKS = {
    "untrained": "untrained network",
    "parity": "network trained on odd or even",
}
"""Network that was not trained on the challenge, as in keys -> its label."""

TABLE = MetricTable()

_BEST_OTHER = f"best of {OTHER_ONES} images of its digit"
_RANDOM_MEAN = f"{RANDOM_GROUPS} random partitions, mean"

# Class shares.
LABEL1_SHARE = TABLE.add("label1_share", "labels that are 1")
CHANCE = TABLE.add("chance", "labels kept by labels drawn at random by their shares")
_BY_CHANCE = Control(CHANCE, "labels drawn by their shares")

# Bands on a feature: label 0 within, 1 outside.
OTHER_ONES_BAND_MEAN = TABLE.add(
    "control_other_ones_band_agreement_mean",
    f"band on the similarity to images of its digit, mean of {OTHER_ONES}",
)
OTHER_ONES_BAND_MAX = TABLE.add(
    "control_other_ones_band_agreement_max",
    f"band on the similarity to images of its digit, {_BEST_OTHER}",
)
BRIGHTNESS_BAND = TABLE.add("control_brightness_band_agreement", "band on the brightness")
PERMUTED_BAND = TABLE.add(
    "control_permuted_band_agreement", "band on the similarity, randomly permuted"
)
SIMILARITY_BAND = TABLE.add(
    "similarity_band_agreement",
    "band on the similarity",
    published=0.9625,
    control=Control(OTHER_ONES_BAND_MAX, _BEST_OTHER),
)
L1_BAND = TABLE.add(
    "l1_band_agreement",
    "band on the L1 distance",
    published=0.9624,
    control=Control(BRIGHTNESS_BAND, "brightness"),
)

# The plane of two principal components, and the groups of neurons.
VARIANCE_1 = TABLE.add(
    "pca_variance_1", "first principal component, share of variance", published=0.602
)
VARIANCE_2 = TABLE.add(
    "pca_variance_2", "second principal component, share of variance", published=0.290
)
NEURONS_LEFT = TABLE.add("neurons_left", "anti-clue detectors (left arm)", Unit.COUNT)
NEURONS_RIGHT = TABLE.add("neurons_right", "clue detectors (right arm)", Unit.COUNT)
NEURONS_DEAD = TABLE.add("neurons_dead", "dead neurons", Unit.COUNT)
TOWARDS_1 = TABLE.add("live_neurons_towards_1", "live neurons whose read-out pushes towards 1")

# Ablation to zero: logit 1 - logit 0.
_ABLATED = {
    "clean": ("logit_diff", "as it is", 0.38, 3.44),
    "anti_clue": ("zero_anti1", f"without {GROUPS['anti_clue']}", -0.64, 4.07),
    "clue": ("zero_one", f"without {GROUPS['clue']}", -4.08, -1.03),
    "both": ("zero_both", f"without {GROUPS['both']}", -0.40, -0.40),
}
MEDIAN_WITHOUT = {
    group: TABLE.add(f"{key}_median", f"logit difference {label}, median", Unit.LOGIT, median)
    for group, (key, label, median, _) in _ABLATED.items()
}
MEAN_WITHOUT = {
    group: TABLE.add(f"{key}_mean", f"logit difference {label}, mean", Unit.LOGIT, mean)
    for group, (key, label, _, mean) in _ABLATED.items()
}
"""Group that is set to 0, or "clean" -> the mean logit difference; above, the median."""

ADDED = {
    (group, label): TABLE.add(
        f"adds_{_IN_KEYS[group]}_label{label}",
        f"{GROUPS[group]} add, on images labelled {label}",
        Unit.LOGIT,
    )
    for group in ("anti_clue", "clue")
    for label in (0, 1)
}
"""(Group, label) -> what the group adds to the logit difference, mean over the label's images."""

# Ablation to the minimum: labels kept in one half of the images.
CLASS_0 = {
    half: TABLE.add(f"class0_{_IN_KEYS[half]}half", f"{label}: labels that are 0")
    for half, label in HALVES.items()
}
"""Half -> the share of label 0."""

_PUBLISHED_MINIMA = {
    ("anti_clue", "anti_clue"): 0.48,
    ("anti_clue", "clue"): 0.99,
    ("anti_clue", "both"): 0.48,
    ("clue", "anti_clue"): 0.94,
    ("clue", "clue"): 0.48,
    ("clue", "both"): 0.48,
}
AT_MINIMUM = {
    (half, group): TABLE.add(
        f"kept_{_IN_KEYS[half]}half_min_{_IN_KEYS[group]}",
        f"{HALVES[half]}: labels kept, {GROUPS[group]} at their minimum",
        published=published,
        control=Control(CLASS_0[half], "predicting 0 throughout"),
    )
    for (half, group), published in _PUBLISHED_MINIMA.items()
}
"""(Half, group) -> labels kept with the group at its minimum."""

KEPT_WITHOUT_OTHER_RANDOM = TABLE.add(
    "kept_without_other_random_mean",
    f"labels kept without the other half's group, {_RANDOM_MEAN}",
)
KEPT_WITHOUT_OTHER = TABLE.add(
    "kept_without_other",
    "labels kept without the other half's group, the half that keeps less",
    control=Control(KEPT_WITHOUT_OTHER_RANDOM, _RANDOM_MEAN),
)
SPECIFICITY_RANDOM = TABLE.add(
    "min_specificity_random_mean", f"specificity, {_RANDOM_MEAN}", Unit.SHARE_DIFFERENCE
)
SPECIFICITY = TABLE.add(
    "min_specificity",
    "specificity: kept without the other half's group, less without its own",
    Unit.SHARE_DIFFERENCE,
    control=Control(SPECIFICITY_RANDOM, _RANDOM_MEAN),
)

# The published scrub: one donor for all detectors.
OTHER_ONES_SCRUB_MEAN = TABLE.add(
    "control_other_ones_scrub_mean",
    f"scrub by the similarity to images of its digit, mean of {OTHER_ONES}",
)
OTHER_ONES_SCRUB_MAX = TABLE.add(
    "control_other_ones_scrub_max", f"scrub by the similarity to images of its digit, {_BEST_OTHER}"
)
BRIGHTNESS_SCRUB = TABLE.add("control_brightness_scrub", "scrub by the brightness")
PERMUTED_SCRUB = TABLE.add("control_permuted_scrub", "scrub by the similarity, randomly permuted")
_PUBLISHED_SCRUBS = {0.0001: 0.95, 0.001: 0.95, 0.01: 0.93, 0.1: 0.64}
SCRUBS = {
    noise: TABLE.add_scrub(
        f"scrub_{noise:g}",
        f"scrub, donor's similarity off by {100 * noise:g} % of the range",
        published=_PUBLISHED_SCRUBS[noise],
        control=Control(
            OTHER_ONES_SCRUB_MAX, f"similarity to {OTHER_ONES} images of its digit, best"
        )
        if noise == SOLUTION.control_noise
        else None,
    )
    for noise in SOLUTION.noises
}
"""Noise on the donor's similarity -> the scrub."""

CONTROL_SCRUB = SCRUBS[SOLUTION.control_noise].kept
"""Labels kept at the noise at which the controls are scrubbed too."""

SCRUB_RANDOM = TABLE.add_scrub(
    "scrub_random", "scrub, any image as donor", published=0.50, control=_BY_CHANCE
)
SCRUB_RANDOM_GROUPS = TABLE.add("scrub_random_groups", "scrub, with random groups", published=0.946)

# The arm-wise scrub: a donor for each group.
ARMWISE_RANDOM_MEAN = TABLE.add(
    "armwise_random_mean", "arm-wise scrub, random groups, mean", published=0.75
)
ARMWISE_RANDOM_STD = TABLE.add(
    "armwise_random_std", "arm-wise scrub, random groups, standard deviation over groups"
)
ARMWISE_RANDOM_MAX = TABLE.add("armwise_random_max", "arm-wise scrub, best random groups")
ARMWISE = TABLE.add_scrub(
    "armwise_true",
    "arm-wise scrub, true groups",
    published=0.94,
    control=Control(ARMWISE_RANDOM_MEAN, _RANDOM_MEAN),
)
ARMWISE_SWAPPED = TABLE.add(
    "armwise_swapped", "arm-wise scrub, true groups swapped", published=0.50, control=_BY_CHANCE
)
ARMWISE_IRRELEVANT = TABLE.add(
    "armwise_irrelevant_only", "arm-wise scrub, the half's own neurons left alone"
)

# The clue, fitted without the hint.
BASELINE_CLUE_INDEX = TABLE.add(
    "baseline_clue_index", "clue image, fitted to labels alone", Unit.INDEX
)
BASELINE_CLUE_RANK = TABLE.add(
    "baseline_true_clue_rank", "rank of the true clue, from labels alone", Unit.RANK
)
FIT_CLUE_INDEX = TABLE.add(
    "recovered_clue_index",
    "clue image, fitted to the network",
    Unit.INDEX,
    published=6,
    control=Control(BASELINE_CLUE_INDEX, "from labels alone"),
)
FIT_CLUE_RANK = TABLE.add(
    "recovered_true_clue_rank",
    "rank of the true clue",
    Unit.RANK,
    control=Control(BASELINE_CLUE_RANK, "from labels alone"),
)
FIT_CLUE_CORRELATION = TABLE.add(
    "recovered_clue_correlation",
    "correlation of the fitted clue's scores with the template's",
    Unit.CORRELATION,
)
FIT_CLUE_LEAD = TABLE.add(
    "recovered_clue_margin",
    "lead of the fitted clue's correlation over the next image's",
    Unit.CORRELATION,
)
FIT_TEMPLATE_CORRELATION = TABLE.add(
    "recovered_template_correlation",
    "correlation of the template with the true clue, all pixels",
    Unit.CORRELATION,
    published=0.87,
)
FIT_TEMPLATE_BAND = TABLE.add(
    "recovered_template_agreement", "band on the template's score", published=0.960
)
FIT_BAND = TABLE.add("recovered_band_agreement", "agreement of the fitted program", published=0.962)
FIT_BAND_LOW = TABLE.add(
    "recovered_band_low", "lower edge of the fitted program's band", Unit.DISTANCE
)
FIT_BAND_HIGH = TABLE.add(
    "recovered_band_high", "upper edge of the fitted program's band", Unit.DISTANCE
)
FIT_BANDS = {
    name: TABLE.add(
        f"recovered_{name}_agreement", f"band on the {label} to the fitted clue", published=value
    )
    for name, label, value in (
        ("l1", "L1 distance", 0.962),
        ("l2", "squared L2 distance", None),
        ("similarity", "similarity", None),
    )
}
"""Comparison with the clue -> the agreement of its best band."""

NEXT_IMAGE_INDEX = TABLE.add("control_next_image_index", "next image in the ranking", Unit.INDEX)
NEXT_IMAGE_BAND = TABLE.add(
    "control_next_image_band_agreement", "band on the similarity to the next image"
)
NEXT_IMAGE_SCRUB = TABLE.add(
    "control_next_image_scrub", "scrub by the similarity to the next image"
)

# The same on networks that were not trained on the challenge.
COMPARED = (
    SIMILARITY_BAND,
    CONTROL_SCRUB,
    ARMWISE.kept,
    ARMWISE_SWAPPED,
    ARMWISE_RANDOM_MEAN,
    KEPT_WITHOUT_OTHER,
    SPECIFICITY,
    FIT_CLUE_RANK,
)
"""The metrics that are also measured on the control networks."""

ON_CONTROL_NETWORK = {
    (network, metric): TABLE.add(
        f"control_{network}_{metric.key}", f"{metric.label}, {label}", metric.unit
    )
    for network, label in CONTROL_NETWORKS.items()
    for metric in COMPARED
}
"""(Control network, metric) -> that metric of that network."""

MAIN: tuple[Metric, ...] = (
    SIMILARITY_BAND,
    L1_BAND,
    NEURONS_LEFT,
    NEURONS_RIGHT,
    NEURONS_DEAD,
    CONTROL_SCRUB,
    OTHER_ONES_SCRUB_MAX,
    ARMWISE.kept,
    ARMWISE_RANDOM_MAX,
    ARMWISE_SWAPPED,
    FIT_CLUE_INDEX,
    FIT_BAND,
)
"""The metrics that are printed, and that the table of seeds has."""
