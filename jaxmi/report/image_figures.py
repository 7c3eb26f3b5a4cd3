"""Figures of the mechanism of a network on images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from jaxmi.mechanism import image_metrics as table
from jaxmi.mechanism.image_account import ImageAccount, Reading

SCORE_COLOURS = ("#2f5d8a", "#d1352b", "#4f9a57", "#e0a526")
"""Score 1, 2, 3, 4."""
GREY = "#888888"
BINS = 60
"""Bins of a score."""
PLANE = 45
"""Bins of either score in a plane of two."""


def scores(account: ImageAccount, reading: Reading) -> Figure:
    """Draw how pixels vary with each score, and what is kept if the neurons read the scores."""
    count = len(reading.templates)
    figure = Figure(figsize=(4.6 * count + 6.2, 2.7), layout="constrained")
    *panels, bars = figure.subplots(1, 2 * count + 1, width_ratios=[2.3] * 2 * count + [5.2])
    for i, (template, axes) in enumerate(zip(reading.templates, panels[::2], strict=True)):
        limit = max(float(np.abs(template).max()), 1e-9)
        axes.imshow(template, cmap="RdBu_r", norm=TwoSlopeNorm(0, -limit, limit))
        axes.set_title(f"score {i + 1}: pixels that\nrise (red), fall (blue)", fontsize=9)
    for i, axes in enumerate(panels[1::2]):
        axes.imshow(reading.closest[i], cmap="gray_r", vmin=0, vmax=255)
        correlation = account.metrics[table.IMAGE_CORRELATION[i + 1].key]
        axes.set_title(f"most like it: image\n{reading.images[i]} ({correlation:.3f})", fontsize=9)
    for axes in panels:
        axes.axis("off")
    kept = {"all weighted sums": table.LINEAR, "the scores": table.SCORES_ONLY}
    others = {
        "another seed's scores": table.SCORES_OTHERS["other_seed"],
        "principal components": table.SCORES_OTHERS["components"],
        "an untrained network's": table.SCORES_OTHERS["untrained"],
        "random directions": table.SCORES_OTHERS["random"],
    }
    _bars(bars, account, {name: one.agreement for name, one in (kept | others).items()}, 2)
    bars.set_xlabel("labels kept if the neurons read only this, held-out images, %")
    return figure


def labels(account: ImageAccount, reading: Reading) -> Figure:
    """Draw the share of label 1 by score, or in the plane of the first two scores."""
    values, own = reading.values[account.held], account.answers.labels[account.held]
    if len(reading.templates) == 1:
        return _along(values[:, 0], own, reading)
    figure = Figure(figsize=(11.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    given = reading.rule.labels(values)
    for axes, shown, title in (
        (left, own, "the network's labels"),
        (right, given, "the rule's labels"),
    ):
        x, y = np.clip(values[:, :2], -3.5, 3.5).T
        ones, *edges = np.histogram2d(x, y, PLANE, weights=shown.astype(float))
        counts = np.histogram2d(x, y, edges)[0]
        share = np.where(counts > 0, ones / np.maximum(counts, 1), np.nan)
        picture = axes.pcolormesh(*edges, share.T, cmap="BrBG", vmin=0, vmax=1)
        for edge in reading.rule.edges:
            if edge.score < 2:
                line = (axes.axvline, axes.axhline)[edge.score]
                line(edge.threshold, color="black", linestyle="--", linewidth=1)
        axes.set_xlabel("score 1")
        axes.set_ylabel("score 2")
        axes.set_title(title, fontsize=10)
    figure.colorbar(picture, ax=[left, right], label="share of label 1")
    return figure


def _along(values: np.ndarray, own: np.ndarray, reading: Reading) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    low, high = np.quantile(values, [0.001, 0.999])
    bins = np.linspace(low, high, BINS).tolist()
    for label, colour in enumerate(("#b39b5e", "#2f5d8a")):
        axes.hist(values[own == label], bins, color=colour, alpha=0.65, label=f"label {label}")
    for edge in reading.rule.edges:
        axes.axvline(edge.threshold, color="black", linestyle="--", linewidth=1)
        side, text = ("left", " label 1 →") if edge.towards > 0 else ("right", "← label 1 ")
        top = axes.get_ylim()[1] * 0.97
        axes.text(edge.threshold, top, text, ha=side, va="top", fontsize=9)
    axes.set_xlabel("score 1, in standard deviations; dashed: its edges")
    axes.set_ylabel("held-out images")
    axes.legend(fontsize=8)
    return figure


def followers(account: ImageAccount, reading: Reading) -> Figure:
    """Draw what each neuron reads of its score, the scrubs, and the exchanges."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    groups = reading.groups
    for i in range(len(reading.templates)):
        mask = groups.of_score(i)
        colour = SCORE_COLOURS[i]
        signed = np.where(groups.rises[mask], 1, -1) * np.sqrt(groups.one[mask])
        adds = account.layer.activations.std(axis=0)[mask] * account.layer.weights[mask]
        first.scatter(
            signed, adds, s=14, color=colour, label=f"score {i + 1}: {mask.sum()} neurons"
        )
    first.axhline(0, color=GREY, linewidth=0.8)
    first.axvline(0, color=GREY, linewidth=0.8)
    first.set_xlim(-1.05, 1.05)
    first.set_xlabel("correlation of what a neuron reads with its score")
    first.set_ylabel("spread of what it adds to logit 1 - logit 0")
    first.legend(fontsize=8)
    scrubs = {
        "by its score": table.SCRUB,
        "random neurons": table.SCRUB_CONTROLS["random_groups"],
        "by another score": table.SCRUB_CONTROLS["swapped"],
        "by a random image": table.SCRUB_CONTROLS["other_images"],
        "by the score, permuted": table.SCRUB_CONTROLS["permuted"],
        "any donor": table.SCRUB_CONTROLS["anyone"],
    }
    _bars(second, account, scrubs, 1)
    second.set_xlabel("labels kept, each score's neurons scrubbed, %")
    exchanges = {}
    for i in range(1, len(reading.templates) + 1):
        exchanges[f"score {i}"] = table.SCORE_INTERCHANGE[i]
        exchanges[f"random for score {i}"] = table.SCORE_INTERCHANGE_RANDOM[i]
    for i in range(1, min(len(reading.rule.edges), table.MAX_EDGES) + 1):
        exchanges[f"edge {i}'s neurons"] = table.EDGE_INTERCHANGE[i]
        exchanges[f"random for edge {i}"] = table.EDGE_INTERCHANGE_RANDOM[i]
    _bars(third, account, exchanges, None)
    third.axvline(50, color="black", linestyle=":", linewidth=1)
    third.set_xlabel("exchanged: label as the rule says, %")
    return figure


def _bars(
    axes: Axes,
    account: ImageAccount,
    bars: dict[str, table.Metric],
    controls_from: int | None,
) -> None:
    """Draw shares as horizontal bars, the first on top; those that were not measured are left out.

    Args:
      axes: Where to draw.
      account: The network's account.
      bars: Label -> the metric that the bar shows.
      controls_from: Index of the first control, which are grey; None: those named "random".
    """
    known = {name: m for name, m in bars.items() if m.key in account.metrics}
    names = list(bars)
    for place, (name, metric) in enumerate(known.items()):
        is_control = (
            name.startswith("random")
            if controls_from is None
            else names.index(name) >= controls_from
        )
        value = 100 * account.metrics[metric.key]
        axes.barh(place, value, color=GREY if is_control else SCORE_COLOURS[0])
        axes.text(1.5, place, f"{value:.1f}", color="white", fontsize=8, va="center")
    axes.set_yticks(range(len(known)), list(known), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 102)
