"""Figures of a CNN's explanation; only what a drawing needs is computed here."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxmi.explanation import cnn_metrics as table
from jaxmi.explanation.cnn_solution import CnnExplanation
from jaxmi.explanation.metrics import Metric

LABEL_COLOURS = ("#b39b5e", "#2f5d8a")
"""Label 0, label 1."""
ANTI_CLUE, CLUE, GREY, PUBLISHED = "#4f9a57", "#d1352b", "#888888", "#111111"
POINTS = 6000
"""Number of images in a scatter plot."""


def plane(explanation: CnnExplanation) -> Figure:
    """Draw the images in the plane of the first two principal components, and the two arms."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    axes = figure.subplots()
    points, labels = explanation.detectors.points, explanation.neurons.labels
    shown = np.random.default_rng(0).permutation(len(points))[:POINTS]
    for label, colour in enumerate(LABEL_COLOURS):
        x, y = points[shown][labels[shown] == label].T
        axes.scatter(x, y, s=4, alpha=0.5, color=colour, linewidths=0, label=f"label {label}")
    for (x, y), colour, name in zip(
        explanation.detectors.arms.directions, (ANTI_CLUE, CLUE), ("left", "right"), strict=True
    ):
        scale = 0.8 * np.abs(points).max() / np.hypot(x, y)
        axes.plot(
            [0, scale * x],
            [0, scale * y],
            color=colour,
            linewidth=2,
            label=f"{name} arm's direction",
        )
    axes.axvline(explanation.detectors.arms.split, color=GREY, linewidth=0.8, linestyle=":")
    axes.scatter(
        *points[explanation.about.image],
        marker="*",
        s=160,
        color=CLUE,
        edgecolor="white",
        label=_clue_name(explanation),
    )
    shares = explanation.detectors.plane.variance_shares
    axes.set_xlabel(f"first principal component ({shares[0]:.1%} of the variance)")
    axes.set_ylabel(f"second ({shares[1]:.1%})")
    n_neurons = explanation.neurons.activations.shape[1]
    axes.set_title(f"{n_neurons} neurons on {len(points):,} images ({len(shown):,} shown)")
    axes.legend(markerscale=1.5)
    return figure


def bands(explanation: CnnExplanation) -> Figure:
    """Draw the similarity by label, and how well a band fits on it and on other features."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    bins = np.linspace(explanation.scores.min(), explanation.scores.max(), 90) / 255
    for label, colour in enumerate(LABEL_COLOURS):
        scores = explanation.scores[explanation.neurons.labels == label] / 255
        left.hist(scores, bins.tolist(), color=colour, alpha=0.65, label=f"predicted label {label}")
    left.set_xlabel("similarity to the clue, sum of pixel * (2 * clue - 1), both in 0..1")
    left.set_ylabel("training images")
    left.legend()
    label1 = explanation.metrics[table.LABEL1_SHARE.key]
    _bars(
        right,
        explanation,
        {
            "similarity to the clue": table.SIMILARITY_BAND,
            "L1 distance to the clue": table.L1_BAND,
            f"the same digit, best of {table.OTHER_ONES}": table.OTHER_ONES_BAND_MAX,
            f"the same digit, mean of {table.OTHER_ONES}": table.OTHER_ONES_BAND_MEAN,
            "brightness": table.BRIGHTNESS_BAND,
            "similarity, permuted": table.PERMUTED_BAND,
        },
        controls_from=2,
        chance=max(label1, 1 - label1),
        chance_name="the more frequent label",
    )
    right.set_xlabel("labels that the best band predicts, %")
    return figure


def neurons(explanation: CnnExplanation) -> Figure:
    """Draw a contact sheet of images that drive each neuron, ordered by group."""
    order, colours = [], []
    groups = explanation.detectors.groups
    for group, colour in (
        (groups.anti_clue, ANTI_CLUE),
        (groups.clue, CLUE),
        (explanation.neurons.dead, GREY),
    ):
        drawn = np.flatnonzero(group[: len(explanation.neuron_images)]).tolist()
        order += drawn
        colours += [colour] * len(drawn)
    columns, height, width = 20, 34, 31  # a tile holds 28 x 28 pixels, a number and a margin
    rows = -(-len(order) // columns)
    sheet = np.zeros((rows * height, columns * width))
    figure = Figure(figsize=(12, 12 * sheet.shape[0] / sheet.shape[1]), layout="constrained")
    axes = figure.subplots()
    for place, (neuron, colour) in enumerate(zip(order, colours, strict=True)):
        top, left = (place // columns) * height + 5, (place % columns) * width + 1
        sheet[top : top + 28, left : left + 28] = explanation.neuron_images[neuron]
        frame = Rectangle((left - 1, top - 1), 29, 29, fill=False, edgecolor=colour)
        axes.add_patch(frame)
        axes.text(left + 13.5, top - 1.5, str(neuron), ha="center", fontsize=6, color=colour)
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.axis("off")
    return figure


def directions(explanation: CnnExplanation) -> Figure:
    """Draw images that drive each arm and the logit difference, beside the clue and its inverse."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    left, right, towards_1 = explanation.direction_images
    panels = (
        (f"{_clue_name(explanation)}'s inverse", 1 - explanation.clue / 255),
        ("drives the left arm", left),
        (_clue_name(explanation), explanation.clue / 255),
        ("drives the right arm", right),
        ("drives logit 1 - logit 0", towards_1),
    )
    for axes, (title, image) in zip(figure.subplots(1, 5), panels, strict=True):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def ablations(explanation: CnnExplanation, published: bool) -> Figure:
    """Draw logit differences with detectors at zero, and labels kept with them at the minimum.

    Args:
      explanation: The network's explanation.
      published: Draw the published values too.
    """
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, *halves = figure.subplots(1, 3)
    low, high = np.percentile(explanation.differences["clean"], [0.5, 99.5])
    bins = np.linspace(low, high, 90).tolist()
    for group, label, colour in (
        ("clean", "as it is", GREY),
        ("anti_clue", "without anti-clue detectors", ANTI_CLUE),
        ("clue", "without clue detectors", CLUE),
    ):
        left.hist(explanation.differences[group], bins, histtype="step", color=colour, label=label)
    left.set_yscale("log")
    left.set_xlabel("logit 1 - logit 0")
    left.set_ylabel("training images")
    left.legend(fontsize=8)
    left.set_title("detectors set to 0", fontsize=10)
    for axes, (half, title) in zip(halves, table.HALVES.items(), strict=True):
        groups = {
            "anti_clue": "without anti-clue",
            "clue": "without clue",
            "both": "without both",
        }
        _bars(
            axes,
            explanation,
            {label: table.AT_MINIMUM[half, group] for group, label in groups.items()},
            chance=explanation.metrics[table.CLASS_0[half].key],
            chance_name="predicting 0 throughout",
            beside_published=published,
        )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("labels kept, detectors at their minimum, %")
    return figure


def scrubs(explanation: CnnExplanation, noises: Sequence[float], beside_published: bool) -> Figure:
    """Draw the published scrub, and the arm-wise scrub against random partitions of the neurons.

    Args:
      explanation: The network's explanation.
      noises: The noises of the published scrub, as shares of the similarity's range.
      beside_published: Draw the published values too.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    metrics = explanation.metrics
    kept = [100 * metrics[table.SCRUBS[noise].kept.key] for noise in noises]
    std = [100 * metrics[table.SCRUBS[noise].std.key] for noise in noises]
    left.errorbar(noises, kept, std, marker="o", color=LABEL_COLOURS[1], label="this network")
    published = {noise: table.SCRUBS[noise].kept.published for noise in noises}
    shown = {noise: 100 * share for noise, share in published.items() if share is not None}
    if beside_published:
        left.plot(
            list(shown), list(shown.values()), "x", color=PUBLISHED, label="published network"
        )
    for metric, name, style in (
        (table.SCRUB_RANDOM.kept, "any image as donor", "--"),
        (table.OTHER_ONES_SCRUB_MAX, "similarity to the same digit, best", ":"),
    ):
        value = 100 * metrics[metric.key]
        left.axhline(value, color=GREY, linestyle=style, linewidth=1, label=name)
    left.set_xscale("log")
    left.set_xlabel("noise on the donor's similarity, share of its range")
    left.set_ylabel("labels kept, %")
    left.set_title("one donor for both groups: tests the similarity", fontsize=10)
    left.legend(fontsize=8)
    right.hist(100 * explanation.random_armwise, bins=12, color="#c9d3de", label="random groups")
    for metric, name, colour in (
        (table.ARMWISE.kept, "the true groups", LABEL_COLOURS[1]),
        (table.ARMWISE_SWAPPED, "the true groups, swapped", CLUE),
    ):
        right.axvline(100 * metrics[metric.key], color=colour, linewidth=2, label=name)
    right.set_xlim(min(40, 100 * explanation.random_armwise.min() - 2), 102)
    right.set_xlabel("labels kept, %")
    right.set_ylabel("partitions of the neurons")
    right.set_title("arm-wise: tests the groups", fontsize=10)
    right.legend(fontsize=8)
    return figure


def clue(explanation: CnnExplanation, images: np.ndarray) -> Figure:
    """Draw the template that was fitted, and the images that match it best."""
    figure = Figure(figsize=(12, 2.7), layout="constrained")
    first, *others = figure.subplots(1, 7)
    template = explanation.clue_fit.template
    limit = np.percentile(np.abs(template), 98)
    first.imshow(template, cmap="RdBu_r", norm=TwoSlopeNorm(0, -limit, limit))
    first.set_title("template", fontsize=9)
    order, correlation = explanation.clue_fit.ranking
    for axes, image in zip(others, order[:6], strict=True):
        axes.imshow(images[image], cmap="gray_r", vmin=0, vmax=255)
        axes.set_title(f"image {image}\n{correlation[image]:.4f}", fontsize=9)
    for axes in (first, *others):
        axes.axis("off")
    return figure


def _clue_name(explanation: CnnExplanation) -> str:
    return "the clue" if explanation.about.known else "the fitted image"


def _bars(
    axes: Axes,
    explanation: CnnExplanation,
    bars: Mapping[str, Metric],
    chance: float,
    chance_name: str,
    controls_from: int | None = None,
    beside_published: bool = False,
) -> None:
    """Draw shares as horizontal bars, the first on top.

    Args:
      axes: Where to draw.
      explanation: The network's explanation.
      bars: Label -> the metric that the bar shows.
      chance: A share to mark by a line.
      chance_name: The line's label.
      controls_from: Index of the first control, if some bars are controls. Controls are grey.
      beside_published: Draw published values as crosses.
    """
    last = len(bars) if controls_from is None else controls_from
    colours = [LABEL_COLOURS[1] if i < last else GREY for i in range(len(bars))]
    places = np.arange(len(bars))
    values = [100 * explanation.metrics[metric.key] for metric in bars.values()]
    axes.barh(places, values, color=colours)
    for place, value in enumerate(values):
        axes.text(1.5, place, f"{value:.1f}", color="white", fontsize=8, va="center")
    if beside_published:
        published = [100 * (metric.published or np.nan) for metric in bars.values()]
        axes.plot(published, places, "x", color=PUBLISHED, label="published")
    axes.axvline(100 * chance, color="black", linestyle=":", linewidth=1, label=chance_name)
    axes.set_yticks(places, list(bars))
    axes.invert_yaxis()
    axes.set_xlim(0, 104)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
