"""The report on a CNN: what is claimed, the evidence, its controls, and what it does not show.

The pieces of evidence in the report on a CNN, each with its rows and controls.

The report on a CNN, continued: both scrubs.
"""

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.explanation.cnn_solution import OTHER_ONES, RANDOM_GROUPS, CnnExplanation
from jaxmi.report import cnn_figures as draw
from jaxmi.report.page import Page, Row, Section, png, verdict
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


def scrub_section(found: CnnExplanation, solution: ClueSolution) -> Section:
    """The published scrub, one donor for all detectors."""
    own, others = f"scrub_{solution.control_noise:g}", "control_other_ones_scrub_max"
    value, control = found.figures[own], found.figures[others]
    off = f"off by {100 * solution.control_noise:g} %"
    controls = {
        "control_other_ones_scrub_mean": f"similarity to {OTHER_ONES} other 1s instead, mean",
        "control_next_image_scrub": "similarity to the next image in the ranking below instead",
        "control_brightness_scrub": "brightness instead",
        "control_permuted_scrub": "similarity permuted",
        "scrub_random_groups": "with random groups",
    }
    return Section(
        "The similarity is what matters to the detectors",
        """The published scrub: all detectors take their activations from another image whose
        similarity differs by a little noise.

        It cannot fail by wrong groups. Both groups come from one donor, so any two groups that make
        up the same neurons give the same result, as the last row shows. It is evidence for the
        similarity as the feature; the next section is evidence for the groups.""",
        png(scrubs=draw.scrubs(found, solution.noises, solution.figures)),
        (
            *(
                Row(
                    f"donor's similarity off by {100 * noise:g} % of the range",
                    f"scrub_{noise:g}",
                    others if noise == solution.control_noise else None,
                    f"similarity to {OTHER_ONES} other 1s instead, best",
                )
                for noise in solution.noises
            ),
            Row("any image as donor", "scrub_random", "chance", CHANCE),
            *(Row(f"{off}, {words}", key) for key, words in controls.items()),
        ),
        verdict(value, control),
        f"{value:.1%} kept; similarity to other 1s at best {control:.1%}",
    )


def armwise_section(found: CnnExplanation) -> Section:
    """The scrub that tells the groups apart."""
    random = "armwise_random_mean"
    true, mean, best = (found.figures[k] for k in ("armwise_true", random, "armwise_random_max"))
    return Section(
        "The groups are the right ones: the arm-wise scrub",
        f"""In the half like the clue, the anti-1 neurons come from any image of that half, and in
        the half like the inverse, the 1 neurons: what is claimed not to matter there. The half's
        own neurons come from an image of nearly the same similarity, as above. Groups dealt out at
        random ({RANDOM_GROUPS} times) and the true groups swapped should fail. The figure is the
        right-hand one above.""",
        {},
        (
            Row("true groups", "armwise_true", random, RANDOM),
            Row("random partitions, mean", random),
            Row("random partitions, the best", "armwise_random_max"),
            Row("true groups, swapped", "armwise_swapped", "chance", CHANCE),
            Row("true groups, the half's own neurons left alone", "armwise_irrelevant_only"),
        ),
        verdict(true, best),
        f"{true:.1%} kept; random groups {mean:.1%}, at best {best:.1%}",
    )


CLAIM = """Among the hidden neurons, one group fires for images like the clue and another for images
like its inverse. Both push towards label 1. Where neither fires, the biases answer 0. So label 0 is
a band of medium similarity to the clue."""

NOT_SHOWN = """How the convolutions compute the similarity. All evidence is about the hidden neurons
after their ReLU, and about the images on which they fire.

Which measure of distance the labelling program uses. On these images the similarity and the L1
distance go along so closely that bands on either agree about equally well with the network.

Whether the clue is the image or its inverse: a band has two sides and does not say which is near.

That the mechanism is needed to find the clue. The labels alone give it away too: see the column
"control" there.

What the network does on images unlike MNIST's, such as those that gradient ascent finds."""


def cnn_page(found: CnnExplanation, challenge: Challenge, name: str, command: str) -> Page:
    """Puts the report together; figures are drawn here."""
    solution, sizes = challenge.solution, challenge.model_config
    assert isinstance(solution, ClueSolution)
    right = found.neurons.labels == challenge.labels[: solution.images]
    return Page(
        title=f"{challenge.title}: an explanation of {name}",
        subtitle=f"""3x3 convolutions to {sizes["channels"][0]} and to {sizes["channels"][1]}
            channels, {sizes["neurons"]} hidden neurons, {sizes["classes"]} logits. It gives
            {right.mean():.2%} of the {solution.images:,} training images their true label, and
            labels {found.figures["label1_share"]:.1%} of them 1. All figures below are about its
            own labels.""",
        claim=CLAIM,
        sections=(
            bands_section(found),
            groups_section(found, solution),
            ablations_section(found, solution),
            scrub_section(found, solution),
            armwise_section(found),
            clue_section(found, challenge),
            other_networks_section(solution),
        ),
        not_shown=NOT_SHOWN,
        command=command,
        values=found.figures,
        published=solution.figures,
    )
