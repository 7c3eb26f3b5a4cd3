"""Two arms in a plane: their slopes, and two straight sides whose AND separates two classes."""

from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Bool, Float, Int

from jaxmi.errors import InputError


class Arms(NamedTuple):
    """Two arms, left and right, that leave the origin of a plane."""

    directions: Float[np.ndarray, "2 2"]
    """A vector along each, the left arm's first."""
    split: float
    """The horizontal coordinate that parts the points of the two."""


def fit_arms(points: Float[np.ndarray, "n 2"], split: float, lengths: tuple[float, float]) -> Arms:
    """Fits an arm to the points left of a vertical line, and one to the rest.

    Each is a least-squares line of the second coordinate on the first, of which only the slope is
    used. If fewer than 1 % of the points lie on one side, the line is moved to the median.

    Args:
      points: In the plane.
      split: Where the line is, in the points' units.
      lengths: How far each arm's vector goes horizontally: `left * (-1, -slope)` and
        `right * (1, slope)`.

    Raises:
      InputError: if the points of one side share one horizontal coordinate.
    """
    left = points[:, 0] < split
    if not 0.01 <= left.mean() <= 0.99:
        split = float(np.median(points[:, 0]))
        left = points[:, 0] < split
        if not left.any():  # more than half of the points lie on it
            left = points[:, 0] <= split
    directions = []
    for side, sign, length in ((left, -1.0, lengths[0]), (~left, 1.0, lengths[1])):
        x, y = points[side].T
        if len(x) == 0 or np.ptp(x) == 0:
            raise InputError(f"the {len(x)} points on one side of {split:g} make no arm")
        slope = np.cov(x, y)[0, 1] / np.var(x, ddof=1)
        directions.append([length * sign, length * sign * slope])
    return Arms(np.array(directions), split)


class AndBoundary(NamedTuple):
    """Two half-planes, alpha and beta: class 1 where a point lies in both."""

    normals: Float[np.ndarray, "2 2"]
    """Unit vectors; alpha's is the one that comes first going counter-clockwise by less than pi."""
    thresholds: Float[np.ndarray, "2"]
    """A point lies in a half-plane if `point @ normal > threshold`."""
    agreement: float
    """The share of points whose label this gives, in 0..1."""

    def filters(self, points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n 2"]:
        """Returns whether each point lies in alpha, and in beta."""
        return points @ self.normals.T > self.thresholds


def fit_and_boundary(points: Float[np.ndarray, "n 2"], labels: Int[np.ndarray, "n"]) -> AndBoundary:
    """Finds two half-planes whose intersection agrees with the labels.

    A smooth loss is minimised on a sample of the points from the best of 288 wedges, since it has
    local minima, and the results are polished on the agreement of all points. Nothing is assumed of
    where the wedge opens; which half-plane comes first is a convention.

    Args:
      points: In the plane.
      labels: 0 or 1; if all are the same, any wedge around all points, or none, will do.

    Raises:
      InputError: if the points are all alike.
    """
    centre, scale = points.mean(axis=0), points.std()
    if scale == 0:
        raise InputError(f"no boundary between {len(points)} points that are all alike")
    unit = (points - centre) / scale
    sample = np.random.default_rng(0).permutation(len(points))[:SAMPLE]
    signs = 2.0 * labels[sample] - 1

    def loss(wedge: np.ndarray) -> tuple[float, np.ndarray]:
        return _smooth_loss(wedge, unit[sample], signs)

    def disagreement(wedge: np.ndarray) -> float:
        inside = (unit @ _normals(wedge).T > wedge[2:]).all(axis=1)
        return float((inside != labels).mean())

    starts = sorted(_wedges(), key=lambda wedge: loss(wedge)[0])[:REFINED]
    smooth = [scipy.optimize.minimize(loss, start, jac=True).x for start in starts]
    polished = [
        scipy.optimize.minimize(disagreement, wedge, method="Nelder-Mead").x
        for wedge in sorted(smooth, key=disagreement)[:POLISHED]
    ]
    best = min(polished, key=disagreement)
    normals = _normals(best)
    if np.linalg.det(normals) < 0:
        best, normals = best[[1, 0, 3, 2]], normals[::-1]
    boundary = AndBoundary(normals, best[2:] * scale + normals @ centre, 0.0)
    agreement = float((boundary.filters(points).all(axis=1) == labels).mean())
    return boundary._replace(agreement=agreement)


SOFTNESS = 0.1
"""Width of the smooth boundary, in standard deviations of the points."""

SAMPLE = 3000
"""How many points the smooth loss is computed on."""

REFINED = 6
"""How many of the wedges the smooth loss is minimised from."""

POLISHED = 3
"""How many of those are polished."""


def _wedges() -> list[np.ndarray]:
    """Starting values: two angles and two offsets each."""
    return [
        np.array([middle - opening, middle + opening, offset, offset])
        for middle in np.linspace(0, 2 * np.pi, 24, endpoint=False)
        for opening in (0.3, 0.6, 0.9, 1.2)
        for offset in (-0.5, 0.0, 0.5)
    ]


def _normals(wedge: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(wedge[:2]), np.sin(wedge[:2])], axis=1)


def _smooth_loss(
    wedge: np.ndarray, points: np.ndarray, signs: np.ndarray
) -> tuple[float, np.ndarray]:
    """Logistic loss of how far inside of both half-planes each point lies, and its gradient."""
    normals = _normals(wedge)
    depths = points @ normals.T - wedge[2:]
    nearer = depths.argmin(axis=1)
    margins = signs * depths[np.arange(len(points)), nearer] / SOFTNESS
    slopes = -signs * scipy.special.expit(-margins) / SOFTNESS / len(points)
    turned = points @ np.stack([-normals[:, 1], normals[:, 0]])  # what turning a normal changes
    parts = slopes[:, None] * (nearer[:, None] == np.array([[0, 1]]))
    gradient = np.concatenate([(parts * turned).sum(axis=0), -parts.sum(axis=0)])
    return float(np.logaddexp(0, -margins).mean()), gradient
