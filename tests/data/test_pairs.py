"""The domain in row order, and the published split."""

import hashlib
import random

import numpy as np
import pytest

from jaxmi.data.pairs import all_pairs, is_train_table, split_indices, to_tokens
from jaxmi.errors import InputError


def published_split() -> list[tuple[int, int]]:
    """The shuffle as the original code does it: a list of tuples and the module's global state."""
    pairs = [(x, y) for x in range(113) for y in range(113)]
    state = random.getstate()
    random.seed(0)
    random.shuffle(pairs)
    random.setstate(state)
    return pairs


def test_pairs_are_listed_row_by_row() -> None:
    assert all_pairs(3).tolist() == [[x, y] for x in range(3) for y in range(3)]


def test_tokens_end_in_p() -> None:
    assert to_tokens(all_pairs(2), 2).tolist() == [[0, 0, 2], [0, 1, 2], [1, 0, 2], [1, 1, 2]]


def test_the_split_is_the_published_one() -> None:
    train, test = split_indices(113)
    pairs = all_pairs(113)
    shuffled = [tuple(map(int, pair)) for pair in pairs[np.concatenate([train, test])]]
    assert shuffled == published_split()
    assert (len(train), len(test)) == (6384, 6385)
    assert shuffled[:2] == [(18, 34), (10, 83)]
    assert shuffled[-2:] == [(109, 101), (55, 96)]
    digest = hashlib.sha256(str(shuffled).encode()).hexdigest()
    assert digest == "b3d016b744a98ade4229d2ca1954a6ffb08f26c1672cb501974a273dbaf40e7c"


def test_the_split_leaves_the_global_generator_alone() -> None:
    random.seed(5)
    expected = random.Random(5).random()
    split_indices(113)
    assert random.random() == expected


def test_the_table_marks_exactly_the_training_pairs() -> None:
    train, test = split_indices(113)
    table = is_train_table(113, train)
    pairs = all_pairs(113)
    assert table[tuple(pairs[train].T)].all()
    assert not table[tuple(pairs[test].T)].any()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 1.5])
def test_shares_outside_0_to_1_are_refused(share: float) -> None:
    with pytest.raises(InputError, match=str(share)):
        split_indices(113, share)
