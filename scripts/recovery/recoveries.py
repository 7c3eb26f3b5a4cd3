"""Recovers the programs of all networks that `scripts/recovery/networks.py` trained.

Command:   .venv/bin/python scripts/recovery/recoveries.py [KIND ...]
Time:      5 to 20 s a network, 2 minutes where there is no program; what is done stays
Expected:  a line for each in runs/recovery/results.jsonl, for `scripts/recovery/table.py`
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kinds import KINDS

import jaxmi
from jaxmi.programs.language import KINDS as LABELLED
from jaxmi.programs.parse import parse
from jaxmi.recovery.recover import recover
from jaxmi.workflows.recover import Answers, read_answers

ROOT = Path("runs/recovery")
RESULTS, BASELINES = ROOT / "results.jsonl", ROOT / "baselines.jsonl"
PUBLISHED = Path(jaxmi.__file__).parent / "programs" / "published"


def main() -> None:
    """Recovers what is left."""
    for path in left(sys.argv[1:] or list(KINDS), RESULTS):
        answers, row = read_network(path)
        recovery = recover(answers.domain, answers.evidence)
        figures = recovery.figures()
        kept = ("program", "found", "confidence", "description_length", "seconds")
        row |= {key: figures[key] for key in (*kept, "agreement_network", "candidates")}
        row["agreement_truth"] = recovery.agreement(truth_of(path))
        row["same_templates"] = templates(row["program"]) == templates(row["true_program"])
        write_row(RESULTS, row)
        print(f"{path} {row['agreement_truth']:.3%} confidence {row['confidence']:.2f}", flush=True)


def left(kinds: list[str], results: Path) -> list[Path]:
    """Lists networks that have no result yet: those with odd seeds first, from the last on."""
    done = {row["file"] for row in read_rows(results)}
    found = [
        path for kind in kinds for path in (ROOT / kind).glob("*.npz") if str(path) not in done
    ]
    return sorted(found, key=lambda path: (int(path.stem) % 2 == 0, -int(path.stem)))


def read_network(path: Path) -> tuple[Answers, dict[str, Any]]:
    """Reads a network's answers, and what is known of it."""
    answers, text, name = read_answers(path, None), str(np.load(path)["program"]), path.parent.name
    challenge = answers.challenge.name
    if text == "published":
        text = (PUBLISHED / f"{challenge}.txt").read_text()
    return answers, {
        "file": str(path),
        "kind": name,
        "seed": int(path.stem),
        "network_truth": float((answers.labels == truth_of(path)).mean()),
        "true_program": text,
        "true_length": None if KINDS[name].is_null else parse(text, LABELLED[challenge]).size,
    }


def truth_of(path: Path) -> np.ndarray:
    """Reads a network's true labels."""
    return np.load(path)["truth"].reshape(-1) == 1


def templates(text: str) -> set[str]:
    """Returns the templates that a program names."""
    return set(re.findall(r"template\(\d+\)", text))


def read_rows(results: Path) -> list[dict[str, Any]]:
    """Reads what was written."""
    return (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )


def write_row(results: Path, row: dict[str, Any]) -> None:
    """Adds a line."""
    with results.open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
