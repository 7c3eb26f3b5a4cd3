"""Copies the studies' results and figures into docs/, and fills the tables of docs/findings.md.

Command:   .venv/bin/python scripts/publish_findings.py
Time:      seconds; each study before that: `.venv/bin/jaxmi study NAME --out runs/studies/NAME`
Writes:    docs/studies/NAME.json and NAME.png for every study in runs/studies; in docs/findings.md
           the lines from each `<!-- NAME: finding finding ... -->`, `<!-- NAME took -->` and
           `<!-- solutions claims -->` to the next empty line
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from jaxmi.report.studies.intervals import markdown
from jaxmi.report.studies.solutions import claims_table
from jaxmi.studies.registry import STUDIES

ROOT = Path(__file__).parent.parent
RUNS, DOCS = ROOT / "runs/studies", ROOT / "docs/studies"
PAGE = ROOT / "docs/findings.md"
BLOCK = re.compile(r"(<!-- ([a-z-]+)(:? )([\w. ]+) -->\n)((?:[^\n]+\n)*)")


def main() -> None:
    """Copy the results and the figures, and fill the page."""
    DOCS.mkdir(exist_ok=True)
    for name in STUDIES:
        if (RUNS / name / "result.json").is_file():
            shutil.copy(RUNS / name / "result.json", DOCS / f"{name}.json")
            shutil.copy(RUNS / name / "figure.png", DOCS / f"{name}.png")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")))


def filled(page: str) -> str:
    """Return the page with every generated block as the results in docs/studies/ have it."""

    def fill(block: re.Match[str]) -> str:
        head, name, separator, keys, _ = block.groups()
        result = json.loads((DOCS / f"{name}.json").read_text(encoding="utf-8"))
        if separator == " ":
            lines = BY_WORD[keys](result)
        else:
            lines = markdown(result["findings"], keys.split())
        return f"{head}{lines}\n"

    return BLOCK.sub(fill, page)


def _run_line(result: dict[str, Any]) -> str:
    """Say how a study was run, and how long it took."""
    provenance = result["provenance"]
    train, measure = (provenance[f"{part}_seconds"] / 60 for part in ("train", "measure"))
    n_networks = sum(training["seeds"] for training in provenance["networks"])
    name, seeds = result["study"], provenance["seeds"]
    return (
        f"`.venv/bin/jaxmi study {name} --out runs/studies/{name}`: {n_networks} networks, seeds "
        f"{seeds[0]} to {seeds[-1]}; {train:.0f} min of training and {measure:.0f} of "
        f"measuring on 2 cores, some beside other work. [All numbers](studies/{name}.json)."
    )


BY_WORD = {"took": _run_line, "claims": claims_table}
"""Word after a study's name -> the function that writes the block from the study's result."""


if __name__ == "__main__":
    main()
