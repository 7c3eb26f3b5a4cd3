"""Draws how well networks of many sizes learn challenge 2's program, for several p.

Command:   .venv/bin/python scripts/sizes.py
Time:      half an hour on 2 cores; a call that was stopped is resumed
Writes:    docs/sizes.json, docs/sizes.png; delete the former to start over
Expected:  every network beats both controls
"""

import json
import math
import os
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.spatial import KDTree

import jaxmi
from jaxmi.programs.published_labels import published_program
from jaxmi.report.figures import accuracy_grid

P, WIDTHS = (31, 59, 113, 199), (32, 64, 128, 256)
SEEDS = range(100, 104)
"""Seeds below 100 chose the recipes."""
T_QUANTILE = 3.182
"""Of Student's t with three degrees of freedom: half of a 95 % interval, in standard errors."""
CONTROLS = ("nearest pair", "majority")
DOCS = Path(__file__).resolve().parent.parent / "docs"


def measure(p: int, width: int) -> dict[str, Any]:
    """Train the networks of one cell, and measure the controls on the same split."""
    network = {"d_model": width, "n_heads": width // 16, "d_mlp": 8 * width}
    challenge = jaxmi.make_challenge(published_program("pairs"), p, 0.5, network=network)
    networks = jaxmi.train(challenge, SEEDS, progress=False)
    tests = [network.metrics["test_accuracy"] for network in networks]
    train, test = challenge.splits["train"], challenge.splits["test"]
    pairs, labels = challenge.inputs[:, :2], challenge.labels
    _, nearest = KDTree(pairs[train]).query(pairs[test])
    return {
        "p": p,
        "width": width,
        "recipe": networks[0].config["recipe"],
        "seeds": networks.seeds,
        "train_accuracy": [network.metrics["train_accuracy"] for network in networks],
        "converged": [network.converged for network in networks],
        "test_accuracy": tests,
        "mean": np.mean(tests),
        "half_interval": T_QUANTILE * np.std(tests, ddof=1) / math.sqrt(len(tests)),
        "nearest pair": np.mean(labels[train][nearest] == labels[test]),
        "majority": np.mean(labels[test] == round(labels[train].mean())),
    }


def main() -> None:
    """Train what is missing, the small networks first, then draw."""
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    out = DOCS / "sizes.json"
    cells = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else []
    for p, width in sorted(product(P, WIDTHS), key=math.prod):
        if not any((cell["p"], cell["width"]) == (p, width) for cell in cells):
            cells.append(measure(p, width))
            out.write_text(json.dumps(cells, indent=1, default=float) + "\n")
    drawn: dict[tuple[int, int], tuple[float, str]] = {}
    for cell in cells:
        row, missing = P.index(cell["p"]), cell["converged"].count(False)
        note = f"± {cell['half_interval']:.2%}" + f"\n{missing} not converged" * (missing > 0)
        drawn[row, WIDTHS.index(cell["width"])] = cell["mean"], note
        drawn |= {(row, len(WIDTHS) + i): (cell[name], "") for i, name in enumerate(CONTROLS)}
    columns = [*(f"width {width}" for width in WIDTHS), *CONTROLS]
    title = f"challenge 2's program, fast recipe: mean of {len(SEEDS)} seeds, 95 % interval"
    figure = accuracy_grid([f"p = {p}" for p in P], columns, drawn, len(WIDTHS), title)
    figure.savefig(DOCS / "sizes.png", dpi=110)


if __name__ == "__main__":
    main()
