"""Timing: rounds of several things in turn, so that a noisy moment hits all alike."""

import time
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

PEAK_SIZE = 2048
"""Side of the square matrices whose product stands for the machine's peak."""


def time_in_turn(
    things: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Runs each thing once per round.

    Args:
      things: Name -> function without arguments that returns when its work is done.
      rounds: How often.
      warm_up: Rounds before that are not counted.

    Returns:
      Name -> seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for number in range(-warm_up, rounds):
        for name, thing in things.items():
            began = time.perf_counter()
            thing()
            if number >= 0:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def summary(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Returns the median, and the quartiles as the spread."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def square_product() -> Callable[[], object]:
    """A float32 product of two square matrices, `PEAK_SIZE` a side, on the first device."""
    a = jnp.ones((PEAK_SIZE, PEAK_SIZE))
    product = jax.jit(lambda a: a @ a)

    def run() -> object:
        with jax.default_matmul_precision("float32"):
            return jax.block_until_ready(product(a))

    return run
