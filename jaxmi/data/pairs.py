"""Inputs of number challenges: all pairs or triples in order, their token sequences and split."""

import random

import numpy as np
from jaxtyping import Bool, Int32

from jaxmi.errors import InputError


def all_pairs(p: int) -> Int32[np.ndarray, "{p}*{p} 2"]:
    """Return all pairs (x, y) with 0 <= x, y < p, row by row: y changes fastest."""
    return all_tuples(p, 2)


def all_tuples(p: int, n: int) -> Int32[np.ndarray, "{p}**{n} {n}"]:
    """Return all sequences of n numbers from 0 to p - 1; the last number changes fastest."""
    rows = np.arange(p**n, dtype=np.int32)
    return np.stack([rows // np.int32(p**i) % np.int32(p) for i in reversed(range(n))], axis=1)


def to_tokens(
    numbers: Int32[np.ndarray, "n operands"], p: int
) -> Int32[np.ndarray, "n operands+1"]:
    """Return each pair as the sequence [x, y, p], and each triple as [x, y, w, p].

    The network's logits are those of token p.
    """
    return np.pad(numbers, ((0, 0), (0, 1)), constant_values=p)


def split_indices(
    p: int, train_share: float = 0.5, seed: int = 0, n: int = 2
) -> tuple[Int32[np.ndarray, "train"], Int32[np.ndarray, "test"]]:
    """Split all inputs as the published code did: by Python's `random.shuffle`, there with seed 0.

    Args:
      p: The number of values that each number takes.
      train_share: Share of the inputs to train on; the count is rounded down (6,384 of 12,769).
      seed: Seed of the shuffling.
      n: How many numbers an input has: 2 for pairs.

    Returns:
      Row numbers into `all_tuples(p, n)`, in shuffled order: the training split, and the test
      split.

    Raises:
      InputError: if `train_share` is not strictly between 0 and 1.
    """
    if not 0 < train_share < 1:
        raise InputError(f"train_share = {train_share}: expected a number above 0 and below 1")
    order = list(range(p**n))
    random.Random(seed).shuffle(order)
    shuffled = np.array(order, dtype=np.int32)
    n_train = train_share
    for _ in range(n):  # in this order: another would round otherwise
        n_train *= p
    train, test = np.split(shuffled, [int(n_train)])
    return train, test


def is_train_table(
    p: int, train: Int32[np.ndarray, "n"], operands: int = 2
) -> Bool[np.ndarray, "..."]:
    """Return which inputs are trained on: entry [x, y] of a table over all pairs."""
    return np.isin(np.arange(p**operands), train).reshape((p,) * operands)
