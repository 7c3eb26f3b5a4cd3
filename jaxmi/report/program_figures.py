"""Figures of a program that was read off a network's weights."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.mechanism.account import Account
from jaxmi.mechanism.placement import Placement
from jaxmi.mechanism.reading import Cell, Smoothed
from jaxmi.mechanism.weights_program import WeightsProgram
from jaxmi.report.figures import LABELS

MOST_PANELS = 12
"""Parts of the domain that are drawn, those of most pairs."""

COLUMNS = 3

PALE = 0.3
"""Opacity of rows and columns whose classes are others."""

TEXT_SIZE = 8


def program(account: Account) -> Figure:
    """Draw each class's map of labels, its thresholds, and the neurons that place them."""
    given = account.program
    assert given is not None
    cells = [cell for cell, _ in given.reading.pieces]
    sizes = [len(cell.rows) * len(cell.columns) for cell in cells]
    shown = sorted(np.argsort(sizes)[::-1][:MOST_PANELS].tolist())
    n_rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.9 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, COLUMNS, squeeze=False).reshape(-1)
    labels = account.answers.labels.reshape(account.domain.shape)
    for axes, i in zip(panels, shown, strict=False):
        _draw_cell(axes, given, i, labels)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    return figure


def _draw_cell(axes: Axes, given: WeightsProgram, place: int, labels: np.ndarray) -> None:
    """Draw the map as if all values were in a cell; its own rows in full colour."""
    smoothed = given.reading.smoothed
    cell, pieces = given.reading.pieces[place]
    values = smoothed.values
    own = np.zeros(labels.shape, bool)
    own[np.ix_(cell.rows, cell.columns)] = True
    as_if = smoothed.as_if(cell.groups)
    style = {"cmap": LABELS, "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    axes.imshow(as_if, alpha=PALE, **style)
    axes.imshow(np.ma.masked_array(labels, ~own), **style)
    start = int(values[cell.rows[0]])
    placed = {(one.piece, one.threshold): one for one in given.placements if one.cell == place}
    for j, piece in enumerate(pieces):
        x = np.linspace(start, piece.end, 60)
        for k, threshold in enumerate(piece.thresholds):
            y = np.polynomial.polynomial.polyval(x, threshold)
            y = np.where((y < values[0] - 0.5) | (y > values[-1] + 0.5), np.nan, y)
            axes.plot(y, x, color="white", linewidth=3.2)
            axes.plot(y, x, color="black", linewidth=1.4)
            placement = placed.get((j, threshold))
            if placement is not None:
                _name_neurons(axes, placement, k, float(values[-1]))
        start = piece.end
    axes.set_xlim(values[0] - 0.5, values[-1] + 0.5)
    axes.set_ylim(values[-1] + 0.5, values[0] - 0.5)
    axes.set_xlabel("y")
    axes.set_ylabel("x")
    axes.set_title(cell_title(smoothed, cell), fontsize=10)


def _name_neurons(axes: Axes, placement: Placement, place: int, last: float) -> None:
    """Write beside the threshold at a place among those of its piece which neurons place it."""
    share = (place % 3 + 1) / 4  # so that neighbours do not overlap
    x = float(placement.rows[int(share * len(placement.rows))])
    y = float(np.polynomial.polynomial.polyval(x, placement.threshold))
    axes.annotate(
        ", ".join(map(str, placement.neurons)),
        (y, x),
        xytext=(-4 if y > last / 2 else 4, 0),
        textcoords="offset points",
        ha="right" if y > last / 2 else "left",
        va="center",
        fontsize=TEXT_SIZE,
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "alpha": 0.85, "linewidth": 0},
    )


def cell_title(smoothed: Smoothed, cell: Cell) -> str:
    """Return the classes of a part of the domain in words."""
    conditions = [
        f"{part.text}: {', '.join(map(str, part.members(group)))}"
        for parts, groups in zip(smoothed.groups.values(), cell.groups, strict=True)
        for part, group in zip(parts, groups, strict=True)
        if part.n_groups > 1
    ]
    return "; ".join(conditions) or "all pairs"
