"""Interpolators, and mistakes that they share with networks beyond chance."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.programs.domain import P
from jaxmi.studies import interpolation, parts
from jaxmi.studies.interpolation import compare, distance_classes, interpolate
from jaxmi.studies.interpolators import (
    SAME_ROW,
    gaussian_process,
    kernel_regression,
    neighbours,
    tangent_kernel,
)
from jaxmi.studies.parts import BINS, CURVES, find_changes
from jaxmi.studies.study import Trained

N, M = 16, 4000


@pytest.fixture
def strata() -> np.ndarray:
    return np.repeat(np.arange(4), M // 4)


def compared(predictions: np.ndarray, guessed: np.ndarray, strata: np.ndarray) -> dict[str, float]:
    findings = compare("row", predictions, guessed, np.zeros(M, bool), strata)
    return {name: finding.value for name, finding in findings.items()}


def test_a_model_that_is_the_network_makes_all_its_mistakes(strata: np.ndarray) -> None:
    wrong = np.random.default_rng(0).random((N, M)) < 0.05
    values = compared(wrong, wrong, strata)
    assert values["row_mistakes_shared"] == values["row_agreement"] == 1
    assert values["row_kappa"] == pytest.approx(1)
    assert values["row_mistakes_by_chance"] == pytest.approx(0.05, abs=0.01)
    assert values["row_accuracy"] == 1 - wrong.mean()


def test_a_model_with_fewer_mistakes_can_share_all_of_its_own(strata: np.ndarray) -> None:
    """A model that gets a quarter of every network's mistakes wrong, and nothing else."""
    alike = np.broadcast_to(np.arange(M) % 20 == 0, (N, M))
    some = np.broadcast_to(np.arange(M) % 80 == 0, (N, M))
    values = compared(alike, some, strata)
    assert values["row_mistakes_shared"] == values["row_common_mistakes_shared"] == 0.25
    assert values["row_own_mistakes_shared"] == 1
    assert values["row_kappa"] < 0.5
    assert values["row_kappa_of_possible"] == pytest.approx(1)


def test_independent_mistakes_are_shared_by_chance_only(strata: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    values = compared(rng.random((N, M)) < 0.1, rng.random((N, M)) < 0.1, strata)
    assert values["row_mistakes_shared"] == pytest.approx(
        values["row_mistakes_by_chance"], abs=0.015
    )
    assert values["row_kappa"] == pytest.approx(0, abs=0.02)
    assert values["row_own_mistakes_shared"] == pytest.approx(0.1, abs=0.015)


def test_mistakes_at_the_same_distance_are_no_agreement(strata: np.ndarray) -> None:
    """Both err near boundaries, independently: more than chance, no more than by distance."""
    rng = np.random.default_rng(0)
    chance = np.where(strata == 0, 0.3, 0.01)
    values = compared(rng.random((N, M)) < chance, rng.random((N, M)) < chance, strata)
    assert values["row_mistakes_shared"] > 2 * values["row_mistakes_by_chance"]
    assert values["row_mistakes_shared"] == pytest.approx(
        values["row_mistakes_by_distance"], abs=0.02
    )


def test_distance_is_to_curves_and_line_and_not_to_bars() -> None:
    classes = distance_classes().reshape(P, P)
    assert classes[60, 72] == 0  # x + y = 132, beside the line
    assert classes[100, 5] == len(BINS) - 2  # among bars, far from the rest
    changes = find_changes(parts.published())
    for low, high in ((0, 1), (1, 2), (5, 8)):
        pairs = classes == BINS.index(low)
        near = changes.distances[: len(CURVES)].min(axis=0)
        assert pairs.any()
        assert ((near[pairs] > low) & (near[pairs] <= high)).all()


@pytest.mark.long
def test_interpolators_do_not_look_at_test_labels(transformer: Challenge) -> None:
    labels = transformer.labels.copy()
    labels[transformer.splits["test"]] ^= 1
    turned = interpolate(replace(transformer, labels=labels), quick=True)
    for name, guess in interpolate(transformer, quick=True).items():
        assert (guess.labels == turned[name].labels).all(), name
        assert guess.accuracy == turned[name].accuracy, name


@pytest.mark.slow
def test_the_kernel_is_that_of_the_network_before_training() -> None:
    (training,) = interpolation.trainings(quick=True)
    few = {**training.challenge.splits, "test": training.challenge.splits["test"][:200]}
    training = replace(training, challenge=replace(training.challenge, splits=few))
    params = [jax.jit(training.challenge.init)(jax.random.key(k)) for k in (1, 2)]
    first, second = (interpolation.measure(training, Trained(100, p, [])) for p in params)
    assert (first["ntk"] == second["ntk"]).all()
    assert (first["answers"] != second["answers"]).any()
    another_seed = interpolation.measure(training, Trained(101, params[0], []))
    assert (first["ntk"] != another_seed["ntk"]).any()


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Pairs to fit and pairs to label, of a small domain."""
    rng = np.random.default_rng(0)
    board = np.stack(np.divmod(rng.permutation(900), 30), axis=1)
    return board[:450], board[450:]


def labels(board: np.ndarray) -> np.ndarray:
    """Label pairs by a curve and the row's parity."""
    return (board[:, 0] ** 2 < 30 * board[:, 1]) ^ (board[:, 0] % 2 == 1)


def test_neighbours_are_the_nearest(pairs) -> None:
    fit, others = pairs
    guess = neighbours(fit, labels(fit), others, k=3, row_weight=2.0)
    for i in range(0, len(others), 7):
        distance = 4 * (fit[:, 0] - others[i, 0]) ** 2 + (fit[:, 1] - others[i, 1]) ** 2
        nearest = np.argsort(distance, kind="stable")[:3]
        assert guess.labels[i] == (labels(fit)[nearest].sum() >= 2)
    left_out = []
    for i in range(len(fit)):
        distance = 4.0 * (fit[:, 0] - fit[i, 0]) ** 2 + (fit[:, 1] - fit[i, 1]) ** 2
        distance[i] = np.inf
        left_out.append(labels(fit)[np.argsort(distance, kind="stable")[:3]].sum() >= 2)
    assert guess.accuracy == pytest.approx((np.array(left_out) == labels(fit)).mean(), abs=0.01)


def test_neighbours_of_the_same_row_are_of_no_other_row(pairs) -> None:
    fit, others = pairs
    rows = others[:, 0]
    guess = neighbours(fit, fit[:, 0] % 3 == 0, others, k=1, row_weight=SAME_ROW)
    assert (guess.labels == (rows % 3 == 0)).all()
    mixed = neighbours(fit, fit[:, 0] % 3 == 0, others, k=1, row_weight=1.0)
    assert (mixed.labels != (rows % 3 == 0)).any()


def test_tuning_chooses_the_best_by_leave_one_out(pairs) -> None:
    fit, others = pairs
    tuned = neighbours(fit, labels(fit), others)
    for k, weight in ((1, 1.0), (5, 1.0), (tuned.tuned["k"], tuned.tuned["row_weight"])):
        other = neighbours(fit, labels(fit), others, k=int(k), row_weight=weight)
        assert tuned.accuracy >= other.accuracy
    assert (other.labels == tuned.labels).all()


def test_leave_one_out_of_a_kernel_is_what_refitting_gives(pairs) -> None:
    fit, others = pairs
    fit, signs = fit[:60], np.where(labels(fit[:60]), 1.0, -1.0)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-0.02 * ((a[:, None] - b[None]) ** 2).sum(axis=2))

    inner = kernel(fit, fit)
    guess = kernel_regression(inner, kernel(others, fit), labels(fit), (0.1,))
    right = []
    for i in range(len(fit)):
        rest = np.arange(len(fit)) != i
        matrix = inner[np.ix_(rest, rest)] + 0.1 * np.eye(rest.sum())
        weights = np.linalg.solve(matrix, signs[rest] - signs.mean())
        right.append((inner[i, rest] @ weights + signs.mean() > 0) == (signs[i] > 0))
    assert guess.accuracy == pytest.approx(np.mean(right))
    weights = np.linalg.solve(inner + 0.1 * np.eye(60), signs - signs.mean())
    wanted = kernel(others, fit) @ weights + signs.mean() > 0
    assert (guess.labels == wanted).mean() > 0.99


def test_a_gaussian_process_finds_rows_and_curves(pairs) -> None:
    fit, others = pairs
    guess = gaussian_process(fit, labels(fit), others)
    assert (guess.labels == labels(others)).mean() > 0.9
    assert guess.accuracy > 0.9
    noise = np.random.default_rng(1).random(len(fit)) < 0.5
    assert gaussian_process(fit, noise, others).accuracy < 0.65  # the control: nothing to find


def test_the_tangent_kernel_is_the_product_of_gradients(transformer: Challenge) -> None:
    params = jax.jit(transformer.init)(jax.random.key(3))
    rows = np.array([5, 900, 7000, 7001, 118, 12000, 6 * 113 + 6])
    inputs = transformer.inputs[rows]

    def difference(params, tokens):
        logits = transformer.model.apply({"params": params}, tokens)[0][-1]
        return logits[1] - logits[0]

    gradient = jax.jit(jax.grad(difference))
    gradients = np.stack(
        [
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient(params, tokens))])
            for tokens in inputs
        ]
    ).astype(np.float64)
    kernel = tangent_kernel(transformer.model, params, inputs, inputs[:4])
    np.testing.assert_allclose(kernel, gradients @ gradients[:4].T, rtol=2e-5)
