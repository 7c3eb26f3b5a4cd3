"""Trains the networks of the recovery scoreboard: on programs that nobody chose, and on none.

Command:   .venv/bin/python scripts/recovery_networks.py [KIND ...]
Time:      an hour for all on 2 cores; a network that exists is not made again
Expected:  runs/recovery/KIND/SEED.npz: a network's labels and logits, the true labels, the program.
           All comes from the seed. Even seeds are for tuning the search, odd ones for judging it.
"""

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from recovery_nulls import image_null, pair_null

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.challenges.sealed import ACCURACY, posed, program_domain
from jaxmi.data.mnist import load_mnist
from jaxmi.data.pairs import split_indices
from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.fairness import draw_fair
from jaxmi.programs.sample import PairGrammar
from jaxmi.programs.show import show
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import train_seeds
from jaxmi.weights.whole import whole_files

OFF_GRID = PairGrammar(
    exponents=(0.4, 0.6, 0.8, 1.1, 1.2, 1.4, 1.6, 1.8, 1.9, 2.2, 2.5),
    stripe_exponents=(1.2, 1.4, 1.6, 1.8),
)
SHARES = {f"share-{share}": share / 100 for share in range(10, 100, 10)}
SEEDS = {
    **{"challenge-2": 32, "pairs": 200, "off-grid": 24, "null-pairs": 24, "image": 40},
    **{"null-image": 16, **dict.fromkeys(SHARES, 4)},
}
"""How many networks of each kind, seeds from 0."""
DRAWN_ON = 10_000
OUT = Path("runs/recovery")


def main() -> None:
    """Makes what is not there, kind by kind."""
    for kind in sys.argv[1:] or SEEDS:
        base = load_challenge("cnn" if kind.endswith("image") else "transformer")
        if kind in SHARES:
            train, test = split_indices(113, SHARES[kind])
            splits = {"train": train, "test": test}
            base = replace(base, splits=splits, curve_splits=splits)
        for seed in range(SEEDS[kind]):
            path = OUT / kind / f"{seed:03d}.npz"
            if not path.exists():
                _save(path, base, *_make(kind, base, seed))


def _make(kind: str, base: Challenge, seed: int) -> tuple[str, np.ndarray, np.ndarray]:
    """A program or a name, the labels it gives, and the logits of a network trained on them."""
    if kind.startswith("null"):
        name, labels = (image_null if kind == "null-image" else pair_null)(base, seed)
        challenge = replace(base, labels=labels.astype(np.int32))
        return name, challenge.labels, _train(challenge, seed)
    if kind == "challenge-2" or kind in SHARES:
        return "published", base.labels, _train(base, seed)
    return _pose(base, Random(seed), OFF_GRID if kind == "off-grid" else None)


def _pose(
    base: Challenge, rng: Random, grammar: PairGrammar | None
) -> tuple[str, np.ndarray, np.ndarray]:
    """Like `jaxmi challenge new`: two networks a program, until one is good, and not perfect."""
    domain, digits = program_domain(base), None
    if isinstance(domain, ImageDomain):
        domain = replace(domain, images=domain.images[:DRAWN_ON])
        digits = load_mnist().digits[:DRAWN_ON]
    low, high = ACCURACY[domain.kind]
    rows = base.splits["test"]
    while True:
        program, _ = draw_fair(domain, rng, grammar, digits)
        challenge = posed(base, program)
        for _ in range(2):
            logits = _train(challenge, rng.randrange(2**32))
            right = logits[rows].argmax(axis=-1) == challenge.labels[rows]
            if low <= right.mean() <= high:
                return show(program), challenge.labels, logits


def _train(challenge: Challenge, seed: int) -> np.ndarray:
    (trained,) = train_seeds(challenge, RECIPES[challenge.name]["fast"], [seed])
    return challenge.logits(trained.params)


def _save(path: Path, base: Challenge, program: str, truth: np.ndarray, logits: np.ndarray) -> None:
    answers = logits.argmax(axis=-1)
    print(path, f"{(answers == truth).mean():.2%}", flush=True)
    known = {"labels": answers, "logits": logits[:, :2], "truth": truth, "program": program}
    if base.name == "transformer":
        known["is_train"] = np.isin(np.arange(len(truth)), base.splits["train"])
    with whole_files(path.parent) as folder:
        np.savez(folder / path.name, **known)


if __name__ == "__main__":
    main()
