"""Free conditions are replaced by the best of the language, which are then measured exactly."""

import numpy as np
import pytest

from jaxmi.programs.domain import ImageDomain
from jaxmi.recover.evidence import gather_evidence
from jaxmi.recover.images import replace
from jaxmi.recover.images.conditions import Band, Found, Nearer, Threshold
from jaxmi.recover.images.exact import holds_exactly
from jaxmi.recover.images.formula import Formula
from jaxmi.recover.images.replace import (
    FEWEST,
    Task,
    best_conditions,
    holds_nearly,
    measure,
    replace_free,
)
from jaxmi.recover.images.scores import make_metrics

N = 1500
FIRST, SECOND, THIRD = Nearer("l1", 3, 9), Nearer("l2", 17, 60), Nearer("cosine", 8, 41)


@pytest.fixture(scope="module")
def domain(mnist_data):
    return ImageDomain(mnist_data.images[:N], mnist_data.images[:100])


@pytest.fixture(scope="module")
def metrics(domain):
    return make_metrics(domain)


def task_of(domain, metrics, truth) -> Task:
    return Task(domain, metrics, gather_evidence(truth), np.ones(N))


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
def test_conditions_hold_nearly_where_they_hold(domain, metrics, condition, units) -> None:
    bounds = {k: v / units for k, v in condition._asdict().items() if isinstance(v, float)}
    exactly = holds_exactly(domain, condition)
    assert 0.1 < exactly.mean() < 0.9
    assert (holds_nearly(metrics, condition._replace(**bounds)) == exactly).mean() > 0.98


@pytest.mark.parametrize("below", [True, False])
def test_a_bound_on_the_mean_is_found_on_either_side(domain, metrics, below) -> None:
    gain = np.where(holds_exactly(domain, Threshold("mean", None, below, 33.5)), 1.0, -1.0)
    best, *others = best_conditions(task_of(domain, metrics, gain > 0), gain)
    assert best.condition[:3] == ("mean", None, below)
    assert best.value == gain.clip(0).sum() > others[0].value
    values = [one.value for one in others]
    assert values == sorted(values, reverse=True)


def test_a_place_that_decides_about_hardly_any_image_is_idle(domain, metrics) -> None:
    truth = holds_exactly(domain, FIRST)
    task = task_of(domain, metrics, truth)
    for deciding, idle in ((FEWEST - 1, True), (FEWEST, False)):
        gain = np.where(np.arange(N) < deciding, np.where(truth, 1.0, -1.0), 0.0)
        assert (best_conditions(task, gain) == []) is idle
    free = np.array([truth, np.ones(N, bool), np.arange(N) < FEWEST - 1])
    assert replace_free(task, "any", free, lambda line: None) is None


def test_what_was_found_is_kept_if_a_later_turn_finds_nothing_better(
    domain, metrics, monkeypatch
) -> None:
    free = np.array([holds_exactly(domain, one) for one in (FIRST, SECOND)])
    task = task_of(domain, metrics, free.all(axis=0))
    turns = iter([FIRST, THIRD, THIRD, SECOND, THIRD, THIRD])

    def found(task: Task, gain: np.ndarray) -> list[Found]:
        condition = next(turns)
        return [Found(float(gain[holds_nearly(metrics, condition)].sum()), condition)]

    monkeypatch.setattr(replace, "best_conditions", found)
    places = replace_free(task, "and", free, lambda line: None)
    assert places is not None
    assert [place[0].condition for place in places] == [FIRST, SECOND]
    assert next(turns, None) is None  # the second turn helped, so there was a third


def test_the_best_measured_conditions_are_chosen_and_the_next_are_offered(domain, metrics) -> None:
    truth = holds_exactly(domain, FIRST) & holds_exactly(domain, SECOND)
    found = [[Found(2.0, THIRD), Found(1.0, FIRST)], [Found(1.0, SECOND)]]
    formulas = measure(task_of(domain, metrics, truth), "and", found)
    assert formulas == [Formula("and", (FIRST, SECOND)), Formula("and", (THIRD, SECOND))]


def test_conditions_are_measured_again_beside_those_that_were_chosen(domain, metrics) -> None:
    first, second, third = (holds_exactly(domain, one) for one in (FIRST, SECOND, THIRD))
    assert third[second].sum() > first[second].sum()  # so THIRD is chosen beside the wrong guess
    wrong = Nearer("l2", SECOND.other, SECOND.one)
    ranked = [[Found(2.0, FIRST), Found(1.0, THIRD)], [Found(2.0, wrong), Found(1.0, SECOND)]]
    chosen = measure(task_of(domain, metrics, first | second), "or", ranked)[0]
    assert chosen.conditions == (FIRST, SECOND)
