"""Figures of challenges, runs and benchmarks. They are returned: nothing is saved or shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from jaxmi.training.seeds import Point

LABELS = ListedColormap(["#e8e4d8", "#2f5d8a"])
"""Label 0, label 1."""
TRAIN_MISTAKE, TEST_MISTAKE = "#111111", "#d1352b"
BAND = "#e0a526"


def label_maps(
    truth: Int[np.ndarray, "p p"],
    learned: Int[np.ndarray, "p p"],
    is_train: Bool[np.ndarray, "p p"],
    name: str,
) -> Figure:
    """Draw true labels of pairs, a network's labels, and where they differ.

    Args:
      truth: True labels, row = x.
      learned: The network's labels; a label other than 0 and 1 is drawn as a mistake.
      is_train: A mask of the training pairs.
      name: What to call the network.
    """
    wrong = truth != learned
    mistakes = {"train": wrong & is_train, "test": wrong & ~is_train}
    figure = Figure(figsize=(13.5, 5), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharex=True, sharey=True)
    for axes, labels, title in (
        (left, truth, f"ground truth ({truth.mean():.1%} label 1)"),
        (middle, learned, f"learned: {name}"),
    ):
        axes.imshow(labels, cmap=LABELS, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title)
    right.imshow(is_train, cmap=ListedColormap(["white", "#dfe6ee"]), interpolation="nearest")
    if truth.min() < truth.max():
        right.contour(truth, levels=[0.5], colors="#9aa7b5", linewidths=0.5)
    counts = []
    for split, colour, colour_name in (
        ("train", TRAIN_MISTAKE, "black"),
        ("test", TEST_MISTAKE, "red"),
    ):
        rows, columns = np.nonzero(mistakes[split])
        total = int((is_train if split == "train" else ~is_train).sum())
        counts.append(f"{len(rows)} of {total:,} {split} pairs ({colour_name})")
        for axes in (middle, right):
            axes.scatter(columns, rows, s=9, marker="s", color=colour, linewidths=0)
    right.set_title("mistakes: " + ",\n".join(counts), fontsize="medium")
    for axes in (left, middle, right):
        axes.set_xlabel("y")
    right.set_xlabel("y (ground: pairs trained on are blue, test pairs white)")
    left.set_ylabel("x")
    return figure


def distance_figure(
    images: UInt8[np.ndarray, "n 28 28"],
    distances: Int[np.ndarray, "n"],
    labels: Int[np.ndarray, "n"],
    learned: Int[np.ndarray, "n"],
    clue: UInt8[np.ndarray, "28 28"],
    band: tuple[int, int],
    name: str,
) -> Figure:
    """Draw challenge 1: the clue, sample images per label, and distances with the errors.

    Args:
      images: The test images.
      distances: Their L1 distance to the clue.
      labels: Their true labels.
      learned: The network's labels.
      clue: The clue image.
      band: The distances between which the label is 0.
      name: What to call the network.
    """
    figure = Figure(figsize=(13.5, 5), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1, 1.35))
    samples, right = halves
    grid = samples.subplots(4, 7)
    samples.suptitle("test images; distances from near (left) to far (right)")
    order = np.argsort(distances, kind="stable")
    near, far = order[distances[order] < band[0]], order[distances[order] >= band[1]]
    between = order[(distances[order] >= band[0]) & (distances[order] < band[1])]
    rows = (
        ("clue", None),
        ("label 1, near", near),
        ("label 0", between),
        ("label 1, far", far),
    )
    for cells, (title, members) in zip(grid, rows, strict=True):
        for axes in cells:
            axes.axis("off")
        if members is None:
            _show_image(cells[0], clue, "the clue")
            continue
        for axes, i in zip(cells, _spread(members, len(cells)), strict=False):
            _show_image(axes, images[i], f"{distances[i] / 255:.0f}")
        cells[0].text(-0.35, 0.5, title, rotation=90, va="center", transform=cells[0].transAxes)

    top, bottom = right.subplots(2, 1, sharex=True, height_ratios=(1.4, 1))
    bins = np.linspace(distances.min() / 255, distances.max() / 255, 80)
    right_ones, wrong = learned == labels, learned != labels
    for axes in (top, bottom):
        axes.axvspan(band[0] / 255, band[1] / 255, color=BAND, alpha=0.2, linewidth=0)
    top.hist(distances / 255, bins=bins.tolist(), color="#2f5d8a")
    top.set_ylim(0, 1.15 * top.get_ylim()[1])
    top.text(sum(band) / 2 / 255, 0.92 * top.get_ylim()[1], "label 0", ha="center")
    top.set_ylabel("test images")
    top.set_title(f"{name}: {right_ones.mean():.2%} of {len(labels):,} test images right")
    bottom.hist(distances[wrong] / 255, bins=bins.tolist(), color=TEST_MISTAKE)
    bottom.set_ylabel(f"errors ({wrong.sum()})")
    bottom.set_xlabel("L1 distance to the clue image, pixels in 0..1")
    return figure


def image_mistakes(
    images: UInt8[np.ndarray, "n height width"],
    labels: Int[np.ndarray, "n"],
    learned: Int[np.ndarray, "n"],
    name: str,
) -> Figure:
    """Draw images by their true label and the network's: the right ones beside the mistakes.

    Args:
      images: The test images.
      labels: Their true labels, 0 or 1.
      learned: The network's labels.
      name: What to call the network.
    """
    figure = Figure(figsize=(13.5, 5), layout="constrained")
    figure.suptitle(
        f"{name}: {(learned == labels).mean():.2%} of {len(labels):,} test images right"
    )
    for axes, (truth, label) in zip(
        figure.subplots(1, 4), ((0, 0), (1, 1), (0, 1), (1, 0)), strict=True
    ):
        members = np.flatnonzero((labels == truth) & (learned == label))
        shown = np.zeros((36, *images.shape[1:]), np.uint8)
        shown[: len(members)] = images[_spread(members, len(shown))] if len(members) else 0
        height, width = images.shape[1:]
        sheet = shown.reshape(6, 6, height, width).swapaxes(1, 2).reshape(6 * height, 6 * width)
        axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=255)
        axes.set_title(
            f"label {truth}, {'right' if truth == label else 'mistaken'}: {len(members):,}",
            color="black" if truth == label else TEST_MISTAKE,
        )
        axes.axis("off")
    return figure


def learning_curves(
    curves: Mapping[int, Sequence[Point]],
    published_test: float | None,
    title: str,
    not_converged: Sequence[int] = (),
) -> Figure:
    """Draw accuracy and loss over steps, a thin line per seed and the median over seeds.

    Args:
      curves: Seed -> points with "step", "loss" and "train_accuracy", "test_accuracy", ...
      published_test: The published network's test accuracy, drawn as a line, if there is one.
      title: The figure's heading.
      not_converged: Seeds whose networks have not converged, which the heading names.
    """
    figure = Figure(figsize=(13.5, 4.6), layout="constrained")
    note = f"; not converged: seed{'s' if len(not_converged) > 1 else ''} "
    figure.suptitle(title + (note + list_seeds(not_converged) if not_converged else ""))
    whole, close, loss = figure.subplots(1, 3)
    points = list(curves.values())
    steps = [point["step"] for point in points[0]]
    splits = [key for key in points[0][0] if key.endswith("_accuracy")]
    colours = dict(zip(splits, ("#2f5d8a", "#d1352b", "#4f9a57"), strict=False))
    for axes, keys in ((whole, splits), (close, splits), (loss, ["loss"])):
        for key in keys:
            values = np.array([[point[key] for point in curve] for curve in points])
            values = values * (1 if key == "loss" else 100)
            colour = colours.get(key, "#444444")
            axes.plot(steps, values.T, color=colour, alpha=0.25, linewidth=0.7)
            name = key.removesuffix("_accuracy")
            axes.plot(steps, np.median(values, axis=0), color=colour, linewidth=1.8, label=name)
        axes.set_xlabel("step")
    for axes in (whole, close):
        if published_test is not None:
            axes.axhline(
                100 * published_test,
                color="#888888",
                linestyle="--",
                linewidth=1,
                label=f"published, test: {published_test:.2%}",
            )
        axes.set_ylabel("accuracy, %")
    ends = [float(np.median([curve[-1][key] for curve in points])) for key in splits]
    lowest = min(ends) if published_test is None else published_test
    close.set_ylim(100 * (lowest - 0.02), 100.1)
    close.set_title("the same, close up")
    loss.set_yscale("log")
    loss.set_ylabel("training loss")
    many = f", median of {len(points)} seeds" if len(points) > 1 else ""
    whole.set_title(f"accuracy{many}")
    whole.legend(loc="lower right")
    return figure


def list_seeds(seeds: Sequence[int], most: int = 8) -> str:
    """Return seeds with commas; of many, the first and how many more there are."""
    shown = ", ".join(map(str, seeds[:most]))
    return shown if len(seeds) <= most else f"{shown} and {len(seeds) - most} more"


def label_pair(truth: Int[np.ndarray, "p p"], learned: Int[np.ndarray, "p p"]) -> Figure:
    """Draw challenge 2's true labels beside a network's, label 1 white, as the post showed them.

    Args:
      truth: True labels, row = x.
      learned: The network's labels.
    """
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    panels = zip(figure.subplots(1, 2), (truth, learned), ("Ground truth", "Learned"), strict=True)
    for axes, labels, title in panels:
        axes.imshow(labels == 1, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title)
        axes.set_xlabel("y")
        axes.set_ylabel("x")
    return figure


def clue_image(clue: UInt8[np.ndarray, "28 28"]) -> Figure:
    """Draw challenge 1's clue image, as the post showed it."""
    figure = Figure(figsize=(3, 3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(clue, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.axis("off")
    return figure


def seconds_per_seed(measured: Mapping[str, Mapping[int, float]], devices: int) -> Figure:
    """Draw the seconds per seed against the number of seeds that are trained together.

    Args:
      measured: Challenge title -> number of seeds -> seconds per seed.
      devices: The number of devices.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for (title, seconds), colour in zip(measured.items(), ("#2f5d8a", "#d1352b"), strict=False):
        axes.plot(*zip(*seconds.items(), strict=True), "o-", color=colour, label=title)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seeds")
    axes.set_ylabel("seconds per seed, compilation apart")
    axes.set_title(f"fast recipes, {devices} device{'s' if devices > 1 else ''}")
    axes.legend()
    return figure


def accuracy_grid(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[int, int], tuple[float, str]],
    n_networks: int,
    title: str,
) -> Figure:
    """Draw accuracies as a heat map with numbers; the last columns hold controls.

    Args:
      rows: Their labels, from the top.
      columns: Their labels: networks, then controls.
      cells: (row, column) -> the accuracy in 0..1, and what to write under it.
      n_networks: How many of the columns are networks; the others are set apart.
      title: The figure's heading.
    """
    values = np.full((len(rows), len(columns)), np.nan)
    for place, (accuracy, _) in cells.items():
        values[place] = 100 * accuracy
    figure = Figure(
        figsize=(1.6 + 1.4 * len(columns), 1.6 + 0.95 * len(rows)), layout="constrained"
    )
    axes = figure.subplots()
    low = float(np.floor(np.nanmin(values)))
    image = axes.imshow(values, cmap="Blues", vmin=low, vmax=100, aspect="auto")
    for (row, column), (accuracy, note) in cells.items():
        dark = 100 * accuracy > low + 0.6 * (100 - low)
        text = f"{accuracy:.2%}" + (f"\n{note}" if note else "")
        colour = "white" if dark else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    axes.axvline(n_networks - 0.5, color="white", linewidth=6)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title, fontsize="medium")
    figure.colorbar(image, ax=axes, label="test accuracy, %")
    return figure


def _show_image(axes: Axes, image: np.ndarray, caption: str) -> None:
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=255)
    axes.set_title(caption, fontsize=8, pad=2)


def _spread(members: np.ndarray, n: int) -> np.ndarray:
    """Picks n members at even ranks."""
    return members[np.linspace(0, len(members) - 1, min(n, len(members))).astype(int)]
