"""Refitting finds each term's best place, and leaves out what does not pay."""

from dataclasses import replace

import numpy as np
import pytest

from jaxmi.recovery.evidence import gather_evidence
from jaxmi.recovery.pairs import model as model_module
from jaxmi.recovery.pairs.accumulator import WEIGHTS, Accumulator, Guard, Term
from jaxmi.recovery.pairs.boundaries import RATIOS, Family, Wave, axes, curves, families, line
from jaxmi.recovery.pairs.model import (
    GUARD_NATS,
    GUARDS,
    MAX_TERMS,
    Model,
    Placed,
    assemble,
    best_by_gain,
    exchange_terms,
    model_cost,
    near,
    places,
    polish,
    refit_term,
    weigh,
    with_term,
    wrong_cost,
)
from jaxmi.recovery.pairs.tables import BOUNDARY_NATS, WAVE_NATS, Boundary, Features, Periodic

P = 31
N = P * P


def at(family: Family, bound: float) -> Boundary:
    """The boundary of the scores below a bound."""
    return Boundary(family, int((family.scores < bound).sum()) - 1)


def twice(p: int = P) -> Model:
    """One line in two terms, of which the first changes what the second's guard sees."""
    (along_x,) = (axis for axis in axes(p) if axis.slopes == (1, 0))
    bars = Periodic(along_x, along_x.waves.index(Wave((1, 0), 1.5, 1, 8)))
    diagonal = line((1, 1), p)
    return Model(
        4,
        (bars,),
        (
            Placed(at(curves(2.0, p), 3.0), True, 2, None),
            Placed(at(diagonal, 30), True, 4, Guard(True, -2)),
            Placed(at(diagonal, 31), True, -5.5, Guard(False, 2)),
        ),
    )


def signed_of(model: Model, worth: float = 4.0) -> np.ndarray:
    return np.where(model.labels(N), worth, -worth)


@pytest.mark.parametrize(("missing", "before"), [(0, True), (1, True), (1, False), (2, True)])
def test_a_missing_term_is_put_back_where_it_belongs(missing, before) -> None:
    truth = twice()
    truth = truth.replaced(missing, truth.terms[missing]._replace(before=before))
    signed = signed_of(truth)
    lacking = truth.without(missing)
    assert (lacking.labels(N) != truth.labels(N)).mean() > 0.02
    options = [
        (wrong_cost(option.labels(N), signed), option.terms[place])
        for place in places(lacking)
        for option in with_term(lacking, place, signed, families(P))
    ]
    cost, term = min(options, key=lambda one: one[0])
    assert cost <= 4.0 * 2  # two pairs: a family's curve may miss a planted one by as many
    assert missing == 0 or term.before == before
    assert all(one.boundary.family.ends[one.boundary.end] for _, one in options)


def test_a_term_with_a_guard_is_put_before_others_only_where_that_makes_a_difference() -> None:
    model = twice()
    assert places(model) == [1, 2, 3]
    assert places(model.without(1)) == [1, 2]
    assert places(Model(4, model.periodic, model.terms[:1])) == [1]


@pytest.mark.parametrize("guard_nats", [5.0, 150.0])
def test_of_all_terms_those_are_kept_that_gain_most(guard_nats, monkeypatch) -> None:
    monkeypatch.setattr(model_module, "TRIED", 10_000)
    monkeypatch.setattr(model_module, "GUARD_NATS", guard_nats)
    few = (line((1, 0), P), line((1, 1), P), curves(2.0, P))
    lacking, signed = twice().without(1), signed_of(twice())
    before = wrong_cost(lacking.labels(N), signed)

    def gain(option: Model, place: int) -> float:
        nats = guard_nats if option.terms[place].guard else 0.0
        return before - wrong_cost(option.labels(N), signed) - nats

    for place in places(lacking):
        brute = max(
            gain(lacking.inserted(place, Placed(Boundary(family, int(end)), side, w, guard)), place)
            for family in few
            for end in np.flatnonzero(family.ends)[::12]
            for side in (True, False)
            for guard in GUARDS[::3]
            for w in (*WEIGHTS[::2], *(-w for w in WEIGHTS[::2]))
        )
        options = with_term(lacking, place, signed, few)
        gains = [gain(option, place) for option in options]
        assert gains == sorted(gains, reverse=True) and len(gains) == model_module.KEPT
        assert gains[0] >= brute > 0


@pytest.mark.parametrize("wrong", [Guard(False, 3), None])
def test_a_wrong_term_is_exchanged_and_the_labels_come_out_right(wrong, monkeypatch) -> None:
    truth = twice()
    monkeypatch.setattr(model_module, "MAX_TERMS", len(truth.terms))
    answers = truth.labels(N)
    evidence = gather_evidence(answers, np.ones(N))
    broken = replace(truth, terms=(*truth.terms[:2], truth.terms[2]._replace(guard=wrong)))
    cost, refitted = polish(broken, evidence)
    assert (refitted.labels(N) != answers).mean() > 0.02
    better, found = exchange_terms(cost, refitted, evidence)
    assert better < cost - 10
    assert (found.labels(N) != answers).mean() < 0.003


def test_nothing_is_added_that_does_not_pay_and_there_is_an_end_of_terms(monkeypatch) -> None:
    truth = twice()
    evidence = gather_evidence(truth.labels(N), np.ones(N))
    cost, model = polish(truth, evidence)
    assert exchange_terms(cost, model, evidence) == (cost, model)
    monkeypatch.setattr(model_module, "MAX_TERMS", 1)
    _, short = exchange_terms(*polish(truth.without(2).without(1), evidence), evidence)
    assert len(short.terms) == 1 < len(truth.terms) <= MAX_TERMS


def test_a_missing_term_is_added_unless_it_gains_too_little(monkeypatch) -> None:
    truth = twice()
    evidence = gather_evidence(truth.labels(N), np.ones(N))
    for name, value in (("families", lambda p: (line((1, 1), P),)), ("MAX_TURNS", 1), ("TRIED", 8)):
        monkeypatch.setattr(model_module, name, value)
    cost, lacking = polish(truth.without(2), evidence)
    better, found = exchange_terms(cost, lacking, evidence)
    assert len(found.terms) == len(lacking.terms) + 1
    monkeypatch.setattr(model_module, "LEAST_GAIN", cost - better + 1e3)
    assert exchange_terms(cost, lacking, evidence) == (cost, lacking)


def test_a_new_term_has_no_guard_that_changes_nothing() -> None:
    side = line((1, 1), P).scores < 20
    options = with_term(Model(1, (), ()), 0, np.where(side, 4.0, -4.0), families(P))
    assert len(options) == model_module.KEPT
    assert all(option.terms[0].guard is None for option in options)
    np.testing.assert_array_equal(options[0].labels(N), side)


def test_no_term_is_tried_that_cannot_gain_what_it_costs() -> None:
    truth = twice()
    lacking = truth.without(1)
    wrong = (lacking.labels(N) != truth.labels(N)).sum()
    for most, pays in ((0.9 * BOUNDARY_NATS, False), (5 * BOUNDARY_NATS, True)):
        signed = signed_of(truth, most / wrong)
        options = [with_term(lacking, at, signed, families(P)[:2]) for at in places(lacking)]
        assert any(options) is pays


def test_a_new_term_has_no_guard_that_gains_less_than_it_costs() -> None:
    diagonal = line((1, 1), P)
    base = Model(10, twice().periodic, ())
    z = base.start(N)
    side = diagonal.scores < 20
    few = np.flatnonzero(side & (z == z.max()))[:3]
    for worth, guarded in ((0.3 * GUARD_NATS, False), (0.4 * GUARD_NATS, True)):
        signed = np.where(z == z.max(), 0.0, np.where(side, 4.0, -4.0))
        signed[few] = -worth
        best = with_term(base, 0, signed, (diagonal,))[0].terms[0]
        assert (best.guard is not None) is guarded


def test_a_new_boundary_parts_no_two_inputs_that_it_cannot_tell_apart() -> None:
    signed = np.random.default_rng(0).normal(scale=4, size=N)
    for family in families(P)[::5]:
        for option in with_term(Model(1, (), ()), 0, signed, (family,)):
            before = option.terms[0].boundary.before
            assert set(family.scores[before]).isdisjoint(family.scores[~before])


P_SMALL = 11
N_SMALL = P_SMALL * P_SMALL
SEEDS = range(12)


def random_model(seed: int) -> Model:
    rng = np.random.default_rng(seed)
    terms = []
    for i in range(int(rng.integers(1, 5))):
        family = families(P_SMALL)[rng.integers(len(families(P_SMALL)))]
        boundary = Boundary(family, int(rng.choice(np.flatnonzero(family.ends))))
        guard = Guard(bool(rng.integers(2)), int(rng.integers(-3, 4))) if i else None
        weight = [1, 2, 2.5, -3, -5.5, 4][rng.integers(6)]
        terms.append(Placed(boundary, bool(rng.integers(2)), weight, guard))
    axis = axes(P_SMALL)[rng.integers(len(axes(P_SMALL)))]
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
    return np.array([run(model, pair, forced) for pair in range(N_SMALL)])


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_are_the_terms_in_turn(seed) -> None:
    model = random_model(seed)
    np.testing.assert_array_equal(model.labels(N_SMALL), run_all(model))


def test_random_models_label_both_ways_and_their_order_matters() -> None:
    shares = [random_model(seed).labels(N_SMALL).mean() for seed in SEEDS]
    assert sum(0 < share < 1 for share in shares) > 8
    turned = [Model(one.offset, one.periodic, one.terms[::-1]) for one in map(random_model, SEEDS)]
    assert any(
        (run_all(one) != random_model(s).labels(N_SMALL)).any() for s, one in enumerate(turned)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_gains_are_the_difference_of_a_term_that_counts_and_one_that_does_not(seed) -> None:
    model = random_model(seed)
    signed = np.random.default_rng(seed).normal(size=N_SMALL)
    for i, term in enumerate(model.terms):
        gains = model.gains(i, signed)
        brute = signed * (run_all(model, {i: True}).astype(int) - run_all(model, {i: False}))
        np.testing.assert_array_equal(gains, brute)
        other = Boundary(families(P_SMALL)[0], 30)
        moved = model.replaced(i, term._replace(boundary=other))
        change = gains[other.before == term.before].sum()
        change -= gains[term.boundary.before == term.before].sum()
        saved = wrong_cost(model.labels(N_SMALL), signed) - wrong_cost(
            moved.labels(N_SMALL), signed
        )
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
    ends = [(families(P_SMALL)[0], 40), (families(P_SMALL)[20], 55)]
    features = Features(tuple(Boundary(*one) for one in ends), (Periodic(axes(P_SMALL)[0], 3),))
    terms = (Term(1, False, 2, None), Term(0, True, -4, Guard(False, int(rng.integers(1, 2)))))
    model = assemble(features, Accumulator(1, terms))
    z = features.periodic[0].values - 1 + 2 * ~features.boundaries[1].before
    z = z - 4 * (features.boundaries[0].before & (z > 1))
    np.testing.assert_array_equal(model.labels(N_SMALL), z >= 0)
    assert set(model.features.boundaries) == set(features.boundaries)
    assert model.features.periodic == features.periodic
    assert 0 < (z >= 0).mean() < 1


def planted(curve: float = 2.0, bound: float = 3.0, diagonal: int = 37) -> Model:
    (along_x,) = (axis for axis in axes(P) if axis.slopes == (1, 0))
    bars = Periodic(along_x, along_x.waves.index(Wave((1, 0), 1.5, 1, 8)))
    return Model(
        5,
        (bars,),
        (
            Placed(at(curves(curve, P), bound), True, 3, None),
            Placed(at(line((1, 1), P), diagonal), True, 5.5, Guard(True, -1)),
        ),
    )


def useless(guard: Guard | None) -> Placed:
    return Placed(at(line((1, 0), P), 3), True, 1, guard)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_one_sweep_finds_what_trying_every_boundary_finds(before, seed) -> None:
    p = 11
    gains = np.random.default_rng(seed).normal(size=p * p)
    tried = (line((1, 2), p), curves(0.5, p), curves(1.2, p))
    every = [Boundary(f, int(end)) for f in tried for end in np.flatnonzero(f.ends)]
    brute = [gains[boundary.before == before].sum() for boundary in every]
    value, boundary = best_by_gain(gains, before, tried)
    assert value == pytest.approx(max(brute))
    assert value == pytest.approx(gains[boundary.before == before].sum())
    assert boundary.family.ends[boundary.end] and min(brute) < value - 5


def test_what_is_near_a_line_are_its_parallels_and_near_a_curve_like_ones() -> None:
    slope = line((1, 2), P)
    assert near(Boundary(slope, 20), P) == (slope,)
    for ratio in (0.5, 2.37, max(RATIOS)):
        family = curves(ratio, P)
        first, *others = near(Boundary(family, 20), P)
        assert first is family and len(others) > 10
        ratios = np.array([other.kind[0] for other in others])
        assert (np.abs(np.log(ratios / ratio)) < 0.22).all()
        assert (np.diff(ratios) > 0).all() and ratios.max() < max(RATIOS) * 1.01
        assert np.abs(np.log(ratios / ratio)).min() < 0.01


def test_refitting_a_term_gives_it_the_best_boundary_and_touches_no_other() -> None:
    truth = planted()
    signed = np.where(truth.labels(N), 2.0, -2.0)
    for moved, place in ((planted(bound=2.4), 0), (planted(diagonal=29), 1)):
        assert wrong_cost(moved.labels(N), signed) > 10
        mended = refit_term(moved, place, signed)
        assert wrong_cost(mended.labels(N), signed) == 0
        assert mended.terms[1 - place] is moved.terms[1 - place]
    worse = refit_term(planted(bound=2.4), 1, signed)  # the wrong term's place
    assert (
        0 < wrong_cost(worse.labels(N), signed) <= wrong_cost(planted(bound=2.4).labels(N), signed)
    )
    assert refit_term(truth, 0, signed) is truth  # nothing to be gained


def test_cost_is_mistakes_terms_features_and_guards() -> None:
    model = planted()
    signed = np.where(model.labels(N), 2.0, -2.0)
    own = 2 * BOUNDARY_NATS + WAVE_NATS + GUARD_NATS
    assert model_cost(model, signed) == pytest.approx(own)
    signed[:7] *= -1
    assert model_cost(model, signed) == pytest.approx(own + 14)
    longer = Model(model.offset, model.periodic, (*model.terms, useless(None)._replace(weight=0)))
    assert model_cost(longer, signed) == pytest.approx(own + 14 + BOUNDARY_NATS)


def test_answers_are_weighed_by_what_the_model_says_is_wrong() -> None:
    truth = planted()
    splits = np.arange(N) % 2
    labels = truth.labels(N)
    labels[np.arange(0, 300, 10)] ^= True  # all in the first split
    evidence = gather_evidence(labels, None, splits)
    signed = weigh(evidence, truth)
    np.testing.assert_array_equal(signed > 0, labels)
    assert np.abs(signed[splits == 0]).max() < np.abs(signed[splits == 1]).min()
    wrong = truth.labels(N) != labels
    np.testing.assert_array_equal(np.abs(signed), evidence.worth(wrong))


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_displaced_model_is_brought_back(noise) -> None:
    truth = planted()
    labels = truth.labels(N) ^ (np.random.default_rng(0).random(N) < noise)
    evidence = gather_evidence(labels)
    displaced = planted(curve=1.85, bound=2.2, diagonal=30)
    cost, model = polish(displaced, evidence)
    assert (displaced.labels(N) != truth.labels(N)).sum() > 20
    assert (model.labels(N) != truth.labels(N)).sum() <= (0 if noise == 0 else 4)
    assert cost == pytest.approx(model_cost(model, weigh(evidence, model)))
    assert cost < model_cost(displaced, weigh(evidence, displaced)) - 20


@pytest.mark.parametrize("guard", [None, Guard(True, -6)])
def test_a_term_or_guard_that_does_not_pay_is_left_out(guard) -> None:
    truth = planted()
    evidence = gather_evidence(truth.labels(N))
    weak = useless(guard)
    longer = Model(truth.offset, truth.periodic, (*truth.terms, weak))
    _, model = polish(longer, evidence)
    assert [term.weight for term in model.terms] == [3, 5.5]
    assert model.terms[1].guard == Guard(True, -1)  # that one pays
    np.testing.assert_array_equal(model.labels(N), truth.labels(N))
    guarded = truth.replaced(0, truth.terms[0]._replace(guard=Guard(False, -9)))
    _, model = polish(guarded, evidence)
    assert model.terms[0].guard is None
