"""The grids of the decay study, and synthetic learning curves with grokking and without."""

import numpy as np
import pytest

from jaxmi.data.pairs import split_indices
from jaxmi.programs.domain import P
from jaxmi.studies import decay
from jaxmi.studies.decay import summarise
from jaxmi.studies.study import Conclusion, Trained, Training

STEPS = np.arange(100, 1001, 100)
TOGETHER = np.linspace(0.5, 0.95, 10)
LATE = np.where(STEPS < 800, 0.1, 0.9)
FITTED_EARLY = np.where(STEPS < 300, 0.6, 1.0)


def test_a_late_rise_of_test_accuracy_is_a_gain() -> None:
    grokked = summarise(STEPS, FITTED_EARLY, LATE)
    assert grokked.fit_step == 300
    assert grokked.gain == pytest.approx(0.8)
    assert (grokked.final, grokked.train_final) == (0.9, 1.0)


def test_test_accuracy_that_rises_with_training_accuracy_is_no_gain() -> None:
    together = summarise(STEPS, np.linspace(0.5, 1.0, 10), TOGETHER)
    assert together.gain == pytest.approx(0, abs=0.06)
    worse = summarise(STEPS, FITTED_EARLY, 1 - LATE)  # test accuracy falls: no gain either
    assert worse.gain == 0


@pytest.fixture(scope="module")
def trainings(mnist_data) -> list[Training]:
    return decay.trainings(quick=False)


def cells(trainings: list[Training], group: str) -> list[Training]:
    return [training for training in trainings if decay.group_of(training) == group]


def test_the_grids_are_full(trainings: list[Training]) -> None:
    assert len({training.name for training in trainings}) == len(trainings)
    for name, decays in decay.DECAYS.items():
        grid = cells(trainings, name)
        sizes = {len(training.challenge.splits["train"]) for training in grid}
        n = P * P if name == "transformer" else 50_000
        assert sizes == {n * percent // 100 for percent in decay.SHARES}
        assert {t.recipe.weight_decay for t in grid} == set(decays)
        assert len(grid) == len(sizes) * len(decays)
    assert len(cells(trainings, "transformer_long")) == 6
    (addition,) = cells(trainings, "addition")
    x, y = np.divmod(np.arange(P * P), P)
    assert (addition.challenge.labels == (x + y) % P).all()


def test_shares_are_nested_and_nothing_trained_on_is_tested(trainings: list[Training]) -> None:
    for name in decay.DECAYS:
        before: set[int] = set()
        for training in cells(trainings, name):
            splits = training.challenge.splits
            train = set(splits["train"].tolist())
            assert before <= train
            before = train
            assert not train & set(splits["test"].tolist())
            assert set(training.challenge.curve_splits["train"].tolist()) <= train
            if name == "cnn":
                assert len(splits["test"]) == len(splits["validation"]) == 10_000
    half = next(t for t in trainings if t.name == "transformer-fast-share-50-decay-0.3")
    assert set(half.challenge.splits["train"].tolist()) == set(split_indices(P)[0].tolist())


def conclude(trainings: list[Training], late: str) -> Conclusion:
    """Conclude on cells that all learn train and test together, but for one that groks."""
    noise = np.random.default_rng(0)
    measurements = {}
    for training in trainings:
        measurements[training.name] = {}
        for seed in range(3):
            test = LATE if training.name == late else 0.9 * FITTED_EARLY
            measurements[training.name][seed] = {
                "step": STEPS,
                "train_accuracy": FITTED_EARLY,
                "test_accuracy": test + 0.001 * noise.random(10),
            }
    return decay.conclude(trainings, measurements)


def test_a_cell_that_groks_is_found_and_no_other(trainings: list[Training]) -> None:
    late = "transformer-fast-share-20-decay-3"
    findings = conclude(trainings, late).findings
    assert findings["transformer_grokked"].value == pytest.approx(1 / 45)
    assert findings["transformer_largest_gain"].value == pytest.approx(0.8, abs=0.01)
    assert "weight decay 3" in findings["transformer_largest_gain"].description
    assert f"{P * P // 5} examples" in findings["transformer_largest_gain"].description
    for group in ("cnn", "transformer_long", "addition"):
        assert findings[f"{group}_grokked"].value == 0
        assert findings[f"{group}_gain"].value < 0.01
    assert findings["transformer_best"].n == 3
    assert findings["transformer_networks"].value == 45 * 3
    assert findings["transformer_grokked_seeds"].value == 1
    assert findings["cnn_grokked_seeds"].value == 0 < findings["cnn_grokked_seeds"].high
    assert findings["transformer_fitted"].value == 1


def test_the_measurement_is_the_curve(trainings: list[Training]) -> None:
    curve = [
        {"step": 10 * i, "train_accuracy": 0.9 + i, "test_accuracy": 0.1 + i} for i in range(4)
    ]
    measured = decay.measure(trainings[0], Trained(0, {}, curve))
    assert measured["step"].tolist() == [0, 10, 20, 30]
    assert measured["train_accuracy"].tolist() == [0.9, 1.9, 2.9, 3.9]
    assert measured["test_accuracy"].tolist() == [0.1, 1.1, 2.1, 3.1]


def test_grokking_of_the_control_is_found(trainings: list[Training]) -> None:
    findings = conclude(trainings, trainings[-1].name).findings
    assert findings["addition_grokked"].value == 1
    assert findings["transformer_grokked"].value == 0
