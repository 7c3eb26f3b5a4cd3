"""Fit general learners to the predictions of the scoreboard's networks.

Command:   .venv/bin/pip install -c constraints.txt -e '.[baselines]', once; then
           .venv/bin/python scripts/recovery/baselines.py [KIND ...]
Time:      a quarter of an hour per kind; on pairs mostly symbolic regression
Expected:  lines in runs/recovery/baselines.jsonl, which `scripts/recovery/table.py` reads
"""

import sys
import time

from learners import LEARNERS
from recoveries import BASELINES, read_network, read_truth, remaining_networks, write_row

SLOW_LEARNER, SLOW_NETWORKS = "symbolic regression", 6
"""A slow learner, and the number of networks per kind that it is fitted to."""


def main() -> None:
    """Fit the learners to networks with odd seeds; on pairs, to seeds over 100."""
    for kind in sys.argv[1:] or ("challenge-2", "pairs", "image"):
        paths = [p for p in remaining_networks([kind], BASELINES) if int(p.stem) % 2]
        if kind == "pairs":
            paths = [path for path in paths if int(path.stem) > 100]
        for i, path in enumerate(paths):
            predictions, row = read_network(path)
            for name, learner in LEARNERS[predictions.challenge.name].items():
                if name == SLOW_LEARNER and i >= SLOW_NETWORKS:
                    continue
                start = time.perf_counter()
                labels, length = learner(predictions)
                row |= {"seconds": time.perf_counter() - start, "description_length": length}
                agreement = float((labels == read_truth(path)).mean())
                write_row(BASELINES, {**row, "method": name, "agreement_truth": agreement})
                print(f"{path} {name} {agreement:.2%}", flush=True)


if __name__ == "__main__":
    main()
