"""Evidence that two groups of neurons detect a clue image and its inverse, and that it could fail.

The published solution's experiments on the neurons of a network like challenge 1's, and one that it
lacked: the arm-wise scrub.

The neurons of a network like challenge 1's, and which of them detect the clue or its inverse.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxmi.challenges.challenge import ClueSolution
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
from jaxmi.explanation.transformer_evidence import Arms, fit_arms
from jaxmi.programs.bands import Band

SITE = "fc1.post"
"""The neurons that are explained: the hidden ones, after their ReLU."""


@dataclass(frozen=True)
class Neurons:
    """What a network's neurons do on some images, and what it answers."""

    activations: Float[np.ndarray, "n d"]
    """At `SITE`."""
    logits: Float[np.ndarray, "n 2"]
    """The network's answers."""
    read_out: Callable[[np.ndarray], np.ndarray]
    """From activations at `SITE`, (m, d), to logits, (m, 2)."""

    @property
    def labels(self) -> Int[np.ndarray, "n"]:
        """The network's own labels: everything here is compared with these."""
        return self.logits.argmax(axis=-1)

    @property
    def dead(self) -> Bool[np.ndarray, "d"]:
        """The neurons that fire on none of the images."""
        return self.activations.max(axis=0) <= 0

    def balanced(self) -> "Neurons":
        """The same network with a bias that makes half of its labels 1.

        An untrained network may answer one class throughout; its chance to agree with anything is
        that class's share. This takes the bias away and leaves what the neurons say.
        """
        bias = np.array([[0.0, np.median(difference(self.logits))]], np.float32)
        return replace(
            self,
            logits=self.logits - bias,
            read_out=lambda activations: self.read_out(activations) - bias,
        )


def observe(network: Network, images: UInt8[np.ndarray, "n h w"]) -> Neurons:
    """Runs a network over images."""

    def read_out(activations: np.ndarray) -> np.ndarray:
        return network.resume(SITE, activations, images[0])

    activations = network.read(images, [SITE])[SITE]
    return Neurons(activations, read_out(activations), read_out)


def similarity(
    images: UInt8[np.ndarray, "n h w"], clue: UInt8[np.ndarray, "h w"]
) -> Float[np.ndarray, "n"]:
    """Scores images by `sum(pixel * (2 * clue - 1))`, pixels in 0..255 and the clue in 0..1.

    High is like the clue, low is like its inverse. The published solution's criterion.
    """
    pixels = images.reshape(len(images), -1).astype(np.float32)
    return (pixels @ (2 * (clue.reshape(-1) / np.float32(255)) - 1)).astype(np.float64)


class Groups(NamedTuple):
    """Two groups of neurons, as masks."""

    anti1: Bool[np.ndarray, "d"]
    """Claimed to detect the clue's inverse."""
    one: Bool[np.ndarray, "d"]
    """Claimed to detect the clue."""

    @property
    def both(self) -> Bool[np.ndarray, "d"]:
        """The neurons of either."""
        return self.anti1 | self.one

    @property
    def swapped(self) -> "Groups":
        """Each in the other's role: a control."""
        return Groups(self.one, self.anti1)

    def shuffled(self, seed: int) -> "Groups":
        """The same neurons dealt out at random into groups of the same sizes: a control."""
        live = np.random.default_rng(seed).permutation(np.flatnonzero(self.both))
        first = np.zeros_like(self.anti1)
        first[live[: self.anti1.sum()]] = True
        return Groups(first, self.both & ~first)


class Detectors(NamedTuple):
    """The two groups of neurons, and the plane in which they were told apart."""

    groups: Groups
    """`anti1` lies along the left arm, `one` along the right."""
    plane: Pca
    """The neurons' principal components; the first goes up with the similarity."""
    points: Float[np.ndarray, "n 2"]
    """The images on the first two."""
    arms: Arms
    """The arms in that plane."""


def find_detectors(
    neurons: Neurons, scores: Float[np.ndarray, "n"], solution: ClueSolution
) -> Detectors:
    """Parts the neurons by the arm along which they lie.

    The arms' vectors are mapped back to the neurons, and a neuron belongs to the one with its
    larger entry. A neuron that never fires belongs to neither; every other belongs to exactly one.

    Raises:
      InputError: if the activations are all alike.
    """
    plane = pca(neurons.activations, like=scores)
    points = plane.project(neurons.activations)[:, :2]
    arms = fit_arms(points, solution.arm_split, solution.arm_lengths)
    left, right = arms.directions @ plane.components[:2]
    anti1, one = (left > right) & ~neurons.dead, (left <= right) & ~neurons.dead
    return Detectors(Groups(anti1, one), plane, points, arms)


class Halves(NamedTuple):
    """The images, parted midway between the band's two edges."""

    anti1: Bool[np.ndarray, "n"]
    """More like the clue's inverse."""
    one: Bool[np.ndarray, "n"]
    """More like the clue."""


def halve(scores: Float[np.ndarray, "n"], band: Band) -> Halves:
    """Parts images by their similarity; at the median if the band has fewer than two edges."""
    middle = (band.low + band.high) / 2
    low = scores < (middle if np.isfinite(middle) else np.median(scores))
    return Halves(low, ~low)


def ablate_to_zero(neurons: Neurons, group: Bool[np.ndarray, "d"]) -> Float[np.ndarray, "n"]:
    """Returns the logit differences with some neurons set to 0."""
    return difference(neurons.read_out(np.where(group, np.float32(0), neurons.activations)))


def kept_at_minimum(
    neurons: Neurons, group: Bool[np.ndarray, "d"], half: Bool[np.ndarray, "n"]
) -> float:
    """Returns the share of a half's labels that stay when neurons are set to their minimum.

    The minimum of each is over all images, not over the half.
    """
    lowest = neurons.activations.min(axis=0)
    ablated = neurons.read_out(np.where(group, lowest, neurons.activations[half]))
    return float((ablated.argmax(axis=-1) == neurons.labels[half]).mean())


class Kept(NamedTuple):
    """Shares of labels kept with a group at its minimum; each of (half like the inverse, other)."""

    without_own: tuple[float, float]
    """Without the half's own group."""
    without_other: tuple[float, float]
    """Without the other half's group."""

    @property
    def specificity(self) -> float:
        """By how much more is kept without the other's group than without the own; -1..1.

        The mean over the two halves. Groups that have nothing to do with the halves give about 0.
        """
        return (sum(self.without_other) - sum(self.without_own)) / 2


def kept_by_half(neurons: Neurons, groups: Groups, halves: Halves) -> Kept:
    """Sets either group to its minimum, in either half."""
    own_of_anti1, other_of_anti1 = (kept_at_minimum(neurons, g, halves.anti1) for g in groups)
    other_of_one, own_of_one = (kept_at_minimum(neurons, g, halves.one) for g in groups)
    return Kept((own_of_anti1, own_of_one), (other_of_anti1, other_of_one))


def scrub_near(
    neurons: Neurons, group: np.ndarray, feature: np.ndarray, noise: float, draws: int
) -> Outcome:
    """Scrubs neurons with one donor image for all, whose feature is nearly the input's.

    This is the published scrub if `group` are all detectors. Since both groups come from one donor,
    it cannot tell which neuron belongs to which: it tests the feature, not the groups.
    """
    return _scrub(neurons, [Claim(SITE, near(feature, noise), group)], draws)


def scrub_random(neurons: Neurons, group: np.ndarray, draws: int) -> Outcome:
    """Scrubs neurons with one donor image for all, whichever."""
    return _scrub(neurons, [Claim(SITE, anyone(len(neurons.logits)), group)], draws)


def scrub_armwise(
    neurons: Neurons,
    groups: Groups,
    halves: Halves,
    draws: int,
    relevant: DonorRule | None = None,
) -> Outcome:
    """Scrubs each half's two groups by what is claimed of them: tells true groups from others.

    In the half like the clue, detectors of its inverse are claimed not to matter: they come from
    any image of that half; and the other way round. The half's own detectors come from the donors
    that `relevant` draws.

    Args:
      neurons: The network's.
      groups: Those claimed to detect the inverse, and the clue.
      halves: The images'.
      draws: How often donors are drawn.
      relevant: Such as `near(similarity, noise)`, as in the published scrub; None leaves the half's
        own detectors as they are.
    """
    claims = []
    for group, own, other in (
        (groups.anti1, halves.anti1, halves.one),
        (groups.one, halves.one, halves.anti1),
    ):
        if group.any():
            claims.append(Claim(SITE, _where(own, relevant, within(other)), group))
    return _scrub(neurons, claims, draws)


def _where(chosen: np.ndarray, rule: DonorRule | None, otherwise: DonorRule) -> DonorRule:
    """Donors by one rule for the chosen inputs, by another for the rest."""

    def draw(rng: np.random.Generator, scrubbed: Scrubbed) -> np.ndarray:
        donors = otherwise(rng, scrubbed)
        return donors if rule is None else np.where(chosen, rule(rng, scrubbed), donors)

    return draw


def _scrub(neurons: Neurons, claims: list[Claim], draws: int) -> Outcome:
    return scrub(
        {SITE: neurons.activations},
        claims,
        lambda scrubbed: neurons.read_out(scrubbed[SITE]),
        neurons.logits,
        draws,
    )
