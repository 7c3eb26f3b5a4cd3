"""Labels outside the language, for the null networks of `scripts/recovery/networks.py`.

Command:   none; imported by networks.py
Time:      a second
Expected:  labels that no program of the language gives, but a network can learn in part
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import gaussian_filter

from jaxmi.challenges.challenge import Challenge
from jaxmi.data.mnist import load_mnist

Labels = Bool[np.ndarray, "n"]
SIDE = 113


def pair_null(base: Challenge, seed: int) -> tuple[str, Labels]:
    """Draw labels of pairs; the six kinds alternate with the seed."""
    rng = np.random.default_rng(seed)
    y = np.arange(SIDE)[None, :]
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "random rows": lambda: (rng.random(SIDE) < 0.5)[:, None] & (y >= 0),
        "smooth random field": lambda: _field(rng, rng.uniform(6, 14)),
        "random threshold in each row": lambda: y < rng.integers(10, 103, SIDE)[:, None],
        "random rows against random columns": lambda: (
            (rng.random(SIDE) < 0.5)[:, None] ^ (rng.random(SIDE) < 0.5)
        ),
        "random pairs": lambda: rng.random((SIDE, SIDE)) < 0.5,
        "fine random field": lambda: _field(rng, rng.uniform(2.5, 5)),
    }
    name = list(kinds)[seed // 2 % len(kinds)]
    return name, kinds[name]().reshape(-1)


def image_null(base: Challenge, seed: int) -> tuple[str, Labels]:
    """Draw labels of images; the five kinds alternate with the seed."""
    rng = np.random.default_rng(seed)
    digits = load_mnist().digits
    pixels = base.inputs.reshape(len(base.inputs), -1).astype(np.float32) / 255

    def score(width: int) -> np.ndarray:
        weights = rng.normal(size=(28, 28))
        values = pixels @ gaussian_filter(weights, width).reshape(-1).astype(np.float32)
        return values - np.median(values)

    kinds: dict[str, Callable[[], np.ndarray]] = {
        "digit parity": lambda: digits % 2 == 1,
        "random pixel weights": lambda: score(0) > 0,
        "smooth pixel weights": lambda: score(3) > 0,
        "product of two smooth scores": lambda: _above_median(score(2) * score(2)),
        "five random digits": lambda: np.isin(digits, rng.permutation(10)[:5]),
    }
    name = list(kinds)[seed // 2 % len(kinds)]
    return name, kinds[name]()


def _field(rng: np.random.Generator, width: float) -> np.ndarray:
    return _above_median(gaussian_filter(rng.normal(size=(SIDE, SIDE)), width))


def _above_median(values: np.ndarray) -> np.ndarray:
    return values > np.median(values)
