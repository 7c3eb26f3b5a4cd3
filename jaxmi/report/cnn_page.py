"""The report on a CNN: the claim, the evidence with its controls, and what is not shown."""

from functools import partial

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.explanation import cnn_metrics as table
from jaxmi.explanation.cnn_solution import CnnExplanation
from jaxmi.explanation.verdicts import NOT_SUPPORTED, verdict
from jaxmi.report import cnn_figures as draw
from jaxmi.report.page import PUBLISHED_CLAIM, Page, Section, png
from jaxmi.types import Metrics

CLAIM = """Among the hidden neurons, one group fires for images like the clue (clue detectors) and
another group for images like its inverse (anti-clue detectors). Both groups push towards label 1.
Where neither fires, the biases make the label 0. So label 0 is a band of medium similarity to the
clue."""

CLAIM_TITLE = "What was published about challenge 1's network, tested on this network."
"""Before the claim, on pages of other challenges."""

NO_BAND = """The labels of this challenge's program are no such band: it does not label 0 the images
whose L1 or L2 distance to one training image is within two bounds. So the claim does not apply, and
every verdict is "not supported". The numbers below are those of the image that was fitted to the
network."""

FITTED = """Which image is the clue, if there is one, is not known here. The clue below is the image
that was fitted to this network, which favours it over the other images that it is compared with."""

NOT_SHOWN = """How the convolutions compute the similarity. All evidence is about the hidden neurons
after their ReLU, and about the images on which they fire.

{distance}Whether the clue is the image or its inverse. A band has two edges, and neither edge is
marked as the near one.

That the mechanism is needed to find the clue. The labels alone also give the clue away: see the
column "control" of that section.

What the network does on images unlike {collection}'s, such as the images that gradient ascent
finds."""

DISTANCE = """Which distance the labelling program uses. On these images the similarity and the L1
distance are so closely correlated that bands on either agree about equally well with the network.

"""
"""What `NOT_SHOWN` says of the published challenge."""


def cnn_page(explanation: CnnExplanation, challenge: Challenge, name: str, command: str) -> Page:
    """Assemble the report on a CNN, and draw its figures.

    Args:
      explanation: The network's explanation.
      challenge: The challenge that it was trained on.
      name: What to call the network.
      command: The command that makes the report.
    """
    solution, sizes = challenge.solution, challenge.model_config
    assert isinstance(solution, ClueSolution)
    metrics, published = explanation.metrics, challenge.published is not None
    if challenge.sealed:
        accuracy = f"""How many of the {solution.images:,} training images' true labels the network
            predicts is not known here, for they are sealed; it predicts label 1 for"""
    else:
        correct = explanation.neurons.labels == challenge.labels[: solution.images]
        accuracy = f"""The network predicts the true label of {correct.mean():.2%} of the
            {solution.images:,} training images, and label 1 for"""
    return Page(
        title=f"{challenge.title}: an explanation of {name}",
        subtitle=f"""3x3 convolutions to {sizes["channels"][0]} and to {sizes["channels"][1]}
            channels, {sizes["neurons"]} hidden neurons, {sizes["classes"]} logits. {accuracy}
            {metrics[table.LABEL1_SHARE.key]:.1%} of them. Everything below is about the network's
            own labels.""",
        claim=" ".join([CLAIM, *_about_clue(explanation)]),
        sections=(
            _bands(explanation),
            _groups(explanation),
            _ablations(explanation, published),
            _scrub(explanation, solution, published),
            _armwise(explanation),
            _clue(explanation, challenge),
            _other_networks(explanation),
        ),
        not_shown=NOT_SHOWN.format(
            distance=DISTANCE if published else "", collection=explanation.clue_fit.collection
        ),
        command=command,
        metrics=metrics,
        claim_title=PUBLISHED_CLAIM if published else CLAIM_TITLE,
        beside_published=published,
    )


def _about_clue(explanation: CnnExplanation) -> list[str]:
    """Say what the clue is, unless the challenge's program names it."""
    if explanation.about.known:
        return []
    return [FITTED if explanation.about.applies else NO_BAND]


def _verdict(explanation: CnnExplanation, value: float, control: float) -> str:
    """Return the verdict, unless the claim cannot apply to the challenge."""
    return verdict(value, control) if explanation.about.applies else NOT_SUPPORTED


def _bands(explanation: CnnExplanation) -> Section:
    """Show that the label is a band on the similarity."""
    value = explanation.metrics[table.SIMILARITY_BAND.key]
    other = explanation.metrics[table.OTHER_ONES_BAND_MAX.key]
    return Section(
        "The label is a band of similarity to the clue",
        """The similarity of an image is the sum over pixels of pixel * (2 * clue - 1). The best
        band on it, label 0 within and label 1 outside, is compared with bands on other features.
        """,
        png(bands=partial(draw.bands, explanation)),
        (table.SIMILARITY_BAND, table.L1_BAND),
        _verdict(explanation, value, other),
        f"{value:.1%} of labels; images of the same digit at best {other:.1%}",
    )


def _groups(explanation: CnnExplanation) -> Section:
    """Show the two arms, and the neurons along each."""
    drawn, neurons = len(explanation.neuron_images), explanation.neurons.activations.shape[1]
    only_first = f"; it has the first {drawn} of {neurons:,} neurons" if drawn < neurons else ""
    return Section(
        "Two arms, two groups of neurons",
        f"""On two principal components the images form two arms that meet where label 0 is. A
        neuron belongs to the arm along which its activation grows more. Anti-clue detectors lie
        along the left arm, which leads to the clue's inverse; clue detectors lie along the right
        arm, which leads to the clue. Neurons that fire on no image belong to neither group.

        The contact sheet has an image that drives each neuron, found by gradient ascent: anti-clue
        detectors in green, clue detectors in red, dead neurons in grey{only_first}. No neuron
        depends on the pixels of the last two rows and columns.""",
        png(
            plane=partial(draw.plane, explanation),
            directions=partial(draw.directions, explanation),
            neurons=partial(draw.neurons, explanation),
        ),
        (
            table.VARIANCE_1,
            table.VARIANCE_2,
            table.NEURONS_LEFT,
            table.NEURONS_RIGHT,
            table.NEURONS_DEAD,
            table.TOWARDS_1,
        ),
    )


def _ablations(explanation: CnnExplanation, published: bool) -> Section:
    """Show what the detectors at zero and at their minimum change."""
    metrics = explanation.metrics
    kept = metrics[table.KEPT_WITHOUT_OTHER.key]
    random = metrics[table.KEPT_WITHOUT_OTHER_RANDOM.key]

    def at_minimum(half: str, group: str) -> float:
        return metrics[table.AT_MINIMUM[half, group].key]

    return Section(
        "Each half of the images needs its own group only",
        f"""Images are halved midway between the band's edges. Without the other half's group,
        {at_minimum("anti_clue", "clue"):.1%} of the labels are kept in the half like the inverse
        and {at_minimum("clue", "anti_clue"):.1%} in the half like the clue.

        Without their own group, {at_minimum("anti_clue", "anti_clue"):.1%} and
        {at_minimum("clue", "clue"):.1%} are kept. These shares are not partial success: a network
        that always predicts 0 keeps {metrics[table.CLASS_0["anti_clue"].key]:.1%} and
        {metrics[table.CLASS_0["clue"].key]:.1%}, the shares of label 0.

        {_pushes_towards_0(metrics)}""",
        png(ablations=partial(draw.ablations, explanation, published)),
        (
            *(
                by_group[group]
                for group in table.MEDIAN_WITHOUT
                for by_group in (table.MEDIAN_WITHOUT, table.MEAN_WITHOUT)
            ),
            *table.ADDED.values(),
            *table.AT_MINIMUM.values(),
            table.KEPT_WITHOUT_OTHER,
            table.SPECIFICITY,
        ),
        _verdict(explanation, kept, random),
        f"{kept:.1%} kept without the other half's group; random groups {random:.1%}",
    )


def _pushes_towards_0(metrics: Metrics) -> str:
    """Check the claim that both groups only ever push towards 1, in a paragraph."""
    added = {group: metrics[table.ADDED[group, 0].key] for group in ("anti_clue", "clue")}
    bias = metrics[table.MEAN_WITHOUT["both"].key]
    paragraph = f"""The claim is that the biases make the label 0 where neither group fires. Without
        both groups the logit difference is {bias:.2f}; on images labelled 0 the anti-clue detectors
        add {added["anti_clue"]:.2f} to it and the clue detectors {added["clue"]:.2f}."""
    stronger = [
        table.GROUPS[group] for group, value in added.items() if value < min(-0.1, -abs(bias))
    ]
    if not stronger:
        return paragraph
    return f"{paragraph} So here {' and '.join(stronger)} push towards 0 more than the biases do."


def _scrub(explanation: CnnExplanation, solution: ClueSolution, published: bool) -> Section:
    """Show the published scrub, with one donor for all detectors."""
    value = explanation.metrics[table.CONTROL_SCRUB.key]
    control = explanation.metrics[table.OTHER_ONES_SCRUB_MAX.key]
    return Section(
        "The similarity is what matters to the detectors",
        f"""The published scrub: all detectors take their activations from another image whose
        similarity differs by a little noise. In the controls by other features, the noise is
        {100 * solution.control_noise:g} % of the feature's range.

        This scrub cannot fail by wrong groups. Both groups come from one donor, so any two groups
        that make up the same neurons give the same result, as the last row shows. The scrub is
        evidence for the similarity as the feature; the next section is evidence for the groups.""",
        png(scrubs=partial(draw.scrubs, explanation, solution.noises, published)),
        (
            *(table.SCRUBS[noise].kept for noise in solution.noises),
            table.SCRUB_RANDOM.kept,
            table.OTHER_ONES_SCRUB_MEAN,
            table.NEXT_IMAGE_SCRUB,
            table.BRIGHTNESS_SCRUB,
            table.PERMUTED_SCRUB,
            table.SCRUB_RANDOM_GROUPS,
        ),
        _verdict(explanation, value, control),
        f"{value:.1%} kept; similarity to images of the same digit at best {control:.1%}",
    )


def _armwise(explanation: CnnExplanation) -> Section:
    """Show the scrub that tells the groups apart."""
    true, mean, best = (
        explanation.metrics[metric.key]
        for metric in (table.ARMWISE.kept, table.ARMWISE_RANDOM_MEAN, table.ARMWISE_RANDOM_MAX)
    )
    return Section(
        "The groups are the right ones: the arm-wise scrub",
        f"""In the half like the clue, the anti-clue detectors take their activations from any image
        of that half; in the half like the inverse, the clue detectors do. These are the neurons
        that are claimed not to matter there. The half's own detectors take theirs from an image of
        nearly the same similarity, as above. Random partitions of the neurons
        ({table.RANDOM_GROUPS} of them) and the true groups swapped should fail. The figure is the
        right-hand one above.""",
        {},
        (
            table.ARMWISE.kept,
            table.ARMWISE_RANDOM_MEAN,
            table.ARMWISE_RANDOM_MAX,
            table.ARMWISE_SWAPPED,
            table.ARMWISE_IRRELEVANT,
        ),
        _verdict(explanation, true, best),
        f"{true:.1%} kept; random groups {mean:.1%}, at best {best:.1%}",
    )


def _clue(explanation: CnnExplanation, challenge: Challenge) -> Section:
    """Show the clue and the program that were fitted to the network."""
    fit = explanation.clue_fit
    others = explanation.metrics[table.OTHER_ONES_BAND_MAX.key]
    return Section(
        "The clue, found without the hint"
        if challenge.published is not None
        else "The clue, fitted to the network",
        f"""The clue is fitted to the network and the images alone. A ridge regression of the
        neurons' first principal component on the pixels and an isotonic regression of its scores on
        that component, in turn, give a template. The clue is the image whose own similarity scores
        correlate best with the template's.

        {fit.sentence} This program agrees with {fit.band.agreement:.2%} of the network's labels.
        {_true_clue(explanation, challenge)}

        The sign of the template is chosen by a rule and is not evidence: of the template and its
        negative, the rule takes the one that some image matches best.""",
        png(clue=partial(draw.clue, explanation, challenge.inputs)),
        (
            table.FIT_CLUE_INDEX,
            table.FIT_CLUE_RANK,
            table.FIT_CLUE_CORRELATION,
            table.FIT_CLUE_LEAD,
            table.FIT_TEMPLATE_CORRELATION,
            table.FIT_TEMPLATE_BAND,
            *table.FIT_BANDS.values(),
            table.NEXT_IMAGE_BAND,
        ),
        _verdict(explanation, fit.band.agreement, others),
        f"image {fit.clue}: {fit.band.agreement:.1%} of labels; "
        f"images of the same digit at best {others:.1%}",
        fit.program if explanation.about.applies else "",
    )


def _true_clue(explanation: CnnExplanation, challenge: Challenge) -> str:
    """Say how the true clue ranks, if it is known."""
    if not explanation.about.known:
        return "There is no known clue to compare it with."
    rank = explanation.metrics[table.FIT_CLUE_RANK.key]
    if challenge.published is not None:
        return f"The image that came with the challenge as a hint has rank {rank:.0f}."
    return f"Image {explanation.about.image}, which the program names, has rank {rank:.0f}."


def _other_networks(explanation: CnnExplanation) -> Section:
    """Show the same metrics of networks that were not trained on the challenge."""
    rows = (
        table.SIMILARITY_BAND,
        table.CONTROL_SCRUB,
        table.ARMWISE.kept,
        table.ARMWISE_RANDOM_MEAN,
        table.ARMWISE_SWAPPED,
        table.KEPT_WITHOUT_OTHER,
        table.SPECIFICITY,
        table.FIT_CLUE_RANK,
    )
    controls = {
        label: [table.ON_CONTROL_NETWORK[network, metric] for metric in rows]
        for network, label in table.CONTROL_NETWORKS.items()
        if table.ON_CONTROL_NETWORK[network, table.SIMILARITY_BAND].key in explanation.metrics
    }
    parity = (
        """, and a network of the same architecture that was trained on whether the digit is
        odd. Each"""
        if len(controls) > 1
        else ". It"
    )
    return Section(
        "The same on networks that were not trained on the challenge",
        f"""An untrained network{parity} gets the bias that makes half of its labels 1: an untrained
        network may predict one class throughout, and would then agree with any feature as often as
        that class occurs.""",
        comparison={"this network": rows, **controls},
    )
