"""A report as a page of HTML that needs nothing but itself.

The report on a run: its seeds side by side.
"""

import base64
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from jaxmi.challenges.challenge import Challenge
from jaxmi.report import templates

ENOUGH = 0.90
"""A claim holds if at least this share of labels stays, or is given right."""

MARGIN = 0.05
"""By so much a share must exceed its control's to say anything."""

HOLDS, IN_PART, NOT_SHOWN = "holds", "in part", "not shown"

DPI = 110

NOT_SHARES = ("logit", "correlation", "margin", "specificity")
"""Words in the names of figures that are no shares."""


@dataclass(frozen=True)
class Row:
    """A line of a table: a figure of this network, with what to compare it to."""

    label: str
    key: str
    """The figure's name."""
    control: str | None = None
    """The name of the figure of its control."""
    control_label: str = ""
    """What the control is."""


@dataclass(frozen=True)
class Section:
    """One piece of evidence."""

    title: str
    text: str
    """Paragraphs, with an empty line between them; other line breaks mean nothing."""
    figures: Mapping[str, bytes] = field(default_factory=dict)
    """File name without ending -> PNG; the key is also its alternative text."""
    rows: Sequence[Row] = ()
    verdict: str | None = None
    """`HOLDS`, `IN_PART` or `NOT_SHOWN`; None if the section makes no claim that could fail."""
    reason: str = ""
    """The comparison from which the verdict follows."""
    code: str = ""
    """A program to show as it stands."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """For a table that compares networks: column -> what stands before a row's key there."""


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    claim: str
    """What is claimed of the network, in words."""
    sections: Sequence[Section]
    not_shown: str
    """What the evidence does not show; paragraphs."""
    command: str
    """What made it."""
    values: Mapping[str, int | float]
    published: Mapping[str, float]


def verdict(value: float, control: float) -> str:
    """Says whether a share of labels supports a claim, against what its control reaches."""
    if value - control < MARGIN:
        return NOT_SHOWN
    return HOLDS if value >= ENOUGH else IN_PART


def render(page: Page) -> str:
    """Returns the page, pictures and all."""
    filters = {"data_url": _data_url, "paragraphs": _paragraphs, "shown": shown}
    return templates.render("page.html.jinja", filters, page=page, enough=ENOUGH, margin=MARGIN)


def shown(value: int | float | None, key: str, digits: str = ".1f") -> str:
    """Writes a figure for a person: shares in per cent, counts whole, the rest to two places.

    Published figures have as many digits as were published: `digits=".4g"`.
    """
    if value is None or not math.isfinite(value):
        return "-"
    if key.startswith("neurons_") or key.endswith(("_index", "_rank")):
        return f"{value:,.6g}"  # a median of counts may be half-way
    if key.startswith(("zero_", "adds_")) or any(word in key for word in NOT_SHARES):
        return f"{value:.4f}" if "margin" in key or "correlation" in key else f"{value:.2f}"
    return f"{100 * value:{digits}}%"


def png(**figures: Figure) -> dict[str, bytes]:
    """Renders figures, under their names."""
    rendered = {}
    for name, figure in figures.items():
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI)
        rendered[name] = file.getvalue()
    return rendered


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _data_url(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


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
    return templates.render(
        "seeds.html.jinja",
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
