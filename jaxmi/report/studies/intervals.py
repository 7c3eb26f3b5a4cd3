"""Findings as bars and points with their intervals.

A study's findings as rows of text, for the terminal and for pages.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes


def number(value: float) -> str:
    """Writes a number with three digits or so, the same way everywhere."""
    if value == round(value) and abs(value) >= 1:
        return f"{value:.0f}"
    size = abs(value)
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.3f}"


def interval(found: Mapping[str, Any]) -> tuple[str, str]:
    """Writes a finding's value, and its interval unless it has none."""
    if found["low"] == found["high"]:
        return number(found["value"]), ""
    return number(found["value"]), f"{number(found['low'])} to {number(found['high'])}"


def markdown(findings: Mapping[str, Any], names: list[str]) -> str:
    """Returns findings as a Markdown table, a line each."""
    lines = ["| finding | value | 95 % interval | what |", "|---|---|---|---|"]
    for name in names:
        value, between = interval(findings[name])
        lines.append(f"| `{name}` | {value} | {between} | {findings[name]['words']} |")
    return "\n".join(lines)


BLUE, RED, GREEN, YELLOW, GREY = "#2f5d8a", "#d1352b", "#4f9a57", "#e0a526", "#8a8f98"

Interval = Mapping[str, Any]
"""Something with a value and its interval: "value", "low", "high"."""


def heights(found: Sequence[Interval], scale: int | float = 1) -> tuple[np.ndarray, np.ndarray]:
    """Returns values, and how far their intervals reach below and above, (2, n)."""
    value, low, high = (
        scale * np.array([one[key] for one in found]) for key in ("value", "low", "high")
    )
    return value, np.maximum(np.stack([value - low, high - value]), 0)


def bars(
    axes: Axes, found: Mapping[str, Interval], colours: str | Sequence[str], scale: int | float = 1
) -> None:
    """Draws a bar for each finding, by name, with its interval."""
    value, reach = heights(list(found.values()), scale)
    axes.bar(list(found), value, yerr=reach, color=colours, capsize=4)
    axes.tick_params(axis="x", labelsize="small")


def grouped_bars(
    axes: Axes,
    groups: Sequence[str],
    series: Mapping[str, Sequence[Interval]],
    colours: Sequence[str],
    scale: int | float = 1,
) -> None:
    """Draws bars side by side in groups, a colour per series, with a legend."""
    width = 0.8 / len(series)
    for place, (name, found) in enumerate(series.items()):
        value, reach = heights(found, scale)
        at = np.arange(len(groups)) + width * (place - (len(series) - 1) / 2)
        axes.bar(at, value, 0.92 * width, yerr=reach, color=colours[place], label=name, capsize=3)
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis="x", labelsize="small")
    axes.legend(fontsize="small")
