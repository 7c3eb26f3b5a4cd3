"""The report on a CNN: what is claimed, the evidence, its controls, and what it does not show."""

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.solutions import ClueSolution
from jaxmi.explain.cnn_solution import CnnExplanation
from jaxmi.report import cnn_scrub_sections as scrubs
from jaxmi.report import cnn_sections as sections
from jaxmi.report.page import Page

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
            sections.bands_section(found),
            sections.groups_section(found, solution),
            sections.ablations_section(found, solution),
            scrubs.scrub_section(found, solution),
            scrubs.armwise_section(found),
            sections.clue_section(found, challenge),
            sections.other_networks_section(solution),
        ),
        not_shown=NOT_SHOWN,
        command=command,
        values=found.figures,
        published=solution.figures,
    )
