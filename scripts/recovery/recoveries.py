"""Recover the programs of all networks that `scripts/recovery/networks.py` trained.

Command:   .venv/bin/python scripts/recovery/recoveries.py [KIND ...]
Time:      5 to 20 s per network, 2 minutes without a program; existing results are kept
Expected:  a line per network in runs/recovery/results.jsonl, which `table.py` reads
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kinds import KINDS

import jaxmi
from jaxmi.programs.parse import parse
from jaxmi.recovery.recover import recover
from jaxmi.workflows.recover import Predictions, read_predictions

ROOT = Path("runs/recovery")
RESULTS, BASELINES = ROOT / "results.jsonl", ROOT / "baselines.jsonl"
PUBLISHED = Path(jaxmi.__file__).parent / "programs" / "published"


def main() -> None:
    """Recover the programs of networks without a result."""
    for path in remaining_networks(sys.argv[1:] or list(KINDS), RESULTS):
        predictions, row = read_network(path)
        recovery = recover(predictions.domain, predictions.evidence)
        result = recovery.to_json()
        keys = ("program", "found", "confidence", "description_length", "seconds")
        row |= {key: result[key] for key in (*keys, "agreement_network", "candidates")}
        row["agreement_truth"] = recovery.agreement(read_truth(path))
        row["same_templates"] = templates(row["program"]) == templates(row["true_program"])
        write_row(RESULTS, row)
        print(f"{path} {row['agreement_truth']:.3%} confidence {row['confidence']:.2f}", flush=True)


def remaining_networks(kinds: list[str], results: Path) -> list[Path]:
    """Return networks without a result: odd seeds first, each in descending order."""
    done = {row["file"] for row in read_rows(results)}
    paths = [
        path for kind in kinds for path in (ROOT / kind).glob("*.npz") if str(path) not in done
    ]
    return sorted(paths, key=lambda path: (int(path.stem) % 2 == 0, -int(path.stem)))


def read_network(path: Path) -> tuple[Predictions, dict[str, Any]]:
    """Return a network's predictions, and the first columns of its row of results."""
    predictions, name = read_predictions(path, None), path.parent.name
    text = str(np.load(path)["program"])
    challenge = predictions.challenge
    if text == "published":
        text = (PUBLISHED / f"{challenge.name}.txt").read_text(encoding="utf-8")
    return predictions, {
        "file": str(path),
        "kind": name,
        "seed": int(path.stem),
        "network_truth": float((predictions.labels == read_truth(path)).mean()),
        "true_program": text,
        "true_length": None if KINDS[name].is_null else parse(text, challenge.kind).size,
    }


def read_truth(path: Path) -> np.ndarray:
    """Return a network's true labels."""
    return np.load(path)["truth"].reshape(-1) == 1


def templates(text: str) -> set[str]:
    """Return the templates that a program names."""
    return set(re.findall(r"template\(\d+\)", text))


def read_rows(results: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of results; none if it does not exist."""
    return (
        [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
        if results.exists()
        else []
    )


def write_row(results: Path, row: dict[str, Any]) -> None:
    """Append a row to a file of results."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
