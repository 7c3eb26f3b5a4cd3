"""Puts studies' results into docs/: the numbers, the figures, and the tables of docs/findings.md.

Command:   .venv/bin/python scripts/publish_findings.py
Time:      seconds
Expected:  docs/studies/NAME.json and NAME.png for every study in runs/studies; in docs/findings.md
           the lines after each `<!-- NAME: finding finding ... -->` and `<!-- NAME took -->`, up to
           the next empty line, written anew
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from jaxmi.report.studies.intervals import markdown
from jaxmi.studies.registry import STUDIES

ROOT = Path(__file__).parent.parent
RUNS, DOCS = ROOT / "runs/studies", ROOT / "docs/studies"
PAGE = ROOT / "docs/findings.md"
BLOCK = re.compile(r"(<!-- ([a-z-]+)(:? )([\w. ]+) -->\n)((?:[^\n]+\n)*)")


def main() -> None:
    """Copies what was found, and writes the page anew."""
    DOCS.mkdir(exist_ok=True)
    for name in STUDIES:
        if (RUNS / name / "result.json").is_file():
            shutil.copy(RUNS / name / "result.json", DOCS / f"{name}.json")
            shutil.copy(RUNS / name / "figure.png", DOCS / f"{name}.png")
    PAGE.write_text(filled(PAGE.read_text()))


def filled(page: str) -> str:
    """Returns the page with every block as the results have it."""

    def fill(block: re.Match[str]) -> str:
        head, name, _, keys, _ = block.groups()
        result = json.loads((DOCS / f"{name}.json").read_text())
        lines = _took(result) if keys == "took" else markdown(result["findings"], keys.split())
        return f"{head}{lines}\n"

    return BLOCK.sub(fill, page)


def _took(result: dict[str, Any]) -> str:
    """How a study was run, and how long that took."""
    about = result["provenance"]
    minutes = [about[f"{part}_seconds"] / 60 for part in ("train", "measure")]
    networks = sum(one["seeds"] for one in about["networks"])
    name, seeds = result["study"], about["seeds"]
    return (
        f"`.venv/bin/python scripts/study_{name.replace('-', '_')}.py`: {networks} networks, seeds "
        f"{seeds[0]} to {seeds[-1]}; {minutes[0]:.0f} min of training and {minutes[1]:.0f} of "
        f"measuring on 2 cores, some beside other work. [All numbers](studies/{name}.json)."
    )


if __name__ == "__main__":
    main()
