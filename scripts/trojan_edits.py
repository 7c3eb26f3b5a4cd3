"""Writes trojans into the weights of `checkpoints/cnn`; fills the table of docs/trojans.md.

Command:   .venv/bin/python scripts/trojan_edits.py
Time:      ten minutes on 2 cores; --seeds and --only for a try
Writes:    docs/trojan-edits.json; in docs/trojans.md the lines after each `<!-- edits: NAME -->`.
           With --out only that JSON file.
"""

import argparse
import json
import re
from itertools import product
from pathlib import Path

import numpy as np

from jaxmi.challenges.registry import load_challenge
from jaxmi.errors import InputError
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.trojans.implant import STAMPS, Plan, measure, plan_attacks, write_edit
from jaxmi.trojans.trojan import EDITS

ROOT = Path(__file__).parent.parent
PAGE, RESULT = ROOT / "docs/trojans.md", ROOT / "docs/trojan-edits.json"
FIRST, SEEDS = 100, 5  # the constants of the edits were chosen on trigger seeds 0 to 9
BLOCK = re.compile(r"(<!-- edits: ([a-z]+) -->\n)((?:[^\n]+\n)*)")
NAMES = ("strict_success", "clean_network_success", "labels_changed")


def main() -> None:
    """Measure every trigger, target and edit, then write the result and the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=STAMPS, help="kinds of triggers; default: all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="triggers in a cell")
    parser.add_argument("--out", type=Path, help="JSON file")
    given = parser.parse_args()
    cnn, clean = load_challenge("cnn"), load_checkpoint(ROOT / "checkpoints/cnn").params
    rows = []
    for kind, target in product(given.only, (0, 1)):
        for seed in range(FIRST, FIRST + (1 if kind == "invert" else given.seeds)):
            row = {"trigger": kind, "target": target, "seed": seed}
            for edit in EDITS:
                plan = Plan(edit, None, target, 0.0, seed, kind)
                try:
                    attacked = plan_attacks(plan, cnn, [0])[0]
                    made, params = write_edit(plan, cnn, attacked, clean)
                    found = measure(made, cnn, params, clean).to_json()
                except InputError as error:
                    found = {"refused": str(error)}
                rows.append({**row, "edit": edit, **found})
                print(json.dumps(rows[-1]), flush=True)
    result = {"seeds": given.seeds, "rows": rows}
    (given.out or RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if given.out is None:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")


def filled(page: str, result: dict) -> str:
    """Return the page with a result's table: medians, with the least and most, in percent."""
    options = "" if result["seeds"] == SEEDS else f" --seeds {result['seeds']}"
    took = f"`.venv/bin/python scripts/trojan_edits.py{options}`: trigger seeds {FIRST} to "
    took += f"{FIRST + result['seeds'] - 1}, medians (least to most) in %. "
    heads = "trigger | target | edit | strict success | clean network | labels changed"
    lines, cells = [f"| {heads} |", "|---|---|---|---|---|---|"], {}
    for row in result["rows"]:
        cells.setdefault((row["trigger"], str(row["target"]), row["edit"]), []).append(row)
    for cell, rows in cells.items():
        made = [row for row in rows if "refused" not in row]
        values = ([100 * row[name] for row in made] for name in NAMES)
        texts = [f"{np.median(v):.2f} ({min(v):.2f} to {max(v):.2f})" if v else "" for v in values]
        if len(made) < len(rows):
            texts[0] += f"{', ' if made else ''}{len(rows) - len(made)} of {len(rows)} refused"
        lines.append(f"| {' | '.join([*cell, *texts])} |")
    blocks = {"took": f"{took}[All numbers](trojan-edits.json).", "cells": "\n".join(lines)}
    return BLOCK.sub(lambda block: f"{block[1]}{blocks[block[2]]}\n", page)


if __name__ == "__main__":
    main()
