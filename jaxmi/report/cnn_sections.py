"""The pieces of evidence in the report on a CNN, each with its rows and controls."""

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.solutions import ClueSolution
from jaxmi.explain.cnn_controls import OTHER_ONES
from jaxmi.explain.cnn_measures import RANDOM_GROUPS
from jaxmi.explain.cnn_solution import CnnExplanation
from jaxmi.report import cnn_figures as draw
from jaxmi.report.page import Row, Section, png, verdict
from jaxmi.types import Figures

GROUPS = {"anti1": "anti-1", "one": "1", "both": "both"}
HALVES = {"anti1": "like the inverse", "one": "like the clue"}
SPECIFICITY = "kept without the other half's group, less without its own"
CHANCE = "labels drawn by their shares"
RANDOM = f"{RANDOM_GROUPS} random partitions, mean"


def bands_section(found: CnnExplanation) -> Section:
    """The label as a band on a feature."""
    own, control = "similarity_band_agreement", "control_other_ones_band_agreement_max"
    value, other = found.figures[own], found.figures[control]
    brightness = "control_brightness_band_agreement"
    return Section(
        "The label is a band of similarity to the clue",
        """The similarity of an image is the sum over pixels of pixel * (2 * clue - 1). The best
        band on it, label 0 within and 1 outside, is compared with bands on other features.""",
        png(bands=draw.bands(found)),
        (
            Row("band on the similarity", own, control, f"best of {OTHER_ONES} other 1s"),
            Row("band on the L1 distance", "l1_band_agreement", brightness, "brightness"),
        ),
        verdict(value, other),
        f"{value:.1%} of labels; other 1s at best {other:.1%}",
    )


def groups_section(found: CnnExplanation, solution: ClueSolution) -> Section:
    """The arms, and the neurons along each."""
    return Section(
        "Two arms, two groups of neurons",
        """On two principal components the images form two arms that meet where label 0 is. A neuron
        belongs to the arm along which it grows more: left, anti-1, for the clue's inverse; right,
        1, for the clue. Neurons that fire on no image belong to neither.

        The contact sheet has an image that drives each neuron, found by gradient ascent: anti-1 in
        green, 1 in red, dead in grey. Pixels of the last two rows and columns reach no neuron.""",
        png(
            plane=draw.plane(found, solution.clue_index),
            directions=draw.directions(found),
            neurons=draw.neurons(found),
        ),
        (
            Row("first principal component, share of variance", "pca_variance_1"),
            Row("second", "pca_variance_2"),
            Row("anti-1 neurons (left arm)", "neurons_left"),
            Row("1 neurons (right arm)", "neurons_right"),
            Row("dead neurons", "neurons_dead"),
            Row("live neurons whose read-out pushes towards 1", "live_neurons_towards_1"),
        ),
    )


def ablations_section(found: CnnExplanation, solution: ClueSolution) -> Section:
    """Detectors at zero and at their minimum."""
    f = found.figures
    kept, random = f["kept_without_other"], f["kept_without_other_random_mean"]
    ablated = {
        "as it is": "logit_diff",
        **{f"without {text}": f"zero_{g}" for g, text in GROUPS.items()},
    }
    return Section(
        "Each half of the images needs its own group only",
        f"""Images are halved midway between the band's edges. Without the other half's group,
        {f["kept_anti1half_min_one"]:.1%} of the labels stay in the half like the inverse and
        {f["kept_onehalf_min_anti1"]:.1%} in the half like the clue.

        Without their own group, {f["kept_anti1half_min_anti1"]:.1%} and
        {f["kept_onehalf_min_one"]:.1%} stay. That is no half success: a network that answers 0
        always keeps {f["class0_anti1half"]:.1%} and {f["class0_onehalf"]:.1%}, the share of label
        0.

        {_who_says_0(f)}""",
        png(ablations=draw.ablations(found, solution.figures)),
        (
            *(
                Row(f"logit difference {text}, {which}", f"{key}_{which}")
                for text, key in ablated.items()
                for which in ("median", "mean")
            ),
            *(
                Row(
                    f"{words} detectors add, on images labelled {label}",
                    f"adds_{group}_label{label}",
                )
                for group, words in (("anti1", "anti-1"), ("one", "1"))
                for label in (0, 1)
            ),
            *(
                Row(
                    f"half {text}: kept, {words} at the minimum",
                    f"kept_{half}half_min_{group}",
                    f"class0_{half}half",
                    "answers 0 always",
                )
                for half, text in HALVES.items()
                for group, words in GROUPS.items()
            ),
            Row(
                "kept without the other half's group, the half that keeps less",
                "kept_without_other",
                "kept_without_other_random_mean",
                RANDOM,
            ),
            Row(SPECIFICITY, "min_specificity", "min_specificity_random_mean", RANDOM),
        ),
        verdict(kept, random),
        f"{kept:.1%} kept without the other half's group; random groups {random:.1%}",
    )


def _who_says_0(figures: Figures) -> str:
    """Tests the part of the claim that both groups only ever push towards 1."""
    adds = {words: figures[f"adds_{g}_label0"] for g, words in GROUPS.items() if g != "both"}
    bias = figures["zero_both_mean"]
    said = f"""The claim has the biases answer 0 where neither group fires. Without both groups the
        logit difference is {bias:.2f}; on images labelled 0 the anti-1 neurons add
        {adds["anti-1"]:.2f} to it and the 1 neurons {adds["1"]:.2f}."""
    louder = " and the ".join(w for w, value in adds.items() if value < min(-0.1, -abs(bias)))
    return f"{said} So here the {louder} neurons say 0 louder than the biases." if louder else said


def clue_section(found: CnnExplanation, challenge: Challenge) -> Section:
    """The labelling program from the network alone."""
    recovery, rank = found.recovery, found.figures["recovered_true_clue_rank"]
    own, same = "recovered_true_clue_rank", "baseline_true_clue_rank"
    others = "control_other_ones_band_agreement_max"
    return Section(
        "The clue, found without the hint",
        f"""From the network and the images alone: a ridge regression of pixels and an isotonic
        regression of the neurons' first principal component, in turn, give a template. The clue is
        the image whose own similarity scores go along best with the template's.

        {recovery.words} This program agrees with {recovery.band.agreement:.2%} of the network's
        labels. The image that came with the challenge as a hint has rank {rank:.0f}.

        The sign is a rule, not a find: of the template and its negative, that one is taken which
        some image matches best.""",
        png(clue=draw.clue(found, challenge.inputs)),
        (
            Row("the image", "recovered_clue_index", "baseline_clue_index", "from labels alone"),
            Row("rank of the true clue", own, same, "from labels alone"),
            Row("its scores' correlation with the template's", "recovered_clue_correlation"),
            Row("lead over the next image's", "recovered_clue_margin"),
            Row(
                "template's correlation with the true clue, all pixels",
                "recovered_template_correlation",
            ),
            Row("band on the template's score", "recovered_template_agreement"),
            Row("band on the L1 distance", "recovered_l1_agreement"),
            Row("band on the squared L2 distance", "recovered_l2_agreement"),
            Row("band on the similarity", "recovered_similarity_agreement"),
            Row("band on the similarity to the next image", "control_next_image_band_agreement"),
        ),
        verdict(recovery.band.agreement, found.figures[others]),
        f"""image {recovery.clue}: {recovery.band.agreement:.1%} of labels; other 1s at best
        {found.figures[others]:.1%}""",
        recovery.pseudocode,
    )


def other_networks_section(solution: ClueSolution) -> Section:
    """The same figures of networks that know nothing of the clue."""
    evidence = {
        "similarity_band_agreement": "band on the similarity",
        f"scrub_{solution.control_noise:g}": "scrub, similarity nearly the same",
        "armwise_true": "arm-wise scrub, its groups",
        "armwise_random_mean": "arm-wise scrub, random groups",
        "armwise_swapped": "arm-wise scrub, swapped",
        "kept_without_other": "kept without the other half's group, the half that keeps less",
        "min_specificity": SPECIFICITY,
        "recovered_true_clue_rank": "rank of the clue",
    }
    return Section(
        "The same on networks that know nothing of the clue",
        """An untrained network, and one of the same architecture trained on whether the digit is
        odd, each with the bias that makes half of its labels 1: an untrained network may answer one
        class throughout, and would then agree with anything as often as that class occurs.""",
        {},
        [Row(words, key) for key, words in evidence.items()],
        networks={
            "this network": "",
            "untrained": "control_untrained_",
            "odd or even": "control_parity_",
        },
    )
