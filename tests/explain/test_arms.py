"""Arms and AND boundaries, planted at any angle."""

import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.explain.arms import _smooth_loss, fit_and_boundary, fit_arms


def rotate(points, angle):
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def test_arms_have_the_planted_slopes_and_the_stated_lengths() -> None:
    x = np.concatenate([np.linspace(-20, -2.01, 300), np.linspace(-1.99, 25, 500)])
    y = np.where(x < -2, 1.5 * x + 4, -0.7 * x - 3) + np.random.default_rng(0).normal(
        0, 0.01, len(x)
    )
    arms = fit_arms(np.stack([x, y], axis=1), split=-2.0, lengths=(3.0, 5.0))
    np.testing.assert_allclose(arms.directions, [[-3, -4.5], [5, -3.5]], atol=0.01)
    assert arms.split == -2.0


def test_a_split_that_leaves_one_side_empty_moves_to_the_median() -> None:
    x = np.linspace(-0.2, 0.3, 101)
    arms = fit_arms(np.stack([x, np.abs(x)], axis=1), split=-2.0, lengths=(3.0, 5.0))
    assert arms.split == np.median(x)
    with pytest.raises(InputError, match="make no arm"):
        fit_arms(np.zeros((10, 2)), -2.0, (3.0, 5.0))
    crowded = np.stack(
        [np.r_[np.zeros(60), np.linspace(-1, 1, 40)], np.linspace(0, 1, 100)], axis=1
    )
    assert fit_arms(crowded, -2.0, (3.0, 5.0)).split == 0.0  # more than half share the median
    with pytest.raises(InputError, match="all alike"):
        fit_and_boundary(np.ones((10, 2)), np.ones(10, int))


@pytest.mark.parametrize("seed", range(12))
def test_a_planted_wedge_is_found_wherever_it_opens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle, opening = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.2)
    offsets = rng.uniform(-0.6, 0.4, 2)
    points = rng.normal(size=(4000, 2)) @ np.diag([3.0, 1.0])
    unit = (points - points.mean(axis=0)) / points.std()
    normals = np.array([[np.cos(a), np.sin(a)] for a in (angle - opening, angle + opening)])
    labels = (unit @ normals.T > offsets).all(axis=1).astype(int)
    found = fit_and_boundary(points, labels)
    assert found.agreement > 0.985
    assert found.agreement == (found.filters(points).all(axis=1) == labels).mean()
    assert np.linalg.det(found.normals) > 0
    np.testing.assert_allclose(np.linalg.norm(found.normals, axis=1), 1)


def test_what_is_no_wedge_is_not_found() -> None:
    """The control: an exclusive or, and labels without a pattern."""
    rng = np.random.default_rng(4)
    points = rng.normal(size=(4000, 2))
    exclusive = ((points[:, 0] > 0) ^ (points[:, 1] > 0)).astype(int)
    assert fit_and_boundary(points, exclusive).agreement < 0.8
    random = rng.integers(0, 2, 4000)
    assert fit_and_boundary(points, random).agreement < 0.56


def test_the_smooth_loss_s_gradient_is_its_derivative() -> None:
    rng = np.random.default_rng(5)
    points, signs = rng.normal(size=(50, 2)), rng.choice([-1.0, 1.0], 50)
    wedge = np.array([0.3, 1.9, -0.2, 0.4])
    _, gradient = _smooth_loss(wedge, points, signs)
    for i in range(4):
        step = np.eye(4)[i] * 1e-6
        up, down = (_smooth_loss(wedge + s * step, points, signs)[0] for s in (1, -1))
        assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-4)
