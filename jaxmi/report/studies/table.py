"""A study's findings as rows of text, for the terminal and for pages."""

from collections.abc import Mapping
from typing import Any


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
