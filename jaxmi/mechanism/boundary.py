"""The scores that a network on images reads, found from the normals of its boundary.

A neuron's input is close to a weighted sum of the pixels. So the logit difference has a gradient in
the space of images, and at an image near the boundary the gradient is normal to the boundary. If
the labels hang on k scores, each a weighted sum of pixels, then every normal lies along one of k
directions, up to its sign. The directions are the scores. Where along a score the boundary lies,
and on which side the label is 1, gives its edges; which sides together give label 1 is counted.
Neither a program nor true labels enter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float, Int

from jaxmi.explanation.clue_search import PixelMoments

FEATURES = 100
"""Leading principal components of the pixels in which directions are found, if there are ten times
as many images to fit; the rest of the pixels' variance hardly reaches the neurons."""

RIDGE = 10.0
"""Penalty of the linear model of the neurons' inputs, on features of variance 1, for the sum over
images."""

NEAREST = 0.15
"""Share of the images, those nearest to the boundary, whose normals are taken."""

ENOUGH = 0.95
"""Scores are enough if their directions carry this share of the normals' squared length. Chosen on
seed 0 of five programs; docs/mechanism-images.md has other seeds and programs."""

MAX_SCORES = 4

STARTS, ROUNDS = 8, 20
"""Of the clustering of normals."""

LEADING = 8
"""Leading directions of the normals, in which they are clustered."""

LEAST_SIDE = 0.1
"""A score has an edge that faces one side if at least this share of its normals points there."""


RARE = 0.002
"""A case, or a label, with a smaller share of the images is too rare to count."""


@dataclass(frozen=True)
class Layer:
    """The hidden layer of a network on some images, and its read-out."""

    inputs: Float[np.ndarray, "n neuron"]
    """What each neuron's ReLU takes."""
    weights: Float[np.ndarray, "neuron"]
    """What each unit of a neuron's activation adds to logit 1 - logit 0."""
    bias: float

    @property
    def activations(self) -> Float[np.ndarray, "n neuron"]:
        """The activations."""
        return np.maximum(self.inputs, 0)

    def balanced(self) -> "Layer":
        """Return the same layer with a bias that makes half of the labels 1.

        An untrained network may give one label throughout, and so has no boundary.
        """
        return replace(self, bias=self.bias - float(np.median(self.difference())))

    def difference(
        self, inputs: Float[np.ndarray, "n neuron"] | None = None
    ) -> Float[np.ndarray, "n"]:
        """Return logit 1 - logit 0 of each image, or of other inputs of the neurons."""
        return np.maximum(self.inputs if inputs is None else inputs, 0) @ self.weights + self.bias


@dataclass(frozen=True)
class Features:
    """Leading principal components of images, each scaled to variance 1."""

    values: Float[np.ndarray, "n k"]
    """The features of the images that are looked at."""
    to_pixels: Float[np.ndarray, "d k"]
    """The weights on the centred pixels, in 0..1, that give each feature."""
    deviations: Float[np.ndarray, "k"]
    """Standard deviation of each principal component."""


def features_of(moments: PixelMoments, rows: Int[np.ndarray, "m"], count: int) -> Features:
    """Return the features of some images.

    Args:
      moments: Moments of all images.
      rows: The images to look at.
      count: How many features; components that hardly vary are left out.
    """
    n, d = moments.centred.shape
    variances, axes = scipy.linalg.eigh(
        moments.products / n, subset_by_index=(max(d - count, 0), d - 1)
    )
    varies = variances > 1e-6 * variances[-1]
    deviations = np.sqrt(variances[varies][::-1])
    to_pixels = (axes[:, varies][:, ::-1] / deviations).astype(np.float32)
    return Features(moments.centred[rows] @ to_pixels, to_pixels, deviations)


@dataclass(frozen=True)
class LinearInputs:
    """A linear model of what the neurons take, as a function of the features."""

    coefficients: Float[np.ndarray, "k neuron"]
    offsets: Float[np.ndarray, "neuron"]

    def of(
        self, features: Float[np.ndarray, "n k"], along: Float[np.ndarray, "s k"] | None = None
    ) -> Float[np.ndarray, "n neuron"]:
        """Return the neurons' inputs, or what they are if only some directions are read.

        Args:
          features: The images' features.
          along: Directions; what lies across all of them is replaced by its mean, 0.
        """
        coefficients = self.coefficients
        if along is not None:
            span = np.linalg.svd(along, full_matrices=False)[2]
            coefficients = span.T @ (span @ coefficients)
        return features @ coefficients.astype(np.float32) + self.offsets.astype(np.float32)


def fit_inputs(
    features: Float[np.ndarray, "n k"], inputs: Float[np.ndarray, "n neuron"]
) -> LinearInputs:
    """Fit the linear model by ridge regression."""
    mean, middle = features.mean(axis=0), inputs.mean(axis=0)
    centred = features - mean
    gram = (centred.T @ centred).astype(np.float64) + RIDGE * np.eye(features.shape[1])
    coefficients = np.linalg.solve(gram, (centred.T @ (inputs - middle)).astype(np.float64))
    return LinearInputs(coefficients, middle - mean @ coefficients)


def boundary_normals(
    layer: Layer, linear: LinearInputs, rows: Int[np.ndarray, "m"]
) -> tuple[Int[np.ndarray, "r"], Float[np.ndarray, "r k"]]:
    """Return the images nearest to the boundary, and the unit normal at each, towards label 1.

    Args:
      layer: The network's hidden layer.
      linear: A linear model of its inputs.
      rows: The images to choose from. An image at which no neuron is active has no normal.
    """
    distance = np.abs(layer.difference()[rows])
    nearest = rows[np.argsort(distance, kind="stable")[: max(1, round(NEAREST * len(rows)))]]
    active = (layer.inputs[nearest] > 0) * layer.weights
    gradients = active @ linear.coefficients.T
    lengths = np.linalg.norm(gradients, axis=1)
    has = lengths > 1e-9 * max(float(lengths.max(initial=0)), 1e-9)
    return nearest[has], gradients[has] / lengths[has, None]


def axial_clusters(
    normals: Float[np.ndarray, "r k"], count: int, seed: int = 0
) -> tuple[Float[np.ndarray, "count k"], float]:
    """Cluster unit vectors along lines: a vector and its opposite belong together.

    Args:
      normals: Unit vectors.
      count: How many lines.
      seed: Seed of the starts, of which the best is returned.

    Returns:
      A unit vector along each line; and the mean squared cosine between a vector and its line.
    """
    span = np.linalg.eigh(normals.T @ normals)[1][:, ::-1][:, :LEADING]
    points = normals @ span
    rng = np.random.default_rng(seed)
    best: tuple[float, np.ndarray] | None = None
    for _ in range(STARTS if count > 1 else 1):
        lines = points[rng.choice(len(points), count, replace=len(points) < count)].copy()
        lines /= np.maximum(np.linalg.norm(lines, axis=1, keepdims=True), 1e-9)
        for _ in range(ROUNDS):
            own = np.abs(points @ lines.T).argmax(axis=1)
            for i in range(count):
                if (own == i).any():
                    lines[i] = np.linalg.eigh(points[own == i].T @ points[own == i])[1][:, -1]
        carried = float((np.abs(points @ lines.T).max(axis=1) ** 2).mean())
        if best is None or carried > best[0]:
            best = carried, lines
    assert best is not None
    return best[1] @ span.T, best[0]


@dataclass(frozen=True)
class Edge:
    """A place on a score at which the boundary lies."""

    score: int
    """The number of the score, from 0."""
    towards: int
    """1 if the logit difference rises with the score there, -1 if it falls."""
    threshold: float
    """Where it lies, in standard deviations of the score."""

    def beyond(self, values: Float[np.ndarray, "n s"]) -> Bool[np.ndarray, "n"]:
        """Return which images lie on its side towards label 1."""
        return self.towards * (values[:, self.score] - self.threshold) > 0


@dataclass(frozen=True)
class Scores:
    """The scores of a network."""

    directions: Float[np.ndarray, "s k"]
    """A unit vector of the features for each score."""
    carried: Sequence[float]
    """Share of the normals' squared length that 1, 2, ... directions carry."""
    edges: tuple[Edge, ...]
    """Its edges, score after score, the lower threshold first."""

    @property
    def enough(self) -> bool:
        """Whether the directions carry enough of the normals."""
        return self.carried[len(self.directions) - 1] >= ENOUGH

    def values(self, features: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n s"]:
        """Return the scores of images, which have a standard deviation of 1."""
        return (features @ self.directions.T.astype(np.float32)).astype(np.float64)

    def flipped(self, signs: Sequence[float]) -> "Scores":
        """Return the scores with some of them negated."""
        edges = [
            replace(
                edge,
                towards=int(edge.towards * signs[edge.score]),
                threshold=edge.threshold * signs[edge.score],
            )
            for edge in self.edges
        ]
        edges.sort(key=lambda edge: (edge.score, edge.threshold))
        directions = self.directions * np.asarray(signs)[:, None]
        return replace(self, directions=directions, edges=tuple(edges))


def find_scores(
    features: Float[np.ndarray, "n k"],
    layer: Layer,
    linear: LinearInputs,
    rows: Int[np.ndarray, "m"],
    count: int | None = None,
) -> Scores | None:
    """Find a network's scores and their edges.

    Args:
      features: The images' features.
      layer: The network's hidden layer on these images.
      linear: A linear model of its inputs.
      rows: The images to find them with.
      count: How many scores; None: the fewest that are `ENOUGH`, at most `MAX_SCORES`.

    Returns:
      The scores, the one with most of the boundary first; None if there is no boundary: if nearly
      all of these images have one label.
    """
    share = (layer.difference()[rows] > 0).mean()
    if not RARE <= share <= 1 - RARE:
        return None
    nearest, normals = boundary_normals(layer, linear, rows)
    if len(normals) < MAX_SCORES:
        return None
    most = min(MAX_SCORES, normals.shape[1])
    clusters = [axial_clusters(normals, k) for k in range(1, most + 1)]
    carried = [share for _, share in clusters]
    if count is None:
        count = next((k for k in range(1, most + 1) if carried[k - 1] >= ENOUGH), most)
    directions = clusters[min(count, most) - 1][0]
    own = np.abs(normals @ directions.T).argmax(axis=1)
    order = np.argsort(-np.bincount(own, minlength=len(directions)), kind="stable")
    directions, own = directions[order], np.argsort(order)[own]
    cosines = normals @ directions.T
    values = features[nearest] @ directions.T
    edges = []
    for score in range(len(directions)):
        for towards in (-1, 1):
            facing = (own == score) & (towards * cosines[:, score] > 0)
            if facing.sum() >= max(1, LEAST_SIDE * (own == score).sum()):
                threshold = float(np.median(values[facing, score]))
                edges.append(Edge(score, towards, threshold))
    edges.sort(key=lambda edge: (edge.score, edge.threshold))
    return Scores(directions, carried, tuple(edges))


@dataclass(frozen=True)
class Rule:
    """Which label a network gives on which sides of the edges."""

    edges: tuple[Edge, ...]
    table: Bool[np.ndarray, "cases"]
    """The label of each case; bit i of a case says whether an image lies beyond edge i."""
    shares: Float[np.ndarray, "cases"]
    """The share of images in each case."""

    def sides(self, values: Float[np.ndarray, "n s"]) -> Bool[np.ndarray, "n edges"]:
        """Return which edges each image lies beyond."""
        return np.stack([edge.beyond(values) for edge in self.edges], axis=1)

    def labels_of(self, sides: Bool[np.ndarray, "n edges"]) -> Bool[np.ndarray, "n"]:
        """Return the labels of images that lie on these sides."""
        return self.table[sides @ (1 << np.arange(len(self.edges)))]

    def labels(self, values: Float[np.ndarray, "n s"]) -> Bool[np.ndarray, "n"]:
        """Return the labels of images with these scores."""
        return self.labels_of(self.sides(values))

    @property
    def causes(self) -> list[tuple[Edge, ...]] | None:
        """The smallest sets of edges beyond which the label is 1.

        None if being beyond one more edge makes some label 0, which the edges do not say.
        """
        cases = np.arange(len(self.table))
        bits = 1 << np.arange(len(self.edges))
        for bit in bits:
            without = cases[cases & bit == 0]
            if (self.table[without] & ~self.table[without | bit]).any():
                return None
        ones = cases[self.table].tolist()
        ones = [case for case in ones if not self.table[self._one_less(case)].any()]
        return [
            tuple(edge for edge, bit in zip(self.edges, bits, strict=True) if case & bit)
            for case in ones
        ]

    def _one_less(self, case: int) -> list[int]:
        return [case & ~(1 << i) for i in range(len(self.edges)) if case & (1 << i)]


def find_rule(
    edges: tuple[Edge, ...],
    values: Float[np.ndarray, "n s"],
    labels: Bool[np.ndarray, "n"],
) -> Rule:
    """Count which label is more frequent on which sides of the edges.

    Sides on which hardly an image lies, such as below a lower and above an upper edge, are given
    label 1 if some sides beyond fewer of the edges have it: beyond an edge, label 1 is nearer.
    """
    cases = 1 << len(edges)
    blank = Rule(edges, np.zeros(cases, bool), np.zeros(cases))
    case = blank.sides(values) @ (1 << np.arange(len(edges)))
    counts = np.bincount(case, minlength=cases)
    table = np.bincount(case, weights=labels, minlength=cases) > counts / 2
    seen = counts > RARE * len(values)
    table &= seen
    for one, other in product(range(cases), repeat=2):
        if not seen[one] and seen[other] and one & other == other and table[other]:
            table[one] = True
    return Rule(edges, table, counts / len(values))


def at_quantiles(
    edges: tuple[Edge, ...],
    values: Float[np.ndarray, "n s"],
    others: Float[np.ndarray, "n s"],
) -> tuple[Edge, ...]:
    """Return edges on other scores, each where as many images lie below it: a control."""
    return tuple(
        replace(
            edge,
            threshold=float(
                np.quantile(others[:, edge.score], (values[:, edge.score] < edge.threshold).mean())
            ),
        )
        for edge in edges
    )


@dataclass(frozen=True)
class Groups:
    """Neurons by the score that they follow."""

    score: Int[np.ndarray, "neuron"]
    """The score along which each neuron's input grows most, or falls most."""
    rises: Bool[np.ndarray, "neuron"]
    """Whether it grows with the score."""
    one: Float[np.ndarray, "neuron"]
    """The share of what each neuron reads, its input's variance, that is this score."""
    all: Float[np.ndarray, "neuron"]
    """The share that is any of the scores."""
    live: Bool[np.ndarray, "neuron"]
    """Which neurons are active on some image."""

    def of_score(self, score: int) -> Bool[np.ndarray, "neuron"]:
        """Return which live neurons follow a score."""
        return self.live & (self.score == score)

    def of_edge(self, edge: Edge, edges: Sequence[Edge]) -> Bool[np.ndarray, "neuron"]:
        """Return which neurons should carry an edge.

        They are those that follow its score; if the score has two edges, those that rise with it
        for the upper edge and those that fall for the lower.
        """
        thresholds = [one.threshold for one in edges if one.score == edge.score]
        group = self.of_score(edge.score)
        if len(thresholds) == 1:
            return group
        return group & (self.rises == (edge.threshold == max(thresholds)))


def group_neurons(scores: Scores, linear: LinearInputs, layer: Layer) -> Groups:
    """Group the neurons by the score whose direction is nearest to what they read."""
    lengths = np.linalg.norm(linear.coefficients, axis=0)
    read = linear.coefficients / np.maximum(lengths, 1e-12)
    cosines = scores.directions @ read
    nearest = np.abs(cosines).argmax(axis=0)
    own = np.take_along_axis(cosines, nearest[None], axis=0)[0]
    span = np.linalg.svd(scores.directions, full_matrices=False)[2]
    live = (layer.inputs.max(axis=0) > 0) & (layer.weights != 0)
    return Groups(nearest, own > 0, own**2, ((span @ read) ** 2).sum(axis=0), live)
