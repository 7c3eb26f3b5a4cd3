"""Principal components and probes, on data with known results."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.explanation.directions import (
    linear_probe,
    logit_difference_direction,
    pca,
    ridge_regression,
)

RNG = np.random.default_rng


def test_principal_components_of_a_known_cloud() -> None:
    rng = RNG(0)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    scales = np.array([5.0, 3.0, 1.0, 0.1, 0.01])
    coordinates = np.linalg.qr(rng.normal(size=(400, 5)) - 0)[0]
    coordinates = np.linalg.qr(coordinates - coordinates.mean(axis=0))[0] * scales
    points = coordinates @ basis.T + 7
    found = pca(points.astype(np.float32))
    np.testing.assert_allclose(found.variance_shares, scales**2 / (scales**2).sum(), atol=1e-5)
    np.testing.assert_allclose(np.abs(np.diag(found.components[:3] @ basis[:, :3])), 1, atol=1e-4)
    np.testing.assert_allclose(found.unproject(found.project(points)), points, atol=1e-4)
    few = pca(points[:3])  # fewer examples than dimensions
    np.testing.assert_allclose(few.unproject(few.project(points[:3])), points[:3], atol=1e-9)


def test_the_signs_follow_the_stated_rule_and_not_the_data_s_order() -> None:
    points = RNG(1).normal(size=(50, 4)) * [4, 3, 2, 1]
    found, again = pca(points), pca(points[::-1])
    np.testing.assert_allclose(found.components, again.components, atol=1e-9)
    largest = np.abs(found.components).argmax(axis=1)
    assert (found.components[np.arange(4), largest] > 0).all()
    like = -found.project(points) @ [1.0, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(pca(points, like).components, -found.components, atol=1e-9)


def test_components_of_the_covariance_are_the_singular_vectors() -> None:
    """With more examples than dimensions the covariance is decomposed, else the examples are."""
    points = (RNG(4).normal(size=(300, 6)) * [9, 5, 3, 1, 0.1, 0] + 40).astype(np.float32)
    found = pca(points)
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.variance_shares, singular**2 / (singular**2).sum(), atol=1e-12)
    cosines = np.abs((found.components[:5] * directions[:5]).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-9)
    np.testing.assert_array_equal(found.project(points, 2).shape, (300, 2))
    np.testing.assert_allclose(found.project(points, 2), found.project(points)[:, :2], atol=1e-9)
    other = RNG(5).normal(size=300)
    assert (found.like(points, other).project(points).T @ (other - other.mean()) > -1e-6).all()


def test_a_probe_finds_a_planted_direction_and_no_other() -> None:
    rng = RNG(2)
    points, direction = rng.normal(size=(2000, 6)), np.array([1.0, -2, 0, 0, 0, 0])
    labels = (points @ direction > 0.7).astype(int)
    for ridge in (0.0, 10.0):
        probe = linear_probe(points[:1000], labels[:1000], points[1000:], labels[1000:], ridge)
        assert probe.accuracy > 0.95
        cosine = probe.direction @ direction / np.linalg.norm(probe.direction) / np.sqrt(5)
        assert cosine > 0.99
    shuffled = linear_probe(
        points[:1000], rng.permutation(labels[:1000]), points[1000:], labels[1000:]
    )
    assert shuffled.accuracy < 0.75  # about the share of the more frequent label


def test_ridge_solves_its_normal_equations_and_shrinks() -> None:
    rng = RNG(3)
    points, targets = rng.normal(size=(100, 4)) + 3, rng.normal(size=100)
    weights, intercept = ridge_regression(points, targets, 5.0)
    residuals = targets - points @ weights - intercept
    assert residuals.sum() == pytest.approx(0, abs=1e-9)
    centred = points - points.mean(axis=0)
    np.testing.assert_allclose(centred.T @ residuals, 5.0 * weights, atol=1e-9)
    small, _ = ridge_regression(points, targets, 1e9)
    assert np.linalg.norm(small) < 1e-6 < np.linalg.norm(weights)


def test_probes_refuse_what_is_no_label_or_penalty() -> None:
    points = np.ones((2, 1))
    with pytest.raises(InputError, match="not 2"):
        linear_probe(points, np.array([0, 2]), points, np.array([0, 1]))
    with pytest.raises(InputError, match="-1"):
        ridge_regression(points, np.array([0.0, 1.0]), -1.0)
    for some in (np.ones((1, 3)), np.ones((4, 3))):
        with pytest.raises(InputError, match="principal components"):
            pca(some)


def test_the_logit_difference_direction_of_a_linear_read_out_is_exact() -> None:
    weights = RNG(4).normal(size=(6, 3)).astype(np.float32)
    points = RNG(5).normal(size=(10, 6)).astype(np.float32)
    direction = logit_difference_direction(lambda a: a @ weights, points)
    np.testing.assert_allclose(direction, weights[:, 1] - weights[:, 0], rtol=1e-5)
    gated = logit_difference_direction(lambda a: jnp.maximum(a, 0) @ weights, points)
    firing = (points > 0).mean(axis=0)
    np.testing.assert_allclose(gated, firing * (weights[:, 1] - weights[:, 0]), rtol=1e-4)
