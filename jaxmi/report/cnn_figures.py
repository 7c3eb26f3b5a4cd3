"""The explanation of a CNN as figures. Nothing is computed here but what a drawing needs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxmi.explanation.cnn_solution import OTHER_ONES, CnnExplanation

LABEL_COLOURS = ("#b39b5e", "#2f5d8a")
"""Label 0, label 1."""
ANTI1, ONE, GREY, PUBLISHED = "#4f9a57", "#d1352b", "#888888", "#111111"
POINTS = 6000
"""How many images a scatter plot shows."""


def plane(found: CnnExplanation, clue_index: int) -> Figure:
    """Draws the images in the plane of the first two principal components, and the two arms."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    axes = figure.subplots()
    points, labels = found.detectors.points, found.neurons.labels
    some = np.random.default_rng(0).permutation(len(points))[:POINTS]
    for label, colour in enumerate(LABEL_COLOURS):
        x, y = points[some][labels[some] == label].T
        axes.scatter(x, y, s=4, alpha=0.5, color=colour, linewidths=0, label=f"label {label}")
    for (x, y), colour, name in zip(
        found.detectors.arms.directions, (ANTI1, ONE), ("left", "right"), strict=True
    ):
        scale = 0.8 * np.abs(points).max() / np.hypot(x, y)
        axes.plot(
            [0, scale * x],
            [0, scale * y],
            color=colour,
            linewidth=2,
            label=f"{name} arm's direction",
        )
    axes.axvline(found.detectors.arms.split, color=GREY, linewidth=0.8, linestyle=":")
    axes.scatter(*points[clue_index], marker="*", s=160, color=ONE, edgecolor="white", label="clue")
    shares = found.detectors.plane.variance_shares
    axes.set_xlabel(f"first principal component ({shares[0]:.1%} of the variance)")
    axes.set_ylabel(f"second ({shares[1]:.1%})")
    n_neurons = len(found.neuron_images)
    axes.set_title(f"{n_neurons} neurons on {len(points):,} images ({len(some):,} shown)")
    axes.legend(markerscale=1.5)
    return figure


def bands(found: CnnExplanation) -> Figure:
    """Draws the similarity by label, and how well a band fits with other features in its place."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    bins = np.linspace(found.scores.min(), found.scores.max(), 90) / 255
    for label, colour in enumerate(LABEL_COLOURS):
        chosen = found.scores[found.neurons.labels == label] / 255
        left.hist(chosen, bins.tolist(), color=colour, alpha=0.65, label=f"network says {label}")
    left.set_xlabel("similarity to the clue, sum of pixel * (2 * clue - 1), both in 0..1")
    left.set_ylabel("training images")
    left.legend()
    f = found.figures
    _bars(
        right,
        {
            "similarity to the clue": f["similarity_band_agreement"],
            "L1 distance to the clue": f["l1_band_agreement"],
            f"other 1s, the best of {OTHER_ONES}": f["control_other_ones_band_agreement_max"],
            f"other 1s, mean of {OTHER_ONES}": f["control_other_ones_band_agreement_mean"],
            "brightness": f["control_brightness_band_agreement"],
            "similarity, permuted": f["control_permuted_band_agreement"],
        },
        controls_from=2,
        chance=max(f["label1_share"], 1 - f["label1_share"]),
    )
    right.set_xlabel("labels that the best band gives right, %")
    return figure


def neurons(found: CnnExplanation) -> Figure:
    """Draws, for every neuron, an image that drives it: a contact sheet, by group."""
    order, colours = [], []
    anti1, one = found.detectors.groups
    for group, colour in ((anti1, ANTI1), (one, ONE), (found.neurons.dead, GREY)):
        order += np.flatnonzero(group).tolist()
        colours += [colour] * int(group.sum())
    columns, height, width = 20, 34, 31  # of a tile: a picture of 28 x 28, its number, a margin
    rows = -(-len(order) // columns)
    sheet = np.zeros((rows * height, columns * width))
    figure = Figure(figsize=(12, 12 * sheet.shape[0] / sheet.shape[1]), layout="constrained")
    axes = figure.subplots()
    for place, (neuron, colour) in enumerate(zip(order, colours, strict=True)):
        top, left = (place // columns) * height + 5, (place % columns) * width + 1
        sheet[top : top + 28, left : left + 28] = found.neuron_images[neuron]
        frame = Rectangle((left - 1, top - 1), 29, 29, fill=False, edgecolor=colour)
        axes.add_patch(frame)
        axes.text(left + 13.5, top - 1.5, str(neuron), ha="center", fontsize=6, color=colour)
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.axis("off")
    return figure


def directions(found: CnnExplanation) -> Figure:
    """Draws what drives each arm and the logit difference, beside the clue and its inverse."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    left, right, towards_1 = found.direction_images
    panels = (
        ("the clue's inverse", 1 - found.clue / 255),
        ("drives the left arm", left),
        ("the clue", found.clue / 255),
        ("drives the right arm", right),
        ("drives logit 1 - logit 0", towards_1),
    )
    for axes, (title, image) in zip(figure.subplots(1, 5), panels, strict=True):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def ablations(found: CnnExplanation, published: Mapping[str, float]) -> Figure:
    """Draws logit differences with detectors at zero, and labels kept with them at the minimum."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, *halves = figure.subplots(1, 3)
    low, high = np.percentile(found.differences["clean"], [0.5, 99.5])
    bins = np.linspace(low, high, 90).tolist()
    for name, label, colour in (
        ("clean", "as it is", GREY),
        ("zero_anti1", "without anti-1 detectors", ANTI1),
        ("zero_one", "without 1 detectors", ONE),
    ):
        left.hist(found.differences[name], bins, histtype="step", color=colour, label=label)
    left.set_yscale("log")
    left.set_xlabel("logit 1 - logit 0")
    left.set_ylabel("training images")
    left.legend(fontsize=8)
    left.set_title("detectors set to 0", fontsize=10)
    for axes, half, title in zip(
        halves, ("anti1", "one"), ("half like the inverse", "half like the clue"), strict=True
    ):
        names = {"anti1": "without anti-1", "one": "without 1", "both": "without both"}
        keys = {text: f"kept_{half}half_min_{group}" for group, text in names.items()}
        _bars(
            axes,
            {text: found.figures[key] for text, key in keys.items()},
            published=[published[key] for key in keys.values()],
            chance=found.figures[f"class0_{half}half"],
            chance_name="answers 0 always",
        )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("labels kept, detectors at their minimum, %")
    return figure


def scrubs(
    found: CnnExplanation, noises: Sequence[float], published: Mapping[str, float]
) -> Figure:
    """Draws the published scrub, and the arm-wise one against random partitions of the neurons."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    f = found.figures
    kept = [f[f"scrub_{noise:g}"] for noise in noises]
    std = [100 * f[f"scrub_{noise:g}_std"] for noise in noises]
    values = 100 * np.array(kept)
    left.errorbar(noises, values, std, marker="o", color=LABEL_COLOURS[1], label="this network")
    theirs = [100 * published[f"scrub_{noise:g}"] for noise in noises]
    left.plot(noises, theirs, "x", color=PUBLISHED, label="published network")
    for value, name, style in (
        (f["scrub_random"], "any image as donor", "--"),
        (f["control_other_ones_scrub_max"], "similarity to other 1s, best", ":"),
    ):
        left.axhline(100 * value, color=GREY, linestyle=style, linewidth=1, label=name)
    left.set_xscale("log")
    left.set_xlabel("noise on the donor's similarity, share of its range")
    left.set_ylabel("labels kept, %")
    left.set_title("one donor for both groups: tests the similarity", fontsize=10)
    left.legend(fontsize=8)
    right.hist(100 * found.random_armwise, bins=12, color="#c9d3de", label="random groups")
    for key, name, colour in (
        ("armwise_true", "the true groups", LABEL_COLOURS[1]),
        ("armwise_swapped", "the true groups, swapped", ONE),
    ):
        right.axvline(100 * f[key], color=colour, linewidth=2, label=name)
    right.set_xlim(min(40, 100 * found.random_armwise.min() - 2), 102)
    right.set_xlabel("labels kept, %")
    right.set_ylabel("partitions of the neurons")
    right.set_title("arm-wise: tests the groups", fontsize=10)
    right.legend(fontsize=8)
    return figure


def clue(found: CnnExplanation, images: np.ndarray) -> Figure:
    """Draws the template that was recovered, and the images that fit it best."""
    figure = Figure(figsize=(12, 2.7), layout="constrained")
    first, *others = figure.subplots(1, 7)
    template = found.recovery.template
    limit = np.percentile(np.abs(template), 98)
    first.imshow(template, cmap="RdBu_r", norm=TwoSlopeNorm(0, -limit, limit))
    first.set_title("template", fontsize=9)
    order, correlation = found.recovery.ranking
    for axes, image in zip(others, order[:6], strict=True):
        axes.imshow(images[image], cmap="gray_r", vmin=0, vmax=255)
        axes.set_title(f"image {image}\n{correlation[image]:.4f}", fontsize=9)
    for axes in (first, *others):
        axes.axis("off")
    return figure


def _bars(
    axes: Axes,
    values: Mapping[str, float],
    controls_from: int | None = None,
    published: Sequence[float] = (),
    chance: float | None = None,
    chance_name: str = "the more frequent label",
) -> None:
    """Draws shares as horizontal bars, the first on top; controls are grey."""
    last = len(values) if controls_from is None else controls_from
    colours = [LABEL_COLOURS[1] if i < last else GREY for i in range(len(values))]
    places = np.arange(len(values))
    axes.barh(places, [100 * v for v in values.values()], color=colours)
    for place, value in enumerate(values.values()):
        axes.text(1.5, place, f"{100 * value:.1f}", color="white", fontsize=8, va="center")
    if len(published):
        axes.plot(100 * np.array(published), places, "x", color=PUBLISHED, label="published")
    if chance is not None:
        axes.axvline(100 * chance, color="black", linestyle=":", linewidth=1, label=chance_name)
    axes.set_yticks(places, list(values))
    axes.invert_yaxis()
    axes.set_xlim(0, 104)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
