"""The figure of a transformer's attention heads."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.mechanism import heads_metrics as table
from jaxmi.mechanism.heads import Heads

COLOURS = {"x": "#2f5d8a", "y": "#e0a526", "w": "#4f9a57"}
"""Operand -> its colour."""

OF_ATTENTION, RANDOM = "#d1352b", "#888888"

SMALLEST = 0.01
"""A group of neurons is drawn from this share of importance on."""


def heads(given: Heads) -> Figure:
    """Draw what each head adds to each group, the labels without it, and how attention moves."""
    metrics, groups = given.metrics, given.names.groups[1:]
    shown = [group for group in groups if metrics[group.importance.key] >= SMALLEST]
    columns = max(len(shown), 1) * 2
    figure = Figure(figsize=(max(3.2 * len(shown), 9), 6.6), layout="constrained")
    grid = figure.add_gridspec(2, columns)
    first: Axes | None = None
    for i, group in enumerate(shown):
        axes = figure.add_subplot(grid[0, 2 * i : 2 * i + 2], sharey=first)
        first = first or axes
        _draw_added(axes, given, group)
    if first is not None:
        first.set_ylabel("share of the variance of neurons' input, %")
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=8, loc="outside upper center", ncols=len(labels))
    half = columns // 2
    _draw_labels(figure.add_subplot(grid[1, :half]), given)
    _draw_moved(figure.add_subplot(grid[1, half:]), given)
    return figure


def _draw_added(axes: Axes, given: Heads, group: table.Group) -> None:
    """Draw the parts that each head adds, upwards; those that work against the rest, downwards."""
    scopes = given.names.heads
    parts = {
        **{table.value_of(o): (f"by the value of {o}", COLOURS[o]) for o in given.domain.values},
        table.PATTERN: ("by varying attention", OF_ATTENTION),
    }
    tops, bottoms = np.zeros(len(scopes)), np.zeros(len(scopes))
    for part, (label, colour) in parts.items():
        shares = np.array(
            [100 * given.metrics[scope.added[group.name, part].key] for scope in scopes]
        )
        start = np.where(shares >= 0, tops, bottoms)
        axes.bar(range(len(scopes)), shares, bottom=start, color=colour, label=label)
        tops, bottoms = tops + np.maximum(shares, 0), bottoms + np.minimum(shares, 0)
    importance, count = (m.format(given.metrics) for m in (group.importance, group.neurons))
    axes.set_title(f"{group.label}\n{count} neurons, {importance} of importance", fontsize=9)
    _label_heads(axes, given)


def _draw_labels(axes: Axes, given: Heads) -> None:
    """Draw the labels that are kept with each head replaced."""
    scopes = given.names.heads
    kinds = (
        ("output at its mean", "#2f5d8a", "o", [s.ablated.agreement for s in scopes]),
        ("output of another input", "#e0a526", "s", [s.resampled for s in scopes]),
        (
            "attention of another input",
            OF_ATTENTION,
            "D",
            [s.pattern_resampled[table.ANY] for s in scopes],
        ),
        (
            "output of another input, change turned: control",
            RANDOM,
            "x",
            [s.resampled.control.metric for s in scopes if s.resampled.control],
        ),
    )
    for label, colour, marker, chosen in kinds:
        kept = [100 * given.metrics[metric.key] for metric in chosen]
        axes.plot(range(len(scopes)), kept, marker, color=colour, label=label)
    axes.set_ylabel("labels kept, %")
    axes.set_title("one head replaced", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _label_heads(axes, given)


def _draw_moved(axes: Axes, given: Heads) -> None:
    """Draw how much of each head's attention moves with another value of each operand."""
    scopes, operands = given.names.heads, list(given.domain.values)
    width = 0.8 / len(operands)
    for i, operand in enumerate(operands):
        moved = [100 * given.metrics[scope.moved[operand].key] for scope in scopes]
        places = np.arange(len(scopes)) + (i - (len(operands) - 1) / 2) * width
        axes.bar(places, moved, width, color=COLOURS[operand], label=f"with another {operand}")
    untrained = given.metrics[given.names.untrained_moved[table.ANY].key]
    axes.axhline(
        100 * untrained, color=RANDOM, linestyle="--", label="untrained, with another input"
    )
    axes.set_ylabel("attention that moves, %")
    axes.set_title("how attention depends on the operands", fontsize=9)
    axes.legend(fontsize=8)
    _label_heads(axes, given)


def _label_heads(axes: Axes, given: Heads) -> None:
    axes.set_xticks(range(len(given.names.heads)))
    axes.set_xlabel("head")
