"""Copies the marks of explanation methods into docs/, and fills the tables of docs/planted.md.

Command:   .venv/bin/python scripts/publish_methods.py
Time:      seconds; before that: `.venv/bin/jaxmi methods --out runs/methods`
Writes:    docs/methods.json and docs/methods.png; in docs/planted.md the lines from each
           `<!-- methods: NAME -->` to the next empty line
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxmi.methods.registry import METHODS
from jaxmi.methods.result import details, markdown, table
from jaxmi.workflows.methods import FIRST_SEED, PLANTS

ROOT = Path(__file__).parent.parent
RUNS, DOCS = ROOT / "runs/methods", ROOT / "docs"
PAGE = DOCS / "planted.md"
BLOCK = re.compile(r"(<!-- methods: ([a-z]+) -->\n)((?:[^\n]+\n)*)")


def main() -> None:
    """Copy the result and the figure, and fill the page."""
    if (RUNS / "methods.json").is_file():
        for name in ("methods.json", "methods.png"):
            shutil.copy(RUNS / name, DOCS / name)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def filled(page: str) -> str:
    """Return the page with every generated block as docs/methods.json has it."""
    result = json.loads((DOCS / "methods.json").read_text(encoding="utf-8"))

    def fill(block: re.Match[str]) -> str:
        head, name, _ = block.groups()
        return f"{head}{BLOCKS[name](result)}\n"

    return BLOCK.sub(fill, page)


def _run_line(result: Mapping[str, Any]) -> str:
    """Say what was asked, and how long it took."""
    settings = result["settings"]
    first, last = settings["seeds"]
    asked = next(one for one in result["marks"] if one["question"] == "computed")
    return (
        f"`{_command(result)}`: {settings['plants']} compiled plants and "
        f"{settings['trained']} trained ones, programs {first} to {last}, thresholds chosen on "
        f"programs {settings['choosing_seeds'][0]} to {settings['choosing_seeds'][1]}; "
        f"{asked['programs']} programs; the last run took {result['seconds'] / 60:.0f} min. "
        "[All numbers](methods.json)."
    )


def _command(result: Mapping[str, Any]) -> str:
    """Return the command that measured a result, with the options that are no defaults."""
    settings, methods = result["settings"], result["methods"]
    words = [".venv/bin/jaxmi methods"]
    if settings["plants"] != PLANTS:
        words.append(f"--plants {settings['plants']}")
    if settings["seeds"][0] != FIRST_SEED:
        words.append(f"--seed {settings['seeds'][0]}")
    own = [name for name, about in methods.items() if about["own"]]
    if set(own) != set(METHODS):
        words.append(f"--only {','.join(own) or 'none'}")
    words += [f"--method FILE.py:{name}" for name, about in methods.items() if not about["own"]]
    words += ["--trained FOLDER"] if settings["trained"] else []
    return " ".join([*words, "--out runs/methods"])


BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "took": _run_line,
    "marks": lambda result: markdown(table(result)),
    "errors": lambda result: markdown(details(result)),
}
"""Word in a comment -> the function that writes the block from the result."""


if __name__ == "__main__":
    main()
