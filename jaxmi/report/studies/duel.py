"""The figure of the study `duel`: what features keep and how fine they are, and who is right."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.explanation.verdicts import MARGIN
from jaxmi.report.studies.intervals import BLUE, GREEN, GREY, RED, grouped_bars

COLOURS = {"first": BLUE, "second": RED}
CLASSES = {
    "both": "both permit",
    "owner": "only the\nowner permits",
    "other": "only the\nother permits",
    "neither": "neither\npermits",
}
LOSSES = {"loss": "loss", "loss_permuted": "other's\npermuted", "loss_similar": "similar\ninputs"}


def draw_duel(result: Mapping[str, Any]) -> Figure:
    """Draw the result of the study `duel`."""
    findings = result["findings"]
    figure = Figure(figsize=(16, 9), layout="constrained")
    (bits, kept), (loss, right) = figure.subplots(2, 2)
    _draw_bits(bits, result["data"]["points"])
    for axes, names, title in (
        (kept, CLASSES, "labels kept if components are exchanged"),
        (loss, LOSSES, "lost where only the owner permits, and under controls"),
    ):
        shown = {
            key: words
            for key, words in names.items()
            if all(f"{name}_{key}" in findings for name in COLOURS)
        }
        series = {
            f"components of the {name} solution": [findings[f"{name}_{key}"] for key in shown]
            for name in COLOURS
        }
        grouped_bars(axes, list(shown.values()), series, list(COLOURS.values()), scale=100)
        axes.set_ylabel("% of labels" if axes is kept else "points")
        axes.set_title(title)
    kept.set_ylim(0, 100)
    _draw_right(right, result)
    return figure


def _draw_bits(axes: Axes, points: list[Mapping[str, Any]]) -> None:
    for name, colour in COLOURS.items():
        of = [point for point in points if point["solution"] == name]
        axes.scatter(
            [point["bits"] for point in of],
            [100 * point["gain"] for point in of],
            s=14,
            color=colour,
            label=f"{name} solution" + (", with more or less noise" if name == "second" else ""),
        )
    axes.set_xlim(0, None)
    axes.set_xlabel("bits of feature")
    axes.set_ylabel("labels kept beyond a constant feature, points")
    axes.set_title("what features keep, and how fine they are")
    axes.legend(fontsize="small")


def _draw_right(axes: Axes, result: Mapping[str, Any]) -> None:
    """Draw each network's loss beyond controls, from the margin on of which the other is right."""
    excess = result["data"]["excess"]
    for place, (name, values) in enumerate(excess.items()):
        spread = place + (np.arange(len(values)) + 0.5) / max(len(values), 1) / 2 - 0.25
        axes.scatter(spread, 100 * np.array(values), s=16, color=COLOURS[name])
        shares = [result["findings"][f"{name}_{key}"]["value"] for key in ("is_right", "is_wrong")]
        text = f"{name} right in {shares[0]:.0%}\nthe other in {shares[1]:.0%} of networks"
        axes.text(place, 0.97, text, transform=axes.get_xaxis_transform(), ha="center", va="top")
    axes.axhline(100 * MARGIN, color=GREY, linestyle="--", label="the other is right from here on")
    axes.axhline(0, color=GREEN, linewidth=0.8)
    axes.set_xticks(range(len(excess)), [f"only the {name}\npermits" for name in excess])
    axes.set_xlim(-0.6, len(excess) - 0.4)
    axes.margins(y=0.3)
    axes.set_ylabel("loss beyond controls, points")
    axes.set_title("who is right where only one permits, network by network")
    axes.legend(fontsize="small", loc="lower right")
