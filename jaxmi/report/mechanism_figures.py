"""Figures of a transformer's mechanism."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from jaxmi.mechanism import metrics as table
from jaxmi.mechanism.account import Account
from jaxmi.mechanism.classes import DEGREE, Classes
from jaxmi.mechanism.replacement import front
from jaxmi.report.figures import LABELS, TEST_MISTAKE
from jaxmi.types import Metrics

STYLES = {
    "own": ("this network's, chosen", "#2f5d8a", "-"),
    "heldout": ("the same, held-out inputs", "#2f5d8a", "--"),
    "random": ("this network's, random", "#8fb3d1", "-"),
    "other_seed": ("another seed's", "#e0a526", "-"),
    "untrained": ("an untrained network's", "#888888", ":"),
}
"""Choice of neurons -> its name, colour and line."""

RANKED = 8
"""Candidates that are drawn of each operand's classes."""


def few_neurons(metrics: Metrics) -> Figure:
    """Draw what few neurons keep of the labels and of the mistakes, by their number."""
    has_mistakes = any(kept.mistakes.key in metrics for kept in table.FEW["own"].values())
    figure = Figure(figsize=(11 if has_mistakes else 6, 3.8), layout="constrained")
    panels = figure.subplots(1, 2 if has_mistakes else 1, squeeze=False)[0]
    for axes, what in zip(panels, ("agreement", "mistakes"), strict=False):
        for choice, (name, colour, line) in STYLES.items():
            points = [
                (k, 100 * metrics[key])
                for k, kept in table.FEW[choice].items()
                if (key := getattr(kept, what).key) in metrics
            ]
            if points:
                axes.plot(*zip(*points, strict=True), line, color=colour, marker="o", label=name)
        axes.set_xscale("log", base=2)
        axes.set_xticks(table.COUNTS, list(map(str, table.COUNTS)))
        axes.set_xlabel("neurons")
        axes.set_ylabel(f"{'labels' if what == 'agreement' else 'mistakes'} kept, %")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return figure


def smaller(account: Account) -> Figure:
    """Draw what smaller networks keep of the labels and of the mistakes, by their numbers."""
    found, metrics = account.smaller, account.metrics
    assert found is not None
    of_half = found.best_of_half or found.best
    kinds = [what for what in table.REPLACEMENT if any(what.key in kept for kept in found.kept)]
    figure = Figure(figsize=(5.5 * len(kinds), 3.8), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    places = front(found.numbers, [kept[table.REPLACEMENT.agreement.key] for kept in found.kept])
    for i, (axes, what) in enumerate(zip(panels, kinds, strict=True)):
        values = [100 * kept[what.key] for kept in found.kept]
        axes.scatter(found.numbers, values, s=12, color="#8fb3d1", label="smaller networks")
        shown = [found.numbers[j] for j in places], [values[j] for j in places]
        axes.plot(*shown, "-o", color="#2f5d8a", markersize=4, label="none as small keeps more")
        for key, name, marker, colour, numbers in (
            (table.REPLACEMENT[i].key, "written", "o", "#2f5d8a", found.best.numbers),
            (
                table.REPLACEMENT_HELDOUT[i].key,
                "chosen on half, held out",
                "D",
                "#e0a526",
                of_half.numbers,
            ),
            (
                table.ROW_THRESHOLDS[i].key,
                "two thresholds a row: no network",
                "X",
                "#d1352b",
                found.thresholds.numbers,
            ),
        ):
            if key in metrics:
                axes.scatter(
                    numbers, 100 * metrics[key], s=70, marker=marker, color=colour, label=name,
                    edgecolors="black", linewidths=0.6, zorder=3,
                )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("numbers (log scale)")
        axes.set_ylabel(f"{'labels' if i == 0 else 'mistakes'} kept, %")
        axes.grid(alpha=0.3, which="both")
    panels[0].legend(fontsize=8, loc="lower right")
    return figure


def few_labels(account: Account) -> Figure:
    """Draw the network's labels, and those of its `MAIN_COUNT` neurons where they differ."""
    labels, few = account.answers.labels, account.few > 0
    tables = account.domain.slices(labels)
    differ = account.domain.slices(labels != few)
    figure = Figure(figsize=(5.5 * len(tables), 5), layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (place, map_) in zip(panels, tables.items(), strict=True):
        axes.imshow(map_, cmap=LABELS, vmin=0, vmax=1, interpolation="nearest")
        rows, columns = np.nonzero(differ[place])
        axes.scatter(columns, rows, s=9, marker="s", color=TEST_MISTAKE, linewidths=0)
        _label_axes(axes, account, place)
    count = int((labels != few).sum())
    used = min(table.MAIN_COUNT, account.n_neurons)
    figure.suptitle(
        f"the network's labels; where {used} neurons give another (red): {count:,} of "
        f"{len(labels):,}",
        fontsize=10,
    )
    return figure


def classes(account: Account) -> Figure:
    """Draw each operand's leading coordinate by class, and how well the candidates fit."""
    figure = Figure(figsize=(11, 3.4 * len(account.classes)), layout="constrained")
    for panels, (name, found) in zip(
        figure.subplots(len(account.classes), 2, squeeze=False, width_ratios=(1.6, 1)),
        account.classes.items(),
        strict=True,
    ):
        _draw_effect(panels[0], name, account, found)
        _draw_ranking(panels[1], found)
    return figure


def _draw_effect(axes: Axes, name: str, account: Account, found: Classes) -> None:
    values, coordinate = account.domain.values[name], account.effects[name][:, found.coordinate]
    cubic = np.polynomial.Polynomial.fit(values, coordinate, min(DEGREE, len(values) - 1))
    coordinate = coordinate - cubic(values)
    axes.plot(values, coordinate, color="#cccccc", linewidth=0.8, zorder=1)
    axes.scatter(values, coordinate, c=found.values, cmap="tab20", s=18, zorder=2)
    axes.set_xlabel(name)
    axes.set_ylabel("coordinate minus its cubic")
    axes.set_title(f"what {name} adds; colour: {found.best}", fontsize=10)


def _draw_ranking(axes: Axes, found: Classes) -> None:
    names, scores = zip(*found.ranking[:RANKED], strict=True)
    places = np.arange(len(names))
    axes.barh(places, scores, color=["#2f5d8a" if found.found == n else "#8fb3d1" for n in names])
    axes.axvline(found.permuted_score, color="#d1352b", linestyle="--", linewidth=1)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(min(0, *scores), 1)
    axes.set_xlabel("R2 (red: best of the permuted classes)")


def _label_axes(axes: Axes, account: Account, place: str) -> None:
    x, y = list(account.domain.values)[:2]
    axes.set_xlabel(y)
    axes.set_ylabel(x)
    axes.set_title(place, fontsize=10)
