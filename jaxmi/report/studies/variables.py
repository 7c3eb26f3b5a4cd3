"""The figure of the study `variables`: what each value reaches, and what the answers are worth."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.report.studies.intervals import BLUE, GREY, YELLOW, grouped_bars

TITLES = {
    "resid_mid": "a subspace of the sum before the MLP",
    "neurons": "one direction of the neurons",
}
"""Site -> the title of its panel."""

WORTH = {
    "conditions": "planted as\nconditions",
    "rows": "looked up\nby rows",
    "shuffled": "shuffled\nvalues",
}
"""What was asked for, where the answer is known -> its name."""


def draw_variables(result: Mapping[str, Any]) -> Figure:
    """Draw the result of the study `variables`."""
    findings, data = result["findings"], result["data"]
    figure = Figure(figsize=(17, 5.5), layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=(5, 5, 3))
    for axes, site in zip(panels, data["sites"], strict=False):
        _draw_site(axes, findings, data["names"], site)
    _draw_worth(panels[-1], findings, data["sites"])
    return figure


def _draw_site(axes: Axes, findings: Mapping[str, Any], names: list[str], site: str) -> None:
    """Draw the shares of strict pairs from which verdicts follow."""
    shown: dict[str, tuple[Any, Any]] = {}
    for i, name in enumerate(names):
        for share in ("strict_beyond_operands", "strict"):
            pair = [
                findings.get(f"variable_{i + 1}_{site}_{of}{share}") for of in ("", "shuffled_")
            ]
            if None not in pair:
                shown[_broken(name)] = (pair[0], pair[1])
                break
    axes.set_title(TITLES.get(site, site))
    if not shown:
        axes.axis("off")
        return
    own, shuffled = zip(*shown.values(), strict=True)
    series = {"the variable": own, "shuffled values": shuffled}
    grouped_bars(axes, list(shown), series, (BLUE, GREY), scale=100)
    axes.set_ylabel("strict pairs with the program's label, %")
    axes.set_ylim(0, 100)


def _broken(name: str) -> str:
    """Return a name in short lines."""
    lines = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + len(word) > 9:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _draw_worth(axes: Axes, findings: Mapping[str, Any], sites: list[str]) -> None:
    series = {TITLES[site]: [findings[f"{of}_{site}_computed"] for of in WORTH] for site in sites}
    grouped_bars(axes, list(WORTH.values()), series, (BLUE, YELLOW), scale=100)
    axes.set_ylim(0, 125)
    axes.set_ylabel("called computed, %")
    axes.set_title("what the answers are worth")
