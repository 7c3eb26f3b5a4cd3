"""Refitting finds each term's best boundary and drops what does not pay; exchanges add terms."""

from dataclasses import replace

import numpy as np
import pytest

from jaxmi.programs.domain import PairDomain
from jaxmi.recovery.evidence import gather_evidence
from jaxmi.recovery.numbers import model as model_module
from jaxmi.recovery.numbers.accumulator import WEIGHTS, Accumulator, Guard, Term
from jaxmi.recovery.numbers.boundaries import (
    RATIOS,
    Curve,
    Family,
    Wave,
    axes,
    curves,
    families,
    line,
)
from jaxmi.recovery.numbers.model import (
    GUARD_NATS,
    MAX_TERMS,
    OPTIONAL_GUARDS,
    Model,
    PlacedTerm,
    assemble,
    best_by_gain,
    contradiction_cost,
    exchange_terms,
    model_cost,
    model_log_odds,
    near,
    positions,
    refit,
    refit_term,
    with_term,
)
from jaxmi.recovery.numbers.tables import BOUNDARY_NATS, WAVE_NATS, Boundary, Features, Periodic

P = 31
PAIRS = PairDomain(P)
N = P * P


def boundary_at(family: Family, bound: float) -> Boundary:
    """Return the boundary with the scores below a bound before it."""
    return Boundary(family, int((family.scores < bound).sum()) - 1)


def line_twice(p: int = P) -> Model:
    """Return a model with a line in two terms, the first of which the second's guard depends on."""
    (along_x,) = (axis for axis in axes(PairDomain(p)) if axis.slopes == (1, 0))
    bars = Periodic(along_x, along_x.waves.index(Wave((1, 0), 1.5, 1, 8)))
    diagonal = line((1, 1), PairDomain(p))
    return Model(
        PairDomain(p),
        4,
        (bars,),
        (
            PlacedTerm(boundary_at(curves(Curve(0, 1, 2.0), PairDomain(p)), 3.0), True, 2, None),
            PlacedTerm(boundary_at(diagonal, 30), True, 4, Guard(True, -2)),
            PlacedTerm(boundary_at(diagonal, 31), True, -5.5, Guard(False, 2)),
        ),
    )


def log_odds_of(model: Model, size: float = 4.0) -> np.ndarray:
    return np.where(model.labels(), size, -size)


@pytest.mark.parametrize(("missing", "before"), [(0, True), (1, True), (1, False), (2, True)])
def test_a_missing_term_is_inserted_where_it_belongs(missing, before) -> None:
    truth = line_twice()
    truth = truth.replaced(missing, truth.terms[missing]._replace(before=before))
    log_odds = log_odds_of(truth)
    lacking = truth.without(missing)
    assert (lacking.labels() != truth.labels()).mean() > 0.02
    options = [
        (contradiction_cost(option.labels(), log_odds), option.terms[position])
        for position in positions(lacking)
        for option in with_term(lacking, position, log_odds, families(PAIRS))
    ]
    cost, term = min(options, key=lambda option: option[0])
    assert cost <= 4.0 * 2  # two pairs, on which the nearest curve of a family may differ
    assert missing == 0 or term.before == before
    assert all(term.boundary.family.ends[term.boundary.end] for _, term in options)


def test_a_new_term_is_tried_before_guards_and_at_the_end() -> None:
    model = line_twice()
    assert positions(model) == [1, 2, 3]
    assert positions(model.without(1)) == [1, 2]
    assert positions(Model(PAIRS, 4, model.periodic, model.terms[:1])) == [1]


@pytest.mark.slow
@pytest.mark.parametrize("guard_nats", [5.0, 150.0])
def test_the_terms_that_gain_most_are_kept(guard_nats, monkeypatch) -> None:
    monkeypatch.setattr(model_module, "MAX_DRAFTS", 10_000)
    monkeypatch.setattr(model_module, "GUARD_NATS", guard_nats)
    few = (
        line((1, 0), PAIRS),
        line((1, 1), PAIRS),
        curves(Curve(0, 1, 2.0), PAIRS),
    )
    lacking, log_odds = line_twice().without(1), log_odds_of(line_twice())
    before = contradiction_cost(lacking.labels(), log_odds)

    def gain(option: Model, position: int) -> float:
        nats = guard_nats if option.terms[position].guard else 0.0
        return before - contradiction_cost(option.labels(), log_odds) - nats

    for position in positions(lacking):
        brute = max(
            gain(lacking.inserted(position, term), position)
            for family in few
            for end in np.flatnonzero(family.ends)[::12]
            for side in (True, False)
            for guard in OPTIONAL_GUARDS[::3]
            for w in WEIGHTS[::2]
            for term in [PlacedTerm(Boundary(family, int(end)), side, w, guard)]
        )
        options = with_term(lacking, position, log_odds, few)
        gains = [gain(option, position) for option in options]
        assert len(gains) == model_module.TERMS_PER_POSITION
        assert gains == sorted(gains, reverse=True)
        assert gains[0] >= brute > 0


@pytest.mark.parametrize("wrong", [Guard(False, 3), None])
def test_a_wrong_term_is_exchanged_for_the_right_one(wrong, monkeypatch) -> None:
    truth = line_twice()
    monkeypatch.setattr(model_module, "MAX_TERMS", len(truth.terms))
    evidence = gather_evidence(truth.labels(), np.ones(N))
    broken = replace(truth, terms=(*truth.terms[:2], truth.terms[2]._replace(guard=wrong)))
    refitted = refit(broken, evidence)
    assert (refitted.model.labels() != evidence.labels).mean() > 0.02
    exchanged = exchange_terms(refitted, evidence)
    assert exchanged.cost < refitted.cost - 10
    assert (exchanged.model.labels() != evidence.labels).mean() < 0.003


def test_no_term_is_added_that_does_not_pay_or_beyond_the_limit(monkeypatch) -> None:
    truth = line_twice()
    evidence = gather_evidence(truth.labels(), np.ones(N))
    refitted = refit(truth, evidence)
    assert exchange_terms(refitted, evidence) == refitted
    monkeypatch.setattr(model_module, "MAX_TERMS", 1)
    _, short = exchange_terms(refit(truth.without(2).without(1), evidence), evidence)
    assert len(short.terms) == 1 < len(truth.terms) <= MAX_TERMS


def test_a_missing_term_is_added_unless_it_gains_too_little(monkeypatch) -> None:
    truth = line_twice()
    evidence = gather_evidence(truth.labels(), np.ones(N))
    monkeypatch.setattr(model_module, "families", lambda domain: (line((1, 1), domain),))
    monkeypatch.setattr(model_module, "MAX_TURNS", 1)
    monkeypatch.setattr(model_module, "MAX_DRAFTS", 8)
    lacking = refit(truth.without(2), evidence)
    exchanged = exchange_terms(lacking, evidence)
    assert len(exchanged.model.terms) == len(lacking.model.terms) + 1
    monkeypatch.setattr(model_module, "LEAST_GAIN", lacking.cost - exchanged.cost + 1e3)
    assert exchange_terms(lacking, evidence) == lacking


def test_a_new_term_has_no_useless_guard() -> None:
    side = line((1, 1), PAIRS).scores < 20
    options = with_term(Model(PAIRS, 1, (), ()), 0, np.where(side, 4.0, -4.0), families(PAIRS))
    assert len(options) == model_module.TERMS_PER_POSITION
    assert all(option.terms[0].guard is None for option in options)
    np.testing.assert_array_equal(options[0].labels(), side)


def test_a_term_is_tried_only_if_it_can_gain_more_than_it_costs() -> None:
    truth = line_twice()
    lacking = truth.without(1)
    wrong = (lacking.labels() != truth.labels()).sum()
    for most, pays in ((0.9 * BOUNDARY_NATS, False), (5 * BOUNDARY_NATS, True)):
        log_odds = log_odds_of(truth, most / wrong)
        options = [with_term(lacking, i, log_odds, families(PAIRS)[:2]) for i in positions(lacking)]
        assert any(options) is pays


def test_a_new_term_has_a_guard_only_if_it_gains_more_than_it_costs() -> None:
    diagonal = line((1, 1), PAIRS)
    base = Model(PAIRS, 10, line_twice().periodic, ())
    z = base.start()
    side = diagonal.scores < 20
    few = np.flatnonzero(side & (z == z.max()))[:3]
    for size, is_guarded in ((0.3 * GUARD_NATS, False), (0.4 * GUARD_NATS, True)):
        log_odds = np.where(z == z.max(), 0.0, np.where(side, 4.0, -4.0))
        log_odds[few] = -size
        best = with_term(base, 0, log_odds, (diagonal,))[0].terms[0]
        assert (best.guard is not None) is is_guarded


def test_a_new_boundary_never_divides_pairs_with_equal_scores() -> None:
    log_odds = np.random.default_rng(0).normal(scale=4, size=N)
    for family in families(PAIRS)[::5]:
        for option in with_term(Model(PAIRS, 1, (), ()), 0, log_odds, (family,)):
            before = option.terms[0].boundary.before
            assert set(family.scores[before]).isdisjoint(family.scores[~before])


P_SMALL = 11
SMALL = PairDomain(P_SMALL)
N_SMALL = P_SMALL * P_SMALL
SEEDS = range(12)


def random_model(seed: int) -> Model:
    rng = np.random.default_rng(seed)
    terms = []
    for i in range(int(rng.integers(1, 5))):
        family = families(SMALL)[rng.integers(len(families(SMALL)))]
        boundary = Boundary(family, int(rng.choice(np.flatnonzero(family.ends))))
        guard = Guard(bool(rng.integers(2)), int(rng.integers(-3, 4))) if i else None
        weight = [1, 2, 2.5, -3, -5.5, 4][rng.integers(6)]
        terms.append(PlacedTerm(boundary, bool(rng.integers(2)), weight, guard))
    axis = axes(SMALL)[rng.integers(len(axes(SMALL)))]
    periodic = tuple(Periodic(axis, int(rng.integers(len(axis.waves)))) for _ in range(seed % 3))
    return Model(SMALL, int(rng.integers(0, 5)), periodic, tuple(terms))


def run(model: Model, pair: int, forced: dict[int, bool] | None = None) -> bool:
    """Return one pair's label; a forced term applies wherever its guard holds, or nowhere."""
    z = sum(int(feature.values[pair]) for feature in model.periodic) - model.offset
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
def test_labels_apply_the_terms_in_order(seed) -> None:
    model = random_model(seed)
    np.testing.assert_array_equal(model.labels(), run_all(model))


def test_random_models_have_both_labels_and_depend_on_the_order_of_terms() -> None:
    shares = [random_model(seed).labels().mean() for seed in SEEDS]
    assert sum(0 < share < 1 for share in shares) > 8
    reversed_ = [replace(m, terms=m.terms[::-1]) for m in map(random_model, SEEDS)]
    assert any(
        (run_all(m) != random_model(seed).labels()).any() for seed, m in enumerate(reversed_)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_gains_compare_labels_with_and_without_a_term(seed) -> None:
    model = random_model(seed)
    log_odds = np.random.default_rng(seed).normal(size=N_SMALL)
    for i, term in enumerate(model.terms):
        gains = model.gains(i, log_odds)
        brute = log_odds * (run_all(model, {i: True}).astype(int) - run_all(model, {i: False}))
        np.testing.assert_array_equal(gains, brute)
        other = Boundary(families(SMALL)[0], 30)
        moved = model.replaced(i, term._replace(boundary=other))
        change = gains[other.before == term.before].sum()
        change -= gains[term.boundary.before == term.before].sum()
        saved = contradiction_cost(model.labels(), log_odds) - contradiction_cost(
            moved.labels(), log_odds
        )
        assert saved == pytest.approx(change)


def test_contradicted_predictions_cost_their_log_odds() -> None:
    log_odds = np.array([2.0, -3.0, 0.5, -1.0])
    assert contradiction_cost(np.array([True, False, True, False]), log_odds) == 0
    assert contradiction_cost(np.array([False, False, True, True]), log_odds) == 3
    assert contradiction_cost(np.array([False, True, False, True]), log_odds) == 6.5


def test_replacing_a_term_keeps_the_others() -> None:
    model = next(m for m in map(random_model, SEEDS) if len(m.terms) >= 3)
    term = model.terms[1]._replace(weight=7)
    changed = model.replaced(1, term)
    assert changed.terms[1] is term
    same = [i for i, (a, b) in enumerate(zip(model.terms, changed.terms, strict=True)) if a is b]
    assert same == [i for i in range(len(model.terms)) if i != 1]


def test_simplifications_lack_one_term_or_one_guard() -> None:
    model = next(m for m in map(random_model, SEEDS) if len(m.terms) == 4)
    sizes = [
        (len(simpler.terms), sum(term.guard is not None for term in simpler.terms))
        for simpler in model.simplifications()
    ]
    assert sorted(sizes) == [(3, 2)] * 3 + [(3, 3)] + [(4, 2)] * 3
    every = {id(term.boundary) for term in model.terms}
    shorter = [m for m in model.simplifications() if len(m.terms) == 3]
    dropped = [every - {id(term.boundary) for term in m.terms} for m in shorter]
    assert all(len(ids) == 1 for ids in dropped) and len(set.union(*dropped)) == 4


def test_an_assembled_model_has_its_accumulator_s_labels() -> None:
    rng = np.random.default_rng(3)
    ends = [(families(SMALL)[0], 40), (families(SMALL)[20], 55)]
    features = Features(tuple(Boundary(*end) for end in ends), (Periodic(axes(SMALL)[0], 3),))
    terms = (Term(1, False, 2, None), Term(0, True, -4, Guard(False, int(rng.integers(1, 2)))))
    model = assemble(features, Accumulator(1, terms), SMALL)
    z = features.periodic[0].values - 1 + 2 * ~features.boundaries[1].before
    z = z - 4 * (features.boundaries[0].before & (z > 1))
    np.testing.assert_array_equal(model.labels(), z >= 0)
    assert set(model.features.boundaries) == set(features.boundaries)
    assert model.features.periodic == features.periodic
    assert 0 < (z >= 0).mean() < 1


def planted(curve: float = 2.0, bound: float = 3.0, diagonal: int = 37) -> Model:
    (along_x,) = (axis for axis in axes(PAIRS) if axis.slopes == (1, 0))
    bars = Periodic(along_x, along_x.waves.index(Wave((1, 0), 1.5, 1, 8)))
    return Model(
        PAIRS,
        5,
        (bars,),
        (
            PlacedTerm(boundary_at(curves(Curve(0, 1, curve), PAIRS), bound), True, 3, None),
            PlacedTerm(boundary_at(line((1, 1), PAIRS), diagonal), True, 5.5, Guard(True, -1)),
        ),
    )


def useless(guard: Guard | None) -> PlacedTerm:
    return PlacedTerm(boundary_at(line((1, 0), PAIRS), 3), True, 1, guard)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_one_sweep_matches_brute_force(before, seed) -> None:
    p = 11
    gains = np.random.default_rng(seed).normal(size=p * p)
    tried = (
        line((1, 2), PairDomain(p)),
        curves(Curve(0, 1, 0.5), PairDomain(p)),
        curves(Curve(0, 1, 1.2), PairDomain(p)),
    )
    every = [Boundary(f, int(end)) for f in tried for end in np.flatnonzero(f.ends)]
    brute = [gains[boundary.before == before].sum() for boundary in every]
    value, boundary = best_by_gain(gains, before, tried)
    assert value == pytest.approx(max(brute))
    assert value == pytest.approx(gains[boundary.before == before].sum())
    assert boundary.family.ends[boundary.end] and min(brute) < value - 5


def test_near_a_line_are_its_parallels_and_near_a_curve_similar_exponents() -> None:
    slope = line((1, 2), PAIRS)
    assert near(Boundary(slope, 20), PAIRS) == (slope,)
    for ratio in (0.5, 2.37, max(RATIOS)):
        family = curves(Curve(0, 1, ratio), PAIRS)
        first, *others = near(Boundary(family, 20), PAIRS)
        assert first is family and len(others) > 10
        ratios = np.array([other.kind.ratio for other in others])
        assert (np.abs(np.log(ratios / ratio)) < 0.22).all()
        assert (np.diff(ratios) > 0).all() and ratios.max() < max(RATIOS) * 1.01
        assert np.abs(np.log(ratios / ratio)).min() < 0.01


def test_refitting_a_term_finds_its_best_boundary_and_keeps_the_others() -> None:
    truth = planted()
    log_odds = np.where(truth.labels(), 2.0, -2.0)
    for moved, index in ((planted(bound=2.4), 0), (planted(diagonal=29), 1)):
        assert contradiction_cost(moved.labels(), log_odds) > 10
        refitted = refit_term(moved, index, log_odds)
        assert contradiction_cost(refitted.labels(), log_odds) == 0
        assert refitted.terms[1 - index] is moved.terms[1 - index]
    worse = refit_term(planted(bound=2.4), 1, log_odds)  # not the displaced term
    displaced_cost = contradiction_cost(planted(bound=2.4).labels(), log_odds)
    assert 0 < contradiction_cost(worse.labels(), log_odds) <= displaced_cost
    assert refit_term(truth, 0, log_odds) is truth  # it has the best boundaries


def test_a_model_s_cost_sums_contradictions_features_and_guards() -> None:
    model = planted()
    log_odds = np.where(model.labels(), 2.0, -2.0)
    own = 2 * BOUNDARY_NATS + WAVE_NATS + GUARD_NATS
    assert model_cost(model, log_odds) == pytest.approx(own)
    log_odds[:7] *= -1
    assert model_cost(model, log_odds) == pytest.approx(own + 14)
    longer = model.inserted(2, useless(None)._replace(weight=0))
    assert model_cost(longer, log_odds) == pytest.approx(own + 14 + BOUNDARY_NATS)


def test_log_odds_depend_on_what_the_model_contradicts() -> None:
    truth = planted()
    splits = np.arange(N) % 2
    labels = truth.labels()
    labels[np.arange(0, 300, 10)] ^= True  # all in the first split
    evidence = gather_evidence(labels, None, splits)
    log_odds = model_log_odds(evidence, truth)
    np.testing.assert_array_equal(log_odds > 0, labels)
    assert np.abs(log_odds[splits == 0]).max() < np.abs(log_odds[splits == 1]).min()
    wrong = truth.labels() != labels
    np.testing.assert_array_equal(np.abs(log_odds), evidence.costs(wrong))


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_refitting_a_displaced_model_restores_it(noise) -> None:
    truth = planted()
    labels = truth.labels() ^ (np.random.default_rng(0).random(N) < noise)
    evidence = gather_evidence(labels)
    displaced = planted(curve=1.85, bound=2.2, diagonal=30)
    cost, model = refit(displaced, evidence)
    assert (displaced.labels() != truth.labels()).sum() > 20
    assert (model.labels() != truth.labels()).sum() <= (0 if noise == 0 else 4)
    assert cost == pytest.approx(model_cost(model, model_log_odds(evidence, model)))
    assert cost < model_cost(displaced, model_log_odds(evidence, displaced)) - 20


@pytest.mark.parametrize("guard", [None, Guard(True, -6)])
def test_a_term_or_guard_that_does_not_pay_is_dropped(guard) -> None:
    truth = planted()
    evidence = gather_evidence(truth.labels())
    weak = useless(guard)
    longer = Model(PAIRS, truth.offset, truth.periodic, (*truth.terms, weak))
    _, model = refit(longer, evidence)
    assert [term.weight for term in model.terms] == [3, 5.5]
    assert model.terms[1].guard == Guard(True, -1)  # this one pays
    np.testing.assert_array_equal(model.labels(), truth.labels())
    guarded = truth.replaced(0, truth.terms[0]._replace(guard=Guard(False, -9)))
    _, model = refit(guarded, evidence)
    assert model.terms[0].guard is None
