"""The figure of the study `boundary`: mistakes by place, and what interventions change."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from jaxmi.report.studies.intervals import BLUE, GREEN, GREY, RED, YELLOW, bar_heights, grouped_bars

COLOURS = {"x4": RED, "y4": YELLOW, "line": BLUE, "bars": GREY}
LABELS = {
    "x4": "$x^4 = 40000\\,y$",
    "y4": "$y^4 = 360000\\,x$",
    "line": "$x + y = 133$",
    "bars": "bars' edges",
}
CURVES = ("x4", "y4", "line")


def draw_boundary(result: Mapping[str, Any]) -> Figure:
    """Draw the result of the study `boundary`."""
    findings, data = result["findings"], result["data"]
    figure = Figure(figsize=(16, 9.5), layout="constrained")
    (where, rates, shapes), (rows, density, openness) = figure.subplots(2, 3)
    _draw_map(where, data)
    _draw_rates(rates, data)
    _by_shape(shapes, findings, {LABELS[kind]: f"per_edge_{kind}_over_rows" for kind in CURVES})
    shapes.set_ylabel("mistakes per unit of boundary")
    shapes.set_title("each boundary, or what replaces it; intervals over rows")
    names = {
        label: f"mistakes_per_row_{times}_over_rows"
        for times, label in enumerate(("never", "once", "twice"))
    }
    _by_shape(rows, findings, names)
    rows.set_ylabel("mistakes per row")
    rows.set_title("by how often the label changes in a row; intervals over rows")
    _draw_density(density, findings)
    grouped_bars(
        openness,
        [LABELS[kind] for kind in CURVES],
        {
            label: [findings[f"rate_{state}_{kind}"] for kind in CURVES]
            for state, label in (
                ("open", "open: between training pairs of the row with different labels"),
                ("closed", "other test pairs"),
            )
        },
        (RED, BLUE),
        scale=100,
    )
    openness.set_ylim(0, 75)
    openness.set_ylabel("test pairs wrong, %")
    openness.set_title("within 3 steps of a boundary: open and other test pairs")
    return figure


def _by_shape(axes: Axes, findings: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Draw bars for the published labels and for both shapes of other boundaries."""
    grouped_bars(
        axes,
        list(names),
        {
            label: [findings[prefix + name] for name in names.values()]
            for prefix, label in (
                ("", "published labels"),
                ("straight_", "curves made straight"),
                ("bent_", "line made an arc"),
            )
        },
        (BLUE, GREEN, RED),
    )


def _draw_map(axes: Axes, data: Mapping[str, Any]) -> None:
    share = np.array(data["wrong_share"])
    axes.imshow(np.array(data["labels"]), cmap=ListedColormap(["#f4f2ea", "#dfe6ee"]))
    xs, ys = np.nonzero((share > 0) & (np.array(data["is_test"]) == 1))
    points = axes.scatter(
        ys, xs, c=share[xs, ys], s=7, marker="s", cmap="inferno_r", vmin=0, vmax=1
    )
    axes.figure.colorbar(points, ax=axes, label="share of networks that are wrong")
    axes.set_title("test pairs that some network gets wrong; background: labels")
    axes.set_xlabel("y")
    axes.set_ylabel("x")


def _draw_rates(axes: Axes, data: Mapping[str, Any]) -> None:
    for kind, points in data["rates"].items():
        known = [(i, {"value": p["rate"], **p}) for i, p in enumerate(points) if p["pairs"]]
        value, reach = bar_heights([point for _, point in known], 100)
        bins = [i for i, _ in known]
        axes.errorbar(
            bins, value, reach, fmt="o-", color=COLOURS[kind], label=LABELS[kind], capsize=3
        )
    starts = [point["over"] for point in data["rates"]["x4"]]
    names = [f"{a:g}-{b:g}" for a, b in pairwise(starts)]
    axes.set_xticks(range(len(starts)), [*names, f">{starts[-1]:g}"])
    axes.set_xlabel("distance to the nearest change of the label")
    axes.set_ylabel("test pairs wrong, %")
    axes.set_title("by distance and kind of boundary")
    axes.legend(fontsize="small")


def _draw_density(axes: Axes, findings: Mapping[str, Any]) -> None:
    arrangements = [
        (name, label)
        for name, label in (("alternate", "every 2nd row"), ("blocks", "14-row blocks"))
        if f"{name}_rate_dense" in findings
    ]
    grouped_bars(
        axes,
        [f"{label},\n{share}" for _, label in arrangements for share in ("80 %", "20 %")],
        {
            title: [
                findings[f"{name}_{measure}_{side}"]
                for name, _ in arrangements
                for side in ("dense", "sparse")
            ]
            for measure, title in (
                ("rate", "networks"),
                ("row_rule", "nearest training pair of the row"),
            )
        },
        (BLUE, GREY),
        scale=100,
    )
    axes.set_ylabel("test pairs wrong, %")
    axes.set_title("near curves and line, by the share of the row trained on")
