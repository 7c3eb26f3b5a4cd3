"""Gives the networks of the scoreboard to general learners.

Command:   .venv/bin/pip install -c constraints.txt -e '.[baselines]', once; then
           .venv/bin/python scripts/recovery/baselines.py [KIND ...]
Time:      a quarter of an hour a kind on pairs, mostly symbolic regression; as long on images
Expected:  lines in runs/recovery/baselines.jsonl, for `scripts/recovery/table.py`
"""

import sys
import time

from learners import LEARNERS
from recoveries import BASELINES, left, read_network, truth_of, write_row

SLOW, FEWER = "symbolic regression", 6
"""What is tried on so many networks of a kind only."""


def main() -> None:
    """Goes through the networks with odd seeds, of the fresh ones on pairs."""
    for kind in sys.argv[1:] or ("challenge-2", "pairs", "image"):
        paths = [p for p in left([kind], BASELINES) if int(p.stem) % 2]
        if kind == "pairs":
            paths = [path for path in paths if int(path.stem) > 100]
        for i, path in enumerate(paths):
            answers, row = read_network(path)
            for name, learner in LEARNERS[answers.challenge.name].items():
                if name == SLOW and i >= FEWER:
                    continue
                began = time.perf_counter()
                labels, length = learner(answers)
                row |= {"seconds": time.perf_counter() - began, "description_length": length}
                agreement = float((labels == truth_of(path)).mean())
                write_row(BASELINES, {**row, "method": name, "agreement_truth": agreement})
                print(f"{path} {name} {agreement:.2%}", flush=True)


if __name__ == "__main__":
    main()
