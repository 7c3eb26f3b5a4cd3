"""The figure of the studies of universality: checks, and each metric's spread over seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.explanation import cnn_metrics, transformer_metrics
from jaxmi.explanation.metrics import Unit
from jaxmi.report.studies.intervals import BLUE, GREEN, RED, YELLOW, bar_heights
from jaxmi.studies.universality import TEST_ACCURACY

METRICS = {**cnn_metrics.TABLE, **transformer_metrics.TABLE}
"""Both challenges' metrics; where both have a key, its unit is the same."""

CONTROLS = {
    metric.key
    for metric in (
        *(metric for metric in METRICS.values() if metric.is_control),
        cnn_metrics.SCRUB_RANDOM.kept,
        cnn_metrics.ARMWISE_RANDOM_MEAN,
        cnn_metrics.ARMWISE_RANDOM_MAX,
        cnn_metrics.ARMWISE_SWAPPED,
        cnn_metrics.KEPT_WITHOUT_OTHER_RANDOM,
        transformer_metrics.CONSTANT,
    )
}
"""Keys of the metrics that are drawn as controls."""

ON_SHARE_AXIS = (Unit.SHARE, Unit.CORRELATION)
"""Units that are drawn on one axis, from 0 to 100 %."""


def draw_universality(result: Mapping[str, Any]) -> Figure:
    """Draw the result of either study of universality."""
    findings, data = result["findings"], result["data"]
    shares = [name for name in data["values"] if _is_share(name)]
    others = [name for name in data["values"] if not _is_share(name)]
    figure = Figure(figsize=(16, 3 + 0.24 * len(shares)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _draw_shares(right, shares, data)
    if others:
        top, bottom = _split(figure, left)
        _draw_checks(top, findings, data)
        _draw_others(bottom, others, data)
    else:
        _draw_checks(left, findings, data)
    return figure


def _is_share(name: str) -> bool:
    return name == TEST_ACCURACY or METRICS[name].unit in ON_SHARE_AXIS


def _split(figure: Figure, axes: Axes) -> tuple[Axes, Axes]:
    grid = axes.get_subplotspec()
    assert grid is not None
    axes.remove()
    upper, lower = grid.subgridspec(2, 1, hspace=0.1)
    return figure.add_subplot(upper), figure.add_subplot(lower)


def _draw_checks(axes: Axes, findings: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    names = list(data["claims"])
    value, reach = bar_heights([findings[f"claim_{name}"] for name in names], 100)
    y = np.arange(len(names))[::-1]
    colours = [GREEN if share == 100 else YELLOW if share >= 50 else RED for share in value]
    axes.barh(y, value, xerr=reach, color=colours, capsize=3)
    axes.set_yticks(y, [_wrap(data["claims"][name]) for name in names], fontsize=7)
    axes.set_xlim(0, 105)
    axes.set_xlabel("networks, %; green: all, yellow: half or more, red: fewer")
    axes.set_title(f"share of {len(data['seeds'])} networks in which each check holds")


def _draw_shares(axes: Axes, names: list[str], data: Mapping[str, Any]) -> None:
    rng = np.random.default_rng(0)
    for y, name in zip(range(len(names))[::-1], names, strict=True):
        values = 100 * np.array(data["values"][name])
        colour = RED if name in CONTROLS else BLUE
        jitter = rng.uniform(-0.25, 0.25, len(values))
        axes.plot(values, y + jitter, ".", color=colour, alpha=0.5, markersize=4)
        axes.plot([np.median(values)] * 2, [y - 0.35, y + 0.35], color=colour, linewidth=2)
        if name in data["original"]:
            original = 100 * np.array(data["original"][name])
            axes.plot(original, np.full(len(original), y), "^", color=GREEN, markersize=4)
        if name in data["published"]:
            axes.plot(100 * data["published"][name], y, "D", color=YELLOW, markersize=5)
    if data["original"]:
        axes.plot([], [], "^", color=GREEN, label="networks by the published recipe")
    if data["published"]:
        axes.plot([], [], "D", color=YELLOW, label="published network")
    axes.plot([], [], ".", color=RED, label="controls")
    axes.plot([], [], ".", color=BLUE, label="networks; line: median")
    axes.set_yticks(range(len(names))[::-1], names, fontsize=7)
    axes.set_xlabel("%")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title("every network's metrics")
    axes.legend(fontsize="small", loc="lower left")


def _draw_others(axes: Axes, names: list[str], data: Mapping[str, Any]) -> None:
    """Draw metrics that are no shares, each on its own scale."""
    for y, name in zip(range(len(names))[::-1], names, strict=True):
        values = np.array(data["values"][name])
        low, high = values.min(), values.max()
        published = data["published"].get(name)
        if published is not None:
            low, high = min(low, published), max(high, published)
        width = high - low or 1.0
        axes.plot((values - low) / width, np.full(len(values), y), ".", color=BLUE, alpha=0.5)
        if published is not None:
            axes.plot((published - low) / width, y, "D", color=YELLOW, markersize=5)
        axes.text(-0.02, y, f"{low:.3g}", ha="right", va="center", fontsize=7)
        axes.text(1.02, y, f"{high:.3g}", va="center", fontsize=7)
    axes.set_yticks(range(len(names))[::-1], names, fontsize=7)
    axes.set_xlim(-0.25, 1.25)
    axes.set_xticks([])
    title = "in their own units, lowest to highest"
    axes.set_title(title + "; diamond: published" * bool(data["published"]), fontsize="medium")


def _wrap(text: str, width: int = 46) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
