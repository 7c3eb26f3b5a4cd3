"""Figures of a transformer's explanation; only what a drawing needs is computed here."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.subgrid import Subgrid
from jaxmi.explanation import transformer_metrics as table
from jaxmi.explanation.transformer_evidence import Filters, Stream
from jaxmi.explanation.transformer_solution import TransformerExplanation
from jaxmi.report.figures import LABELS

LABEL_COLOURS = ("#b39b5e", "#2f5d8a")
"""Label 0, label 1."""
RUN_COLOURS = {"full": "#2f5d8a", "fixed": "#8fb3d1"}
GREY = "#888888"
SIDE_COLOURS = ("#d1352b", "#4f9a57")
"""Alpha's side, beta's."""
TOKEN_COLOURS = ("#2f5d8a", "#e0a526", "#4f9a57")
"""The operands, in the order of their tokens."""


def attention(explanation: TransformerExplanation, names: Sequence[str]) -> Figure:
    """Draw each head's pattern at the last position, and how much it varies over inputs.

    Args:
      explanation: The network's explanation.
      names: Each head's name.
    """
    tokens = [*explanation.domain.values, "last token"]
    colours = [*TOKEN_COLOURS[: len(tokens) - 1], GREY]
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    heads = np.arange(len(explanation.attention.mean))
    width = 0.81 / len(tokens)
    for i, (key, colour) in enumerate(zip(tokens, colours, strict=True)):
        left.bar(
            heads + width * (i - (len(tokens) - 1) / 2),
            explanation.attention.mean[:, i],
            0.925 * width,
            yerr=explanation.attention.std[:, i],
            color=colour,
            label=f"to {key}",
            error_kw={"linewidth": 1},
        )
    several = any("." in name for name in names)
    turned = 90 if len(names) > 16 else 0
    left.set_xticks(heads, names, rotation=turned)
    left.set_xlabel("block.head" if several else "head")
    left.set_ylabel("attention")
    left.set_title("mean over all inputs, with standard deviation", fontsize=10)
    left.legend(fontsize=8)
    lost = 100 * (1 - explanation.attention.kept_if_fixed)
    bars = right.bar(heads, lost, color=RUN_COLOURS["full"])
    if len(names) <= 16:
        right.bar_label(bars, fmt="%.1f", fontsize=8)
    right.set_xticks(heads, names, rotation=turned)
    right.set_xlabel("block.head" if several else "head")
    right.set_ylabel("labels changed, %")
    right.set_title("if this head alone is fixed to its mean", fontsize=10)
    return figure


def plane(explanation: TransformerExplanation) -> Figure:
    """Draw the residual stream in the plane of two principal components, with the two sides."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, run in zip(figure.subplots(1, 2), table.RUNS, strict=True):
        filters, stream = explanation.filters[run], explanation.streams[run]
        _scatter(axes, filters, stream)
        agreement = filters.boundary.agreement
        axes.set_title(f"{table.RUNS[run]}: both sides agree on {agreement:.1%}", fontsize=10)
        shares = filters.basis.variance_shares
        axes.set_xlabel(f"first principal component ({shares[0]:.1%})")
        axes.set_ylabel(f"second ({shares[1]:.1%})")
    return figure


def _scatter(axes: Axes, filters: Filters, stream: Stream) -> None:
    points, boundary = filters.points, filters.boundary
    size = 3 if len(points) > 5000 else 12
    for label, colour in enumerate(LABEL_COLOURS):
        x, y = points[stream.labels == label].T
        axes.scatter(x, y, s=size, alpha=0.5, color=colour, linewidths=0, label=f"label {label}")
    corner = np.linalg.solve(boundary.normals, boundary.thresholds)
    reach = 2 * np.abs(points).max()
    for i, (name, colour) in enumerate(zip(("alpha", "beta"), SIDE_COLOURS, strict=True)):
        along = boundary.normals[i][::-1] * [-1, 1]
        if boundary.normals[1 - i] @ along < 0:  # towards where the other side is passed
            along = -along
        axes.plot(*np.stack([corner, corner + reach * along]).T, color=colour, label=name)
    low, high = points.min(axis=0), points.max(axis=0)
    # A component without variance, as a compiled network may have, still needs an axis.
    margin = np.maximum(0.05 * (high - low), 1e-3 * max(1.0, float(np.abs(points).max())))
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axes.legend(fontsize=8, markerscale=3 if size == 3 else 1.5)


def filters(explanation: TransformerExplanation, challenge: Challenge) -> Figure:
    """Draw both filters over the domain, their AND, the network's labels, and the true labels.

    A domain of triples is drawn in slices, one row each. True labels that are sealed are left out.
    """
    domain = explanation.domain
    true = {} if challenge.sealed else {"ground truth": challenge.labels[domain.rows]}
    places = list(domain.slices(domain.rows))
    figure = Figure(figsize=(13 - 2.6 * challenge.sealed, 6 * len(places)), layout="constrained")
    panels = figure.subplots(2 * len(places), 4 + len(true), sharex=True, sharey=True)
    for first, run in zip((0, len(places)), table.RUNS, strict=True):
        filters = explanation.filters[run]
        strengths = filters.points @ filters.boundary.normals.T - filters.boundary.thresholds
        limits = np.percentile(np.abs(strengths), 99, axis=0)
        maps = {
            "alpha AND beta": np.asarray(filters.passed.all(axis=1)),
            "the network": explanation.streams[run].labels,
            **true,
        }
        for row, place in enumerate(places, start=first):
            for axes, name, strength, limit in zip(
                panels[row], ("alpha", "beta"), strengths.T, limits, strict=False
            ):
                grid = domain.slices(strength)[place]
                axes.imshow(grid, cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
                axes.set_title(f"{name} (passed where blue)", fontsize=9)
            for axes, (name, labels) in zip(panels[row, 2:], maps.items(), strict=True):
                grid = domain.slices(labels)[place]
                axes.imshow(grid, cmap=LABELS, vmin=0, vmax=1, interpolation="nearest")
                axes.set_title(name, fontsize=9)
            where = f", {place}" if place else ""
            panels[row, 0].set_ylabel(f"{table.RUNS[run]}{where}\nx{_of_drawn(domain)}")
    for axes in panels[-1]:
        axes.set_xlabel(f"y{_of_drawn(domain)}")
    return figure


def _of_drawn(domain: Subgrid) -> str:
    """Return what an axis adds to its name if it has some of the values only."""
    return "" if domain.whole else f" (the {domain.shape[0]} values drawn)"


def scrubs(explanation: TransformerExplanation) -> Figure:
    """Draw what every row of scrubbing keeps in both runs, with what turned sides keep."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots()
    bars = {"baseline": table.BASELINE, "goal": table.GOAL} | {
        row: {run: scrub.kept for run, scrub in scrubs.items()}
        for row, scrubs in table.SCRUBS.items()
        if scrubs["full"].kept.key in explanation.metrics
    }
    places = np.arange(len(bars))
    for shift, run in zip((-0.2, 0.2), table.RUNS, strict=True):
        values = [100 * explanation.metrics[by_run[run].key] for by_run in bars.values()]
        drawn = axes.bar(
            places + shift, values, 0.38, color=RUN_COLOURS[run], label=table.RUNS[run]
        )
        axes.bar_label(drawn, fmt="%.0f", fontsize=8)
    last_turned = "1+2+3a+3b" if "1+2+3a+3b" in bars else "2"
    turned = "the last row" if last_turned != "2" else "row 2"
    for metric, name, style in (
        (table.TURNED_MEAN[last_turned], f"{turned}, sides turned", "--"),
        (table.CHANCE, "labels drawn by their shares", ":"),
    ):
        value = 100 * explanation.metrics[metric.key]
        axes.axhline(value, color=GREY, linestyle=style, linewidth=1, label=name)
    axes.set_xticks(places, list(bars), rotation=25)
    axes.set_ylabel("the full network's labels kept, %")
    axes.set_ylim(0, 128)
    axes.legend(fontsize=8, ncols=2, loc="upper center")
    return figure


def mlp(explanation: TransformerExplanation) -> Figure:
    """Draw the mean logit difference past the MLP and through it, in each quadrant."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(table.QUADRANTS))
    for shift, values, name, colour in zip(
        (-0.2, 0.2),
        explanation.quadrants,
        ("past the MLP", "through the MLP"),
        ("#c9d3de", "#2f5d8a"),
        strict=True,
    ):
        bars = axes.bar(places + shift, values, 0.38, label=name, color=colour)
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.axhline(0, color=GREY, linewidth=0.8)
    sides = {"T": "passed", "F": "failed"}
    axes.set_xticks(places, [f"alpha {sides[q[0]]}\nbeta {sides[q[1]]}" for q in table.QUADRANTS])
    axes.set_ylabel("mean logit 1 - logit 0")
    axes.margins(y=0.15)
    axes.legend(fontsize=8)
    return figure
