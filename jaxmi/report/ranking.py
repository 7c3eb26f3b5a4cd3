"""A ranking of submissions as a table in Markdown."""

from collections.abc import Mapping
from typing import Any

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
