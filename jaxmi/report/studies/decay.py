"""The figure of the study `decay`: test accuracy, gains after the fit, and learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.programs.domain import P

EXAMPLES = {"transformer": "pairs", "cnn": "images"}
"""Group of the published challenges' cells -> what their inputs are called."""


def draw_decay(result: Mapping[str, Any]) -> Figure:
    """Draw the result of the study `decay`."""
    cells = result["data"]["cells"]
    about = result["provenance"].get("challenge")
    present = {cell["group"] for cell in cells}
    groups = [group for group in EXAMPLES if group in present]
    n_rows = len(groups) + ("addition" in present)
    figure = Figure(figsize=(17, 13 * n_rows / 3), layout="constrained")
    grid = figure.subplots(n_rows, 3, squeeze=False)
    for (accuracy, gain, curves), group in zip(grid, groups, strict=False):
        name = group if about is None else about["name"]
        own_cells = [cell for cell in cells if cell["group"] == group]
        label = f"{name}, {EXAMPLES[group] if about is None else about['kind']}"
        _draw_map(accuracy, own_cells, "test_value", f"{label}: test accuracy, %", "viridis")
        dark = 100 * result["data"]["grokked"]
        title = f"{label}: gain after the fit, points; black: {dark:g} or more, grokking"
        _draw_map(gain, own_cells, "gain_value", title, "magma_r", dark)
        decays = sorted({cell["decay"] for cell in own_cells})
        middle = decays[len(decays) // 2]
        _draw_curves(
            curves,
            [cell for cell in own_cells if cell["decay"] == middle],
            f"{name}: weight decay {middle:g}",
        )
    if "addition" in present:
        _draw_control(grid[-1], cells, result["data"].get("p", P))
    return figure


def _draw_control(row: np.ndarray, cells: Sequence[Mapping[str, Any]], p: int) -> None:
    """Draw the learning curves of the long runs on numbers, and of addition, into three axes."""
    long = [cell for cell in cells if cell["group"] == "transformer_long"]
    decays = sorted({cell["decay"] for cell in long})
    for axes, decay in zip(row, decays, strict=False):
        chosen = [cell for cell in long if cell["decay"] == decay]
        _draw_curves(axes, chosen, f"transformer, long: weight decay {decay:g}")
    for axes in row[len(decays) : 2]:
        axes.axis("off")
    addition = [cell for cell in cells if cell["group"] == "addition"]
    _draw_curves(row[2], addition, f"the control: addition modulo {p}")


def _draw_map(
    axes: Axes,
    cells: Sequence[Mapping[str, Any]],
    key: str,
    title: str,
    colours: str,
    ceiling: float | None = None,
) -> None:
    decays = sorted({cell["decay"] for cell in cells})
    sizes = sorted({cell["train"] for cell in cells})
    table = np.full((len(decays), len(sizes)), np.nan)
    for cell in cells:
        table[decays.index(cell["decay"]), sizes.index(cell["train"])] = 100 * cell[key]
    low = None if ceiling is None else 0
    image = axes.imshow(table, cmap=colours, vmin=low, vmax=ceiling, aspect="auto", origin="lower")
    for (row, column), value in np.ndenumerate(table):
        dark = np.mean(image.to_rgba(np.array([value]))[0, :3]) < 0.5
        axes.text(
            column,
            row,
            f"{value:.1f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes], fontsize=7)
    axes.set_yticks(range(len(decays)), [f"{decay:g}" for decay in decays])
    axes.set_xlabel("examples trained on")
    axes.set_ylabel("weight decay")
    axes.set_title(title)


def _draw_curves(axes: Axes, cells: Sequence[Mapping[str, Any]], title: str) -> None:
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(cells), 1)))
    for colour, cell in zip(colours, sorted(cells, key=lambda cell: cell["train"]), strict=True):
        axes.plot(cell["steps"], 100 * np.array(cell["train_curve"]), ":", color=colour)
        name = f"{cell['train']:,} examples"
        axes.plot(cell["steps"], 100 * np.array(cell["test_curve"]), color=colour, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("accuracy, %: test, and train (dotted)")
    axes.set_title(title)
    axes.legend(fontsize=7, loc="lower right")
