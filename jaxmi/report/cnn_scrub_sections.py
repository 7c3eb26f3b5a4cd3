"""The report on a CNN, continued: both scrubs."""

from jaxmi.challenges.solutions import ClueSolution
from jaxmi.explain.cnn_controls import OTHER_ONES
from jaxmi.explain.cnn_measures import RANDOM_GROUPS
from jaxmi.explain.cnn_solution import CnnExplanation
from jaxmi.report import cnn_figures as draw
from jaxmi.report.cnn_sections import CHANCE, RANDOM
from jaxmi.report.page import Row, Section, png, verdict


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
