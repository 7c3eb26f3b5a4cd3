"""Challenge 1's labelling program from the network and the images alone, without the hint."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxmi.explain.bands import Band, best_band
from jaxmi.explain.clue_search import (
    PixelMoments,
    Ranking,
    find_template,
    orient,
    second_moment_template,
)
from jaxmi.explain.cnn_detectors import similarity
from jaxmi.explain.directions import pca
from jaxmi.programs.clue_labels import l1_distances


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
