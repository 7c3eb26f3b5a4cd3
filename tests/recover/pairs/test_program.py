"""A model is written as a program that labels as the model does, with short constants."""

import numpy as np
import pytest

from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.pair_labels import label_table
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show
from jaxmi.recover.evidence import Evidence, gather_evidence
from jaxmi.recover.pairs.boundaries import curves, line
from jaxmi.recover.pairs.model import Model, Placed
from jaxmi.recover.pairs.program import write_program
from jaxmi.recover.pairs.tables import Boundary, Periodic
from jaxmi.recover.pairs.terms import Guard
from jaxmi.recover.pairs.waves import Axis, Wave, axes

P = 113
CHALLENGE = """z = 0
z += int(x ** 1.5) % 8 - 5
if x ** 2 < 200 * sqrt(y):
    z += 3
if y ** 2 < 600 * sqrt(x):
    z -= 2
if y < p - x + 20 and z < -3:
    z += 5.5
return z >= 0
"""


def at(family, bound: float) -> Boundary:
    return Boundary(family, int((family.scores < bound).sum()) - 1)


def challenge() -> Model:
    along_x = axes(P)[0]
    bars = Periodic(along_x, along_x.waves.index(Wave((1, 0), 1.5, 1, 8)))
    below_600 = at(curves(0.25, P), -np.log(600) / 2)  # x ** 0.25 / y
    return Model(
        5,
        (bars,),
        (
            Placed(at(curves(4.0, P), 2 * np.log(200)), True, 3, None),
            Placed(below_600, False, -2, None),
            Placed(at(line((1, 1), P), P + 20), True, 5.5, Guard(True, -3)),
        ),
    )


TRUTH = np.asarray(label_table()).astype(bool).reshape(-1)


def exact(model: Model, p: int) -> Evidence:
    return gather_evidence(model.labels(p * p))


def test_challenge_2_s_model_is_written_as_its_program() -> None:
    candidate = write_program(challenge(), gather_evidence(TRUTH), P)
    assert show(candidate.program) == CHALLENGE
    np.testing.assert_array_equal(candidate.labels, TRUTH)


@pytest.mark.parametrize("seed", range(8))
def test_labels_are_the_program_s_and_close_to_the_model_s(seed) -> None:
    p = 31
    rng = np.random.default_rng(seed)
    terms = []
    for i in range(3):
        family = (curves(float(np.exp(rng.uniform(-1, 1))), p), line((1, 2), p))[rng.integers(2)]
        boundary = Boundary(family, int(rng.choice(np.flatnonzero(family.ends)[40:-40])))
        guard = Guard(bool(rng.integers(2)), int(rng.integers(-2, 3))) if i == 2 else None
        weight = [2, 2.5, -3, -5.5][rng.integers(4)]
        terms.append(Placed(boundary, bool(rng.integers(2)), weight, guard))
    axis = axes(p)[rng.integers(len(axes(p)))]
    model = Model(2, (Periodic(axis, int(rng.integers(len(axis.waves)))),), tuple(terms))
    evidence = exact(model, p)
    candidate = write_program(model, evidence, p)
    again = label(parse(show(candidate.program), "pairs"), PairDomain(p)).astype(bool)
    np.testing.assert_array_equal(candidate.labels, again)
    assert (candidate.labels == evidence.labels).mean() > 0.97
    assert (candidate.labels != ~evidence.labels).mean() > 0.97


@pytest.mark.parametrize("axis", axes(31), ids=lambda axis: str(axis.slopes))
def test_every_kind_of_periodic_feature_is_written_as_what_it_is(axis: Axis) -> None:
    for index in range(0, len(axis.waves), 9):
        for offset in (1, 0, -1):
            model = Model(offset, (Periodic(axis, index),), ())
            lifted = Model(offset + 1, model.periodic, ())
            for one in (model, lifted):
                candidate = write_program(one, exact(one, 31), 31)
                np.testing.assert_array_equal(candidate.labels, one.labels(31 * 31))


def test_two_periodic_features_share_one_offset() -> None:
    one, other = axes(31)[0], axes(31)[2]
    model = Model(3, (Periodic(one, 40), Periodic(other, 5)), ())
    candidate = write_program(model, exact(model, 31), 31)
    np.testing.assert_array_equal(candidate.labels, model.labels(31 * 31))
    assert show(candidate.program).count("- 3") == 1
    assert 0 < candidate.labels.mean() < 1


@pytest.mark.parametrize("offset", [-2, 0, 2])
def test_a_model_without_periodic_features_begins_with_its_offset(offset) -> None:
    term = Placed(at(line((1, 0), 31), 12), True, 3 if offset > 0 else -3, None)
    model = Model(offset, (), (term,))
    candidate = write_program(model, exact(model, 31), 31)
    np.testing.assert_array_equal(candidate.labels, model.labels(31 * 31))
    np.testing.assert_array_equal(candidate.labels, (np.arange(961) < 12 * 31) == (offset > 0))


def test_a_term_without_a_guard_may_hold_on_the_other_side() -> None:
    model = challenge()
    (first, *others) = model.terms
    other_side = first._replace(before=False, weight=-3)
    turned = Model(model.offset - 3, model.periodic, (other_side, *others))
    np.testing.assert_array_equal(turned.labels(P * P), model.labels(P * P))
    assert show(write_program(turned, gather_evidence(TRUTH), P).program) == CHALLENGE


def test_a_cost_is_that_of_the_program_and_of_what_it_contradicts() -> None:
    model = challenge()
    own = write_program(model, gather_evidence(TRUTH), P)
    evidence = gather_evidence(TRUTH ^ (np.random.default_rng(0).random(P * P) < 0.005))
    candidate = write_program(model, evidence, P)
    wrong = candidate.labels != evidence.labels
    assert show(candidate.program) == show(own.program) and wrong.sum() > 40
    assert candidate.cost == pytest.approx(own.cost + evidence.worth(wrong)[wrong].sum())
    needless = Placed(at(line((1, 0), P), 50), True, 1, Guard(True, -20))
    longer = Model(model.offset, model.periodic, (*model.terms, needless))
    assert write_program(longer, evidence, P).cost > candidate.cost + 10
