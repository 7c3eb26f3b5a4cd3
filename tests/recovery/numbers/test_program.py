"""Conditions hold exactly where their text does, and are as short as the predictions allow."""

import re

import numpy as np
import pytest

from jaxmi.programs.domain import NumberDomain, PairDomain, TripleDomain
from jaxmi.programs.evaluate import evaluate, label
from jaxmi.programs.parse import parse
from jaxmi.programs.published_labels import label_table
from jaxmi.programs.show import show
from jaxmi.recovery.evidence import Evidence, gather_evidence
from jaxmi.recovery.numbers.accumulator import Guard
from jaxmi.recovery.numbers.boundaries import (
    SLOPES,
    Axis,
    Curve,
    Wave,
    all_slopes,
    axes,
    curves,
    line,
)
from jaxmi.recovery.numbers.model import Model, PlacedTerm
from jaxmi.recovery.numbers.program import (
    DIGIT_NATS,
    FRACTION_NATS,
    GREATER_NATS,
    Condition,
    best_condition,
    exponent_nats,
    write_program,
)
from jaxmi.recovery.numbers.tables import Boundary, Periodic

P = 113
PAIRS = PairDomain(P)
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


def boundary_at(family, bound: float) -> Boundary:
    return Boundary(family, int((family.scores < bound).sum()) - 1)


def challenge() -> Model:
    along_x = axes(PAIRS)[0]
    bars = Periodic(along_x, along_x.waves.index(Wave((1, 0), 1.5, 1, 8)))
    below_600 = boundary_at(curves(Curve(0, 1, 0.25), PAIRS), -np.log(600) / 2)  # x ** 0.25 / y
    return Model(
        PAIRS,
        5,
        (bars,),
        (
            PlacedTerm(
                boundary_at(curves(Curve(0, 1, 4.0), PAIRS), 2 * np.log(200)), True, 3, None
            ),
            PlacedTerm(below_600, False, -2, None),
            PlacedTerm(boundary_at(line((1, 1), PAIRS), P + 20), True, 5.5, Guard(True, -3)),
        ),
    )


TRUTH = np.asarray(label_table()).astype(bool).reshape(-1)


def noiseless(model: Model) -> Evidence:
    return gather_evidence(model.labels())


def test_challenge_2_s_model_becomes_its_program() -> None:
    candidate = write_program(challenge(), gather_evidence(TRUTH))
    assert show(candidate.program) == CHALLENGE
    np.testing.assert_array_equal(candidate.labels, TRUTH)


@pytest.mark.parametrize("seed", range(8))
def test_labels_are_the_program_s_and_near_the_model_s(seed) -> None:
    p = 31
    rng = np.random.default_rng(seed)
    terms = []
    for i in range(3):
        family = (
            curves(Curve(0, 1, float(np.exp(rng.uniform(-1, 1)))), PairDomain(p)),
            line((1, 2), PairDomain(p)),
        )[rng.integers(2)]
        boundary = Boundary(family, int(rng.choice(np.flatnonzero(family.ends)[40:-40])))
        guard = Guard(bool(rng.integers(2)), int(rng.integers(-2, 3))) if i == 2 else None
        weight = [2, 2.5, -3, -5.5][rng.integers(4)]
        terms.append(PlacedTerm(boundary, bool(rng.integers(2)), weight, guard))
    axis = axes(PairDomain(p))[rng.integers(len(axes(PairDomain(p))))]
    model = Model(
        PairDomain(p), 2, (Periodic(axis, int(rng.integers(len(axis.waves)))),), tuple(terms)
    )
    evidence = noiseless(model)
    candidate = write_program(model, evidence)
    again = label(parse(show(candidate.program), "pairs"), PairDomain(p)).astype(bool)
    np.testing.assert_array_equal(candidate.labels, again)
    assert (candidate.labels == evidence.labels).mean() > 0.97
    assert (candidate.labels != ~evidence.labels).mean() > 0.97


@pytest.mark.parametrize("axis", axes(PairDomain(31)), ids=lambda axis: str(axis.slopes))
def test_every_periodic_feature_is_written_with_its_own_labels(axis: Axis) -> None:
    for index in range(0, len(axis.waves), 9):
        for offset in (1, 0, -1):
            model = Model(PairDomain(31), offset, (Periodic(axis, index),), ())
            higher = Model(PairDomain(31), offset + 1, model.periodic, ())
            for each in (model, higher):
                candidate = write_program(each, noiseless(each))
                np.testing.assert_array_equal(candidate.labels, each.labels())


def test_two_periodic_features_share_one_offset() -> None:
    along_x, diagonal = axes(PairDomain(31))[0], axes(PairDomain(31))[2]
    model = Model(PairDomain(31), 3, (Periodic(along_x, 40), Periodic(diagonal, 5)), ())
    candidate = write_program(model, noiseless(model))
    np.testing.assert_array_equal(candidate.labels, model.labels())
    assert show(candidate.program).count("- 3") == 1
    assert 0 < candidate.labels.mean() < 1


@pytest.mark.parametrize("offset", [-2, 0, 2])
def test_a_model_without_periodic_features_begins_with_its_offset(offset) -> None:
    term = PlacedTerm(
        boundary_at(line((1, 0), PairDomain(31)), 12), True, 3 if offset > 0 else -3, None
    )
    model = Model(PairDomain(31), offset, (), (term,))
    candidate = write_program(model, noiseless(model))
    np.testing.assert_array_equal(candidate.labels, model.labels())
    np.testing.assert_array_equal(candidate.labels, (np.arange(961) < 12 * 31) == (offset > 0))


def test_a_term_without_a_guard_may_be_written_for_the_other_side() -> None:
    model = challenge()
    (first, *others) = model.terms
    other_side = first._replace(before=False, weight=-3)
    mirrored = Model(PAIRS, model.offset - 3, model.periodic, (other_side, *others))
    np.testing.assert_array_equal(mirrored.labels(), model.labels())
    assert show(write_program(mirrored, gather_evidence(TRUTH)).program) == CHALLENGE


def test_a_cost_sums_the_program_and_what_it_contradicts() -> None:
    model = challenge()
    clean = write_program(model, gather_evidence(TRUTH))
    evidence = gather_evidence(TRUTH ^ (np.random.default_rng(0).random(P * P) < 0.005))
    candidate = write_program(model, evidence)
    wrong = candidate.labels != evidence.labels
    assert show(candidate.program) == show(clean.program) and wrong.sum() > 40
    assert candidate.cost == pytest.approx(clean.cost + evidence.costs(wrong)[wrong].sum())
    useless = PlacedTerm(boundary_at(line((1, 0), PAIRS), 50), True, 1, Guard(True, -20))
    longer = Model(PAIRS, model.offset, model.periodic, (*model.terms, useless))
    assert write_program(longer, evidence).cost > candidate.cost + 10


def labels_in(domain: NumberDomain, text: str) -> np.ndarray:
    return label(parse(f"return {text}", domain.kind), domain).astype(bool)


def labels_of(text: str, p: int) -> np.ndarray:
    return labels_in(PairDomain(p), text)


def noisy_gains(holds: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    gains = np.where(holds, 1.0, -1.0) * rng.exponential(2, len(holds))
    return np.where(rng.random(len(holds)) < 0.1, -gains, gains)


def random_boundary(seed: int, domain: NumberDomain) -> tuple[Boundary, bool]:
    rng = np.random.default_rng(seed)
    n = len(domain.operands)
    slopes = all_slopes(n, SLOPES)
    left, right = sorted(rng.choice(n, 2, replace=False).tolist())
    lines = line(slopes[rng.integers(len(slopes))], domain)
    curve = curves(Curve(left, right, float(np.exp(rng.uniform(-1.7, 1.7)))), domain)
    family = (lines, curve)[rng.integers(2)]
    end = int(rng.choice(np.flatnonzero(family.ends)))
    return Boundary(family, end), bool(rng.integers(2))


def is_on_curve(text: str, domain: NumberDomain) -> np.ndarray:
    """Return where both sides of a condition are equal, up to rounding, and not both 0."""
    left, right = re.split("[<>]", text)
    one, other = (
        evaluate(parse(f"return {side}", domain.kind), domain).astype(float)
        for side in (left, right)
    )
    return (np.abs(one - other) < 1e-9) & (one != 0)


@pytest.mark.parametrize(
    ("domain", "cases", "least"),
    [
        (PairDomain(13), 80, 0.8),
        (PairDomain(113), 16, 0.95),
        (TripleDomain(7), 80, 0.8),
        (TripleDomain(23), 16, 0.95),
    ],
)
def test_a_condition_holds_where_its_text_does(
    domain: NumberDomain, cases: int, least: float
) -> None:
    seen = set()
    for seed in range(cases):
        boundary, before = random_boundary(seed, domain)
        gains = noisy_gains(boundary.before == before, seed)
        value, condition = best_condition(boundary, before, gains, domain)
        expected = labels_in(domain, condition.text)
        np.testing.assert_array_equal(condition.holds, expected, condition.text)
        ties = np.abs(gains[is_on_curve(condition.text, domain)]).sum()
        net = gains[condition.holds].sum() - condition.nats
        assert abs(net - value) <= ties + 1e-6, condition.text
        agreement = (condition.holds == (boundary.before == before)).mean()
        assert agreement > least, condition.text
        seen |= {sign for sign in "<>" if sign in condition.text}
        seen |= {type(boundary.family.kind).__name__, "before" if before else "after"}
        seen |= {name for name in domain.operands if re.search(rf"\b{name}\b", condition.text)}
    assert seen == {"<", ">", "Line", "Curve", "before", "after", *domain.operands}


PLANES = {
    (1, 1, 1): ("x + y + w < 8", "x + y + w > 7"),
    (1, 1, -1): ("x + y < w + 8", "x + y > w + 7"),
    (1, -1, 1): ("x + w < y + 8", "x + w > y + 7"),
    (1, -1, -1): ("x < y + w + 8", "x > y + w + 7"),
}


@pytest.mark.parametrize("slopes", PLANES)
@pytest.mark.parametrize("before", [True, False])
def test_a_plane_is_written_with_positive_factors(slopes, before: bool) -> None:
    domain = TripleDomain(9)
    family = line(slopes, domain)
    holds = (family.scores < 8) == before
    gains = np.where(holds, 3.0, -3.0)
    _, condition = best_condition(boundary_at(family, 8), before, gains, domain)
    assert condition.text == PLANES[slopes][not before]
    np.testing.assert_array_equal(labels_in(domain, condition.text), holds)


def rounded_condition(
    text: str, p: int = 113, start: tuple[float, float] | None = None
) -> Condition:
    """Return the condition found near a boundary, with labels given by another condition."""
    truth = labels_of(text, p)
    ratio, through = start or (4.0, 5.0)
    family = curves(Curve(0, 1, ratio), PairDomain(p))
    gains = np.where(truth, 2.0, -2.0)
    boundary = Boundary(family, int((family.scores < through).sum()) - 1)
    return best_condition(boundary, True, gains, PairDomain(p))[1]


@pytest.mark.parametrize(
    "text",
    ["x ** 2 < 200 * sqrt(y)", "x ** 2 < 190 * sqrt(y)", "x ** 2 < 187 * sqrt(y)"],
)
def test_constants_are_as_long_as_the_labels_demand(text) -> None:
    assert rounded_condition(text, start=(4.0, 2 * np.log(187))).text == text


def test_the_shortest_of_indistinguishable_conditions_is_chosen() -> None:
    p = 113
    x, y = np.indices((p, p)).reshape(2, -1)
    is_known = (x > 40) | (y > 40)
    truth = labels_of("x ** 2 < 203 * sqrt(y)", p)
    family = curves(Curve(0, 1, 4.0), PairDomain(p))
    boundary = Boundary(family, int((family.scores < 2 * np.log(203)).sum()) - 1)
    texts = []
    for trust in (0.1, 20.0):
        gains = np.where(truth, trust, -trust) * is_known
        texts.append(best_condition(boundary, True, gains, PairDomain(p))[1].text)
    assert texts == ["x ** 2 < 200 * sqrt(y)", "x ** 2 < 203 * sqrt(y)"]


def test_usual_exponents_cost_least_and_others_are_used_where_they_pay() -> None:
    assert exponent_nats(2) == exponent_nats(0.5) < exponent_nats(1.7) < exponent_nats(1.8)
    text = "x ** 1.3 < 20 * sqrt(y)"
    assert rounded_condition(text, start=(2.6, 6.0)).text == text


def test_nats_depend_on_digits_and_exponents() -> None:
    short = rounded_condition("x ** 2 < 200 * sqrt(y)", start=(4.0, 10.5))
    long = rounded_condition("x ** 2 < 187 * sqrt(y)", start=(4.0, 10.5))
    assert long.nats - short.nats == pytest.approx(2 * DIGIT_NATS)
    assert short.nats == pytest.approx(2 * exponent_nats(2) + DIGIT_NATS)
    fraction = rounded_condition("x ** 2 < 2.5 * y", start=(2.0, 0.9))
    assert fraction.text == "x ** 2 < 2.5 * y"
    assert fraction.nats == pytest.approx(2 * exponent_nats(2) + 2 * DIGIT_NATS + FRACTION_NATS)
    above = rounded_condition("y > 7 * x ** 2", start=(2.0, -1.9))
    assert above.text == "y > 7 * x ** 2"
    assert above.nats == pytest.approx(2 * exponent_nats(2) + DIGIT_NATS + GREATER_NATS)


@pytest.mark.parametrize("slopes", SLOPES)
def test_lines_move_to_where_they_gain_most(slopes) -> None:
    p = 31
    x, y = np.indices((p, p)).reshape(2, -1)
    scores = slopes[0] * x + slopes[1] * y
    bound = int(np.median(scores)) + 3
    family = line(slopes, PairDomain(p))
    displaced = Boundary(family, int((scores < bound - 5).sum()) - 1)
    for before in (True, False):
        truth = (scores < bound) == before
        gains = np.where(truth, 3.0, -3.0)
        value, condition = best_condition(displaced, before, gains, PairDomain(p))
        np.testing.assert_array_equal(condition.holds, truth)
        np.testing.assert_array_equal(labels_of(condition.text, p), truth)
        assert value == pytest.approx(gains[truth].sum() - condition.nats)
        assert (displaced.before == before).sum() != truth.sum()


def test_an_antidiagonal_is_written_with_p_where_that_is_shorter() -> None:
    p = 113
    x, y = np.indices((p, p)).reshape(2, -1)
    family = line((1, 1), PairDomain(p))
    for bound, text in ((p + 20, "y < p - x + 20"), (p, "y < p - x"), (100, "x + y < 100")):
        truth = x + y < bound
        boundary = Boundary(family, int(truth.sum()) - 1)
        _, condition = best_condition(boundary, True, np.where(truth, 3.0, -3.0), PairDomain(p))
        assert condition.text == text


def test_pairs_exactly_on_a_curve_are_on_neither_side() -> None:
    p = 31
    x, y = np.indices((p, p)).reshape(2, -1)
    below, above = x**2 < y, x**2 > y
    assert (~below & ~above).sum() == 6 and not (below | above)[0]
    family = curves(Curve(0, 1, 2.0), PairDomain(p))
    for before, truth in ((True, below), (False, above)):
        boundary = Boundary(family, int(below.sum()) - 1)
        _, condition = best_condition(boundary, before, np.where(truth, 3.0, -3.0), PairDomain(p))
        np.testing.assert_array_equal(condition.holds, truth)


def nats_of(text: str) -> float:
    """Return the cost in nats of a curve's text under the prior."""
    left, sign, right = re.fullmatch(r"(.*) ([<>]) (.*)", text).groups()
    constant, _, power = right.rpartition(" * ") if " * " in right else ("1", "", right)
    exponents = 0.0
    for side in (left, power):
        exponent = re.search(r"\*\* (.*)", side)
        number = 0.5 if "sqrt" in side else float(exponent[1]) if exponent else 1
        exponents += exponent_nats(number)
    digits = len(constant.partition("e")[0].replace(".", "").strip("0"))
    fraction = FRACTION_NATS * (float(constant) % 1 != 0)
    return exponents + DIGIT_NATS * digits + fraction + GREATER_NATS * (sign == ">")


@pytest.mark.parametrize("centre", [0.96, 9.5, 9.9, 96, 950])
def test_a_curve_costs_what_its_text_costs(centre: float) -> None:
    """Check constants near powers of ten too, where the other side needs one more digit."""
    family = curves(Curve(0, 1, 2.0), PairDomain(113))
    x, y = np.indices((113, 113)).reshape(2, -1).astype(float)
    end = int((x**2 < centre * y).sum()) - 1  # a boundary from which the labels then differ
    for factor in (centre, 1.02 * centre, 1.16 * centre):
        gains = np.where(x**2 < factor * y, 3.0, -3.0)
        _, condition = best_condition(Boundary(family, end), True, gains, PairDomain(113))
        assert condition.nats == pytest.approx(nats_of(condition.text)), condition.text
        assert (condition.holds == (gains > 0)).mean() > 0.99
