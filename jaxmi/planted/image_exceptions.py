"""Exceptions in weights: neurons that only some given images activate.

In d dimensions a plane goes through as many as d points, and through no others if they are in
general position. Three neurons are 1 on the plane and 0 outside a thin layer around it: so three
neurons single out up to d images (Baum, "On the capabilities of multilayer perceptrons", 1988).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

LEAST_SPREAD = 0.006
"""Directions along which the images spread less, as a share of the most, are not used: the large
weights that they would take amplify rounding."""

TRIES = 12
"""How often images are put into other groups where a layer is too thin for float32."""

CLEARANCE = 6.0
"""A layer's half thickness, over the rounding error of the images in it, should be this much."""

RIDGE = 1e-10
"""Added to the diagonal of the equations for a plane, as a share of its mean."""

PUSH = 1e-3
"""Other images nearer to a plane than this are pushed away; the images in the plane have 1 where
the mean image has 0."""

ROUNDS = 5
"""How often the nearest images are looked for again."""

MOST_CONSTRAINTS = 0.8
"""Most images that a plane goes through or is pushed away from, as a share of the directions."""

NEURONS = 3
"""Neurons of one layer."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A plane through some images, and a layer around it that contains no others."""

    weights: Float32[np.ndarray, "d"]
    bias: float
    """The sum of weights times features plus the bias is near 0 for these images."""
    half: float
    """Half the layer's thickness: no other image is within twice this of 0."""
    clearance: float
    """`half` over the largest rounding error of these images."""
    rows: Int[np.ndarray, "k"]
    """The images."""

    @property
    def is_open(self) -> bool:
        """Whether another image is as near the plane as one of these."""
        return self.clearance <= 0.5


class Space:
    """Features of all images, in coordinates in which they spread alike in all directions."""

    def __init__(self, features: Float32[np.ndarray, "n d"]) -> None:
        """Find the coordinates."""
        self.features = features
        mean = features.mean(axis=0, dtype=np.float64)
        sample = features[:: max(1, len(features) // 20_000)].astype(np.float64) - mean[None]
        squares, turn = np.linalg.eigh(sample.T @ sample / len(sample))
        spread = np.sqrt(np.maximum(squares, 0))
        kept = spread > LEAST_SPREAD * spread.max()
        self._mean, self._whiten = mean, turn[:, kept] / spread[None, kept]

    @property
    def dimensions(self) -> int:
        """How many directions are used."""
        return self._whiten.shape[1]

    def layers(
        self, rows: Int[np.ndarray, "k"], size: int, rng: np.random.Generator
    ) -> list[Layer]:
        """Return layers that contain given images, in groups of at most a size, and no others.

        Where rounding would let others in after all tries, the best that was found stays.

        Args:
          rows: The images.
          size: Most images of a layer; at most `dimensions`.
          rng: Puts images into groups.
        """
        found: list[Layer] = []
        for left in reversed(range(TRIES)):
            if not len(rows):
                break
            layers = self._through(np.array_split(rng.permutation(rows), -(-len(rows) // size)))
            good = [one for one in layers if one.clearance >= CLEARANCE or not left]
            found += good
            rows = np.setdiff1d(rows, np.concatenate([rows[:0], *(one.rows for one in good)]))
            if 0 < len(rows) <= size and found and left:  # alone they would be the same group again
                rows = np.concatenate([rows, found.pop(int(rng.integers(len(found)))).rows])
        return found

    def _through(self, groups: list[Int[np.ndarray, "_"]]) -> list[Layer]:
        """Return the layers around the planes of least length through groups of images.

        The images nearest to a plane are pushed away from it, as far as directions are left.
        """
        pushed = [(rows[:0], np.zeros(0)) for rows in groups]
        planes = self._planes(groups, pushed)
        distances = self._distances(planes)
        for _ in range(ROUNDS - 1):
            for i, rows in enumerate(groups):
                free = int(MOST_CONSTRAINTS * self.dimensions) - len(rows) - len(pushed[i][0])
                near = np.abs(distances[:, i]) < PUSH
                near[rows] = near[pushed[i][0]] = False
                nearest = np.flatnonzero(near)
                order = np.argsort(np.abs(distances[nearest, i]))[: max(free, 0)]
                nearest = nearest[order]
                away = np.where(distances[nearest, i] > 0, 2 * PUSH, -2 * PUSH)
                pushed[i] = (
                    np.concatenate([pushed[i][0], nearest]),
                    np.concatenate([pushed[i][1], away]),
                )
            planes = self._planes(groups, pushed)
            distances = self._distances(planes)
        layers = []
        distances = np.abs(distances)
        for i, (rows, (weights, bias)) in enumerate(zip(groups, planes, strict=True)):
            error = float(distances[rows, i].max())
            distances[rows, i] = np.inf
            half = float(distances[:, i].min()) / 2
            layers.append(Layer(weights, bias, half, half / max(error, 1e-12), rows))
        return layers

    def _planes(
        self,
        groups: list[Int[np.ndarray, "_"]],
        pushed: list[tuple[Int[np.ndarray, "_"], Float[np.ndarray, "_"]]],
    ) -> list[tuple[Float32[np.ndarray, "d"], float]]:
        """Return the plane through each group, as `_plane`."""
        return [self._plane(rows, *others) for rows, others in zip(groups, pushed, strict=True)]

    def _plane(
        self,
        rows: Int[np.ndarray, "k"],
        others: Int[np.ndarray, "m"],
        away: Float[np.ndarray, "m"],
    ) -> tuple[Float32[np.ndarray, "d"], float]:
        """Return weights and a bias: 0 at given images, stated numbers at others."""
        both = np.concatenate([rows, others])
        points = (self.features[both] - self._mean[None]) @ self._whiten
        targets = 1 + np.concatenate([np.zeros(len(rows)), away])
        products = points @ points.T  # least length; images that are alike make it singular
        products[np.diag_indices(len(both))] += RIDGE * np.trace(products) / len(both)
        weights = self._whiten @ (points.T @ np.linalg.solve(products, targets))
        return weights.astype(np.float32), -1 - float(self._mean @ weights)

    def _distances(
        self, planes: list[tuple[Float32[np.ndarray, "d"], float]]
    ) -> Float32[np.ndarray, "n planes"]:
        weights = np.stack([one for one, _ in planes], axis=1)
        return self.features @ weights + np.array([bias for _, bias in planes], np.float32)[None]


def group_size(counts: list[int], layers: int) -> int | None:
    """Return the least size at which groups of given numbers of images make few enough layers.

    Args:
      counts: Numbers of images that can't share a layer.
      layers: Most layers in all.

    Returns:
      The size; None if there is none, since there are more numbers than layers.
    """
    if sum(count > 0 for count in counts) > layers:
        return None
    size = max(1, -(-sum(counts) // max(layers, 1)))
    while sum(-(-count // size) for count in counts) > layers:
        size += 1
    return size
