"""Train the networks of the recovery scoreboard, on randomly drawn programs and on other labels.

Command:   .venv/bin/python scripts/recovery/networks.py [KIND ...]
Time:      two hours for all on 2 cores; existing networks are skipped
Expected:  runs/recovery/KIND/SEED.npz: a network's labels and logits, the true labels, the program.
           Even seeds are for tuning the search, odd seeds for judging it.
"""

import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from kinds import KINDS, Kind, draw
from nulls import image_null, pair_null

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.challenges.sealed import posed
from jaxmi.programs.show import show
from jaxmi.storage.atomic import atomic_files
from jaxmi.training.recipe import Recipe, recipes_for
from jaxmi.training.seeds import Run, train_runs
from jaxmi.workflows.machine import prepare_devices

OUT = Path("runs/recovery")

AT_ONCE = 8
"""Networks to train in one call; each has labels of its own."""


def main() -> None:
    """Train the missing networks, kind by kind, many at once."""
    prepare_devices(None, AT_ONCE)
    for name in sys.argv[1:] or KINDS:
        kind = KINDS[name]
        base = kind.base()
        paths = {seed: OUT / name / f"{seed:03d}.npz" for seed in kind.seeds}
        missing = [seed for seed in kind.seeds if not paths[seed].exists()]
        for first in range(0, len(missing), AT_ONCE):
            searches = {seed: _make(kind, base, seed) for seed in missing[first : first + AT_ONCE]}
            recipe = recipes_for(base)[kind.recipe]
            for seed, result in _train_until_done(base, searches, recipe):
                _save(paths[seed], base, *result)


class Wanted(NamedTuple):
    """A network to train: it takes the challenge's inputs, and predicts its labels."""

    challenge: Challenge
    seed: int


Result = tuple[str, np.ndarray, np.ndarray]
"""A program or a name, its labels, and the logits of a network trained on them."""

Search = Generator[Wanted, np.ndarray, Result]
"""It yields a network that it wants, and is sent the logits."""


def _train_until_done(
    base: Challenge, searches: dict[int, Search], recipe: Recipe
) -> Iterator[tuple[int, Result]]:
    """Train the networks that the searches want, round by round; yield a seed and its result."""
    wanted = {seed: next(search) for seed, search in searches.items()}
    while wanted:
        seeds, networks = list(wanted), list(wanted.values())
        runs = [Run(one.challenge, [one.seed]) for one in networks]
        for index, trained in train_runs(runs, recipe):
            seed = seeds[index]
            try:
                wanted[seed] = searches[seed].send(base.logits(trained.params))
            except StopIteration as stopped:
                del wanted[seed]
                yield seed, stopped.value


def _make(kind: Kind, base: Challenge, seed: int) -> Search:
    if kind.grammar:
        return (yield from _draw(kind, base, Random(seed)))
    name, challenge = "published", base
    if kind.is_null:
        name, labels = (pair_null if base.kind == "pairs" else image_null)(base, seed)
        challenge = replace(base, labels=labels.astype(np.int32))
    return name, challenge.labels, (yield Wanted(challenge, seed))


def _draw(kind: Kind, base: Challenge, rng: Random) -> Search:
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
            logits = yield Wanted(challenge, rng.randrange(2**32))
            right = logits[rows].argmax(axis=-1) == challenge.labels[rows]
            if low <= right.mean() <= high:
                return show(program), challenge.labels, logits


def _save(path: Path, base: Challenge, program: str, truth: np.ndarray, logits: np.ndarray) -> None:
    labels = logits.argmax(axis=-1)
    print(path, f"{(labels == truth).mean():.2%}", flush=True)
    arrays = {"labels": labels, "logits": logits[:, :2], "truth": truth, "program": program}
    if isinstance(base, NumberChallenge):
        arrays["labels"] = labels.reshape(base.grid)
        arrays["is_train"] = np.isin(np.arange(len(truth)), base.splits["train"])
    with atomic_files(path.parent) as folder:
        np.savez(folder / path.name, **arrays)


if __name__ == "__main__":
    main()
