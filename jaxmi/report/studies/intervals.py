"""Findings with their intervals: as text for the terminal and for pages, as bars for figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

Interval = Mapping[str, Any]
"""A finding in JSON types, or anything else with "value", "low" and "high"."""

BLUE, RED, GREEN, YELLOW, GREY = "#2f5d8a", "#d1352b", "#4f9a57", "#e0a526", "#8a8f98"


def number(value: float) -> str:
    """Format a number with about three digits."""
    if value == round(value) and abs(value) >= 1:
        return f"{value:.0f}"
    size = abs(value)
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.3f}"


def interval(finding: Interval) -> tuple[str, str]:
    """Format a finding's value and its interval, which is empty if there is none."""
    if finding["low"] == finding["high"]:
        return number(finding["value"]), ""
    return number(finding["value"]), f"{number(finding['low'])} to {number(finding['high'])}"


def markdown(findings: Mapping[str, Interval], names: Sequence[str]) -> str:
    """Return a Markdown table of findings, one per line."""
    lines = ["| finding | value | 95 % interval | what |", "|---|---|---|---|"]
    for name in names:
        value, between = interval(findings[name])
        lines.append(f"| `{name}` | {value} | {between} | {findings[name]['words']} |")
    return "\n".join(lines)


def bar_heights(
    findings: Sequence[Interval], scale: int | float = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return values, and how far their intervals reach below and above, (2, n)."""
    value, low, high = (
        scale * np.array([finding[key] for finding in findings]) for key in ("value", "low", "high")
    )
    return value, np.maximum(np.stack([value - low, high - value]), 0)


def bars(
    axes: Axes,
    findings: Mapping[str, Interval],
    colours: str | Sequence[str],
    scale: int | float = 1,
) -> None:
    """Draw a bar with its interval for each finding, by name."""
    value, reach = bar_heights(list(findings.values()), scale)
    axes.bar(list(findings), value, yerr=reach, color=colours, capsize=4)
    axes.tick_params(axis="x", labelsize="small")


def grouped_bars(
    axes: Axes,
    groups: Sequence[str],
    series: Mapping[str, Sequence[Interval]],
    colours: Sequence[str],
    scale: int | float = 1,
) -> None:
    """Draw bars side by side in groups, one colour per series, with a legend."""
    width = 0.8 / len(series)
    for number_in_group, (name, findings) in enumerate(series.items()):
        value, reach = bar_heights(findings, scale)
        x = np.arange(len(groups)) + width * (number_in_group - (len(series) - 1) / 2)
        colour = colours[number_in_group]
        axes.bar(x, value, 0.92 * width, yerr=reach, color=colour, label=name, capsize=3)
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis="x", labelsize="small")
    axes.legend(fontsize="small")
