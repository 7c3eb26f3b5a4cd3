"""The figure of the study `agreement`: shared mistakes, and votes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxmi.report.studies.intervals import BLUE, GREEN, GREY, RED, grouped_bars


def draw_agreement(result: Mapping[str, Any]) -> Figure:
    """Draw the result of the study `agreement`."""
    findings, data = result["findings"], result["data"]
    about = result["provenance"].get("challenge")
    figure = Figure(figsize=(16, 4.75 * len(data)), layout="constrained")
    grid = figure.subplots(len(data), 3, squeeze=False)
    for (counts, votes, overlap), network in zip(grid, data, strict=True):
        name = network if about is None else about["name"]
        _draw_counts(counts, data[network], name)
        _draw_votes(votes, data[network], name)
        grouped_bars(
            overlap,
            ["made by\nanother network", "wrong in half\nor more of them", "wrong\nin all"],
            {
                "of a network's mistakes": [
                    findings[f"{network}_{key}"]
                    for key in ("shared", "wrong_in_half", "wrong_in_all")
                ]
            },
            (RED,),
            scale=100,
        )
        chance = 100 * findings[f"{network}_shared_by_chance"]["value"]
        level = ([-0.45, 0.45], [chance, chance])
        overlap.plot(*level, color="#222222", linestyle="--", label="another, by chance")
        overlap.legend(fontsize="small", loc="upper right")
        overlap.set_ylim(0, 100)
        overlap.set_ylabel("%")
        overlap.set_title(f"{name}: a network's mistakes")
    return figure


def _draw_counts(axes: Axes, data: Mapping[str, Any], name: str) -> None:
    counts = np.array(data["wrong_networks"], float)
    n_wrong = np.arange(len(counts))
    axes.bar(n_wrong[1:], counts[1:], color=BLUE, label="networks")
    expected = np.array(data["independent"])
    shown = (n_wrong > 0) & (expected > 0.5)
    axes.plot(
        n_wrong[shown], expected[shown], "o-", color=GREY, label="if they erred independently"
    )
    axes.set_yscale("log")
    axes.set_ylim(0.5, None)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("number of networks that are wrong")
    axes.set_ylabel("test inputs")
    axes.set_title(f"{name}: inputs by the number of networks that err")
    axes.legend(fontsize="small")


def _draw_votes(axes: Axes, data: Mapping[str, Any], name: str) -> None:
    sizes = [point["networks"] for point in data["votes"]]
    majority = 100 * np.array([point["majority"] for point in data["votes"]])
    spread = 100 * np.array([point["spread"] for point in data["votes"]])
    axes.errorbar(sizes, majority, spread, fmt="o-", color=BLUE, capsize=3, label="majority vote")
    summed = [100 * point["summed"] for point in data["votes"]]
    axes.plot(sizes, summed, "s--", color=GREEN, label="sum of logit differences")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("voting networks (bars: standard deviation over sets)")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{name}: accuracy of votes")
    axes.legend(fontsize="small")
