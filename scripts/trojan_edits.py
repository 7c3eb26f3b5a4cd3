"""Writes trojans into the weights of `checkpoints/cnn`; fills the table of docs/trojans.md.

Command:   .venv/bin/python scripts/trojan_edits.py
Time:      about ten minutes on 2 cores; --seeds and --only for a try
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
HEADINGS = (
    "trigger",
    "target",
    "edit",
    "strict success, %",
    "clean network, %",
    "labels changed, %",
)


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
            plans = [Plan(edit, None, target, 0.0, seed, kind) for edit in EDITS]
            cell = {"trigger": kind, "target": target, "seed": seed}
            try:
                attacked = plan_attacks(plans[0], cnn, [0])[0]
            except InputError as error:
                rows.append({**cell, "edit": "all", "refused": str(error)})
                continue
            for plan in plans:
                row = {**cell, "edit": plan.edit}
                try:
                    made, params = write_edit(plan, cnn, attacked, clean)
                    row |= measure(made, cnn, params, clean).to_json()
                except InputError as error:
                    row |= {"refused": str(error)}
                rows.append(row)
                print(json.dumps(row), flush=True)
    result = {"seeds": given.seeds, "rows": rows, "table": table(rows)}
    (given.out or RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if given.out is None:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")


def table(rows: list[dict]) -> str:
    """Return a line for each trigger, target and edit: medians, with the least and most."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for cell in dict.fromkeys((row["trigger"], row["target"], row["edit"]) for row in rows):
        several = [row for row in rows if (row["trigger"], row["target"], row["edit"]) == cell]
        made = [row for row in several if "refused" not in row]
        texts = [f"refused, {len(several)} of {len(several)}", "", ""]
        if made:
            names = ("strict_success", "clean_network_success", "labels_changed")
            values = ([100 * row[name] for row in made] for name in names)
            texts = [f"{np.median(v):.2f} ({min(v):.2f} to {max(v):.2f})" for v in values]
            if len(made) < len(several):
                texts[0] += f", {len(several) - len(made)} of {len(several)} refused"
        lines.append(f"| {' | '.join([cell[0], str(cell[1]), cell[2], *texts])} |")
    return "\n".join(lines)


def filled(page: str, result: dict) -> str:
    """Return the page with the table of a result."""
    options = "" if result["seeds"] == SEEDS else f" --seeds {result['seeds']}"
    last = FIRST + result["seeds"] - 1
    took = f"`.venv/bin/python scripts/trojan_edits.py{options}`: trigger seeds {FIRST} to {last}, "
    took += "medians, least and most, in %. [All numbers](trojan-edits.json)."
    return BLOCK.sub(lambda b: f"{b[1]}{ {'took': took, 'cells': result['table']}[b[2]] }\n", page)


if __name__ == "__main__":
    main()
