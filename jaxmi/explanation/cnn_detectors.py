"""Clue detectors and anti-clue detectors among the neurons of challenge 1's CNN, and their tests.

The published solution (Heimersheim and Hobbhahn, 2023) claims that one group of hidden neurons
detects images like the clue, another group images like its inverse. This module finds the two
groups, ablates them and scrubs them as the published solution does. It adds one experiment, the
arm-wise scrub, which fails if a neuron is in the wrong group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxmi.challenges.challenge import ClueSolution
from jaxmi.errors import InputError
from jaxmi.explanation.directions import Pca, pca
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import (
    Claim,
    DonorRule,
    Outcome,
    Scrubbed,
    anyone,
    difference,
    near,
    scrub,
    within,
)
from jaxmi.programs.bands import Band

SITE = "fc1.post"
"""The neurons that are explained: the hidden neurons, after their ReLU."""

_ADDED = "added to the logits by each group"
"""The quantity that is exchanged in the place of activations."""


@dataclass(frozen=True)
class Neurons:
    """A network's neurons and logits on some images."""

    activations: Float[np.ndarray, "n d"]
    """The activations at `SITE`."""
    logits: Float[np.ndarray, "n 2"]
    """The network's logits of 0 and 1."""
    weights: Float[np.ndarray, "d 2"]
    """The read-out: the logits are `activations @ weights` plus a constant."""

    @cached_property
    def labels(self) -> Int[np.ndarray, "n"]:
        """The network's own labels, with which everything in this module is compared."""
        return self.logits.argmax(axis=-1)

    @cached_property
    def dead(self) -> Bool[np.ndarray, "d"]:
        """A mask of the neurons that fire on none of the images."""
        return self.activations.max(axis=0) <= 0

    @cached_property
    def lowest(self) -> Float[np.ndarray, "d"]:
        """The minimum of each neuron over the images."""
        return self.activations.min(axis=0)

    @cached_property
    def components(self) -> Pca:
        """The activations' principal components.

        Raises:
          InputError: if the activations are the same on all images.
        """
        return pca(self.activations)

    def added(self, groups: Sequence[Bool[np.ndarray, "d"]]) -> Float[np.ndarray, "n groups 2"]:
        """Return what groups of neurons add to the logits of each image.

        The read-out is linear. So an experiment that exchanges a group's activations exchanges two
        numbers for each image.

        Args:
          groups: Masks of the neurons.
        """
        masked = np.stack(groups)[..., None] * self.weights[None]
        columns = masked.transpose(1, 0, 2).reshape(len(self.weights), -1).astype(np.float32)
        return (self.activations @ columns).reshape(-1, len(groups), 2)

    def balanced(self) -> "Neurons":
        """Return the same network with a bias that makes half of its labels 1.

        An untrained network may predict one class throughout, and then agrees with any feature as
        often as that class occurs. The balancing bias removes this effect and leaves the neurons'
        contributions to the logits as they are.
        """
        bias = np.array([[0.0, np.median(difference(self.logits))]], np.float32)
        return replace(self, logits=self.logits - bias)


def observe(network: Network, images: UInt8[np.ndarray, "n h w"]) -> Neurons:
    """Run a network over images, and return its neurons."""
    activations, logits = network.map(_neurons_and_logits, images)
    return Neurons(activations, logits, np.asarray(network.params["fc2"]["kernel"]))


def _neurons_and_logits(network: Network, image: jax.Array) -> tuple[jax.Array, jax.Array]:
    logits, activations = network.run(image)
    return activations[SITE], logits


def similarity(
    images: UInt8[np.ndarray, "n h w"], clue: UInt8[np.ndarray, "h w"]
) -> Float[np.ndarray, "n"]:
    """Return each image's similarity to a clue: `sum(pixel * (2 * clue - 1))`.

    Pixels are in 0..255, the clue in 0..1. Images like the clue score high, images like its inverse
    low. The score is the published solution's.
    """
    return similarities(images, clue[None])[0]


def similarities(
    images: UInt8[np.ndarray, "n h w"], clues: UInt8[np.ndarray, "k h w"]
) -> Float[np.ndarray, "k n"]:
    """Return each image's similarity to each of several clues; see `similarity`."""
    pixels = images.reshape(len(images), -1).astype(np.float32)
    weights = 2 * (clues.reshape(len(clues), -1) / np.float32(255)) - 1
    return (pixels @ weights.T).astype(np.float64).T.copy()


class Groups(NamedTuple):
    """Two groups of neurons, as masks."""

    anti_clue: Bool[np.ndarray, "d"]
    """The neurons that are claimed to detect the clue's inverse."""
    clue: Bool[np.ndarray, "d"]
    """The neurons that are claimed to detect the clue."""

    @property
    def both(self) -> Bool[np.ndarray, "d"]:
        """The neurons of either group."""
        return self.anti_clue | self.clue

    @property
    def swapped(self) -> "Groups":
        """The two groups with their roles exchanged: a control."""
        return Groups(self.clue, self.anti_clue)

    def shuffled(self, seed: int) -> "Groups":
        """Return a random partition of these neurons into groups of the same sizes: a control."""
        live = np.random.default_rng(seed).permutation(np.flatnonzero(self.both))
        first = np.zeros_like(self.anti_clue)
        first[live[: self.anti_clue.sum()]] = True
        return Groups(first, self.both & ~first)


class Arms(NamedTuple):
    """Two arms, left and right, that leave the origin of a plane."""

    directions: Float[np.ndarray, "2 2"]
    """A vector along each arm, the left arm's first."""
    split: float
    """The horizontal coordinate that separates the points of the two arms."""


def fit_arms(points: Float[np.ndarray, "n 2"], split: float, lengths: tuple[float, float]) -> Arms:
    """Fit one arm to the points left of a vertical line, and one to the other points.

    Each arm is a least-squares line of the second coordinate on the first; only its slope is used.
    If fewer than 1 % of the points lie on one side of the line, the line is moved to the median.

    Args:
      points: Points in the plane.
      split: The horizontal coordinate of the line.
      lengths: The horizontal lengths of the two vectors: `left * (-1, -slope)` and
        `right * (1, slope)`.

    Raises:
      InputError: if all points of one side have the same horizontal coordinate.
    """
    left = points[:, 0] < split
    if not 0.01 <= left.mean() <= 0.99:
        split = float(np.median(points[:, 0]))
        left = points[:, 0] < split
        if not left.any():  # half of the points or more lie on the median
            left = points[:, 0] <= split
    directions = []
    for side, sign, length in ((left, -1.0, lengths[0]), (~left, 1.0, lengths[1])):
        x, y = points[side].T
        if len(x) == 0 or np.ptp(x) == 0:
            raise InputError(
                f"the {len(x)} points on one side of {split:g} make no arm: they need at least two "
                "horizontal coordinates"
            )
        slope = np.cov(x, y)[0, 1] / np.var(x, ddof=1)
        directions.append([length * sign, length * sign * slope])
    return Arms(np.array(directions), split)


class Detectors(NamedTuple):
    """The two groups of neurons, and the plane in which they were told apart."""

    groups: Groups
    """The anti-clue detectors lie along the left arm, the clue detectors along the right arm."""
    plane: Pca
    """The neurons' principal components; the first increases with the similarity."""
    points: Float[np.ndarray, "n 2"]
    """The images' coordinates on the first two components."""
    arms: Arms
    """The arms in the plane of the first two components."""


def find_detectors(
    neurons: Neurons, scores: Float[np.ndarray, "n"], solution: ClueSolution
) -> Detectors:
    """Assign each neuron to the arm along which it lies.

    The arms' vectors are mapped back to the neurons, and a neuron belongs to the arm whose vector
    has the larger entry for it. A neuron that never fires belongs to neither arm.

    Args:
      neurons: The network's neurons on the images.
      scores: The images' similarity to the clue.
      solution: The split and the lengths of the arms.

    Raises:
      InputError: if the activations are the same on all images.
    """
    plane = neurons.components.like(neurons.activations, scores)
    points = plane.project(neurons.activations, 2)
    arms = fit_arms(points, solution.arm_split, solution.arm_lengths)
    left, right = arms.directions @ plane.components[:2]
    groups = Groups((left > right) & ~neurons.dead, (left <= right) & ~neurons.dead)
    return Detectors(groups, plane, points, arms)


class Halves(NamedTuple):
    """The images in two halves, separated midway between the band's two edges."""

    anti_clue: Bool[np.ndarray, "n"]
    """The images that are more like the clue's inverse."""
    clue: Bool[np.ndarray, "n"]
    """The images that are more like the clue."""


def halve(scores: Float[np.ndarray, "n"], band: Band) -> Halves:
    """Halve images by their similarity; at the median if the band has fewer than two edges."""
    middle = (band.low + band.high) / 2
    low = scores < (middle if np.isfinite(middle) else np.median(scores))
    return Halves(low, ~low)


def ablate_to_zero(neurons: Neurons, group: Bool[np.ndarray, "d"]) -> Float[np.ndarray, "n"]:
    """Return the logit differences with a group of neurons set to 0."""
    return difference(neurons.logits - neurons.added([group])[:, 0])


def kept_at_minimum(
    neurons: Neurons,
    groups: Sequence[Bool[np.ndarray, "d"]],
    halves: Sequence[Bool[np.ndarray, "n"]],
) -> Float[np.ndarray, "halves groups"]:
    """Return the share of a half's labels that is kept with a group of neurons at their minimum.

    Each neuron's minimum is over all images, not over the half.

    Args:
      neurons: The network's neurons on the images.
      groups: Masks of neurons, each ablated alone.
      halves: Masks of images, in each of which the labels are compared.
    """
    at_minimum = np.stack([neurons.lowest[group] @ neurons.weights[group] for group in groups])
    ablated = neurons.logits[:, None] - neurons.added(groups) + at_minimum[None]
    stays = ablated.argmax(axis=-1) == neurons.labels[:, None]
    return np.stack([stays[half].mean(axis=0) for half in halves])


class Kept(NamedTuple):
    """Shares of labels kept with a group at its minimum.

    Each is a pair: in the half like the inverse, in the half like the clue.
    """

    without_own: tuple[float, float]
    """Kept with the half's own group at its minimum."""
    without_other: tuple[float, float]
    """Kept with the other half's group at its minimum."""

    @property
    def specificity(self) -> float:
        """The share kept without the other half's group, less the share kept without the own.

        In -1..1, the mean over both halves. Groups that are unrelated to the halves give about 0.
        """
        return (sum(self.without_other) - sum(self.without_own)) / 2


def kept_by_half(neurons: Neurons, groups: Groups, halves: Halves) -> Kept:
    """Set each group to its minimum, in each half."""
    kept = kept_at_minimum(neurons, groups, halves).tolist()
    (anti_clue_own, anti_clue_other), (clue_other, clue_own) = kept
    return Kept((anti_clue_own, clue_own), (anti_clue_other, clue_other))


def scrub_near(
    neurons: Neurons, group: np.ndarray, feature: np.ndarray, noise: float, draws: int
) -> Outcome:
    """Scrub neurons with one donor image for all of them, whose feature is close to the input's.

    This is the published scrub if `group` holds all detectors. Both groups then come from one
    donor, so the result does not depend on which neuron is in which group: it tests the feature,
    not the groups.

    Args:
      neurons: The network's neurons on the images.
      group: A mask of the neurons to scrub.
      feature: The feature's value for each image.
      noise: Standard deviation of the noise on the donor's feature, as a share of its range.
      draws: How often donors are drawn.
    """
    return _scrub(neurons, [(group, near(feature, noise))], draws)


def scrub_random(neurons: Neurons, group: np.ndarray, draws: int) -> Outcome:
    """Scrub neurons with one donor image for all of them, drawn from all images."""
    return _scrub(neurons, [(group, anyone(len(neurons.logits)))], draws)


def scrub_armwise(
    neurons: Neurons,
    groups: Groups,
    halves: Halves,
    draws: int,
    relevant: DonorRule | None = None,
) -> Outcome:
    """Scrub the two groups separately in each half, which tells the true groups from others.

    In the half like the clue, anti-clue detectors are claimed not to matter, so they take their
    activations from any image of that half; in the half like the inverse, the clue detectors do.
    The half's own detectors take theirs from the donors that `relevant` draws.

    Args:
      neurons: The network's neurons on the images.
      groups: The claimed groups.
      halves: The halves of the images.
      draws: How often donors are drawn.
      relevant: A donor rule such as `near(similarity, noise)`, as in the published scrub; None
        leaves the half's own detectors as they are.
    """
    claims = []
    for group, own, other in (
        (groups.anti_clue, halves.anti_clue, halves.clue),
        (groups.clue, halves.clue, halves.anti_clue),
    ):
        if group.any():
            claims.append((group, _where(own, relevant, within(other))))
    return _scrub(neurons, claims, draws)


def _where(mask: np.ndarray, rule: DonorRule | None, otherwise: DonorRule) -> DonorRule:
    """Draw donors by one rule for the inputs in a mask, by another rule for the other inputs."""

    def draw(rng: np.random.Generator, scrubbed: Scrubbed) -> np.ndarray:
        donors = otherwise(rng, scrubbed)
        return donors if rule is None else np.where(mask, rule(rng, scrubbed), donors)

    return draw


def _scrub(
    neurons: Neurons, claims: Sequence[tuple[Bool[np.ndarray, "d"], DonorRule]], draws: int
) -> Outcome:
    """Scrub groups of neurons that do not overlap: exchange what each adds to the logits."""
    added = neurons.added([group for group, _ in claims])
    rest = neurons.logits - added.sum(axis=1, dtype=np.float64)

    def logits(scrubbed: Scrubbed) -> Float[np.ndarray, "n 2"]:
        # Rounded as the network's own: an input that keeps its own activations keeps its logits.
        return (rest + scrubbed[_ADDED].sum(axis=1, dtype=np.float64)).astype(np.float32)

    exchanged = [
        Claim(_ADDED, rule, (place, slice(None))) for place, (_, rule) in enumerate(claims)
    ]
    return scrub({_ADDED: added}, exchanged, logits, neurons.logits, draws)
