"""Planted weights, offsets and guards are found again: their labels agree on the whole table."""

from typing import NamedTuple

import numpy as np
import pytest

from jaxmi.recovery.pairs.accumulator import (
    WEIGHTS,
    Accumulator,
    Guard,
    Term,
    find_accumulators,
    make_table,
    unguarded_value,
)


class Planted(NamedTuple):
    width: int
    """How many sums of residues there are."""
    accumulator: Accumulator


PLANTED = {
    "challenge 2": Planted(
        8,
        Accumulator(
            5,
            (Term(0, True, 3, None), Term(1, True, -2, None), Term(2, True, 5.5, Guard(True, -3))),
        ),
    ),
    "no guard": Planted(5, Accumulator(3, (Term(0, True, 2, None), Term(1, True, -4, None)))),
    "other side": Planted(
        6,
        Accumulator(1, (Term(1, False, 3, None), Term(0, True, -2, None), Term(2, False, 1, None))),
    ),
    "guard on the other side": Planted(
        7, Accumulator(4, (Term(1, True, 2, None), Term(0, False, -6, Guard(False, 0))))
    ),
    "two guards": Planted(
        9,
        Accumulator(
            4,
            (
                Term(2, True, -3, None),
                Term(0, True, 4, Guard(True, -1)),
                Term(1, True, -5, Guard(False, 2)),
            ),
        ),
    ),
    "guarded alone": Planted(9, Accumulator(4, (Term(0, True, 5, Guard(True, -2)),))),
    "four boundaries": Planted(
        4,
        Accumulator(2, tuple(Term(i, True, w, None) for i, w in enumerate((1, -2, 4, -3)))),
    ),
    "no boundary": Planted(9, Accumulator(6, ())),
}


def run(accumulator: Accumulator, sides: int, total: int) -> bool:
    """Labels one cell as Python would."""
    z = total - accumulator.offset
    for term in accumulator.terms:
        met = bool(sides >> term.feature & 1) == term.before
        if term.guard is not None:
            met = met and (z < term.guard.bound if term.guard.below else z > term.guard.bound)
        if met:
            z += term.weight
    return z >= 0


def labels_of(accumulator: Accumulator, shape: tuple[int, int]) -> np.ndarray:
    return np.array([[run(accumulator, s, t) for t in range(shape[1])] for s in range(shape[0])])


def table_of(planted: Planted, seed: int = 0) -> np.ndarray:
    count = max((term.feature + 1 for term in planted.accumulator.terms), default=0)
    labels = labels_of(planted.accumulator, (2**count, planted.width))
    worth = np.random.default_rng(seed).uniform(20, 200, labels.shape)
    return np.where(labels, worth, -worth)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_accumulator_s_labels_are_found(name) -> None:
    worth = table_of(PLANTED[name])
    best, *others = find_accumulators(worth)
    np.testing.assert_array_equal(labels_of(best, worth.shape), worth > 0)
    assert len(others) <= 2
    for other in others:
        assert value(other, worth) <= value(best, worth)
    used = sorted(term.feature for term in best.terms)
    assert used == list(range(len(used)))  # each boundary has its term


def value(accumulator: Accumulator, worth: np.ndarray) -> float:
    return float(np.where(labels_of(accumulator, worth.shape), worth, -worth).sum())


@pytest.mark.parametrize("name", ["challenge 2", "guard on the other side"])
def test_cells_that_noise_has_turned_are_not_followed(name) -> None:
    worth = table_of(PLANTED[name])
    noisy = worth.copy()
    for cell in ((3, 2), (1, 5), (0, 6)):
        noisy[cell] *= -0.2
    assert (np.sign(noisy) != np.sign(worth)).sum() == 3
    best, *_ = find_accumulators(noisy)
    np.testing.assert_array_equal(labels_of(best, worth.shape), worth > 0)


def test_guards_are_used_just_where_weights_alone_do_not_do() -> None:
    for name, planted in PLANTED.items():
        worth = table_of(planted)
        short = np.abs(worth).sum() - unguarded_value(worth)
        best, *_ = find_accumulators(worth)
        needs_guards = any(term.guard for term in planted.accumulator.terms)
        assert any(term.guard for term in best.terms) == needs_guards, name
        assert (short > 15) == needs_guards, name


def test_terms_with_guards_come_last_and_weights_are_whole_where_they_can_be() -> None:
    for planted in PLANTED.values():
        for found in find_accumulators(table_of(planted)):
            guards = [term.guard is not None for term in found.terms]
            assert guards == sorted(guards)
            for term in found.terms:
                assert abs(term.weight) in WEIGHTS
                assert isinstance(term.weight, int) == (term.weight == int(term.weight))


def test_the_best_unguarded_value_is_what_trying_all_finds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        worth = rng.normal(size=(2, 4)) * 50
        weights = (*WEIGHTS, *(-w for w in WEIGHTS))
        brute = max(
            value(Accumulator(offset, (Term(0, True, w, None),)), worth)
            - (0 if abs(w) <= 4 and w == int(w) else 0.5 if w != int(w) else 1.5)
            - 0.05 * abs(offset)
            for w in weights
            for offset in range(-12, 13)
        )
        assert unguarded_value(worth) == pytest.approx(brute)
        assert brute < np.abs(worth).sum()


def test_only_as_many_as_asked_for_are_given() -> None:
    worth = table_of(PLANTED["challenge 2"])
    assert [len(find_accumulators(worth, top)) for top in (1, 2)] == [1, 2]
    hurried, *_ = find_accumulators(worth, plans=1)  # the first plan has a single guard at most
    assert value(hurried, worth) <= value(find_accumulators(worth)[0], worth)


def test_a_table_sums_the_answers_of_each_cell() -> None:
    rng = np.random.default_rng(0)
    bits = [rng.random(200) < 0.5 for _ in range(3)]
    residues, signed = rng.integers(5, size=200), rng.normal(size=200)
    slow = np.zeros((8, 5))
    for i in range(200):
        slow[bits[0][i] + 2 * bits[1][i] + 4 * bits[2][i], residues[i]] += signed[i]
    np.testing.assert_allclose(make_table(bits, residues, signed), slow)
    np.testing.assert_allclose(make_table([], residues, signed), [slow.sum(axis=0)])
