"""The clue of challenge 1, fitted to a network and the images alone, without the hint.

If a network computes how much an image resembles a template, its neurons have a direction that is a
monotone, not necessarily linear, function of the resemblance. The search alternates two
regressions: a ridge regression of the direction on the pixels gives a template; an isotonic
regression of the template's scores on the direction makes the direction linear in the scores
(alternating conditional expectations, Breiman and Friedman 1985, with one side linear). The clue is
the image whose own scores correlate best with the template's.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float, Int, UInt8

from jaxmi.errors import InputError
from jaxmi.explanation.cnn_detectors import similarity
from jaxmi.explanation.directions import Pca, pca
from jaxmi.programs.bands import Band, best_band
from jaxmi.programs.published_labels import l1_distances

MNIST = "MNIST"
"""What the published challenge's images are called."""

RIDGE = 10.0
"""Penalty of the regression on pixels in 0..1, for the sum of squares over images."""

ROUNDS = 6
"""Number of rounds of the two regressions; after the third round the template hardly changes."""

BASELINE_RIDGE = 1000.0
"""Penalty of the baseline from labels alone: of 10, 100, 1,000 and 10,000, the penalty that finds
most of ten clues from their labels, 4 % of them flipped."""


class Ranking(NamedTuple):
    """All images, ranked as the possible origin of a template."""

    order: Int[np.ndarray, "n"]
    """Indices of the images, the best first."""
    correlation: Float[np.ndarray, "n"]
    """Correlation of each image's scores with the template's, in the order of the images."""

    def rank_of(self, image: int) -> int:
        """Return an image's rank, counted from 1."""
        return int(np.flatnonzero(self.order == image)[0]) + 1


class PixelMoments(NamedTuple):
    """First and second moments of the images' pixels, which every regression needs."""

    mean: Float[np.ndarray, "d"]
    """Mean of each pixel, in 0..1."""
    centred: Float[np.ndarray, "n d"]
    """Pixels in 0..1 less their mean, float32."""
    products: Float[np.ndarray, "d d"]
    """Sums over images of the products of two centred pixels, float64."""
    spread: Float[np.ndarray, "n"]
    """For each image as the clue, the standard deviation of all images' similarity to it, with
    pixels in 0..1, float32."""


def pixel_moments(images: np.ndarray) -> PixelMoments:
    """Compute the pixel moments of images, (n, ...) uint8."""
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    mean = pixels.mean(axis=0, dtype=np.float64)
    pixels -= mean.astype(np.float32)
    products = pixels.T @ pixels
    joint, offset = products / len(images), _offset(mean)
    spread = np.empty(len(images), np.float32)
    for rows in np.array_split(np.arange(len(images)), -(-len(images) // 10_000)):
        clues = 2 * pixels[rows] + offset  # of all images at once these would take 190 MB
        spread[rows] = np.sqrt(np.maximum(np.einsum("ij,ij->i", clues @ joint, clues), 0))
    return PixelMoments(mean, pixels, products.astype(np.float64), spread)


def _offset(mean: Float[np.ndarray, "d"]) -> Float[np.ndarray, "1 d"]:
    """Return `2 * clue - 1` of a clue that is the images' mean."""
    return (2 * mean - 1).astype(np.float32)[None]


class Comparison(NamedTuple):
    """A way to compare an image with the clue."""

    phrase: str
    """Its name in a sentence, before the clue's."""
    code: str
    """Its definition in Python."""


COMPARISONS = {
    "l1": Comparison("the L1 distance to", "sum(abs(image - clue))"),
    "l2": Comparison("the squared L2 distance to", "sum((image - clue) ** 2)"),
    "similarity": Comparison("the similarity to", "sum(image * (2 * clue / 255 - 1))"),
}


def compare(
    images: UInt8[np.ndarray, "n h w"], clue: UInt8[np.ndarray, "h w"], comparison: str
) -> Float[np.ndarray, "n"]:
    """Compare images with a clue.

    Args:
      images: The images, pixels in 0..255.
      clue: The clue, pixels in 0..255.
      comparison: A key of `COMPARISONS`.

    Raises:
      KeyError: if there is no such comparison.
    """
    match comparison:
        case "l1":
            return np.asarray(l1_distances(images, clue), np.float64)
        case "l2":
            difference = images.astype(np.float32) - clue.astype(np.float32)[None]
            return np.einsum("ijk,ijk->i", difference, difference, dtype=np.float64)
        case "similarity":
            return similarity(images, clue)
    raise KeyError(f"no comparison {comparison!r}; there are: {', '.join(COMPARISONS)}")


class ClueFit(NamedTuple):
    """The clue that was fitted, and the labelling program that follows from it."""

    template: Float[np.ndarray, "h w"]
    """Pixel weights, on an arbitrary scale."""
    template_band: Band
    """The best band on the template's score."""
    ranking: Ranking
    """The images, ranked by the template."""
    clue: int
    """Index of the image that is ranked first."""
    bands: dict[str, Band]
    """Comparison with that image -> its best band."""
    comparison: str
    """The comparison whose band agrees best with the network's labels."""
    baseline: Ranking | None
    """The images, ranked by the second moments of the network's labels alone; None if the network
    predicts one class throughout."""
    collection: str = MNIST
    """What the images are called."""

    @property
    def band(self) -> Band:
        """The band of the fitted program."""
        return self.bands[self.comparison]

    @property
    def program(self) -> str:
        """The fitted labelling program, in Python."""
        low, high = (f"{edge:_.6f}".rstrip("0").rstrip(".") for edge in self.band[:2])
        inside = {
            (True, True): f"{low} <= d < {high}",
            (True, False): f"{low} <= d",
            (False, True): f"d < {high}",
            (False, False): "True",
        }[tuple(np.isfinite(self.band[:2]).tolist())]
        return (
            "def label(image):  # whole numbers 0..255, signed\n"
            f"    clue = {'mnist_train' if self.collection == MNIST else 'images'}[{self.clue}]\n"
            f"    d = {COMPARISONS[self.comparison].code}\n"
            f"    return 0 if {inside} else 1"
        )

    @property
    def sentence(self) -> str:
        """The fitted labelling program in a sentence."""
        score = (
            f"{COMPARISONS[self.comparison].phrase} {self.collection} training image {self.clue}"
        )
        below, above = np.isfinite(self.band.low), np.isfinite(self.band.high)
        if below and above:
            return f"Label 0 if {score} is medium, label 1 if it is small or large."
        if below or above:
            label_0, label_1 = ("large", "small") if below else ("small", "large")
            return f"Label 0 if {score} is {label_0}, label 1 if it is {label_1}."
        return "Label 0 for every image."


def fit_clue(
    images: UInt8[np.ndarray, "n h w"],
    moments: PixelMoments,
    activations: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    collection: str = MNIST,
    plane: Pca | None = None,
) -> ClueFit:
    """Fit template, clue, comparison and band to a network's neurons and labels on the images.

    Args:
      images: The candidates for the clue.
      moments: `pixel_moments` of the images.
      activations: The neurons' activations on the images.
      labels: The network's labels of the images.
      collection: What the images are called.
      plane: `pca(activations)`, if it is computed already.

    Raises:
      InputError: if the activations are the same on all images.
    """
    template, ranking = find_clue(moments, activations, plane)
    clue = int(ranking.order[0])
    bands = {name: best_band(compare(images, images[clue], name), labels) for name in COMPARISONS}
    baseline = None
    if 0 < labels.mean() < 1:
        baseline = orient(moments, second_moment_template(moments, labels))[1]
    return ClueFit(
        template=template.reshape(images.shape[1:]),
        template_band=best_band(moments.centred @ template.astype(np.float32), labels),
        ranking=ranking,
        clue=clue,
        bands=bands,
        comparison=max(bands, key=lambda name: bands[name].agreement),
        baseline=baseline,
        collection=collection,
    )


def find_clue(
    moments: PixelMoments,
    activations: Float[np.ndarray, "n neurons"],
    plane: Pca | None = None,
) -> tuple[Float[np.ndarray, "d"], Ranking]:
    """Fit a template to the neurons' first principal component, and rank the images by it.

    Args:
      moments: `pixel_moments` of the images.
      activations: The neurons' activations on the images.
      plane: `pca(activations)`, if it is computed already.

    Raises:
      InputError: if the activations are the same on all images.
    """
    plane = pca(activations) if plane is None else plane
    template = find_template(moments, plane.project(activations, 1)[:, 0])
    sign, ranking = orient(moments, template)
    return sign * template, ranking


def find_template(
    moments: PixelMoments,
    direction: Float[np.ndarray, "n"],
    ridge: float = RIDGE,
    rounds: int = ROUNDS,
) -> Float[np.ndarray, "d"]:
    """Fit pixel weights such that a direction of the network is a monotone function of their score.

    Args:
      moments: The images' pixel moments.
      direction: The network's coordinate of each image, such as its first principal component.
      ridge: Penalty of the regression on the pixels.
      rounds: How often the two regressions alternate, >= 1.

    Returns:
      The template, up to a positive factor. Its sign follows the direction's sign.

    Raises:
      InputError: if the direction is the same for all images.
    """
    if np.ptp(direction) == 0:
        raise InputError(
            f"the direction is the same for all images ({direction.flat[0]:g}): no template fits it"
        )
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
    """Find, from labels alone, the pixel weights whose score's variance differs most by label.

    This is a black-box baseline. Labels that depend on a score through a band hardly change the
    score's mean, but change its variance. The weights are the generalised eigenvector of the two
    labels' second moments (as in principal Hessian directions, Li 1992); their sign is arbitrary.

    Args:
      moments: The images' pixel moments.
      labels: 0 or 1; both must occur.
      ridge: Added to the diagonal of the pixels' products, as in `find_template`.
    """
    share = labels.mean()
    ones = moments.centred[labels == 1]
    contrast = (ones.T @ ones).astype(np.float64) - share * moments.products
    regularised = moments.products + ridge * np.eye(len(moments.mean))
    values, vectors = scipy.linalg.eigh(contrast, regularised)
    return vectors[:, np.abs(values).argmax()]


def rank_images(moments: PixelMoments, template: Float[np.ndarray, "d"]) -> Ranking:
    """Rank the images by how well their own similarity scores correlate with a template's scores.

    An image c scores another image by `sum(pixel * (2 * c - 1))`, as in the published solution. The
    scores of all images are compared, not the pixels: a template's weights on pixels that never
    vary are arbitrary. A negative correlation means that the template is like the image's inverse.
    """
    n = len(moments.centred)
    projected = (moments.products / n @ template).astype(np.float32)
    covariance = 2 * (moments.centred @ projected) + _offset(moments.mean)[0] @ projected
    spread = moments.spread * np.sqrt(template @ moments.products @ template / n)
    correlation = covariance / np.maximum(spread, np.finfo(np.float32).tiny)
    return Ranking(np.argsort(-correlation, kind="stable"), correlation)


def rank_by_bands(
    moments: PixelMoments, labels: Int[np.ndarray, "n"], sample: int = 2000, seed: int = 0
) -> Int[np.ndarray, "n"]:
    """Rank all images by brute force: each as the clue, by its best band's agreement with labels.

    This is the second black-box baseline. A candidate's scores are those of `rank_images`, on a
    random sample of the images. Bands are those of `programs.bands.best_band`, but for thousands of
    candidates at once and without their edges, and equal scores are not kept together: this needs
    one sort per candidate. 60,000 candidates take about a minute.

    Args:
      moments: The images' pixel moments.
      labels: 0 or 1.
      sample: How many images the agreement is measured on.
      seed: Seed of the sample.

    Returns:
      Indices of all images, the best first.
    """
    n = len(moments.centred)
    sampled = np.random.default_rng(seed).choice(n, min(sample, n), replace=False)
    gain_of_0 = 1 - 2 * labels[sampled]  # labels gained by labelling an image 0
    gained = np.empty(n)
    for rows in np.array_split(np.arange(n), -(-n // 2_000)):
        templates = 2 * (moments.centred[rows] + moments.mean.astype(np.float32)) - 1
        order = (templates @ moments.centred[sampled].T).argsort(axis=1)
        gain = np.cumsum(gain_of_0[order], axis=1)
        lowest = np.minimum.accumulate(np.minimum(gain, 0), axis=1)
        gained[rows] = (gain - lowest).max(axis=1)
    return np.argsort(-gained, kind="stable")


def orient(moments: PixelMoments, template: Float[np.ndarray, "d"]) -> tuple[float, Ranking]:
    """Choose between a template and its negative, which a band cannot tell apart.

    The sign is chosen by a rule, it is not evidence about the network: an image exists that
    correlates better with the chosen sign than any image does with the other sign.

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
