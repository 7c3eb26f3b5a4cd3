"""How many random programs can be trained into a network at stated sites? And what do controls say?

Command:   .venv/bin/python scripts/trained_plants.py
           .venv/bin/python scripts/trained_plants.py 200:220   (some seeds only, as one of several)
Time:      half an hour on 1 core; a network that was measured is not trained again
Writes:    docs/trained-plants.json; delete it to start over. Prints the table of docs/planted.md
Expected:  of 40 random programs without guards, in how many every interchange accuracy on held-out
           pairs is 99 %; the same of 10 look-ups; and of 10 networks trained without interchange
"""

import json
import random
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.models.transformer import TransformerConfig
from jaxmi.planted.interchange_training import Measured, Training, train
from jaxmi.planted.trained import causal_model
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Program
from jaxmi.programs.sample import NumberGrammar, sample_program
from jaxmi.programs.show import show

SEEDS = range(200, 240)
"""Programs of seeds below 10 were looked at while sizes and rates were chosen."""
FEW = range(200, 210)
"""Programs of the look-ups and of the controls."""
P = 31
CONFIG = TransformerConfig(d_vocab=P + 1, d_model=64, n_heads=4, d_head=16, d_mlp=128)
SHARES = (0.3, 0.7)
"""A program is drawn anew until its share of label 1 lies within these."""
OUT = Path(__file__).resolve().parent.parent / "docs" / "trained-plants.json"

Case = tuple[str, int]
"""A case's name, and the seed of its program and network."""


def draw(seed: int) -> Program:
    """Draw a program: the grammar of `jaxmi challenge new` for this p, without guards."""
    grammar = replace(NumberGrammar().scaled_to(P), guarded=(0, 0))
    rng = random.Random(seed)
    while True:
        program = sample_program(PairDomain(P), rng, grammar)
        if SHARES[0] <= label(program, PairDomain(P)).mean() <= SHARES[1]:
            return program


def run(case: Case) -> dict[str, Any]:
    """Train and measure one network."""
    name, seed = case
    program = draw(seed)
    labels = label(program, PairDomain(P)).reshape(P, P) == 1
    mechanism = "rows" if name == "rows" else "conditions"
    model = causal_model(labels, program, mechanism)
    training = replace(Training(), interchange=0.0) if name == "control" else Training()
    wall, cpu = time.perf_counter(), time.process_time()
    measured = train(model, CONFIG, seed, training).measured
    return {
        "case": name,
        "seed": seed,
        "program": show(program),
        "variables": len(model.variables),
        **_shares(measured),
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def _shares(measured: Measured) -> dict[str, Any]:
    found = [*measured.variables, *measured.parts]
    shares = {**measured.to_json(), "agreement": measured.agreement}
    strict = [one.strict for one in found if one.strict is not None]
    return {
        "held": measured.is_plant,
        **{key: None if value is None else round(value, 5) for key, value in shares.items()},
        "mean_strict": round(float(np.mean(strict)), 5) if strict else None,
    }


def _read() -> list[dict[str, Any]]:
    return json.loads(OUT.read_text())["plants"] if OUT.is_file() else []


def main() -> None:
    """Train what is missing, then print the table."""
    seeds = range(*map(int, sys.argv[1].split(":"))) if len(sys.argv) > 1 else SEEDS
    cases: list[Case] = [
        (name, seed)
        for seed in seeds
        for name in ("conditions", "rows", "control")
        if seed in (SEEDS if name == "conditions" else FEW)
    ]
    for case in cases:
        if case in {(one["case"], one["seed"]) for one in _read()}:
            continue
        found = run(case)
        plants = sorted([*_read(), found], key=lambda one: (one["case"], one["seed"]))
        about = {"p": P, "network": asdict(CONFIG), "training": asdict(Training())}
        OUT.write_text(json.dumps({**about, "plants": plants}, indent=1) + "\n")
        print(json.dumps({**found, "program": ""}), flush=True)
    _print_table(_read())


def _print_table(plants: list[dict[str, Any]]) -> None:
    print(
        "| networks | number | held | all labels right | least accuracy, random pairs (median) "
        "| least accuracy, strict pairs (median) | CPU seconds (median) |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in ("conditions", "rows", "control"):
        of_case = [one for one in plants if one["case"] == name]
        if not of_case:
            continue
        strict = [one["strict"] for one in of_case if one["strict"] is not None]
        print(
            f"| `{name}` | {len(of_case)} | {sum(one['held'] for one in of_case)} "
            f"| {sum(one['agreement'] == 1 for one in of_case)} "
            f"| {np.median([one['random'] for one in of_case]):.2%} | {np.median(strict):.2%} "
            f"| {np.median([one['cpu_seconds'] for one in of_case]):.0f} |"
        )


if __name__ == "__main__":
    main()
