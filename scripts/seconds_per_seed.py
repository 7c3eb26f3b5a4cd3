"""Draws the seconds that training takes per seed, against the number of seeds.

Command:   .venv/bin/python scripts/seconds_per_seed.py
Time:      about 3 minutes on 2 cores
Writes:    docs/seconds-per-seed.png; prints the seconds
Expected:  with at least as many seeds as devices (cores), each seed costs the same within the
           machine's noise; fewer leave devices idle
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import jax

from jaxmi.challenges.registry import load_challenge
from jaxmi.report.figures import seconds_per_seed
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import train_seeds

N_SEEDS = (1, 2, 4, 8, 16, 32)
STEPS = {"transformer": 200, "cnn": 195}
"""Steps to time, a part of the `fast` recipes: every step costs the same."""


def main() -> None:
    """Train, without counting compilation, and draw."""
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    measured: dict[str, dict[int, float]] = {}
    for name, steps in STEPS.items():
        challenge = load_challenge(name)
        recipe = replace(RECIPES[name]["fast"], steps=steps, eval_every=steps)
        measured[challenge.title] = {}
        for n in N_SEEDS:
            start = time.perf_counter()
            results = list(train_seeds(challenge, recipe, range(n)))
            seconds = time.perf_counter() - start - results[0].compile_seconds
            measured[challenge.title][n] = seconds / n * RECIPES[name]["fast"].steps / steps
            print(f"{name}, {n} seeds: {seconds / n:.2f} s per seed for {steps} steps", flush=True)
    figure = seconds_per_seed(measured, devices=jax.device_count())
    figure.savefig(Path(__file__).parents[1] / "docs" / "seconds-per-seed.png", dpi=110)


if __name__ == "__main__":
    main()
