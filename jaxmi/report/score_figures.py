"""Where a submission's labels differ, as a figure.

A ranking of submissions as a table in Markdown.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from jaxmi.judge.score import Reference, Score
from jaxmi.report.figures import LABELS, TEST_MISTAKE

COLUMNS = {
    "true labels": "agreement_truth",
    "test": "agreement_test",
    "network": "agreement_network",
    "its mistakes": "agreement_mistakes",
}
"""Heading -> figure, a share of labels that agree."""


def ranking_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Returns the table's cells: a row of headings, then a row for each submission, best first.

    Figures that no submission has are left out.
    """
    ranking = result["ranking"]
    columns = {
        heading: key
        for heading, key in COLUMNS.items()
        if any(one[key] is not None for one in ranking)
    }
    sealed = any(one["as_stated"] is not None for one in ranking)
    rows = [["", "submission", *columns, *(["may be it"] if sealed else []), "length"]]
    for place, one in enumerate(ranking, start=1):
        shares = [one[key] for key in columns.values()]
        cells = ["-" if share is None else f"{share:.2%}" for share in shares]
        if sealed:
            cells.append("yes" if one["as_stated"] else "no")
        length = one["description_length"]
        rows.append([str(place), one["submission"], *cells, "-" if length is None else str(length)])
    return rows


def ranking_markdown(result: Mapping[str, Any]) -> str:
    """Returns the whole ranking, with what was refused and why."""
    headings, *rows = [[_escaped(cell) for cell in row] for row in ranking_rows(result)]
    rule = ["--:", "---", *["--:"] * (len(headings) - 2)]
    lines = [f"| {' | '.join(row)} |" for row in (headings, rule, *rows)]
    refused = [f"- {_escaped(reason)}" for reason in result["refused"].values()]
    title = f"# Submissions to {_escaped(str(result['challenge']))}"
    note = "Shares of labels that agree; length counts statements, operators, names and numbers."
    if "may be it" in headings:
        note += " The sealed program agrees with its network on a stated number of inputs."
    parts = [title, note, "\n".join(lines)]
    return "\n\n".join([*parts, *(["Refused:", "\n".join(refused)] if refused else [])]) + "\n"


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "|\\`*_<[" else c for c in text)


SAMPLES = (4, 8)
"""Rows and columns of images that are shown."""


def difference_figure(reference: Reference, score: Score, rows: slice, name: str) -> Figure:
    """Draws a submission's labels, and where they differ from the truth and from the network.

    Args:
      reference: What it was judged by.
      score: Its labels beside the others.
      rows: Which of the domain's inputs they are of.
      name: What to call it.
    """
    others = {"the true labels": score.truth, "the network's labels": score.network}
    known = {title: labels for title, labels in others.items() if labels is not None}
    differs = {title: score.submitted != labels for title, labels in known.items()}
    challenge = reference.challenge
    if challenge.grid is not None:
        labels = {name: score.submitted}
        if score.network is not None:
            labels["the network"] = score.network
        return _maps(
            {title: challenge.as_table(labels) for title, labels in labels.items()},
            {title: challenge.as_table(where) for title, where in differs.items()},
        )
    assert challenge.digits is not None
    images, digits = challenge.inputs[rows], challenge.digits[rows]
    return _samples(images, digits, score.submitted, differs, name)


def _maps(
    labels: dict[str, Int[np.ndarray, "p p"]], differs: dict[str, Bool[np.ndarray, "p p"]]
) -> Figure:
    n = len(labels) + len(differs)
    figure = Figure(figsize=(4.2 * n, 4.6), layout="constrained")
    panels: Any = figure.subplots(1, n, sharex=True, sharey=True)
    for axes, (title, of) in zip(panels, labels.items(), strict=False):
        axes.imshow(of, cmap=LABELS, vmin=0, vmax=1, interpolation="nearest")
        share = f"{(of == 1).mean():.1%} label 1"
        axes.set_title(f"{title} ({share})", fontsize="medium", parse_math=False)
    submitted = next(iter(labels.values()))
    for axes, (title, where) in zip(panels[len(labels) :], differs.items(), strict=True):
        axes.imshow(submitted, cmap=ListedColormap(["white", "#dfe6ee"]), interpolation="nearest")
        xs, ys = np.nonzero(where)
        axes.scatter(ys, xs, s=9, marker="s", color=TEST_MISTAKE, linewidths=0)
        title = f"differs from {title}: {len(xs):,} of {where.size:,}"
        axes.set_title(title, fontsize="medium")
    for axes in panels:
        axes.set_xlabel("y")
    panels[0].set_ylabel("x")
    return figure


def _samples(
    images: UInt8[np.ndarray, "n 28 28"],
    digits: UInt8[np.ndarray, "n"],
    submitted: Int[np.ndarray, "n"],
    differs: dict[str, Bool[np.ndarray, "n"]],
    name: str,
) -> Figure:
    figure = Figure(figsize=(13.5, 4.6 * len(differs)), layout="constrained")
    strips: Any = figure.subfigures(len(differs), 1, squeeze=False)
    for strip, (title, where) in zip(strips[:, 0], differs.items(), strict=True):
        strip.suptitle(
            f"{name} differs from {title} on {where.sum():,} of {len(where):,} images",
            parse_math=False,
        )
        left, right = strip.subfigures(1, 2, width_ratios=(1, 1.6))
        axes = left.subplots()
        shares = [where[digits == digit].mean() for digit in range(10)]
        axes.bar(range(10), [100 * share for share in shares], color="#2f5d8a")
        axes.set_xticks(range(10))
        axes.set_xlabel("digit shown")
        axes.set_ylabel("images that differ, %")
        chosen = np.flatnonzero(where)
        count = min(len(chosen), SAMPLES[0] * SAMPLES[1])
        spread = chosen[np.linspace(0, len(chosen) - 1, count).astype(int)] if count else chosen
        cells = right.subplots(*SAMPLES)
        for cell in cells.flat:
            cell.axis("off")
        for cell, i in zip(cells.flat, spread, strict=False):
            cell.imshow(images[i], cmap="gray_r", vmin=0, vmax=255)
            cell.set_title(f"{submitted[i]}, not {1 - submitted[i]}", fontsize=8, pad=2)
    return figure
