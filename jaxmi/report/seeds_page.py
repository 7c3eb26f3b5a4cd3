"""The report on a run: its seeds side by side."""

from collections.abc import Mapping
from typing import Any

import numpy as np

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
        "control_other_ones_scrub_mean": "the same, similarity to other 1s",
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
        "control_random_plane_filters_agreement": "two filters in random planes",
        "full_scrub_1": "scrub 1: only the plane matters",
        "full_scrub_1star": "scrub 1*: and one dimension more",
        "full_scrub_1_2": "scrub 1+2: only which sides are passed",
        "control_random_plane_scrub_1": "scrub 1 in random planes",
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
    medians = []
    for key in columns:
        values = [f[key] for f in seeds.values() if f.get(key) is not None]
        medians.append(shown(float(np.median(values)), key) if values else "-")
    return template("seeds.html.jinja").render(
        title=f"{challenge.title}: {len(seeds)} seeds explained",
        columns=columns.values(),
        lines=lines,
        medians=medians,
        published=[shown(challenge.solution.figures.get(key), key, ".4g") for key in columns],
    )
