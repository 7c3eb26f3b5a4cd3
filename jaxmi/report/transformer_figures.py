"""The explanation of a transformer as figures. It computes nothing but what a drawing needs."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.explanation.transformer_evidence import Filters, Stream
from jaxmi.explanation.transformer_solution import QUADRANTS, RUNS, TransformerExplanation
from jaxmi.report.figures import LABELS

LABEL_COLOURS = ("#b39b5e", "#2f5d8a")
"""Label 0, label 1."""
RUN_COLOURS = {"full": "#2f5d8a", "fixed": "#8fb3d1"}
RUN_NAMES = {"full": "attention as it is", "fixed": "attention fixed to its mean"}
GREY = "#888888"
SIDE_COLOURS = ("#d1352b", "#4f9a57")
"""Alpha's side, beta's."""


def attention(found: TransformerExplanation) -> Figure:
    """Draws each head's pattern at the last position, and how much it varies over inputs."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    heads = np.arange(len(found.attention.mean))
    for i, (key, colour) in enumerate(
        zip(("x", "y", "last token"), ("#2f5d8a", "#e0a526", GREY), strict=True)
    ):
        left.bar(
            heads + 0.27 * (i - 1),
            found.attention.mean[:, i],
            0.25,
            yerr=found.attention.std[:, i],
            color=colour,
            label=f"to {key}",
            error_kw={"linewidth": 1},
        )
    left.set_xticks(heads)
    left.set_xlabel("head")
    left.set_ylabel("attention")
    left.set_title("mean over all pairs, with standard deviation", fontsize=10)
    left.legend(fontsize=8)
    lost = 100 * (1 - found.attention.kept_if_fixed)
    bars = right.bar(heads, lost, color=RUN_COLOURS["full"])
    right.bar_label(bars, fmt="%.1f", fontsize=8)
    right.set_xticks(heads)
    right.set_xlabel("head")
    right.set_ylabel("labels changed, %")
    right.set_title("if this head alone is fixed to its mean", fontsize=10)
    return figure


def plane(found: TransformerExplanation) -> Figure:
    """Draws the residual stream in the plane of two principal components, with the two sides."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, run in zip(figure.subplots(1, 2), RUNS, strict=True):
        filters, stream = found.filters[run], found.streams[run]
        _scatter(axes, filters, stream)
        agreement = filters.boundary.agreement
        axes.set_title(f"{RUN_NAMES[run]}: both sides agree on {agreement:.1%}", fontsize=10)
        shares = filters.basis.variance_shares
        axes.set_xlabel(f"first principal component ({shares[0]:.1%})")
        axes.set_ylabel(f"second ({shares[1]:.1%})")
    return figure


def _scatter(axes: Axes, filters: Filters, stream: Stream) -> None:
    points, boundary = filters.points, filters.boundary
    for label, colour in enumerate(LABEL_COLOURS):
        x, y = points[stream.labels == label].T
        axes.scatter(x, y, s=3, alpha=0.5, color=colour, linewidths=0, label=f"label {label}")
    corner = np.linalg.solve(boundary.normals, boundary.thresholds)
    reach = 2 * np.abs(points).max()
    for i, (name, colour) in enumerate(zip(("alpha", "beta"), SIDE_COLOURS, strict=True)):
        along = boundary.normals[i][::-1] * [-1, 1]
        if boundary.normals[1 - i] @ along < 0:  # towards where the other side is passed
            along = -along
        axes.plot(*np.stack([corner, corner + reach * along]).T, color=colour, label=name)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.05 * (high - low)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axes.legend(fontsize=8, markerscale=3)


def filters(found: TransformerExplanation, truth: np.ndarray) -> Figure:
    """Draws both filters over the domain, their AND, the network's labels, and the true ones."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    grid = figure.subplots(2, 5, sharex=True, sharey=True)
    p = round(len(truth) ** 0.5)
    for row, run in zip(grid, RUNS, strict=True):
        chosen = found.filters[run]
        strengths = chosen.points @ chosen.boundary.normals.T - chosen.boundary.thresholds
        for axes, name, strength in zip(row, ("alpha", "beta"), strengths.T, strict=False):
            limit = np.percentile(np.abs(strength), 99)
            table = strength.reshape(p, p)
            axes.imshow(table, cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
            axes.set_title(f"{name} (passed where blue)", fontsize=9)
        for axes, name, labels in zip(
            row[2:],
            ("alpha AND beta", "the network", "ground truth"),
            (chosen.passed.all(axis=1), found.streams[run].labels, truth),
            strict=True,
        ):
            axes.imshow(labels.reshape(p, p), cmap=LABELS, vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(name, fontsize=9)
        row[0].set_ylabel(f"{RUN_NAMES[run]}\nx")
    for axes in grid[-1]:
        axes.set_xlabel("y")
    return figure


def scrubs(found: TransformerExplanation) -> Figure:
    """Draws every row of scrubbing for both runs, with what turned sides keep."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(found.rows))
    for shift, run in zip((-0.2, 0.2), RUNS, strict=True):
        values = [100 * row[run] for row in found.rows.values()]
        bars = axes.bar(places + shift, values, 0.38, color=RUN_COLOURS[run], label=RUN_NAMES[run])
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    for key, name, style in (
        ("control_wrong_sides_scrub_1_2_3a_3b", "the last row, sides turned", "--"),
        ("chance", "labels drawn by their shares", ":"),
    ):
        value = 100 * found.figures[key]
        axes.axhline(value, color=GREY, linestyle=style, linewidth=1, label=name)
    axes.set_xticks(places, list(found.rows), rotation=25)
    axes.set_ylabel("the full network's labels kept, %")
    axes.set_ylim(0, 128)
    axes.legend(fontsize=8, ncols=2, loc="upper center")
    return figure


def mlp(found: TransformerExplanation) -> Figure:
    """Draws what reaches the logit difference past the MLP and through it, by quadrant."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(QUADRANTS))
    for shift, values, name, colour in zip(
        (-0.2, 0.2),
        found.quadrants,
        ("past the MLP", "through the MLP"),
        ("#c9d3de", "#2f5d8a"),
        strict=True,
    ):
        bars = axes.bar(places + shift, values, 0.38, label=name, color=colour)
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.axhline(0, color=GREY, linewidth=0.8)
    sides = {"T": "passed", "F": "failed"}
    axes.set_xticks(places, [f"alpha {sides[q[0]]}\nbeta {sides[q[1]]}" for q in QUADRANTS])
    axes.set_ylabel("mean logit 1 - logit 0")
    axes.margins(y=0.15)
    axes.legend(fontsize=8)
    return figure
