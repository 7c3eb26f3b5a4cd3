"""The table and the figure of the study `solutions`: in how many networks each claim holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.report.studies.intervals import BLUE, GREEN, GREY, RED, YELLOW, bar_heights, interval
from jaxmi.studies.solutions import VERDICTS

COLOURS = (GREEN, YELLOW, GREY)
"""The bars' colours, in the order of `VERDICTS`."""

HEIGHT, GAP = 0.34, 1.6
"""Inches of a claim, and claims' heights between the two solutions."""


def claims_table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table: whose a claim is, metric and control, networks by verdict."""
    findings, claims = result["findings"], result["data"]["claims"]
    n = len(result["data"]["seeds"])
    lines = [
        "| claim | whose | metric | its mean | largest control, mean "
        f"| holds, of {n} | in part | not shown |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for claim in claims:
        name = claim["name"]
        held, *others = (findings[f"{name}_{ending}"] for ending in VERDICTS)
        cells = [
            claim["text"],
            claim["solution"],
            f"`{claim['metric']}`",
            *(_mean(findings.get(key)) for key in (name, f"{name}_control")),
            f"{_count(held)} ({100 * held['low']:.0f} to {100 * held['high']:.0f} %)",
            *(str(_count(share)) for share in others),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(finding: Mapping[str, Any] | None) -> str:
    """Write a mean with its interval; "-" if no network has the metric."""
    if finding is None:
        return "-"
    value, between = interval(finding)
    return f"{value} ({between})" if between else value


def _count(share: Mapping[str, Any]) -> int:
    return round(share["value"] * share["n"])


def draw_solutions(result: Mapping[str, Any]) -> Figure:
    """Draw the result of the study `solutions`."""
    claims = result["data"]["claims"]
    places, place = [], 0.0
    for i, claim in enumerate(claims):
        if i:
            place += 1 if claim["solution"] == claims[i - 1]["solution"] else GAP
        places.append(place)
    figure = Figure(figsize=(15, 2 + HEIGHT * (places[-1] + 1)), layout="constrained")
    counts, values = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _draw_counts(counts, result, np.array(places))
    _draw_values(values, result, np.array(places))
    counts.set_yticks(places, [claim["text"] for claim in claims])
    counts.set_ylim(places[-1] + 0.7, -1.1)
    return figure


def _draw_counts(axes: Axes, result: Mapping[str, Any], places: np.ndarray) -> None:
    """Draw the networks of each verdict as one stacked bar per claim."""
    findings, claims = result["findings"], result["data"]["claims"]
    start = np.zeros(len(claims))
    for (ending, verdict), colour in zip(VERDICTS.items(), COLOURS, strict=True):
        counts = np.array([_count(findings[f"{claim['name']}_{ending}"]) for claim in claims])
        axes.barh(places, counts, 0.75, left=start, color=colour, label=verdict)
        for place, left, count in zip(places, start, counts, strict=True):
            if count:
                middle = left + count / 2
                axes.text(middle, place, str(count), ha="center", va="center", fontsize="small")
        start += counts
    for solution in dict.fromkeys(claim["solution"] for claim in claims):
        top = min(
            place
            for claim, place in zip(claims, places, strict=True)
            if claim["solution"] == solution
        )
        axes.text(0, top - 0.5, f"{solution} solution", fontweight="bold", va="bottom")
    axes.set_xlim(0, len(result["data"]["seeds"]))
    axes.set_xlabel("networks")
    axes.legend(fontsize="small", ncols=3, loc="lower right", bbox_to_anchor=(1, 1))


def _draw_values(axes: Axes, result: Mapping[str, Any], places: np.ndarray) -> None:
    """Draw each claim's metric and its largest control, with the bar that it has to pass."""
    findings, claims = result["findings"], result["data"]["claims"]
    for ending, colour, label in (
        ("_control", RED, "largest control, mean"),
        ("", BLUE, "metric, mean"),
    ):
        names = [f"{claim['name']}{ending}" for claim in claims]
        shown = [name in findings for name in names]
        value, reach = bar_heights([findings[name] for name in names if name in findings])
        axes.errorbar(
            value, places[shown], xerr=reach, fmt="o", color=colour, label=label, capsize=3
        )
    enough = [claim["enough"] for claim in claims]
    axes.scatter(enough, places, marker="|", s=160, color="black", label="enough to hold")
    axes.set_xlim(0, 1.03)
    axes.set_xlabel("share of labels, or size of a correlation")
    axes.tick_params(axis="y", length=0)
    axes.legend(fontsize="small", ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
