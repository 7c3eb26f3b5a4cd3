"""The figure of the study `interpolation`: models that only interpolate, and networks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from jaxmi.report.studies.intervals import BLUE, GREEN, GREY, RED, YELLOW, grouped_bars

NAMES = {
    "nearest": "1-NN",
    "knn": "k-NN,\ntuned",
    "row": "nearest\nin the row",
    "gp": "Gaussian\nprocess",
    "ntk": "tangent\nkernel",
    "seed": "another\nseed",
}


def draw_interpolation(result: Mapping[str, Any]) -> Figure:
    """Draw the result of the study `interpolation`."""
    findings, data = result["findings"], result["data"]
    names = {key: name for key, name in NAMES.items() if f"{key}_accuracy" in findings}
    figure = Figure(figsize=(16, 9.5), layout="constrained")
    (labels, mistakes, kappa), (own, row, kernel) = figure.subplots(2, 3)
    grouped_bars(
        labels,
        list(names.values()),
        {
            "the program's": [findings[f"{name}_accuracy"] for name in names],
            "the network's": [findings[f"{name}_agreement"] for name in names],
        },
        (GREY, BLUE),
        scale=100,
    )
    level = 100 * findings["network_accuracy"]["value"]
    labels.axhline(level, color="#444444", linestyle="--", linewidth=1, label="network's accuracy")
    labels.legend(fontsize="small", loc="upper center", ncols=2)
    labels.set_ylabel("test labels predicted, %")
    labels.set_title("labels that a model predicts")
    labels.set_ylim(0, 125)
    grouped_bars(
        mistakes,
        list(names.values()),
        {
            "made by the model too": [findings[f"{name}_mistakes_shared"] for name in names],
            "by chance": [findings[f"{name}_mistakes_by_chance"] for name in names],
            "by chance, at the same distance": [
                findings[f"{name}_mistakes_by_distance"] for name in names
            ],
        },
        (RED, GREY, YELLOW),
        scale=100,
    )
    mistakes.set_ylabel("of the network's mistakes, %")
    mistakes.set_ylim(0, 100)
    mistakes.set_title("the network's mistakes")
    grouped_bars(
        kappa,
        list(names.values()),
        {
            "Cohen's kappa": [findings[f"{name}_kappa"] for name in names],
            "over the largest kappa that the numbers of mistakes allow": [
                findings[f"{name}_kappa_of_possible"] for name in names
            ],
        },
        (GREEN, GREY),
    )
    kappa.set_ylim(0, 1)
    kappa.set_title("agreement on what is wrong")
    points = _draw_wrong(own, data["wrong_networks"], data, "networks")
    figure.colorbar(points, ax=own, label="share of networks that are wrong")
    _draw_wrong(row, data["wrong"]["row"], data, "nearest in the row")
    _draw_wrong(kernel, data["wrong"]["gp"], data, "Gaussian process")
    return figure


def _draw_wrong(
    axes: Axes, wrong: list[float], data: Mapping[str, Any], title: str
) -> PathCollection:
    table = np.full(data["p"] ** 2, np.nan)
    table[data["test"]] = wrong
    table = table.reshape(data["p"], data["p"])
    xs, ys = np.nonzero(table > 0)
    points = axes.scatter(
        ys, xs, c=table[xs, ys], s=6, marker="s", cmap="inferno_r", vmin=0, vmax=1
    )
    axes.set_xlim(-0.5, data["p"] - 0.5)
    axes.set_ylim(data["p"] - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_title(f"wrong test pairs: {title}")
    axes.set_xlabel("y")
    axes.set_ylabel("x")
    return points
