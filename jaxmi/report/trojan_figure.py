"""A picture of a trojan: inputs with and without the trigger, and what program and networks say."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8
from matplotlib.figure import Figure

CHANGED = "#b3261e"
"""Colour of a label that differs from the program's."""

SAME = "#333333"


@dataclass(frozen=True, eq=False)
class Shown:
    """An image, and three labels of it."""

    image: UInt8[np.ndarray, "height width"]
    program: int
    """The label by the program: the correct one."""
    clean: int
    """The clean network's label."""
    trojaned: int
    """The trojaned network's label."""


def stamp_figure(shown: Sequence[Shown], title: str) -> Figure:
    """Draw images in two rows, without and with the trigger, and the labels below each.

    Args:
      shown: The images without the trigger, then as many with it.
      title: What is shown.
    """
    n = len(shown) // 2
    figure = Figure(figsize=(1.7 * n + 1.2, 6.2))
    axes = figure.subplots(2, n, squeeze=False)
    figure.subplots_adjust(0.06, 0.13, 0.99, 0.9, wspace=0.06, hspace=0.42)  # room for labels
    for i, row in enumerate(axes):
        for j, axis in enumerate(row):
            one = shown[i * n + j]
            axis.imshow(one.image, cmap="gray", vmin=0, vmax=255)
            axis.set_xticks([])
            axis.set_yticks([])
            labels = {"program": one.program, "clean": one.clean, "trojaned": one.trojaned}
            for k, (name, label) in enumerate(labels.items()):
                axis.text(
                    0.5,
                    -0.06 - 0.13 * k,
                    f"{name} {label}",
                    transform=axis.transAxes,
                    ha="center",
                    va="top",
                    fontsize=9,
                    color=SAME if label == one.program else CHANGED,
                )
        row[0].set_ylabel(("without trigger", "with trigger")[i])
    figure.suptitle(textwrap.fill(title, 16 * max(n, 3)), fontsize=10)
    return figure


def region_figure(tables: Mapping[str, Shaped[np.ndarray, "p p"]], title: str) -> Figure:
    """Draw the labels of program and networks over x and y, with the trigger's edge.

    Args:
      tables: "trigger", and under further names labels, each a table with row = x.
      title: What is shown.
    """
    trigger = tables["trigger"].T
    others = [name for name in tables if name != "trigger"]
    figure = Figure(figsize=(3.6 * len(others), 4.2), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(others), squeeze=False)[0], others, strict=True):
        axis.imshow(np.clip(tables[name].T, 0, 1), cmap="cividis", vmin=0, vmax=1, origin="lower")
        if trigger.any() and not trigger.all():
            axis.contour(trigger, levels=[0.5], colors=CHANGED, linewidths=1.2)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("x")
        axis.set_ylabel("y")
    figure.suptitle(
        textwrap.fill(f"{title}; yellow is 1, red the edge of the trigger", 100), fontsize=10
    )
    return figure
