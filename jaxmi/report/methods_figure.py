"""The figure of marked methods: what each gets right, and what it costs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxmi.methods.registry import CONTROLS
from jaxmi.methods.result import COLUMNS, find, table

COLOURS = ("#2f5d8a", "#e0a526", "#7a6aa8", "#4d8a57", "#a0522d")


def methods_figure(result: Mapping[str, Any]) -> Figure:
    """Draw each method's marks with their intervals, and its seconds for a question.

    Args:
      result: What `methods.json` has.
    """
    names = [row[0] for row in table(result)[1:]][::-1]
    figure = Figure(figsize=(11, 1.6 + 0.5 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    places = np.arange(len(names))
    for i, (heading, kind, site, negatives) in enumerate(COLUMNS):
        offset = 0.15 * (len(COLUMNS) / 2 - 0.5 - i)
        for place, name in zip(places, names, strict=True):
            marked = find(result, name, kind, site, negatives)
            if marked is None:
                continue
            value = marked["right" if kind == "explanation" else "auroc"]
            low, high = value["low"], value["high"]
            ends = [[0.0], [0.0]]
            if low is not None and high is not None:  # there is no interval of one program
                ends = [[value["value"] - low], [high - value["value"]]]
            left.errorbar(
                value["value"],
                place + offset,
                xerr=np.maximum(ends, 0),
                fmt="o",
                markersize=4,
                linewidth=1.2,
                color=COLOURS[i],
                label=heading if place == places[-1] else None,
            )
    left.axvline(0.5, color="#9aa7b5", linewidth=0.8)
    left.set_yticks(places, [f"{name} (control)" if name in CONTROLS else name for name in names])
    left.set_xlim(-0.02, 1.02)
    left.set_xlabel("AUROC; of explanations the share told right; bars: 95 % over programs")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    seconds = [result["methods"][name]["seconds"]["mean"] for name in names]
    right.barh(places, seconds, color="#9aa7b5", height=0.5)
    right.set_xscale("log")
    right.set_xlabel("seconds of process time a question")
    settings = result["settings"]
    figure.suptitle(f"explanation methods on {settings['plants'] + settings['trained']} plants")
    return figure
