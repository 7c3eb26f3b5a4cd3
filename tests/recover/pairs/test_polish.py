"""Refitting finds each term's best place, and leaves out what does not pay."""

import numpy as np
import pytest

from jaxmi.recover.evidence import gather_evidence
from jaxmi.recover.pairs.boundaries import RATIOS, Family, curves, line
from jaxmi.recover.pairs.model import Model, Placed, wrong_cost
from jaxmi.recover.pairs.polish import (
    GUARD_NATS,
    best_by_gain,
    model_cost,
    near,
    polish,
    refit_term,
    weigh,
)
from jaxmi.recover.pairs.tables import BOUNDARY_NATS, WAVE_NATS, Boundary, Periodic
from jaxmi.recover.pairs.terms import Guard
from jaxmi.recover.pairs.waves import Wave, axes

P = 31
N = P * P


def at(family: Family, bound: float) -> Boundary:
    """The boundary of the scores below a bound."""
    return Boundary(family, int((family.scores < bound).sum()) - 1)


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
