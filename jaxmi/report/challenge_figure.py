"""The figure of a challenge: its labels, its split, its program, and how fair it is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from jaxmi.challenges.challenge import Challenge
from jaxmi.programs.show import show
from jaxmi.report.figures import LABELS

MAX_LINES, MAX_COLUMNS = 26, 74
"""Lines and columns of a program that are drawn."""

EXAMPLES = 16
"""Images drawn of each label."""


def challenge_figure(
    challenge: Challenge, fairness: Sequence[Mapping[str, Any]], about: str | None = None
) -> Figure:
    """Draw a challenge.

    Args:
      challenge: The challenge.
      fairness: As `workflows.challenges.fairness` returns it; empty draws none.
      about: What stands in the place of the program; None: the program.
    """
    figure = Figure(figsize=(15, 5.4), layout="constrained")
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in challenge.splits.items())
    figure.suptitle(f"{challenge.title}: {len(challenge.inputs):,} inputs ({sizes})")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
    if challenge.grid is None:
        _draw_classes(left, challenge)
        _draw_examples(middle, challenge)
    else:
        _draw_labels(left, challenge)
        _draw_split(middle, challenge)
    right.axis("off")
    for y, text in ((1.0, about or _program(challenge)), (0.0, _fairness(fairness))):
        right.text(
            0, y, text, fontsize=8, family="monospace", va="top" if y else "bottom", wrap=False
        )
    return figure


def _draw_labels(axes: Axes, challenge: Challenge) -> None:
    axes.imshow(
        _tiled(axes, challenge, challenge.labels),
        cmap=LABELS,
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes.set_title(f"labels: {challenge.labels.mean():.1%} are 1 (blue)")
    axes.set_xlabel("y")
    axes.set_ylabel("x")


def _tiled(axes: Axes, challenge: Challenge, values: np.ndarray) -> np.ndarray:
    """Return the slices of a domain as one table, and write into the axes where each is.

    The domain of pairs is one slice. Others stand side by side with gaps, whose values are masked.
    """
    slices = challenge.slices(values)
    if len(slices) == 1:
        return next(iter(slices.values()))
    (height, width), columns = next(iter(slices.values())).shape, round(len(slices) ** 0.5)
    rows, gap = -(-len(slices) // columns), max(2, height // 7)
    tiled = np.full((rows * (height + gap), columns * (width + gap)), np.nan)
    for i, (place, table) in enumerate(slices.items()):
        top, left = i // columns * (height + gap) + gap, i % columns * (width + gap)
        tiled[top : top + height, left : left + width] = table
        axes.text(left, top - 0.7, place, fontsize=8, va="bottom")
    axes.set_facecolor("#c8c8c8")
    axes.set_xticks([])
    axes.set_yticks([])
    return np.ma.masked_invalid(tiled)


def _draw_split(axes: Axes, challenge: Challenge) -> None:
    is_train = challenge.train_mask
    ground = ListedColormap(["white", "#dfe6ee"])
    axes.imshow(_tiled(axes, challenge, is_train), cmap=ground, interpolation="nearest")
    if len(challenge.axes) == 2 and challenge.labels.min() < challenge.labels.max():
        table = challenge.as_table(challenge.labels)
        axes.contour(table, levels=[0.5], colors="#9aa7b5", linewidths=0.6)
    axes.set_title(f"split: {is_train.mean():.1%} are trained on (shaded)")
    axes.set_xlabel("y")


def _draw_classes(axes: Axes, challenge: Challenge) -> None:
    digits = np.zeros(len(challenge.inputs), int) if challenge.digits is None else challenge.digits
    values = np.unique(digits)
    counts = np.array(
        [[((digits == v) & (challenge.labels == k)).sum() for v in values] for k in (0, 1)]
    )
    axes.bar(values, counts[0], color=LABELS(0), edgecolor="#9aa7b5", label="label 0")
    axes.bar(values, counts[1], bottom=counts[0], color=LABELS(255), label="label 1")
    axes.set_title(f"labels: {challenge.labels.mean():.1%} are 1")
    axes.set_xticks(values)
    axes.set_xlabel("class of the image")
    axes.set_ylabel("images")
    axes.legend(fontsize=8)


def _draw_examples(axes: Axes, challenge: Challenge) -> None:
    side = round(EXAMPLES**0.5)
    sheets = []
    for value in (0, 1):
        members = np.flatnonzero(challenge.labels == value)
        height, width = challenge.inputs.shape[1:]
        shown = np.zeros((EXAMPLES, height, width), np.uint8)
        if len(members):
            chosen = members[np.linspace(0, len(members) - 1, EXAMPLES).astype(int)]
            shown = challenge.inputs[chosen]
        tiles = shown.reshape(side, side, height, width).swapaxes(1, 2)
        sheets.append(tiles.reshape(side * height, side * width))
    gap = np.full((len(sheets[0]), 8), 128, np.uint8)
    axes.imshow(np.hstack([sheets[0], gap, sheets[1]]), cmap="gray_r", vmin=0, vmax=255)
    axes.set_title("label 0 (left), label 1 (right)")
    axes.axis("off")


def _program(challenge: Challenge) -> str:
    if challenge.program is None:
        return "labels from a table; no program"
    lines = [
        line if len(line) <= MAX_COLUMNS else f"{line[: MAX_COLUMNS - 3]}..."
        for line in show(challenge.program).splitlines()
    ]
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"... {len(lines) - MAX_LINES} lines more"]
    return "\n".join(lines)


def _fairness(rules: Sequence[Mapping[str, Any]]) -> str:
    if not rules:
        return ""
    rows = [
        f"{'kept' if rule['kept'] else 'broken':<7}{rule['rule']:<15}{rule['value']:>7.1%}"
        f"   allowed {rule['low']:.0%} to {rule['high']:.0%}"
        for rule in rules
    ]
    return "\n".join(["rules of fairness (docs/programs.md)", *rows])
