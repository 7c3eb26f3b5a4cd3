"""Checks of synthetic networks, and outliers among seeds."""

from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from studies.synthetic import measured

from jaxmi.explanation.metrics import Metric, Unit
from jaxmi.studies import universality
from jaxmi.studies.study import Study, Trained
from jaxmi.studies.universality import CHECKS, METRICS, TEST_ACCURACY, Check, outliers

N = 12


@pytest.fixture(params=["CNN", "TRANSFORMER"])
def study(request: pytest.FixtureRequest, mnist_data) -> Study:
    return getattr(universality, request.param)


def synthetic(name: str, holds: bool) -> dict[str, np.ndarray]:
    """Draw metrics of networks that pass every check, or none; one seed is an outlier in one."""
    keys = [metric.key for metric in METRICS[name]]
    metrics = {key: np.linspace(0.5, 0.51, N) for key in (*keys, TEST_ACCURACY)}
    for check in CHECKS[name]:
        bar = check.control
        if isinstance(bar, Metric):
            bar = metrics.setdefault(bar.key, np.full(N, 0.5))
        step = 0.0 if check.equal and holds else 0.01 if holds else -0.01
        metrics[check.metric.key] = np.broadcast_to(bar + step, N)
    metrics[TEST_ACCURACY][3] = 0.9
    return metrics


@pytest.mark.parametrize("holds", [True, False])
def test_checks_are_counted(study: Study, holds: bool) -> None:
    trainings = study.trainings(True, None)
    name = trainings[0].challenge.name
    metrics = synthetic(name, holds)
    conclusion = study.conclude(trainings, measured(trainings, {"": metrics}))
    for check in CHECKS[name]:
        found = conclusion.findings[f"claim_{check.name}"]
        assert found.value == holds
        assert found.n == N
        assert 0 < (1 - found.low if holds else found.high) < 0.4
        assert conclusion.data["failing"][check.name] == (
            [] if holds else list(range(100, 100 + N))
        )
    for metric in METRICS[name]:
        median = np.median(metrics[metric.key])
        assert conclusion.findings[metric.key].value == pytest.approx(median)
    apart = conclusion.data["apart"]
    assert [(row["seed"], row["figure"]) for row in apart] == [(103, "test_accuracy")]
    assert apart[0]["deviations"] > 20


def test_checks_hold_together_or_not(study: Study) -> None:
    """One check fails in one network, another in another."""
    trainings = study.trainings(True, None)
    name = trainings[0].challenge.name
    metrics = synthetic(name, holds=True)
    compared = next(check for check in CHECKS[name] if isinstance(check.control, Metric))
    bar = next(check for check in CHECKS[name] if not isinstance(check.control, Metric))
    for network, check in enumerate((compared, bar)):
        key = check.metric.key
        metrics[key] = metrics[key].copy()
        metrics[key][network] = -1
    found = study.conclude(trainings, measured(trainings, {"": metrics})).findings
    assert found["claims_compared"].value == pytest.approx((N - 1) / N)
    assert found["claims_all"].value == pytest.approx((N - 2) / N)


def test_networks_by_the_published_recipe_are_counted_separately() -> None:
    trainings = universality.TRANSFORMER.trainings(False, None)
    assert [training.recipe_name for training in trainings] == ["fast", "published"]
    metrics = [synthetic("transformer", holds) for holds in (True, False)]
    measurements = {
        training.name: {100 + i: {key: np.asarray(own[key][i]) for key in own} for i in range(N)}
        for training, own in zip(trainings, metrics, strict=True)
    }
    conclusion = universality.TRANSFORMER.conclude(trainings, measurements)
    for check in CHECKS["transformer"]:
        assert conclusion.findings[f"claim_{check.name}"].value == 1
        assert conclusion.findings[f"original_claim_{check.name}"].value == 0


def test_the_untrained_control_is_the_same_seeds_network(mnist_data, monkeypatch) -> None:
    given = []

    def explain(challenge, params, controls):
        given.append((params, controls))
        return SimpleNamespace(metrics={})

    monkeypatch.setattr(universality, "explain_cnn", explain)
    monkeypatch.setattr(universality, "prepare", lambda challenge, controls: controls)
    (training,) = universality.CNN.trainings(True, None)
    params = jax.jit(training.challenge.init)(jax.random.key(5))
    universality.measure(training, Trained(100, params, []))
    ((looked_at, controls),) = given
    start = jax.jit(training.challenge.init)(jax.random.fold_in(jax.random.key(100), 0))
    chex.assert_trees_all_equal(looked_at, params)
    chex.assert_trees_all_equal(controls, {"untrained": start})


def test_a_check_compares_with_its_control() -> None:
    true, control = (Metric(key, key, Unit.SHARE) for key in ("true", "control"))
    check = Check("", "", true, control)
    assert check.holds({"true": 0.6, "control": 0.5})
    assert not check.holds({"true": 0.5, "control": 0.5})
    rank = Check("", "", Metric("rank", "rank", Unit.RANK), 1, equal=True)
    assert rank.holds({"rank": 1})
    assert not rank.holds({"rank": 2})


def test_ordinary_seeds_are_no_outliers() -> None:
    rng = np.random.default_rng(0)
    values = {str(i): rng.normal(size=32) for i in range(50)}
    assert len(outliers(range(32), values)) < 0.01 * 32 * 50
    assert outliers(range(3), {"constant": np.ones(3)}) == []
