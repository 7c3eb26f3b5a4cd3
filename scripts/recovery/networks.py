"""Train the networks of the recovery scoreboard, on randomly drawn programs and on other labels.

Command:   .venv/bin/python scripts/recovery/networks.py [KIND ...]
Time:      two hours for all on 2 cores; existing networks are skipped
Expected:  runs/recovery/KIND/SEED.npz: a network's labels and logits, the true labels, the program.
           Even seeds are for tuning the search, odd seeds for judging it.
"""

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from kinds import KINDS, Kind, draw
from nulls import image_null, pair_null

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.sealed import posed
from jaxmi.programs.show import show
from jaxmi.storage.atomic import atomic_files
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import train_seeds

OUT = Path("runs/recovery")


def main() -> None:
    """Train the missing networks, kind by kind."""
    for name in sys.argv[1:] or KINDS:
        kind = KINDS[name]
        base = kind.base()
        for seed in kind.seeds:
            path = OUT / name / f"{seed:03d}.npz"
            if not path.exists():
                _save(path, base, *_make(kind, base, seed))


def _make(kind: Kind, base: Challenge, seed: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Return a program or a name, its labels, and the logits of a network trained on them."""
    if kind.grammar:
        return _draw(kind, base, Random(seed))
    name, challenge = "published", base
    if kind.is_null:
        name, labels = (pair_null if base.name == "transformer" else image_null)(base, seed)
        challenge = replace(base, labels=labels.astype(np.int32))
    return name, challenge.labels, _train(challenge, seed, kind.recipe)


def _draw(kind: Kind, base: Challenge, rng: Random) -> tuple[str, np.ndarray, np.ndarray]:
    """Draw programs until one of two networks per program has an accuracy within the limits.

    `jaxmi challenge new` does the same.
    """
    low, high = base.sealing.accuracy
    rows = base.splits["test"]
    while True:
        assert kind.grammar
        program = draw(base, kind.grammar, rng)
        challenge = posed(base, program)
        for _ in range(2):
            logits = _train(challenge, rng.randrange(2**32), kind.recipe)
            right = logits[rows].argmax(axis=-1) == challenge.labels[rows]
            if low <= right.mean() <= high:
                return show(program), challenge.labels, logits


def _train(challenge: Challenge, seed: int, recipe: str) -> np.ndarray:
    (trained,) = train_seeds(challenge, RECIPES[challenge.name][recipe], [seed])
    return challenge.logits(trained.params)


def _save(path: Path, base: Challenge, program: str, truth: np.ndarray, logits: np.ndarray) -> None:
    labels = logits.argmax(axis=-1)
    print(path, f"{(labels == truth).mean():.2%}", flush=True)
    arrays = {"labels": labels, "logits": logits[:, :2], "truth": truth, "program": program}
    if base.name == "transformer":
        arrays["is_train"] = np.isin(np.arange(len(truth)), base.splits["train"])
    with atomic_files(path.parent) as folder:
        np.savez(folder / path.name, **arrays)


if __name__ == "__main__":
    main()
