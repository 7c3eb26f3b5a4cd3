"""The report on a CNN: what is claimed, the evidence, its controls, and what it does not show."""

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.solutions import ClueSolution
from jaxmi.explain.cnn_solution import RANDOM_GROUPS, CnnExplanation
from jaxmi.report import cnn_figures as draw
from jaxmi.report.page import ENOUGH, FAILS, HOLDS, IN_PART, Page, Row, Section, png, verdict

CLAIM = (
    "Among the 200 hidden neurons, one group fires for images like the clue and another for images like "
    "its inverse. Both push towards label 1. Where neither fires, the biases answer 0. So label 0 is a "
    "band of medium similarity to the clue."
)
GROUPS = {"anti1": "anti-1", "one": "1", "both": "both"}
NOT_SHOWN = (
    "How the convolutions compute the similarity. All evidence is about the hidden neurons after their "
    "ReLU, and about the images on which they fire.",
    "Which measure of distance the labelling program uses. On these images the similarity and the L1 "
    "distance go along so closely that bands on either agree about equally well with the network.",
    "Whether the clue is the image or its inverse: a band has two sides and does not say which is near.",
    "What the network does on images unlike MNIST's: the images that drive the neurons here are "
    "patterns of noise as much as they are strokes.",
)


def cnn_page(found: CnnExplanation, challenge: Challenge, name: str, command: str) -> Page:
    """Puts the report together; figures are drawn here."""
    solution = challenge.solution
    assert isinstance(solution, ClueSolution)
    f = found.figures
    sizes = challenge.model_config
    right = found.neurons.labels == challenge.labels[: solution.images]
    return Page(
        title=f"{challenge.title}: an explanation of {name}",
        subtitle=(
            f"3x3 convolutions to {sizes['channels'][0]} and to {sizes['channels'][1]} channels, "
            f"{sizes['neurons']} hidden neurons, {sizes['classes']} logits. It gives "
            f"{right.mean():.2%} of the {solution.images:,} training images their true label, and "
            f"labels {f['label1_share']:.1%} of them 1. All figures below are about its own labels."
        ),
        claim=CLAIM,
        sections=(
            _bands(found),
            _groups(found, solution),
            _ablations(found, solution),
            _scrub(found, solution),
            _armwise(found),
            _clue(found, challenge),
            _other_networks(found),
        ),
        not_shown=NOT_SHOWN,
        command=command,
        values=f,
        published=solution.figures,
    )


def _bands(found: CnnExplanation) -> Section:
    f = found.figures
    other = f["control_other_ones_band_agreement_max"]
    return Section(
        "The label is a band of similarity to the clue",
        (
            "The similarity of an image is the sum over pixels of pixel * (2 * clue - 1). The best band "
            "on it, label 0 within and 1 outside, is compared with bands on other features.",
        ),
        png(bands=draw.bands(found)),
        (
            Row(
                "band on the similarity",
                "similarity_band_agreement",
                "control_other_ones_band_agreement_max",
                "the best of 30 other 1s in the clue's place",
            ),
            Row(
                "band on the L1 distance",
                "l1_band_agreement",
                "control_brightness_band_agreement",
                "brightness",
            ),
        ),
        verdict(f["similarity_band_agreement"], other),
        f"{f['similarity_band_agreement']:.1%} of labels; other 1s at best {other:.1%}",
    )


def _groups(found: CnnExplanation, solution: ClueSolution) -> Section:
    return Section(
        "Two arms, two groups of neurons",
        (
            "On two principal components the images form two arms that meet where label 0 is. A neuron "
            "belongs to the arm along which it grows more: left, anti-1, for the clue's inverse; right, "
            "1, for the clue. Neurons that fire on no image belong to neither.",
            "The contact sheet has an image that drives each neuron, found by gradient ascent: anti-1 in "
            "green, 1 in red, dead in grey. Pixels of the last rows and columns reach no neuron.",
        ),
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
        ),
    )


def _ablations(found: CnnExplanation, solution: ClueSolution) -> Section:
    f = found.figures
    true, random = f["min_specificity"], f["min_specificity_random_mean"]
    needed = f["kept_onehalf_min_anti1"] + f["kept_anti1half_min_one"]
    rows = [
        Row(f"logit difference {what}, {which}", f"{key}_{which}")
        for what, key in (
            ("as it is", "logit_diff"),
            ("without anti-1", "zero_anti1"),
            ("without 1", "zero_one"),
            ("without both", "zero_both"),
        )
        for which in ("median", "mean")
    ]
    for half, text in (("anti1", "like the inverse"), ("one", "like the clue")):
        for group in ("anti1", "one", "both"):
            rows.append(
                Row(
                    f"half {text}: kept, {GROUPS[group]} at the minimum",
                    f"kept_{half}half_min_{group}",
                    f"class0_{half}half",
                    "answers 0 always",
                )
            )
    rows.append(
        Row(
            "kept without the other half's group, less without its own",
            "min_specificity",
            "min_specificity_random_mean",
            f"{RANDOM_GROUPS} random partitions",
        )
    )
    return Section(
        "Each half of the images needs its own group only",
        (
            "Images are halved midway between the band's edges. With a half's own group at its minimum "
            "the network answers 0 on all of it: what is then kept, about 48 %, is nothing but the "
            "share of label 0. It is not half of anything. The other half's group is hardly missed.",
        ),
        png(ablations=draw.ablations(found, solution.figures)),
        rows,
        _compared(needed / 2, true > 3 * abs(random) + 0.05),
        f"{needed / 2:.1%} kept without the other half's group",
    )


def _scrub(found: CnnExplanation, solution: ClueSolution) -> Section:
    f = found.figures
    value, control = f["scrub_0.001"], f["control_other_ones_scrub_mean"]
    rows = [
        Row(f"donor's similarity off by {100 * noise:g} % of the range", f"scrub_{noise:g}")
        for noise in solution.noises
    ]
    rows[1] = Row(
        rows[1].label, rows[1].key, "control_other_ones_scrub_mean", "similarity to other 1s instead"
    )
    rows += [
        Row("the same, brightness instead of similarity", "control_brightness_scrub"),
        Row("the same, similarity permuted", "control_permuted_scrub"),
        Row("any image as donor", "scrub_random", "chance", "labels drawn by their shares"),
        Row("off by 0.1 %, with random groups", "scrub_random_groups"),
    ]
    return Section(
        "Nothing but the similarity matters to the detectors",
        (
            "The published scrub: all detectors take their activations from another image whose "
            "similarity differs by a little noise.",
            "It cannot fail by wrong groups. Both groups come from one donor, so any two groups that "
            "make up the same neurons give the same result, as the last row shows. It is evidence for "
            "the similarity as the feature; the next section is evidence for the groups.",
        ),
        png(scrubs=draw.scrubs(found, solution.noises, solution.figures)),
        rows,
        verdict(value, control),
        f"{value:.1%} kept; similarity to other 1s {control:.1%}",
    )


def _armwise(found: CnnExplanation) -> Section:
    f = found.figures
    true, best = f["armwise_true"], f["armwise_random_max"]
    random = "armwise_random_mean"
    return Section(
        "The groups are the right ones: the arm-wise scrub",
        (
            "In the half like the clue, the anti-1 neurons come from any image of that half, and in the "
            "half like the inverse, the 1 neurons: what is claimed not to matter there. Groups dealt out "
            f"at random ({RANDOM_GROUPS} times) and the true groups swapped should fail.",
        ),
        {},
        (
            Row("true groups", "armwise_true", random, f"mean of {RANDOM_GROUPS} random partitions"),
            Row("the best random partition", "armwise_random_max"),
            Row("random partitions, mean", "armwise_random_mean"),
            Row("true groups, swapped", "armwise_swapped", "chance", "labels drawn by their shares"),
        ),
        verdict(true, best),
        f"{true:.1%} kept; random groups {f[random]:.1%}, at best {best:.1%}",
    )


def _clue(found: CnnExplanation, challenge: Challenge) -> Section:
    f, recovery = found.figures, found.recovery
    rank = f["recovered_true_clue_rank"]
    return Section(
        "The clue, found without the hint",
        (
            "From the network and the images alone: a ridge regression of pixels and an isotonic "
            "regression of the neurons' first principal component, in turn, give a template. The clue "
            "is the image whose own similarity scores go along best with the template's.",
            f"{recovery.words} This program agrees with {recovery.band.agreement:.2%} of the network's "
            f"labels. The image that came with the challenge as a hint has rank {rank:.0f}.",
            "The sign is a rule, not a find: of the template and its negative, that one is taken which "
            "some image matches best.",
        ),
        png(clue=draw.clue(found, challenge.inputs)),
        (
            Row("the image", "recovered_clue_index", "baseline_clue_index", "from labels alone"),
            Row("rank of the true clue", "recovered_true_clue_rank", "baseline_true_clue_rank", "same"),
            Row("its scores' correlation with the template's", "recovered_clue_correlation"),
            Row("lead over the next image's", "recovered_clue_margin"),
            Row("band on the template's score", "recovered_template_agreement"),
            Row("band on the L1 distance", "recovered_l1_agreement"),
            Row("band on the squared L2 distance", "recovered_l2_agreement"),
            Row("band on the similarity", "recovered_similarity_agreement"),
        ),
        HOLDS if rank == 1 else (IN_PART if rank <= 10 else FAILS),
        f"image {recovery.clue} of {len(recovery.ranking.order):,}",
        recovery.pseudocode,
    )


def _other_networks(found: CnnExplanation) -> Section:
    names = {"untrained": "an untrained network", "parity": "a network trained on odd or even digits"}
    rows = [
        Row(f"{text}: {what}", f"control_{name}_{key}", own, "this network")
        for key, what, own in (
            ("similarity_band_agreement", "band on the similarity", "similarity_band_agreement"),
            ("scrub", "scrub at 0.1 %", "scrub_0.001"),
            ("armwise_true", "arm-wise scrub, its groups", "armwise_true"),
            ("armwise_swapped", "arm-wise scrub, swapped", "armwise_swapped"),
            ("recovered_true_clue_rank", "rank of the clue", "recovered_true_clue_rank"),
        )
        for name, text in names.items()
    ]
    return Section(
        "The same on networks that know nothing of the clue",
        (
            "Each with the bias that makes half of its labels 1: an untrained network may answer one "
            "class throughout, and would then agree with anything as often as that class occurs.",
        ),
        {},
        rows,
    )


def _compared(value: float, beats_control: bool) -> str:
    """A verdict where the control is no share of labels."""
    if not beats_control:
        return FAILS
    return HOLDS if value >= ENOUGH else IN_PART
