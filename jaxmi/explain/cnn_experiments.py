"""Evidence that two groups of neurons detect a clue image and its inverse, and that it could fail.

The published solution's experiments on the neurons of a network like challenge 1's, and one that it
lacked: the arm-wise scrub.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.explain.cnn_detectors import SITE, Groups, Halves, Neurons
from jaxmi.explain.scrub import (
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
