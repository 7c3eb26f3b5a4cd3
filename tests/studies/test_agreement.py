"""Mistakes that networks share, against independence, and votes."""

import numpy as np
import pytest
from scipy.stats import binom

from jaxmi.studies import agreement
from jaxmi.studies.agreement import independent_counts
from jaxmi.studies.study import Conclusion, Training

N = 16


@pytest.fixture(scope="module")
def trainings(mnist_data) -> list[Training]:
    return agreement.trainings(quick=True)


def conclude(trainings: list[Training], draw_wrong) -> Conclusion:
    """Conclude on synthetic networks that are wrong where `draw_wrong(n, m)` says."""
    measurements = {}
    for training in trainings:
        challenge = training.challenge
        truth = challenge.labels[challenge.splits["test"]] == 1
        predictions = truth ^ draw_wrong(N, len(truth))
        difference = np.where(predictions, 1.0, -1.0).astype(np.float32)
        measurements[training.name] = {100 + i: {"difference": difference[i]} for i in range(N)}
    return agreement.conclude(trainings, measurements)


def test_networks_that_err_alike_share_everything_and_gain_nothing_by_voting(trainings) -> None:
    def alike(n: int, m: int) -> np.ndarray:
        return np.broadcast_to(np.arange(m) % 20 == 0, (n, m))

    conclusion = conclude(trainings, alike)
    for name in ("transformer", "cnn"):
        values = {key: finding.value for key, finding in conclusion.findings.items()}
        assert values[f"{name}_shared"] == values[f"{name}_wrong_in_all"] == 1
        assert values[f"{name}_overlap"] == pytest.approx(20, rel=0.01)
        assert values[f"{name}_vote_gain"] == 0
        assert values[f"{name}_vote"] == values[f"{name}_accuracy"]
        vote, m = conclusion.findings[f"{name}_vote"], sum(conclusion.data[name]["wrong_networks"])
        wanted = 2 * 1.96 * np.sqrt(vote.value * (1 - vote.value) / m)
        assert vote.high - vote.low == pytest.approx(wanted, rel=0.01)
        counts = conclusion.data[name]["wrong_networks"]
        assert counts[0] + counts[-1] == sum(counts)


def test_independent_mistakes_overlap_by_chance_and_are_voted_down(trainings) -> None:
    rng = np.random.default_rng(0)
    conclusion = conclude(trainings, lambda n, m: rng.random((n, m)) < 0.1)
    for name in ("transformer", "cnn"):
        values = {key: finding.value for key, finding in conclusion.findings.items()}
        assert values[f"{name}_overlap"] == pytest.approx(1, abs=0.05)
        assert values[f"{name}_shared"] == pytest.approx(0.1, abs=0.01)
        assert values[f"{name}_wrong_in_all"] == 0
        assert values[f"{name}_vote"] > 0.999
        data = conclusion.data[name]
        votes = [point["majority"] for point in data["votes"]]
        assert (np.diff(votes) > -0.002).all()  # a tie of two counts as half right
        assert [point["networks"] for point in data["votes"]] == [1, 2, 4, 8, 16]
        observed, expected = np.array(data["wrong_networks"]), np.array(data["independent"])
        assert observed.sum() == pytest.approx(expected.sum())
        assert np.abs(observed - expected).max() < 0.03 * observed.sum()


def test_independent_counts_are_binomial_where_rates_are_equal() -> None:
    wanted = 1000 * binom.pmf(np.arange(9), 8, 0.3)
    np.testing.assert_allclose(independent_counts(np.full(8, 0.3), 1000), wanted)
