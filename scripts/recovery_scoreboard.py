"""Recovers the programs of all networks that `scripts/recovery_networks.py` trained, and counts.

Command:   .venv/bin/python scripts/recovery_scoreboard.py [KIND ...]
Time:      10 s a network on pairs, 20 to 60 s on images or nulls; what is done is not done again
Expected:  the table of docs/recover.md, once for even seeds and once for odd ones
"""

import json
import sys
from pathlib import Path
from statistics import median

import numpy as np

import jaxmi
from jaxmi.cli.answers import read_answers
from jaxmi.programs import language as lang
from jaxmi.programs.parse import parse
from jaxmi.recover.recovery import recover

ROOT = Path("runs/recovery")
RESULTS = ROOT / "results.jsonl"
PUBLISHED = Path(jaxmi.__file__).parent / "programs" / "published" / "transformer.txt"


def main() -> None:
    """Recovers what is left, then prints the table."""
    done = (
        [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    )
    known = {row["file"] for row in done}
    kinds = sys.argv[1:] or sorted(path.name for path in ROOT.iterdir() if path.is_dir())
    for path in sorted(path for kind in kinds for path in (ROOT / kind).glob("*.npz")):
        if str(path) not in known:
            row = _recover(path)
            done.append(row)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            truth, confidence = row["agreement_truth"], row["confidence"]
            print(f"{path} {truth:.3%} confidence {confidence:.2f}", flush=True)
    for parity, name in enumerate(("even seeds: tuned on", "odd seeds: reported")):
        print(f"\n{name}\n| networks | n | 100 % | 99.5 % | 99 % | better | found | s | length |")
        for kind in kinds:
            rows = [r for r in done if r["kind"] == kind and r["seed"] % 2 == parity]
            if rows:
                print(_table_row(kind, rows))


def _recover(path: Path) -> dict:
    answers = read_answers(path, None)
    recovery = recover(answers.domain, answers.evidence)
    saved = np.load(path)
    truth, text = saved["truth"].reshape(-1) == 1, str(saved["program"])
    if text == "published":
        text = PUBLISHED.read_text()
    kind: lang.Kind = "image" if path.parent.name == "image" else "pairs"
    true_length = None if path.parent.name.startswith("null") else parse(text, kind).size
    return {
        "file": str(path),
        "kind": path.parent.name,
        "seed": int(path.stem),
        "agreement_truth": recovery.agreement(truth),
        "network_truth": float((answers.labels == truth).mean()),
        "true_program": text,
        "true_length": true_length,
        **recovery.figures(),
    }


def _table_row(kind: str, rows: list[dict]) -> str:
    truth = np.array([row["agreement_truth"] for row in rows])
    better = truth > [row["network_truth"] for row in rows]
    shares = [truth == 1, truth >= 0.995, truth >= 0.99, better, [r["found"] for r in rows]]
    lengths = [
        f"{median(row['description_length'] for row in rows):g}",
        f"{median(row['true_length'] or 0 for row in rows):g}",
    ]
    cells = [f"{np.mean(share):.0%}" for share in shares]
    seconds = f"{median(row['seconds'] for row in rows):.0f}"
    return f"| {' | '.join([kind, str(len(rows)), *cells, seconds, ' of '.join(lengths)])} |"


if __name__ == "__main__":
    main()
