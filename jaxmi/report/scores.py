"""Scores of submissions: a figure of the labels that differ, and a ranking in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from jaxmi.judge.score import Reference, Score
from jaxmi.report.figures import LABELS, TEST_MISTAKE

SAMPLES = (4, 8)
"""Rows and columns of sample images."""


def difference_figure(reference: Reference, score: Score, rows: slice, name: str) -> Figure:
    """Draw a submission's labels, and where they differ from the truth and from the network.

    Args:
      reference: The challenge and the labels that the submission was judged by.
      score: The submission's labels beside the true labels and the network's.
      rows: The rows of the domain that the labels are of.
      name: What to call the submission.
    """
    others = {"the true labels": score.truth, "the network's labels": score.network}
    known = {title: labels for title, labels in others.items() if labels is not None}
    differs = {title: score.submitted != labels for title, labels in known.items()}
    challenge = reference.challenge
    if challenge.grid is not None:
        shown = {name: score.submitted}
        if score.network is not None:
            shown["the network"] = score.network
        return _maps(
            {title: challenge.slices(labels) for title, labels in shown.items()},
            {title: challenge.slices(mask) for title, mask in differs.items()},
        )
    assert challenge.digits is not None
    images, digits = challenge.inputs[rows], challenge.digits[rows]
    return _samples(images, digits, score.submitted, differs, name)


def _maps(
    labels: dict[str, dict[str, Int[np.ndarray, "p p"]]],
    differs: dict[str, dict[str, Bool[np.ndarray, "p p"]]],
) -> Figure:
    """Draw tables side by side, one row of panels for each slice of the domain.

    Args:
      labels: Title -> slice -> labels.
      differs: Title -> slice -> where the first of these differ from others.
    """
    n, places = len(labels) + len(differs), list(next(iter(labels.values())))
    figure = Figure(figsize=(4.2 * n, 4.6 * len(places)), layout="constrained")
    rows: Any = figure.subplots(len(places), n, sharex=True, sharey=True, squeeze=False)
    for panels, place in zip(rows, places, strict=True):
        _draw_maps(
            panels,
            {title: tables[place] for title, tables in labels.items()},
            {title: tables[place] for title, tables in differs.items()},
        )
        panels[0].set_ylabel(f"x, at {place}" if place else "x")
    return figure


def _draw_maps(
    panels: Any,
    labels: dict[str, Int[np.ndarray, "p p"]],
    differs: dict[str, Bool[np.ndarray, "p p"]],
) -> None:
    for axes, (title, table) in zip(panels, labels.items(), strict=False):
        axes.imshow(table, cmap=LABELS, vmin=0, vmax=1, interpolation="nearest")
        share = f"{(table == 1).mean():.1%} label 1"
        axes.set_title(f"{title} ({share})", fontsize="medium", parse_math=False)
    submitted = next(iter(labels.values()))
    for axes, (title, mask) in zip(panels[len(labels) :], differs.items(), strict=True):
        axes.imshow(submitted, cmap=ListedColormap(["white", "#dfe6ee"]), interpolation="nearest")
        xs, ys = np.nonzero(mask)
        axes.scatter(ys, xs, s=9, marker="s", color=TEST_MISTAKE, linewidths=0)
        title = f"differs from {title}: {len(xs):,} of {mask.size:,}"
        axes.set_title(title, fontsize="medium")
    for axes in panels:
        axes.set_xlabel("y")


def _samples(
    images: UInt8[np.ndarray, "n 28 28"],
    digits: UInt8[np.ndarray, "n"],
    submitted: Int[np.ndarray, "n"],
    differs: dict[str, Bool[np.ndarray, "n"]],
    name: str,
) -> Figure:
    figure = Figure(figsize=(13.5, 4.6 * len(differs)), layout="constrained")
    strips: Any = figure.subfigures(len(differs), 1, squeeze=False)
    for strip, (title, mask) in zip(strips[:, 0], differs.items(), strict=True):
        strip.suptitle(
            f"{name} differs from {title} on {mask.sum():,} of {len(mask):,} images",
            parse_math=False,
        )
        left, right = strip.subfigures(1, 2, width_ratios=(1, 1.6))
        axes = left.subplots()
        kinds = np.unique(digits)
        shares = [mask[digits == digit].mean() for digit in kinds]
        axes.bar(range(len(kinds)), [100 * share for share in shares], color="#2f5d8a")
        axes.set_xticks(range(len(kinds)), [str(digit) for digit in kinds])
        axes.set_xlabel("digit shown")
        axes.set_ylabel("images that differ, %")
        rows = np.flatnonzero(mask)
        count = min(len(rows), SAMPLES[0] * SAMPLES[1])
        spread = rows[np.linspace(0, len(rows) - 1, count).astype(int)] if count else rows
        cells = right.subplots(*SAMPLES)
        for cell in cells.flat:
            cell.axis("off")
        for cell, i in zip(cells.flat, spread, strict=False):
            cell.imshow(images[i], cmap="gray_r", vmin=0, vmax=255)
            cell.set_title(f"{submitted[i]}, not {1 - submitted[i]}", fontsize=8, pad=2)
    return figure


COLUMNS = {
    "true labels": "agreement_truth",
    "test": "agreement_test",
    "network": "agreement_network",
    "its mistakes": "agreement_mistakes",
}
"""Heading -> key of a score, a share of labels that agree."""


def ranking_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells of the ranking: a row of headings, then a row per submission, best first.

    Columns in which no submission has a value are left out.

    Args:
      result: The result of scoring several submissions.
    """
    ranking = result["ranking"]
    if "total" in ranking[0]:
        return _key_rows(ranking)
    columns = {
        heading: key
        for heading, key in COLUMNS.items()
        if any(entry[key] is not None for entry in ranking)
    }
    sealed = any(entry["as_stated"] is not None for entry in ranking)
    rows = [["", "submission", *columns, *(["may be it"] if sealed else []), "length"]]
    for place, entry in enumerate(ranking, start=1):
        shares = [entry[key] for key in columns.values()]
        cells = ["-" if share is None else f"{share:.2%}" for share in shares]
        if sealed:
            cells.append("yes" if entry["as_stated"] else "no")
        length = entry["description_length"]
        cells.append("-" if length is None else str(length))
        rows.append([str(place), entry["submission"], *cells])
    return rows


KEY_COLUMNS = ("total", "precision", "recall")
"""Keys of a score against a key, which are the headings, too."""


def _key_rows(ranking: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the cells of a ranking by a key: headings, then a row per explanation."""
    rows = [["", "submission", *KEY_COLUMNS, "parts found", "mechanism"]]
    right = {True: "right", False: "wrong", None: "-"}
    for place, entry in enumerate(ranking, start=1):
        shares = [f"{entry[key]:.3f}" for key in KEY_COLUMNS]
        found = f"{sum(part['found'] for part in entry['parts'])} of {len(entry['parts'])}"
        cells = [entry["submission"], *shares, found, right[entry["mechanism_right"]]]
        rows.append([str(place), *cells])
    return rows


def ranking_markdown(result: Mapping[str, Any]) -> str:
    """Return the ranking as Markdown, with the submissions that were refused and the reasons."""
    headings, *rows = [[_escaped(cell) for cell in row] for row in ranking_rows(result)]
    rule = ["--:", "---", *["--:"] * (len(headings) - 2)]
    lines = [f"| {' | '.join(row)} |" for row in (headings, rule, *rows)]
    refused = [f"- {_escaped(reason)}" for reason in result["refused"].values()]
    title = f"# Submissions to {_escaped(str(result['challenge']))}"
    note = "Scores against the key of the mechanism."
    if "length" in headings:
        note = (
            "Shares of labels that agree; length counts statements, operators, names and numbers."
        )
    if "may be it" in headings:
        note += " The sealed program agrees with its network on a stated number of inputs."
    parts = [title, note, "\n".join(lines)]
    return "\n\n".join([*parts, *(["Refused:", "\n".join(refused)] if refused else [])]) + "\n"


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "|\\`*_<[" else c for c in text)
