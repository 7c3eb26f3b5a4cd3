"""Free conditions are replaced by the best of the language, measured exactly and rounded."""

from itertools import product

import numpy as np
import pytest

from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import label
from jaxmi.recovery.evidence import gather_evidence
from jaxmi.recovery.images import formula as formula_module
from jaxmi.recovery.images.conditions import (
    Band,
    Comparison,
    ScoredCondition,
    Threshold,
    sweep,
    sweep_bands,
)
from jaxmi.recovery.images.formula import (
    DIGIT_NATS,
    FORMS,
    LEAST_DECIDED,
    NODE_NATS,
    TEMPLATE_NATS,
    Formula,
    Task,
    best_conditions,
    condition_count,
    drop_idle,
    form_labels,
    holds_approximately,
    holds_exactly,
    label_changes,
    measure,
    replace_free,
    round_bounds,
)
from jaxmi.recovery.images.scores import make_metrics

CONDITIONS = (
    Comparison("l1", 3, 9),
    Threshold("dot", 5, True, 2_000_000.0),
    Threshold("mean", None, False, 33.5),
)


@pytest.fixture(scope="module")
def domain(mnist_data):
    return ImageDomain(mnist_data.images[:2000], mnist_data.images[:100])


@pytest.mark.parametrize("form", FORMS)
def test_a_formula_and_its_program_have_the_same_labels(domain, form) -> None:
    formula = Formula(form, CONDITIONS[: condition_count(form)])
    holds = np.array([holds_exactly(domain, condition) for condition in formula.conditions])
    np.testing.assert_array_equal(form_labels(form, holds), label(formula.program(), domain) == 1)


@pytest.mark.parametrize("form", FORMS)
def test_label_changes_compare_labels_with_and_without_a_condition(form) -> None:
    count = condition_count(form)
    holds = np.array(list(product([False, True], repeat=count))).T
    for i in range(count):
        with_condition, without = holds.copy(), holds.copy()
        with_condition[i], without[i] = True, False
        gained = form_labels(form, with_condition).astype(int) - form_labels(form, without)
        np.testing.assert_array_equal(label_changes(form, holds, i), gained)
        assert gained.min() >= 0 and gained.max() == 1  # no condition is is_idle


def test_more_templates_and_digits_cost_more() -> None:
    short = Formula("one", (Threshold("l1", 3, True, 30_000.0),))
    assert short.nats < Formula("one", (Threshold("l1", 3, True, 31_200.0),)).nats
    assert short.nats < Formula("and", (short.conditions[0], CONDITIONS[2])).nats
    assert Formula("one", CONDITIONS[2:]).nats < Formula("one", CONDITIONS[:1]).nats
    comparison = Formula("one", CONDITIONS[:1])
    assert comparison.nats == pytest.approx(2 * TEMPLATE_NATS + 2 * NODE_NATS)
    assert Formula("most", CONDITIONS).nats == Formula("all", CONDITIONS).nats + NODE_NATS
    for low, high in ((25_300.0, 31_000.0), (25_000.0, 31_100.0)):
        longer = Formula("one", (Band("l1", 3, True, low, high),))
        shorter = Formula("one", (Band("l1", 3, True, 25_000.0, 31_000.0),))
        assert longer.nats > shorter.nats


@pytest.mark.parametrize("inside", [True, False])
def test_a_band_s_bounds_are_found_again_with_their_digits(domain, inside) -> None:
    band = Band("l1", 3, inside, 25_300.0, 31_000.0)
    gain = np.where(holds_exactly(domain, band), 1.0, -1.0)
    _, rounded = round_bounds(domain, Band("l1", 3, inside, 0.0, 1.0), 50 * gain)
    same = holds_exactly(domain, rounded) == holds_exactly(domain, band)
    assert same.all()
    _, cheap = round_bounds(domain, Band("l1", 3, inside, 0.0, 1.0), 0.01 * gain)
    assert isinstance(cheap, Band)
    assert cheap.low % 1000 == 0  # a digit costs more than it would gain
    assert (holds_exactly(domain, cheap) == holds_exactly(domain, band)).mean() > 0.9


AT_BOUNDS = (
    Comparison("l1", 0, 1),
    Threshold("l1", 0, True, 4.0),
    Threshold("l1", 0, False, 4.0),
    Band("l1", 0, True, 3.0, 7.0),
    Band("l1", 0, False, 3.0, 7.0),
)


@pytest.fixture
def dots():
    """Return images of one pixel, at distances 0 to 9 from a template: many lie at a bound."""
    shades = np.repeat(np.arange(10, dtype=np.uint8), 30)
    return ImageDomain(shades[:, None, None], np.array([0, 8], np.uint8)[:, None, None])


@pytest.mark.parametrize("condition", AT_BOUNDS)
def test_at_a_bound_a_condition_holds_where_its_program_does(dots, condition) -> None:
    program = Formula("one", (condition,)).program()
    np.testing.assert_array_equal(holds_exactly(dots, condition), label(program, dots) == 1)


@pytest.mark.parametrize("condition", AT_BOUNDS[1:])
def test_rounded_bounds_gain_what_they_report(dots, condition) -> None:
    gain = np.where(holds_exactly(dots, condition), 1.0, -1.0)
    bounds = condition._fields[3:]
    value, rounded = round_bounds(dots, condition._replace(**dict.fromkeys(bounds, 1.5)), gain)
    assert rounded == condition
    assert value == pytest.approx(gain.clip(0).sum() - DIGIT_NATS * len(bounds))


@pytest.mark.parametrize("below", [True, False])
def test_a_threshold_gets_another_digit_only_where_that_pays(domain, below) -> None:
    threshold = Threshold("l1", 3, below, 27_300.0)
    gain = np.where(holds_exactly(domain, threshold), 1.0, -1.0)
    for size, most in ((50, 1.0), (0.01, 0.99)):
        _, rounded = round_bounds(domain, threshold._replace(bound=0.0), size * gain)
        same = (holds_exactly(domain, rounded) == holds_exactly(domain, threshold)).mean()
        assert 0.8 < same <= most and (rounded.bound % 1000 == 0) == (most < 1)


def test_sweeps_match_brute_force() -> None:
    rng = np.random.default_rng(0)
    scores, gain = rng.normal(size=(6, 40)), rng.normal(size=40)
    values, below, bounds = sweep(scores, gain)
    band_values, inside, ends = sweep_bands(scores, gain)
    for i, row in enumerate(scores):
        order = gain[np.argsort(row)]
        lower = [order[:k].sum() for k in range(1, 41)]
        upper = [order[k:].sum() for k in range(1, 41)]
        assert values[i] == pytest.approx(max(lower + upper))
        holds = row < bounds[i] if below[i] else row > bounds[i]
        assert gain[holds].sum() == pytest.approx(values[i], abs=np.abs(gain).max())
        bands = [order[a:b].sum() for a in range(40) for b in range(a + 1, 41)]
        assert band_values[i] >= max(max(bands), gain.sum() - min(bands)) - np.abs(gain).max()
        holds = ((ends[i, 0] <= row) & (row < ends[i, 1])) == bool(inside[i])
        assert gain[holds].sum() == pytest.approx(band_values[i], abs=2 * np.abs(gain).max())


def test_only_an_idle_condition_is_dropped() -> None:
    rng = np.random.default_rng(1)
    holds = rng.random((3, 5000)) < np.array([[0.5], [0.5], [0.003]])
    form, others = drop_idle("first or", holds)  # the third hardly ever holds
    assert (form, len(others)) == ("or", 2)
    assert (form_labels(form, others) != form_labels("first or", holds)).mean() < 0.02
    form, others = drop_idle("and", np.array([holds[0], ~holds[2]]))
    assert form == "one"
    np.testing.assert_array_equal(others, holds[:1])
    assert drop_idle("most", rng.random((3, 5000)) < 0.5) is None
    assert drop_idle("one", holds[:1]) is None


N = 1500
FIRST, SECOND, THIRD = Comparison("l1", 3, 9), Comparison("l2", 17, 60), Comparison("cosine", 8, 41)


@pytest.fixture(scope="module")
def few_images(mnist_data):
    return ImageDomain(mnist_data.images[:N], mnist_data.images[:100])


@pytest.fixture(scope="module")
def metrics(few_images):
    return make_metrics(few_images)


def task_of(few_images, metrics, truth) -> Task:
    return Task(few_images, metrics, gather_evidence(truth), np.ones(N))


@pytest.mark.parametrize(
    ("condition", "units"),
    [
        (FIRST, 255),
        (Band("l1", 3, True, 25_300.0, 31_000.0), 255),
        (Band("l1", 3, False, 25_300.0, 31_000.0), 255),
        (Threshold("dot", 5, True, 2_000_000.0), 255**2),
        (Threshold("dot", 5, False, 2_000_000.0), 255**2),
        (Threshold("mean", None, True, 33.5), 255 / 28**2),
        (Threshold("mean", None, False, 33.5), 255 / 28**2),
    ],
)
def test_approximate_scores_give_nearly_the_same_labels(
    few_images, metrics, condition, units
) -> None:
    bounds = {k: v / units for k, v in condition._asdict().items() if isinstance(v, float)}
    exact = holds_exactly(few_images, condition)
    assert 0.1 < exact.mean() < 0.9
    assert (holds_approximately(metrics, condition._replace(**bounds)) == exact).mean() > 0.98


@pytest.mark.parametrize("below", [True, False])
def test_a_bound_on_the_mean_is_found_on_either_side(few_images, metrics, below) -> None:
    gain = np.where(holds_exactly(few_images, Threshold("mean", None, below, 33.5)), 1.0, -1.0)
    best, *others = best_conditions(task_of(few_images, metrics, gain > 0), gain)
    assert best.condition[:3] == ("mean", None, below)
    assert best.gain == gain.clip(0).sum() > others[0].gain
    gains = [other.gain for other in others]
    assert gains == sorted(gains, reverse=True)


def test_a_place_that_decides_few_images_is_idle(few_images, metrics) -> None:
    truth = holds_exactly(few_images, FIRST)
    task = task_of(few_images, metrics, truth)
    for decided, is_idle in ((LEAST_DECIDED - 1, True), (LEAST_DECIDED, False)):
        gain = np.where(np.arange(N) < decided, np.where(truth, 1.0, -1.0), 0.0)
        assert (best_conditions(task, gain) == []) is is_idle
    free = np.array([truth, np.ones(N, bool), np.arange(N) < LEAST_DECIDED - 1])
    assert replace_free(task, "any", free, lambda line: None) is None


def test_a_condition_is_kept_if_a_later_turn_finds_none_better(
    few_images, metrics, monkeypatch
) -> None:
    free = np.array([holds_exactly(few_images, condition) for condition in (FIRST, SECOND)])
    task = task_of(few_images, metrics, free.all(axis=0))
    turns = iter([FIRST, THIRD, THIRD, SECOND, THIRD, THIRD])

    def next_condition(task: Task, gain: np.ndarray) -> list[ScoredCondition]:
        condition = next(turns)
        return [
            ScoredCondition(float(gain[holds_approximately(metrics, condition)].sum()), condition)
        ]

    monkeypatch.setattr(formula_module, "best_conditions", next_condition)
    places = replace_free(task, "and", free, lambda line: None)
    assert places is not None
    assert [place[0].condition for place in places] == [FIRST, SECOND]
    assert next(turns, None) is None  # the second turn improved, so a third followed


def test_measuring_returns_the_best_conditions_then_the_next_best(few_images, metrics) -> None:
    truth = holds_exactly(few_images, FIRST) & holds_exactly(few_images, SECOND)
    places = [
        [ScoredCondition(2.0, THIRD), ScoredCondition(1.0, FIRST)],
        [ScoredCondition(1.0, SECOND)],
    ]
    formulas = measure(task_of(few_images, metrics, truth), "and", places)
    assert formulas == [Formula("and", (FIRST, SECOND)), Formula("and", (THIRD, SECOND))]


def test_conditions_are_measured_again_given_the_chosen_others(few_images, metrics) -> None:
    first, second, third = (holds_exactly(few_images, c) for c in (FIRST, SECOND, THIRD))
    assert third[second].sum() > first[second].sum()  # so THIRD is chosen at first, beside `wrong`
    wrong = Comparison("l2", SECOND.second, SECOND.first)
    ranked = [
        [ScoredCondition(2.0, FIRST), ScoredCondition(1.0, THIRD)],
        [ScoredCondition(2.0, wrong), ScoredCondition(1.0, SECOND)],
    ]
    chosen = measure(task_of(few_images, metrics, first | second), "or", ranked)[0]
    assert chosen.conditions == (FIRST, SECOND)
