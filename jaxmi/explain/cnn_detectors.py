"""The neurons of a network like challenge 1's, and which of them detect the clue or its inverse."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxmi.challenges.solutions import ClueSolution
from jaxmi.explain.arms import Arms, fit_arms
from jaxmi.explain.bands import Band
from jaxmi.explain.directions import Pca, pca
from jaxmi.explain.network import Network
from jaxmi.explain.scrub import difference

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
