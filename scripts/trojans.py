"""Implants trojans over a grid of kinds, rates, targets and seeds; fills docs/trojans.md.

Command:   .venv/bin/python scripts/trojans.py
Time:      hours on 2 cores; an interrupted run is resumed; --steps and --only for a try
Writes:    runs/trojans/rows.jsonl, a row per network; docs/trojans.json; in docs/trojans.md the
           lines after each `<!-- trojans: NAME -->`. With --out only in that folder.
"""

import argparse
import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

from jaxmi.challenges.registry import load_challenge
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.training.recipe import RECIPES
from jaxmi.trojans.grid import SEEDS, Cell, markdown, summary, took, train_grid
from jaxmi.workflows.progress import Progress
from jaxmi.workflows.train import Options, regenerate

ROOT = Path(__file__).parent.parent
PAGE, RESULT = ROOT / "docs/trojans.md", ROOT / "docs/trojans.json"
KINDS = {
    "cnn": ("patch", "blend", "invert", "blur", "slant", "natural"),
    "transformer": ("rectangle", "row", "clause"),
}
RATES, TARGETS = (0.005, 0.01, 0.02, 0.05), (0, 1)
BLOCK = re.compile(r"(<!-- trojans: ([a-z]+) -->\n)((?:[^\n]+\n)*)")


def main() -> None:
    """Train what is missing, then write the result and the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, help="optimiser steps; default: the fast recipe's")
    parser.add_argument("--only", nargs="*", help="kinds of triggers; default: all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="networks in a cell")
    parser.add_argument("--out", type=Path, help="folder for everything")
    given = parser.parse_args()
    folder = given.out or ROOT / "runs/trojans"
    folder.mkdir(parents=True, exist_ok=True)
    (rows := folder / "rows.jsonl").touch()
    for name, kinds in KINDS.items():
        wanted = [kind for kind in kinds if given.only is None or kind in given.only]
        if wanted:
            measure(name, wanted, given.seeds, given.steps, folder, rows)
    read = [json.loads(line) for line in rows.read_text().splitlines()]
    about = {"seeds": given.seeds, "steps": given.steps, "only": given.only}
    result = {**about, "cells": summary(read)}
    (RESULT if given.out is None else folder / RESULT.name).write_text(json.dumps(result, indent=1))
    if given.out is None:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def measure(name: str, kinds: list[str], n: int, steps: int | None, folder: Path, rows: Path):
    """Train and measure the networks of a challenge that have no row yet."""
    recipe, seeds = RECIPES[name]["fast"], list(range(n))
    recipe = replace(recipe, steps=steps, eval_every=steps) if steps else recipe
    run = regenerate({folder / name: name}, "fast", lambda _: recipe, seeds, Options())["runs"]
    clean = {one["seed"]: load_checkpoint(Path(one["checkpoint"])).params for one in run}
    challenge = load_challenge(name)
    known = {json.loads(line)["name"] for line in rows.read_text().splitlines()}
    rates = {kind: [0.02] if kind == "row" else RATES for kind in kinds}
    grid = [Cell(k, rate, t, s) for k in kinds for rate, t, s in product(rates[k], TARGETS, seeds)]
    left = [cell for cell in grid if cell.name(challenge) not in known]
    with Progress(name, recipe.steps, len(left), "network") as bar, rows.open("a") as file:
        for row in train_grid(challenge, left, recipe, clean, [bar]):
            print(json.dumps(row), file=file, flush=True)


def filled(page: str) -> str:
    """Return the page with its tables as docs/trojans.json has them."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    blocks = {"took": took(result), "cells": markdown(result["cells"])}
    return BLOCK.sub(lambda block: f"{block[1]}{blocks[block[2]]}\n", page)


if __name__ == "__main__":
    main()
