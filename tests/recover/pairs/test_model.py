"""A model labels as its terms say one by one, and knows what each term gains at each input."""

import numpy as np
import pytest

from jaxmi.recover.pairs.boundaries import families
from jaxmi.recover.pairs.model import Model, Placed, assemble, wrong_cost
from jaxmi.recover.pairs.tables import Boundary, Features, Periodic
from jaxmi.recover.pairs.terms import Accumulator, Guard, Term
from jaxmi.recover.pairs.waves import axes

P = 11
N = P * P
SEEDS = range(12)


def random_model(seed: int) -> Model:
    rng = np.random.default_rng(seed)
    terms = []
    for i in range(int(rng.integers(1, 5))):
        family = families(P)[rng.integers(len(families(P)))]
        boundary = Boundary(family, int(rng.choice(np.flatnonzero(family.ends))))
        guard = Guard(bool(rng.integers(2)), int(rng.integers(-3, 4))) if i else None
        weight = [1, 2, 2.5, -3, -5.5, 4][rng.integers(6)]
        terms.append(Placed(boundary, bool(rng.integers(2)), weight, guard))
    axis = axes(P)[rng.integers(len(axes(P)))]
    periodic = tuple(Periodic(axis, int(rng.integers(len(axis.waves)))) for _ in range(seed % 3))
    return Model(int(rng.integers(0, 5)), periodic, tuple(terms))


def run(model: Model, pair: int, forced: dict[int, bool] | None = None) -> bool:
    """Labels one pair; a forced term counts wherever its guard holds, or nowhere."""
    z = sum(int(one.values[pair]) for one in model.periodic) - model.offset
    for i, term in enumerate(model.terms):
        side = bool(term.boundary.before[pair]) == term.before
        side = (forced or {}).get(i, side)
        if term.guard is not None:
            side = side and (z < term.guard.bound if term.guard.below else z > term.guard.bound)
        z += term.weight if side else 0
    return z >= 0


def run_all(model: Model, forced: dict[int, bool] | None = None) -> np.ndarray:
    return np.array([run(model, pair, forced) for pair in range(N)])


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_are_the_terms_in_turn(seed) -> None:
    model = random_model(seed)
    np.testing.assert_array_equal(model.labels(N), run_all(model))


def test_random_models_label_both_ways_and_their_order_matters() -> None:
    shares = [random_model(seed).labels(N).mean() for seed in SEEDS]
    assert sum(0 < share < 1 for share in shares) > 8
    turned = [Model(one.offset, one.periodic, one.terms[::-1]) for one in map(random_model, SEEDS)]
    assert any((run_all(one) != random_model(s).labels(N)).any() for s, one in enumerate(turned))


@pytest.mark.parametrize("seed", SEEDS)
def test_gains_are_the_difference_of_a_term_that_counts_and_one_that_does_not(seed) -> None:
    model = random_model(seed)
    signed = np.random.default_rng(seed).normal(size=N)
    for i, term in enumerate(model.terms):
        gains = model.gains(i, signed)
        brute = signed * (run_all(model, {i: True}).astype(int) - run_all(model, {i: False}))
        np.testing.assert_array_equal(gains, brute)
        other = Boundary(families(P)[0], 30)
        moved = model.replaced(i, term._replace(boundary=other))
        change = gains[other.before == term.before].sum()
        change -= gains[term.boundary.before == term.before].sum()
        saved = wrong_cost(model.labels(N), signed) - wrong_cost(moved.labels(N), signed)
        assert saved == pytest.approx(change)


def test_contradicted_answers_cost_their_worth() -> None:
    signed = np.array([2.0, -3.0, 0.5, -1.0])
    assert wrong_cost(np.array([True, False, True, False]), signed) == 0
    assert wrong_cost(np.array([False, False, True, True]), signed) == 3
    assert wrong_cost(np.array([False, True, False, True]), signed) == 6.5


def test_replacing_a_term_leaves_the_others() -> None:
    model = next(m for m in map(random_model, SEEDS) if len(m.terms) >= 3)
    term = model.terms[1]._replace(weight=7)
    changed = model.replaced(1, term)
    assert changed.terms[1] is term
    kept = [i for i, (a, b) in enumerate(zip(model.terms, changed.terms, strict=True)) if a is b]
    assert kept == [i for i in range(len(model.terms)) if i != 1]


def test_shorter_models_lack_one_term_or_one_guard() -> None:
    model = next(m for m in map(random_model, SEEDS) if len(m.terms) == 4)
    sizes = [
        (len(one.terms), sum(term.guard is not None for term in one.terms))
        for one in model.shorter()
    ]
    assert sorted(sizes) == [(3, 2)] * 3 + [(3, 3)] + [(4, 2)] * 3
    whole = {id(term.boundary) for term in model.terms}
    left = [whole - {id(t.boundary) for t in m.terms} for m in model.shorter() if len(m.terms) == 3]
    assert all(len(one) == 1 for one in left) and len(set.union(*left)) == 4


def test_an_assembled_model_labels_as_its_accumulator() -> None:
    rng = np.random.default_rng(3)
    ends = [(families(P)[0], 40), (families(P)[20], 55)]
    features = Features(tuple(Boundary(*one) for one in ends), (Periodic(axes(P)[0], 3),))
    terms = (Term(1, False, 2, None), Term(0, True, -4, Guard(False, int(rng.integers(1, 2)))))
    model = assemble(features, Accumulator(1, terms))
    z = features.periodic[0].values - 1 + 2 * ~features.boundaries[1].before
    z = z - 4 * (features.boundaries[0].before & (z > 1))
    np.testing.assert_array_equal(model.labels(N), z >= 0)
    assert set(model.features.boundaries) == set(features.boundaries)
    assert model.features.periodic == features.periodic
    assert 0 < (z >= 0).mean() < 1
