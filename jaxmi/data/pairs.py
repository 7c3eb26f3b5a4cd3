"""Inputs of challenge 2: all pairs (x, y) row by row, their token sequences and their split."""

import random

import numpy as np
from jaxtyping import Bool, Int32

from jaxmi.errors import InputError


def all_pairs(p: int) -> Int32[np.ndarray, "{p}*{p} 2"]:
    """Return all pairs (x, y) with 0 <= x, y < p, row by row: y changes fastest."""
    return np.stack(np.divmod(np.arange(p * p, dtype=np.int32), np.int32(p)), axis=1)


def to_tokens(pairs: Int32[np.ndarray, "n 2"], p: int) -> Int32[np.ndarray, "n 3"]:
    """Return each pair as the sequence [x, y, p]; the network's logits are those of token p."""
    return np.pad(pairs, ((0, 0), (0, 1)), constant_values=p)


def split_indices(
    p: int, train_share: float = 0.5, seed: int = 0
) -> tuple[Int32[np.ndarray, "train"], Int32[np.ndarray, "test"]]:
    """Split all pairs as the published code did: by Python's `random.shuffle`, there with seed 0.

    Args:
      p: The number of values that x and y take.
      train_share: Share of the pairs to train on; the number is rounded down (6,384 of 12,769).
      seed: Seed of the shuffling.

    Returns:
      Row numbers into `all_pairs(p)`, in shuffled order: the training split, and the test split.

    Raises:
      InputError: if `train_share` is not strictly between 0 and 1.
    """
    if not 0 < train_share < 1:
        raise InputError(f"train_share = {train_share}: expected a number above 0 and below 1")
    order = list(range(p * p))
    random.Random(seed).shuffle(order)
    shuffled = np.array(order, dtype=np.int32)
    train, test = np.split(shuffled, [int(train_share * p * p)])
    return train, test


def is_train_table(p: int, train: Int32[np.ndarray, "n"]) -> Bool[np.ndarray, "{p} {p}"]:
    """Return which pairs are trained on: entry [x, y] of a table over all pairs."""
    return np.isin(np.arange(p * p), train).reshape(p, p)
