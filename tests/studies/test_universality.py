"""Claims are counted, and seeds that stand apart are named."""

from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from studies.planted import measured

from jaxmi.studies import universality
from jaxmi.studies.study import Study, Trained
from jaxmi.studies.universality import CLAIMS, SHOWN, Claim, stand_apart

N = 12


@pytest.fixture(params=["CNN", "TRANSFORMER"])
def study(request: pytest.FixtureRequest, mnist_data) -> Study:
    return getattr(universality, request.param)


def planted(name: str, holds: bool) -> dict[str, np.ndarray]:
    """Figures of networks of which every claim holds, or none does; one seed apart in one."""
    figures = {key: np.linspace(0.5, 0.51, N) for key in (*SHOWN[name], "test_accuracy")}
    for claim in CLAIMS[name]:
        bar = claim.control
        if isinstance(bar, str):
            bar = figures.setdefault(bar, np.full(N, 0.5))
        step = 0.0 if claim.equal and holds else 0.01 if holds else -0.01
        figures[claim.figure] = np.broadcast_to(bar + step, N)
    figures["test_accuracy"][3] = 0.9
    return figures


@pytest.mark.parametrize("holds", [True, False])
def test_claims_are_counted(study: Study, holds: bool) -> None:
    trainings = study.trainings(True, None)
    name = trainings[0].challenge.name
    figures = planted(name, holds)
    conclusion = study.conclude(trainings, measured(trainings, {"": figures}))
    for claim in CLAIMS[name]:
        found = conclusion.findings[f"claim_{claim.name}"]
        assert found.value == holds
        assert found.n == N
        assert 0 < (1 - found.low if holds else found.high) < 0.4
        assert conclusion.data["failing"][claim.name] == (
            [] if holds else list(range(100, 100 + N))
        )
    for key in SHOWN[name]:
        assert conclusion.findings[key].value == pytest.approx(np.median(figures[key]))
    apart = conclusion.data["apart"]
    assert [(one["seed"], one["figure"]) for one in apart] == [(103, "test_accuracy")]
    assert apart[0]["deviations"] > 20


def test_claims_hold_together_or_not(study: Study) -> None:
    """One claim fails of one network, another of another."""
    trainings = study.trainings(True, None)
    name = trainings[0].challenge.name
    figures = planted(name, holds=True)
    compared = next(claim for claim in CLAIMS[name] if isinstance(claim.control, str))
    bar = next(claim for claim in CLAIMS[name] if not isinstance(claim.control, str))
    for at, claim in enumerate((compared, bar)):
        figures[claim.figure] = figures[claim.figure].copy()
        figures[claim.figure][at] = -1
    found = study.conclude(trainings, measured(trainings, {"": figures})).findings
    assert found["claims_compared"].value == pytest.approx((N - 1) / N)
    assert found["claims_all"].value == pytest.approx((N - 2) / N)


def test_the_published_recipe_is_counted_apart() -> None:
    trainings = universality.TRANSFORMER.trainings(False, None)
    assert [training.recipe_name for training in trainings] == ["fast", "published"]
    figures = [planted("transformer", holds) for holds in (True, False)]
    measurements = {
        training.name: {100 + i: {key: np.asarray(of[key][i]) for key in of} for i in range(N)}
        for training, of in zip(trainings, figures, strict=True)
    }
    conclusion = universality.TRANSFORMER.conclude(trainings, measurements)
    for claim in CLAIMS["transformer"]:
        assert conclusion.findings[f"claim_{claim.name}"].value == 1
        assert conclusion.findings[f"original_claim_{claim.name}"].value == 0


def test_the_untrained_control_is_the_same_seeds_network(mnist_data, monkeypatch) -> None:
    given = []

    def explain(challenge, params, digits, controls):
        given.append((params, controls))
        return SimpleNamespace(figures={})

    monkeypatch.setattr(universality, "explain_cnn", explain)
    (training,) = universality.CNN.trainings(True, None)
    params = jax.jit(training.challenge.init)(jax.random.key(5))
    universality.measure(training, Trained(100, params, []))
    ((looked_at, controls),) = given
    start = jax.jit(training.challenge.init)(jax.random.fold_in(jax.random.key(100), 0))
    chex.assert_trees_all_equal(looked_at, params)
    chex.assert_trees_all_equal(controls, {"untrained": start})


def test_a_claim_compares_with_its_control() -> None:
    claim = Claim("", "", "true", "control")
    assert claim.holds({"true": 0.6, "control": 0.5})
    assert not claim.holds({"true": 0.5, "control": 0.5})
    rank = Claim("", "", "rank", 1, equal=True)
    assert rank.holds({"rank": 1})
    assert not rank.holds({"rank": 2})


def test_ordinary_seeds_do_not_stand_apart() -> None:
    rng = np.random.default_rng(0)
    values = {str(i): rng.normal(size=32) for i in range(50)}
    assert len(stand_apart(range(32), values)) < 0.01 * 32 * 50
    assert stand_apart(range(3), {"constant": np.ones(3)}) == []
