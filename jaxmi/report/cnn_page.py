"""The report on a CNN: what is claimed, the evidence, its controls, and what it does not show."""

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.solutions import ClueSolution
from jaxmi.explain.cnn_controls import OTHER_ONES
from jaxmi.explain.cnn_solution import RANDOM_GROUPS, CnnExplanation
from jaxmi.report import cnn_figures as draw
from jaxmi.report.page import ENOUGH, FAILS, HOLDS, IN_PART, Page, Row, Section, png, verdict

CLAIM = """Among the hidden neurons, one group fires for images like the clue and another for images
like its inverse. Both push towards label 1. Where neither fires, the biases answer 0. So label 0 is
a band of medium similarity to the clue."""

NOT_SHOWN = """How the convolutions compute the similarity. All evidence is about the hidden neurons
after their ReLU, and about the images on which they fire.

Which measure of distance the labelling program uses. On these images the similarity and the L1
distance go along so closely that bands on either agree about equally well with the network.

Whether the clue is the image or its inverse: a band has two sides and does not say which is near.

What the network does on images unlike MNIST's: the images that drive the neurons here are patterns
of noise as much as they are strokes."""

GROUPS = {"anti1": "anti-1", "one": "1", "both": "both"}
HALVES = {"anti1": "like the inverse", "one": "like the clue"}
SPECIFICITY = "kept without the other half's group, less without its own"
CHANCE = "labels drawn by their shares"


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
            _bands(found),
            _groups(found, solution),
            _ablations(found, solution),
            _scrub(found, solution),
            _armwise(found),
            _clue(found, challenge),
            _other_networks(),
        ),
        not_shown=NOT_SHOWN,
        command=command,
        values=found.figures,
        published=solution.figures,
    )


def _bands(found: CnnExplanation) -> Section:
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


def _groups(found: CnnExplanation, solution: ClueSolution) -> Section:
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
            Row("live neurons that push towards 1", "live_neurons_towards_1"),
        ),
    )


def _ablations(found: CnnExplanation, solution: ClueSolution) -> Section:
    f = found.figures
    kept = (f["kept_onehalf_min_anti1"] + f["kept_anti1half_min_one"]) / 2
    true, random = f["min_specificity"], f["min_specificity_random_mean"]
    ablated = {
        "as it is": "logit_diff",
        **{f"without {text}": f"zero_{g}" for g, text in GROUPS.items()},
    }
    return Section(
        "Each half of the images needs its own group only",
        f"""Images are halved midway between the band's edges. With a half's own group at its
        minimum the network has nothing left that says 1: what is then kept,
        {f["kept_anti1half_min_anti1"]:.0%} and {f["kept_onehalf_min_one"]:.0%}, is the share of
        label 0 in that half ({f["class0_anti1half"]:.0%} and {f["class0_onehalf"]:.0%}), as if it
        answered 0 always. It is not half of the labels understood. The other half's group is hardly
        missed.""",
        png(ablations=draw.ablations(found, solution.figures)),
        (
            *(
                Row(f"logit difference {text}, {which}", f"{key}_{which}")
                for text, key in ablated.items()
                for which in ("median", "mean")
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
            Row(SPECIFICITY, "min_specificity", "min_specificity_random_mean", "random partitions"),
        ),
        FAILS if true - random < 0.1 else (HOLDS if kept >= ENOUGH else IN_PART),
        f"{kept:.1%} kept without the other half's group",
    )


def _scrub(found: CnnExplanation, solution: ClueSolution) -> Section:
    others = "control_other_ones_scrub_mean"
    controls = {solution.noises[1]: (others, "similarity to other 1s instead")}
    value, control = found.figures["scrub_0.001"], found.figures[others]
    return Section(
        "Nothing but the similarity matters to the detectors",
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
                    *controls.get(noise, ()),
                )
                for noise in solution.noises
            ),
            Row("off by 0.1 %, brightness instead of similarity", "control_brightness_scrub"),
            Row("off by 0.1 %, similarity permuted", "control_permuted_scrub"),
            Row("any image as donor", "scrub_random", "chance", CHANCE),
            Row("off by 0.1 %, with random groups", "scrub_random_groups"),
        ),
        verdict(value, control),
        f"{value:.1%} kept; similarity to other 1s {control:.1%}",
    )


def _armwise(found: CnnExplanation) -> Section:
    random = "armwise_random_mean"
    true, mean, best = (found.figures[k] for k in ("armwise_true", random, "armwise_random_max"))
    return Section(
        "The groups are the right ones: the arm-wise scrub",
        f"""In the half like the clue, the anti-1 neurons come from any image of that half, and in
        the half like the inverse, the 1 neurons: what is claimed not to matter there. Groups dealt
        out at random ({RANDOM_GROUPS} times) and the true groups swapped should fail. The figure is
        the right-hand one above.""",
        {},
        (
            Row("true groups", "armwise_true", random, f"{RANDOM_GROUPS} random partitions, mean"),
            Row("random partitions, mean", random),
            Row("random partitions, the best", "armwise_random_max"),
            Row("true groups, swapped", "armwise_swapped", "chance", CHANCE),
        ),
        verdict(true, best),
        f"{true:.1%} kept; random groups {mean:.1%}, at best {best:.1%}",
    )


def _clue(found: CnnExplanation, challenge: Challenge) -> Section:
    recovery, rank = found.recovery, found.figures["recovered_true_clue_rank"]
    own, same = "recovered_true_clue_rank", "baseline_true_clue_rank"
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
            Row("band on the template's score", "recovered_template_agreement"),
            Row("band on the L1 distance", "recovered_l1_agreement"),
            Row("band on the squared L2 distance", "recovered_l2_agreement"),
            Row("band on the similarity", "recovered_similarity_agreement"),
        ),
        HOLDS if rank == 1 else (IN_PART if rank <= 10 else FAILS),
        f"image {recovery.clue} of {len(recovery.ranking.order):,}",
        recovery.pseudocode,
    )


def _other_networks() -> Section:
    networks = {"untrained": "untrained", "parity": "trained on odd or even digits"}
    evidence = {
        "similarity_band_agreement": "band on the similarity",
        "scrub": "scrub, similarity off by 0.1 %",
        "armwise_true": "arm-wise scrub, its groups",
        "armwise_swapped": "arm-wise scrub, swapped",
        "min_specificity": SPECIFICITY,
        "recovered_true_clue_rank": "rank of the clue",
    }
    return Section(
        "The same on networks that know nothing of the clue",
        """An untrained network, and one of the same architecture trained on whether the digit is
        odd, each with the bias that makes half of its labels 1: an untrained network may answer one
        class throughout, and would then agree with anything as often as that class occurs. The
        column names the control network's figure.""",
        {},
        [
            Row(f"{text}: {words}", f"control_{name}_{key}")
            for key, words in evidence.items()
            for name, text in networks.items()
        ],
    )
