"""Planted weights, offsets and guards are found: the labels agree on the whole table."""

from typing import NamedTuple

import numpy as np
import pytest

from jaxmi.recovery.numbers.accumulator import (
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
    """Number of sums of residues."""
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
    """Return one cell's label, computed in plain Python."""
    z = total - accumulator.offset
    for term in accumulator.terms:
        applies = bool(sides >> term.feature & 1) == term.before
        if term.guard is not None:
            bound = term.guard.bound
            applies = applies and (z < bound if term.guard.below else z > bound)
        if applies:
            z += term.weight
    return z >= 0


def labels_of(accumulator: Accumulator, shape: tuple[int, int]) -> np.ndarray:
    return np.array([[run(accumulator, s, t) for t in range(shape[1])] for s in range(shape[0])])


def table_of(planted: Planted, seed: int = 0) -> np.ndarray:
    count = max((term.feature + 1 for term in planted.accumulator.terms), default=0)
    labels = labels_of(planted.accumulator, (2**count, planted.width))
    size = np.random.default_rng(seed).uniform(20, 200, labels.shape)
    return np.where(labels, size, -size)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_accumulator_s_labels_are_found(name) -> None:
    table = table_of(PLANTED[name])
    best, *others = find_accumulators(table)
    np.testing.assert_array_equal(labels_of(best, table.shape), table > 0)
    assert len(others) <= 2
    for other in others:
        assert value(other, table) <= value(best, table)
    used = sorted(term.feature for term in best.terms)
    assert used == list(range(len(used)))  # each boundary has its term


def value(accumulator: Accumulator, table: np.ndarray) -> float:
    return float(np.where(labels_of(accumulator, table.shape), table, -table).sum())


@pytest.mark.parametrize("name", ["challenge 2", "guard on the other side"])
def test_cells_flipped_by_noise_do_not_change_the_labels(name) -> None:
    table = table_of(PLANTED[name])
    noisy = table.copy()
    for cell in ((3, 2), (1, 5), (0, 6)):
        noisy[cell] *= -0.2
    assert (np.sign(noisy) != np.sign(table)).sum() == 3
    best, *_ = find_accumulators(noisy)
    np.testing.assert_array_equal(labels_of(best, table.shape), table > 0)


def test_guards_are_used_only_where_weights_alone_do_not_suffice() -> None:
    for name, planted in PLANTED.items():
        table = table_of(planted)
        short = np.abs(table).sum() - unguarded_value(table)
        best, *_ = find_accumulators(table)
        needs_guards = any(term.guard for term in planted.accumulator.terms)
        assert any(term.guard for term in best.terms) == needs_guards, name
        assert (short > 15) == needs_guards, name


def test_terms_with_guards_come_last_and_whole_weights_are_ints() -> None:
    for planted in PLANTED.values():
        for found in find_accumulators(table_of(planted)):
            guards = [term.guard is not None for term in found.terms]
            assert guards == sorted(guards)
            for term in found.terms:
                assert abs(term.weight) in WEIGHTS
                assert isinstance(term.weight, int) == (term.weight == int(term.weight))


def test_the_unguarded_value_equals_that_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        table = rng.normal(size=(2, 4)) * 50
        brute = max(
            value(Accumulator(offset, (Term(0, True, w, None),)), table)
            - (0 if abs(w) <= 4 and w == int(w) else 0.5 if w != int(w) else 1.5)
            - 0.05 * abs(offset)
            for w in WEIGHTS
            for offset in range(-12, 13)
        )
        assert unguarded_value(table) == pytest.approx(brute)
        assert brute < np.abs(table).sum()


def test_the_requested_number_of_accumulators_is_returned() -> None:
    table = table_of(PLANTED["challenge 2"])
    assert [len(find_accumulators(table, top)) for top in (1, 2)] == [1, 2]
    limited, *_ = find_accumulators(table, max_plans=1)  # the first plan has at most one guard
    assert value(limited, table) <= value(find_accumulators(table)[0], table)


def test_a_table_sums_the_log_odds_of_each_cell() -> None:
    rng = np.random.default_rng(0)
    sides = [rng.random(200) < 0.5 for _ in range(3)]
    residues, log_odds = rng.integers(5, size=200), rng.normal(size=200)
    slow = np.zeros((8, 5))
    for i in range(200):
        slow[sides[0][i] + 2 * sides[1][i] + 4 * sides[2][i], residues[i]] += log_odds[i]
    np.testing.assert_allclose(make_table(sides, residues, log_odds), slow)
    np.testing.assert_allclose(make_table([], residues, log_odds), [slow.sum(axis=0)])
