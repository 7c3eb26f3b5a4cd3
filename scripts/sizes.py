"""Draws how well networks of many sizes learn challenge 2's program, over the number of tokens p.

Command:   .venv/bin/python scripts/sizes.py
Time:      half an hour on 2 cores; a second call resumes; without docs/sizes.json it starts over
Writes:    docs/sizes.json, docs/sizes.png
Expected:  every network beats both controls; test accuracy grows with p, hardly with the width
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import t

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.programs.published_labels import published_program
from jaxmi.report.figures import accuracy_grid

P = (31, 59, 113, 199)
WIDTHS = (32, 64, 128, 256)
SEEDS = range(100, 104)
"""Seeds below 100 chose the recipes."""
CONTROLS = ("nearest pair", "majority")
DOCS = Path(__file__).resolve().parent.parent / "docs"


def measure(p: int, width: int) -> dict[str, Any]:
    """Train the networks of one cell, and measure the controls on the same split."""
    network = {"d_model": width, "n_heads": width // 16, "d_mlp": 8 * width}
    challenge = jaxmi.make_challenge(published_program("pairs"), p, 0.5, network=network)
    networks = jaxmi.train(challenge, SEEDS, progress=False)
    tests = [n.metrics["test_accuracy"] for n in networks]
    half = t.ppf(0.975, len(tests) - 1) * np.std(tests, ddof=1) / np.sqrt(len(tests))
    return {
        "p": p,
        "width": width,
        "seeds": list(SEEDS),
        "recipe": networks[0].config["recipe"],
        "test_accuracy": tests,
        "mean": float(np.mean(tests)),
        "half_interval": float(half),
        "train_accuracy": [n.metrics["train_accuracy"] for n in networks],
        "converged": [n.converged for n in networks],
        **controls(challenge),
    }


def controls(challenge: Challenge) -> dict[str, float]:
    """Predict the test pairs without a network: by the nearest training pair, by the majority."""
    train, test = challenge.splits["train"], challenge.splits["test"]
    pairs, labels = challenge.inputs[:, :2], challenge.labels
    _, nearest = cKDTree(pairs[train]).query(pairs[test])
    common = labels[train].mean() >= 0.5
    return {
        "nearest pair": float((labels[train][nearest] == labels[test]).mean()),
        "majority": float((labels[test] == common).mean()),
    }


def main() -> None:
    """Train what is missing, the small networks first, then draw."""
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    out = DOCS / "sizes.json"
    cells = json.loads(out.read_text()) if out.is_file() else []
    for width, p in ((width, p) for width in WIDTHS for p in P):
        if not any((cell["p"], cell["width"]) == (p, width) for cell in cells):
            cells.append(measure(p, width))
            out.write_text(json.dumps(cells, indent=1) + "\n")
    drawn: dict[tuple[int, int], tuple[float, str]] = {}
    for cell in cells:
        row = P.index(cell["p"])
        note = f"± {100 * cell['half_interval']:.2f}"
        missing = cell["converged"].count(False)
        note += f"\n{missing} not converged" if missing else ""
        drawn[row, WIDTHS.index(cell["width"])] = cell["mean"], note
        drawn |= {(row, len(WIDTHS) + i): (cell[name], "") for i, name in enumerate(CONTROLS)}
    columns = [*(f"width {width}" for width in WIDTHS), *CONTROLS]
    title = f"challenge 2's program, fast recipe: mean of {len(SEEDS)} seeds, 95 % interval"
    figure = accuracy_grid([f"p = {p}" for p in P], columns, drawn, len(WIDTHS), title)
    figure.savefig(DOCS / "sizes.png", dpi=110)


if __name__ == "__main__":
    main()
