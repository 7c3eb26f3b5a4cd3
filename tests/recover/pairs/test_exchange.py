"""A term that is missing or wrong is found: its boundary, its guard and its place."""

from dataclasses import replace

import numpy as np
import pytest

from jaxmi.recover.evidence import gather_evidence
from jaxmi.recover.pairs import exchange
from jaxmi.recover.pairs.accumulator import WEIGHTS
from jaxmi.recover.pairs.boundaries import Family, curves, families, line
from jaxmi.recover.pairs.exchange import GUARDS, MAX_TERMS, exchange_terms, places, with_term
from jaxmi.recover.pairs.model import Model, Placed, wrong_cost
from jaxmi.recover.pairs.polish import GUARD_NATS, polish
from jaxmi.recover.pairs.tables import BOUNDARY_NATS, Boundary, Periodic
from jaxmi.recover.pairs.terms import Guard
from jaxmi.recover.pairs.waves import Wave, axes

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
    monkeypatch.setattr(exchange, "TRIED", 10_000)
    monkeypatch.setattr(exchange, "GUARD_NATS", guard_nats)
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
        assert gains == sorted(gains, reverse=True) and len(gains) == exchange.KEPT
        assert gains[0] >= brute > 0


@pytest.mark.parametrize("wrong", [Guard(False, 3), None])
def test_a_wrong_term_is_exchanged_and_the_labels_come_out_right(wrong, monkeypatch) -> None:
    truth = twice()
    monkeypatch.setattr(exchange, "MAX_TERMS", len(truth.terms))
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
    monkeypatch.setattr(exchange, "MAX_TERMS", 1)
    _, short = exchange_terms(*polish(truth.without(2).without(1), evidence), evidence)
    assert len(short.terms) == 1 < len(truth.terms) <= MAX_TERMS


def test_a_missing_term_is_added_unless_it_gains_too_little(monkeypatch) -> None:
    truth = twice()
    evidence = gather_evidence(truth.labels(N), np.ones(N))
    for name, value in (("families", lambda p: (line((1, 1), P),)), ("MAX_TURNS", 1), ("TRIED", 8)):
        monkeypatch.setattr(exchange, name, value)
    cost, lacking = polish(truth.without(2), evidence)
    better, found = exchange_terms(cost, lacking, evidence)
    assert len(found.terms) == len(lacking.terms) + 1
    monkeypatch.setattr(exchange, "LEAST_GAIN", cost - better + 1e3)
    assert exchange_terms(cost, lacking, evidence) == (cost, lacking)


def test_a_new_term_has_no_guard_that_changes_nothing() -> None:
    side = line((1, 1), P).scores < 20
    options = with_term(Model(1, (), ()), 0, np.where(side, 4.0, -4.0), families(P))
    assert len(options) == exchange.KEPT
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
