"""The report on a run: its seeds side by side."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxmi.challenges.challenge import Challenge
from jaxmi.report.page import shown, template

MAIN = {
    "cnn": {
        "similarity_band_agreement": "band on the similarity",
        "l1_band_agreement": "band on the L1 distance",
        "neurons_left": "anti-1 neurons",
        "neurons_right": "1 neurons",
        "neurons_dead": "dead neurons",
        "scrub_0.001": "scrub, similarity off by 0.1 %",
        "control_other_ones_scrub_max": "the same, best of 30 other 1s",
        "armwise_true": "arm-wise scrub, true groups",
        "armwise_random_max": "best random groups",
        "armwise_swapped": "swapped groups",
        "recovered_clue_index": "clue found without the hint",
        "recovered_band_agreement": "agreement of the recovered program",
    },
    "transformer": {
        "accuracy": "true labels",
        "fixed_baseline": "kept with attention fixed",
        "full_filters_agreement": "two filters in the plane",
        "control_leading_plane_filters_agreement_max": "two filters, best of 5 random planes",
        "full_scrub_1": "scrub 1: only the plane matters",
        "full_scrub_1star": "scrub 1*: and one dimension more",
        "full_scrub_1_2": "scrub 1+2: only which sides are passed",
        "control_leading_plane_scrub_1_max": "scrub 1, best of 5 random planes",
        "control_wrong_sides_scrub_1_2": "scrub 1+2, sides turned",
        "mlp_zero_kept": "kept without the MLP",
    },
}
"""Challenge -> the figures that stand for all -> what to call them."""


def render_seeds(challenge: Challenge, seeds: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a page with a line per seed, each linked to its own report below this page.

    Args:
      challenge: The run's.
      seeds: Seed folder's name -> its figures.
    """
    columns = MAIN[challenge.name]
    lines = {name: [shown(f.get(key), key) for key in columns] for name, f in seeds.items()}
    typical = summarise(list(seeds.values()))
    return template("seeds.html.jinja").render(
        title=f"{challenge.title}: {len(seeds)} seeds explained",
        columns=columns.values(),
        lines=lines,
        medians=[shown(typical.get(key), key) for key in columns],
        published=[shown(challenge.solution.figures.get(key), key, ".4g") for key in columns],
    )


def summarise(seeds: Sequence[Mapping[str, Any]]) -> dict[str, int | float | None]:
    """Returns each figure's median over the seeds that have it; of an image's number, the mode."""
    summary: dict[str, int | float | None] = {}
    for key in dict.fromkeys(key for figures in seeds for key in figures):
        values = [figures[key] for figures in seeds if figures.get(key) is not None]
        if not values:
            summary[key] = None
        elif key.endswith("_index"):
            summary[key] = statistics.mode(values)
        else:
            summary[key] = statistics.median(values)
    return summary
