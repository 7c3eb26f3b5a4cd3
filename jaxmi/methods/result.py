"""The marks of all methods, from their answers: `methods.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmi.methods.asking import MOVED, OTHER, SAME_LABELS
from jaxmi.methods.marks import ALL, CHOSEN, Answer, mark
from jaxmi.methods.network import SITES

FORMAT = 1

ROWS = (
    *(("computed", site, SAME_LABELS) for site in (*SITES, ALL)),
    *(("computed", site, MOVED) for site in SITES),
    *(("computed", site, OTHER) for site in SITES),
    ("computed", ALL, ALL),
    ("neurons", ALL, ALL),
    ("explanation", ALL, ALL),
)
"""What is marked: kind of question, site, and why the answer is no where it is."""


def marks_of(
    answers: Sequence[Answer],
    chosen: Sequence[Answer],
    thresholds: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Return the mark of each method on each kind of question.

    Args:
      answers: Those of the programs that are reported.
      chosen: Those of the programs that thresholds are chosen on.
      thresholds: Method -> its own threshold of "is it computed", if it has one.
    """
    groups = sorted({one.group for one in answers})
    found = []
    for method in dict.fromkeys(one.method for one in answers):
        for kind, site, negative in ROWS:
            before = [one for one in chosen if _is_in(one, method, kind, site, negative)]
            here = [one for one in answers if _is_in(one, method, kind, site, negative)]
            own = thresholds.get(method) if kind == "computed" else None
            for group in (ALL, *(groups if len(groups) > 1 else ())):
                those = [one for one in here if group in (ALL, one.group)]
                marked = mark(those, before, own) if those else None
                if marked is not None:
                    head = {"method": method, "question": kind, "site": site}
                    head |= {"negatives": negative, "group": group}
                    found.append({**head, **marked})
    return found


def _is_in(one: Answer, method: str, kind: str, site: str, negative: str) -> bool:
    return (
        one.method == method
        and one.kind == kind
        and site in (ALL, one.site)
        and (negative == ALL or one.negative in ("", negative))
    )


def seconds_of(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Return each method's seconds of process time for a question: mean and median, by kind."""
    found: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(one.method for one in answers):
        own = [one for one in answers if one.method == method]
        found[method] = {
            "mean": float(np.mean([one.seconds for one in own])),
            "median": float(np.median([one.seconds for one in own])),
            **{
                kind: float(np.mean([one.seconds for one in own if one.kind == kind]))
                for kind in dict.fromkeys(one.kind for one in own)
            },
        }
    return found


COLUMNS = (
    ("computed, before the MLP", "computed", SITES[0], SAME_LABELS),
    ("computed, neurons", "computed", SITES[1], SAME_LABELS),
    ("computed, all wrong answers", "computed", ALL, ALL),
    ("which neurons", "neurons", ALL, ALL),
    ("which explanation", "explanation", ALL, ALL),
)
"""Columns of the table: heading, question, site, negatives.

With the same labels, right answers before the MLP are about one mechanism and wrong ones about the
others, so that the network alone may tell them. With all wrong answers it cannot: among these are
other variables of the same network.
"""


def table(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the marks as a table, the best mean first: headings, then a row for each method.

    A cell is the AUROC with its interval, if there is one; of explanations the share of pairs told
    right.
    """
    rows = {name: _cells(result, name) for name in result["methods"]}
    means = {name: np.mean([value for value, _ in cells]) for name, cells in rows.items()}
    headings = ("method", *(heading for heading, *_ in COLUMNS), "seconds")
    body = [
        (name, *(text for _, text in rows[name]), _seconds(result["methods"][name]["seconds"]))
        for name in sorted(rows, key=lambda name: -means[name])
    ]
    return [headings, *body]


def _seconds(seconds: Mapping[str, float]) -> str:
    return f"{seconds['mean']:.2g}"


def _cells(result: Mapping[str, Any], method: str) -> list[tuple[float, str]]:
    cells = []
    for _, kind, site, negative in COLUMNS:
        marked = find(result, method, kind, site, negative)
        value = None if marked is None else marked["right" if kind == "explanation" else "auroc"]
        if value is None:
            cells.append((0.5, "-"))
        else:
            text = f"{value['value']:.3f}"
            if value["low"] is not None:
                text += f" ({value['low']:.2f} to {value['high']:.2f})"
            cells.append((value["value"], text))
    return cells


def find(
    result: Mapping[str, Any],
    method: str,
    kind: str,
    site: str = ALL,
    negatives: str = ALL,
    group: str = ALL,
) -> Mapping[str, Any] | None:
    """Return a mark of a result; None if there is none."""
    wanted = {
        "method": method,
        "question": kind,
        "site": site,
        "negatives": negatives,
        "group": group,
    }
    marks = (one for one in result["marks"] if all(one[k] == v for k, v in wanted.items()))
    return next(marks, None)


def details(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return errors and kinds of negatives of "is it computed": headings, then rows, as `table`.

    Errors are at the threshold, on networks with the same labels: wrong answers that get a yes, and
    right ones that get a no. Of other negatives it is the AUROC at both sites.
    """
    headings = ("method", "threshold, before the MLP", "errors there", "threshold, neurons")
    headings = (*headings, "errors there", f"AUROC, {MOVED}", f"AUROC, {OTHER}")
    rows = []
    for name, *_ in table(result)[1:]:
        cells: list[str] = [name]
        for site in SITES:
            marked = find(result, name, "computed", site, SAME_LABELS)
            if marked is None or "threshold" not in marked:
                cells += ["-", "-"]
                continue
            own = "" if marked["threshold_is"] == CHOSEN else " (own)"
            errors = [f"{marked[kind]['value']:.0%}" for kind in ("false_yes", "missed")]
            cells += [f"{marked['threshold']:.3g}{own}", " / ".join(errors)]
        for negatives in (MOVED, OTHER):
            found = [find(result, name, "computed", site, negatives) for site in SITES]
            values = [f"{one['auroc']['value']:.2f}" if one else "-" for one in found]
            cells.append(" / ".join(values))
        rows.append(tuple(cells))
    return [headings, *rows]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return headings and rows as a table in Markdown; the first column is code."""
    headings, *body = rows
    lines = [headings, ["---"] * len(headings), *([f"`{row[0]}`", *row[1:]] for row in body)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
