"""Challenge 1's labelling program from the network and the images alone, without the hint.

Finds the clue image of a network like challenge 1's, without the hint.

If a network looks at how much an image resembles a template, its neurons have a direction that
follows the resemblance, though not linearly. The search alternates two regressions: of the
direction on the pixels, ridge, which gives a template; and of the template's scores on the
direction, isotonic, which straightens the direction out. (Alternating conditional expectations,
Breiman and Friedman 1985, with one side linear.) Of all images, the clue is then the one whose own
scores go along best with the template's.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float, Int, UInt8

from jaxmi.errors import InputError
from jaxmi.explanation.cnn_detectors import similarity
from jaxmi.explanation.directions import pca
from jaxmi.programs.bands import Band, best_band
from jaxmi.programs.published_labels import l1_distances

RIDGE = 10.0
"""Penalty of the pixels' regression, with pixels in 0..1 and the sum over images."""

ROUNDS = 6
"""How often the two regressions alternate; from the third on, little changes."""


BASELINE_RIDGE = 1000.0
"""The same for the baseline from labels alone, which needs more: of 10, 100, 1,000 and 10,000 the
one with which the labels of ten clues, 4 % of them flipped, are traced back most often."""


class Ranking(NamedTuple):
    """The images that a template may have come from."""

    order: Int[np.ndarray, "n"]
    """All images, the best first."""
    correlation: Float[np.ndarray, "n"]
    """Of each image's scores with the template's, in the order of the images."""

    def rank_of(self, image: int) -> int:
        """Returns an image's place, counted from 1."""
        return int(np.flatnonzero(self.order == image)[0]) + 1


class PixelMoments(NamedTuple):
    """What the regressions need to know of the images; computed once."""

    mean: Float[np.ndarray, "d"]
    centred: Float[np.ndarray, "n d"]
    """float32, pixels in 0..1, less their mean."""
    products: Float[np.ndarray, "d d"]
    """Sums over images of products of two pixels, float64."""


def pixel_moments(images: np.ndarray) -> PixelMoments:
    """Prepares images, (n, ...) uint8."""
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    mean = pixels.mean(axis=0, dtype=np.float64)
    pixels -= mean.astype(np.float32)
    return PixelMoments(mean, pixels, (pixels.T @ pixels).astype(np.float64))


def find_template(
    moments: PixelMoments,
    direction: Float[np.ndarray, "n"],
    ridge: float = RIDGE,
    rounds: int = ROUNDS,
) -> Float[np.ndarray, "d"]:
    """Finds the pixel weights whose score a direction of the network follows monotonically.

    Args:
      moments: Of the images.
      direction: The network's coordinate of each image, such as its first principal component.
      ridge: The penalty.
      rounds: How often to alternate, >= 1.

    Returns:
      The template, up to a positive factor. Its sign is the direction's, so it is arbitrary if the
      direction's is.

    Raises:
      InputError: if the direction is the same for all images.
    """
    if np.ptp(direction) == 0:
        raise InputError("no template follows a direction that is the same for all images")
    order = np.argsort(direction, kind="stable")
    regularised = moments.products + ridge * np.eye(len(moments.mean))
    factor = scipy.linalg.cho_factor(regularised)
    target = _standardised(direction)
    template = np.empty(0)
    for _ in range(rounds):
        template = scipy.linalg.cho_solve(factor, _correlate(moments, target))
        scores = _scores(moments, template)
        straightened = np.empty(len(order))
        straightened[order] = scipy.optimize.isotonic_regression(scores[order]).x
        target = _standardised(straightened)
    return template


def second_moment_template(
    moments: PixelMoments, labels: Int[np.ndarray, "n"], ridge: float = BASELINE_RIDGE
) -> Float[np.ndarray, "d"]:
    """Finds, from labels alone, the pixel weights whose score's spread differs most by label.

    The black-box baseline: labels that depend on a score through a band show nothing in the score's
    mean, but much in its variance. This is the generalised eigenvector of the two labels' second
    moments (as in principal Hessian directions, Li 1992), and its sign is arbitrary.

    Args:
      moments: Of the images.
      labels: 0 or 1, with both occurring.
      ridge: Added to the pixels' products, as in `find_template`.
    """
    share = labels.mean()
    ones = moments.centred[labels == 1]
    contrast = (ones.T @ ones).astype(np.float64) - share * moments.products
    whole = moments.products + ridge * np.eye(len(moments.mean))
    values, vectors = scipy.linalg.eigh(contrast, whole)
    return vectors[:, np.abs(values).argmax()]


def rank_images(moments: PixelMoments, template: Float[np.ndarray, "d"]) -> Ranking:
    """Ranks the images by how well their own similarity score goes along with a template's.

    An image c scores another by `sum(pixel * (2 * c - 1))`, as the published solution does. What is
    compared is the scores over all images, not the pixels: what a template says of pixels that
    never vary means nothing. The correlation's sign is that of the resemblance: negative says that
    the template is like the image's inverse.
    """
    n = len(moments.centred)
    joint = (moments.products / n).astype(np.float32)
    spread, along = np.empty(n, np.float32), np.empty(n, np.float32)
    wanted = joint @ template.astype(np.float32)
    for rows in np.array_split(np.arange(n), -(-n // 10_000)):  # a copy of all images is 190 MB
        candidates = 2 * (moments.centred[rows] + moments.mean.astype(np.float32)) - 1
        spread[rows] = np.sqrt(np.einsum("ij,ij->i", candidates @ joint, candidates))
        along[rows] = candidates @ wanted
    own = np.sqrt(template @ moments.products @ template / n)
    correlation = along / np.maximum(spread * own, np.finfo(np.float32).tiny)
    return Ranking(np.argsort(-correlation, kind="stable"), correlation)


def rank_by_bands(
    moments: PixelMoments, labels: Int[np.ndarray, "n"], sample: int = 2000, seed: int = 0
) -> Int[np.ndarray, "n"]:
    """Ranks all images by brute force: each as the clue, by its best band's agreement with labels.

    The other black-box baseline. A clue's scores are those of `rank_images`, on a random sample of
    the images; a minute's work for 60,000.

    Args:
      moments: Of the images.
      labels: 0 or 1.
      sample: On how many images the agreement is measured.
      seed: Of the sample.

    Returns:
      All images, the best first.
    """
    n = len(moments.centred)
    chosen = np.random.default_rng(seed).choice(n, min(sample, n), replace=False)
    worth = 1 - 2 * labels[chosen]  # what it gains to call an image 0
    gained = np.empty(n)
    for rows in np.array_split(np.arange(n), -(-n // 2_000)):
        templates = 2 * (moments.centred[rows] + moments.mean.astype(np.float32)) - 1
        order = (templates @ moments.centred[chosen].T).argsort(axis=1)
        gain = np.cumsum(worth[order], axis=1)
        lowest = np.minimum.accumulate(np.minimum(gain, 0), axis=1)
        gained[rows] = (gain - lowest).max(axis=1)
    return np.argsort(-gained, kind="stable")


def orient(moments: PixelMoments, template: Float[np.ndarray, "d"]) -> tuple[float, Ranking]:
    """Decides between an image and its inverse, which a band cannot tell apart: a rule, not a find.

    The rule: of the template and its negative, take the one that some training image matches better
    than any image matches the other.

    Returns:
      The sign to multiply the template by, and the ranking by the template with that sign.
    """
    ranking = rank_images(moments, template)
    if ranking.correlation.max() >= -ranking.correlation.min():
        return 1.0, ranking
    return -1.0, Ranking(ranking.order[::-1], -ranking.correlation)


def _scores(moments: PixelMoments, template: np.ndarray) -> np.ndarray:
    return (moments.centred @ template.astype(np.float32)).astype(np.float64)


def _correlate(moments: PixelMoments, target: np.ndarray) -> np.ndarray:
    return (target.astype(np.float32) @ moments.centred).astype(np.float64)


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


class Recovery(NamedTuple):
    """What was recovered, and how well it agrees with the network's own labels."""

    template: Float[np.ndarray, "h w"]
    """Pixel weights; their scale means nothing."""
    template_band: Band
    """The best band on the template's score."""
    ranking: Ranking
    """The images that the template may have come from."""
    clue: int
    """The first of them."""
    bands: dict[str, Band]
    """Metric -> its best band, of the metrics tried with that image."""
    metric: str
    """The metric that agrees best."""
    baseline: Ranking | None
    """The same from the network's labels alone, by their second moments; None if it answers one
    class throughout."""

    @property
    def band(self) -> Band:
        """The recovered program's."""
        return self.bands[self.metric]

    @property
    def pseudocode(self) -> str:
        """The recovered labelling program."""
        low, high = (f"{edge:_.6f}".rstrip("0").rstrip(".") for edge in self.band[:2])
        inside = {
            (True, True): f"{low} <= d < {high}",
            (True, False): f"{low} <= d",
            (False, True): f"d < {high}",
            (False, False): "True",
        }[tuple(np.isfinite(self.band[:2]).tolist())]
        return (
            "def label(image):  # whole numbers 0..255, signed\n"
            f"    clue = mnist_train[{self.clue}]\n"
            f"    d = {METRICS[self.metric].code}\n"
            f"    return 0 if {inside} else 1"
        )

    @property
    def words(self) -> str:
        """The recovered labelling program in a sentence."""
        what = f"{METRICS[self.metric].words} MNIST training image {self.clue}"
        below, above = np.isfinite(self.band.low), np.isfinite(self.band.high)
        if below and above:
            return f"Label 0 if {what} is medium, label 1 if it is small or large."
        if below or above:
            zero, one = ("large", "small") if below else ("small", "large")
            return f"Label 0 if {what} is {zero}, label 1 if it is {one}."
        return "Label 0 for every image."


class Metric(NamedTuple):
    """A way to compare an image with the clue."""

    words: str
    code: str


METRICS = {
    "l1": Metric("the L1 distance to", "sum(abs(image - clue))"),
    "l2": Metric("the squared L2 distance to", "sum((image - clue) ** 2)"),
    "similarity": Metric("the similarity to", "sum(image * (2 * clue / 255 - 1))"),
}


def measure(
    images: UInt8[np.ndarray, "n h w"], clue: UInt8[np.ndarray, "h w"], metric: str
) -> Float[np.ndarray, "n"]:
    """Compares images with a clue by one of `METRICS`."""
    if metric == "l1":
        return np.asarray(l1_distances(images, clue), np.float64)
    if metric == "similarity":
        return similarity(images, clue)
    apart = images.astype(np.float32) - clue.astype(np.float32)[None]
    return np.einsum("ijk,ijk->i", apart, apart, dtype=np.float64)


def find_clue(
    moments: PixelMoments, activations: Float[np.ndarray, "n neurons"]
) -> tuple[Float[np.ndarray, "d"], Ranking]:
    """Finds a template in the neurons' first principal component, and ranks the images by it.

    Raises:
      InputError: if the activations are all alike.
    """
    template = find_template(moments, pca(activations).project(activations)[:, 0])
    sign, ranking = orient(moments, template)
    return sign * template, ranking


def recover(
    images: UInt8[np.ndarray, "n h w"],
    moments: PixelMoments,
    activations: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
) -> Recovery:
    """Recovers template, clue, metric and band from what a network does on the images.

    Args:
      images: Those that the clue may be one of.
      moments: Theirs, by `pixel_moments`.
      activations: Of the network's neurons.
      labels: The network's.

    Raises:
      InputError: if the activations are all alike.
    """
    template, ranking = find_clue(moments, activations)
    clue = int(ranking.order[0])
    bands = {name: best_band(measure(images, images[clue], name), labels) for name in METRICS}
    baseline = None
    if 0 < labels.mean() < 1:
        baseline = orient(moments, second_moment_template(moments, labels))[1]
    return Recovery(
        template=template.reshape(images.shape[1:]),
        template_band=best_band(moments.centred @ template.astype(np.float32), labels),
        ranking=ranking,
        clue=clue,
        bands=bands,
        metric=max(bands, key=lambda name: bands[name].agreement),
        baseline=baseline,
    )
