"""Explain a CNN: the experiments of challenge 1's published solution, with the controls it lacked.

`explain_cnn` observes the network's neurons once, runs every experiment on them, and returns the
metrics of `cnn_metrics.TABLE` with the arrays that figures need.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Integer, UInt8

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.errors import InputError
from jaxmi.explanation import cnn_metrics as table
from jaxmi.explanation.clue_search import (
    MNIST,
    ClueFit,
    PixelMoments,
    Ranking,
    compare,
    find_clue,
    fit_clue,
    pixel_moments,
)
from jaxmi.explanation.cnn_detectors import (
    Detectors,
    Groups,
    Halves,
    Neurons,
    ablate_to_zero,
    find_detectors,
    halve,
    kept_at_minimum,
    kept_by_half,
    observe,
    scrub_armwise,
    scrub_near,
    scrub_random,
    similarities,
    similarity,
)
from jaxmi.explanation.features import visualise
from jaxmi.explanation.metrics import Metric
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import DonorRule, chance_level, difference, near
from jaxmi.programs import language as lang
from jaxmi.programs.bands import best_band
from jaxmi.types import Metrics, Params

DRAWS = 5
"""Draws of donors in each scrub of the network itself; controls draw once."""

OTHER_NETWORK_GROUPS = 5
"""Number of random partitions of the neurons of each control network."""

MAX_DRAWN = 400
"""Images are found that drive so many neurons, the first ones."""


class Clue(NamedTuple):
    """The image that the others are compared with."""

    image: int
    """Its index among the training images."""
    known: bool
    """Whether the challenge's program names it; else it is the one that was fitted."""
    applies: bool
    """False if the challenge's program is known, and is no band of a distance to one image."""


class Control(NamedTuple):
    """A network that was not trained on the challenge."""

    params: Params
    neurons: Neurons
    """Its neurons on the challenge's images, with a bias that makes half of its labels 1."""
    ranking: Ranking
    """The images, ranked as the clue by its neurons."""


@dataclass(frozen=True)
class Prepared:
    """The common part of the explanations of a challenge's networks."""

    images: UInt8[np.ndarray, "n h w"]
    digits: Integer[np.ndarray, "n"]
    moments: PixelMoments
    controls: Mapping[str, Control]
    """Key of `cnn_metrics.CONTROL_NETWORKS` -> the network."""


def prepare(challenge: Challenge, control_networks: Mapping[str, Params]) -> Prepared:
    """Prepare to explain a challenge's networks.

    Args:
      challenge: A challenge on images.
      control_networks: Key of `cnn_metrics.CONTROL_NETWORKS` -> parameters of a network that was
        not trained on the challenge.

    Raises:
      InputError: if the networks have one neuron.
    """
    if challenge.model_config["neurons"] < 2:
        raise InputError("the network has one hidden neuron: there are no groups to tell apart")
    solution = challenge.solution
    assert isinstance(solution, ClueSolution)
    assert challenge.digits is not None
    images = challenge.inputs[: solution.images]
    moments = pixel_moments(images)
    controls = {}
    for name, params in control_networks.items():
        neurons = observe(Network(challenge.model, params), images).balanced()
        ranking = find_clue(moments, neurons.activations, neurons.components)[1]
        controls[name] = Control(params, neurons, ranking)
    return Prepared(images, challenge.digits[: solution.images], moments, controls)


@dataclass(frozen=True)
class CnnExplanation:
    """An explanation of a CNN: the metrics, and the arrays that figures are drawn from."""

    metrics: Metrics
    """Key -> value, for the metrics of `cnn_metrics.TABLE`."""
    neurons: Neurons
    scores: Float[np.ndarray, "n"]
    """Similarity of each image to the clue."""
    detectors: Detectors
    differences: dict[str, Float[np.ndarray, "n"]]
    """Logit differences of the images: "clean", or with "anti_clue", "clue" or "both" at zero."""
    random_armwise: Float[np.ndarray, "draws"]
    """Labels kept by the arm-wise scrub, for each random partition of the neurons."""
    clue_fit: ClueFit
    about: Clue
    clue: UInt8[np.ndarray, "h w"]
    neuron_images: Float[np.ndarray, "d h w"]
    """For each neuron, or the first `MAX_DRAWN` of them, an image that drives it."""
    direction_images: Float[np.ndarray, "3 h w"]
    """Images that drive the left arm, the right arm, and logit 1 - logit 0."""

    @property
    def program(self) -> str | None:
        """The labelling program that was fitted to the network, in Python; None if none applies."""
        if not self.about.applies:
            return None
        return f"# {self.clue_fit.sentence}\n{self.clue_fit.program}"


def explain_cnn(challenge: Challenge, params: Params, prepared: Prepared) -> CnnExplanation:
    """Explain a CNN.

    The clue is the image that the challenge's program names, if its labels are a band of a distance
    to one image; else it is the image that is fitted to the network.

    Args:
      challenge: A challenge on images.
      params: The network's parameters.
      prepared: `prepare` of the challenge; it serves all of its networks.

    Raises:
      InputError: if the network's neurons do not respond to its input.
    """
    solution = challenge.solution
    assert isinstance(solution, ClueSolution)
    images, digits, moments, _ = vars(prepared).values()
    network = Network(challenge.model, params)
    neurons = observe(network, images)
    if np.ptp(neurons.activations, axis=0).max() == 0:
        raise InputError(
            "the network's neurons have the same activations on every image: there is nothing to "
            "explain"
        )
    clue_fit = fit_clue(
        images,
        moments,
        neurons.activations,
        neurons.labels,
        collection_of(challenge),
        neurons.components,
    )
    about = find_about(challenge, clue_fit)
    clue = images[about.image]
    scores = similarity(images, clue)
    detectors = find_detectors(neurons, scores, solution)
    groups = detectors.groups
    halves = halve(scores, best_band(scores, neurons.labels))
    differences = _ablate(neurons, groups)
    armwise, random_armwise = _armwise(
        neurons, groups, halves, near(scores, solution.control_noise)
    )
    metrics = {
        **_structure(neurons, detectors),
        **_bands(neurons, images, clue),
        **_logits_without(differences),
        **_added(differences, neurons.labels),
        **_minima(neurons, groups, halves),
        **_scrubs(neurons, groups, scores, solution),
        **armwise,
        **_fit(clue_fit, clue, about),
        **_other_features(neurons, groups, scores, images, digits, about, solution),
        **_next_image(neurons, groups, clue_fit.ranking, images, about, solution),
    }
    for name, control in prepared.controls.items():
        metrics |= _other_network(name, control, scores, about, solution)
    towards_1 = difference(neurons.weights)
    metrics[table.TOWARDS_1.key] = float((towards_1[~neurons.dead] > 0).mean())
    neuron_images, direction_images = _visualise(
        network, detectors, towards_1, (images.shape[1], images.shape[2])
    )
    return CnnExplanation(
        metrics, neurons, scores, detectors, differences, random_armwise, clue_fit, about,
        clue, neuron_images, direction_images,
    )  # fmt: skip


def known_clue(challenge: Challenge) -> int | None:
    """Return the clue of a challenge whose program labels 0 in a band of a distance to one image.

    Returns:
      The image's index; None if the program is another one, or not known, or the image is not
      among the challenge's.
    """
    if challenge.sealed or challenge.program is None:
        return None
    named = {
        node.arguments[0].value
        for node in lang.walk(challenge.program)
        if isinstance(node, lang.Call)
        and node.function == lang.TEMPLATE
        and isinstance(node.arguments[0], lang.Number)
    }
    if len(named) != 1:
        return None
    index = int(named.pop())
    if index >= len(challenge.inputs):
        return None
    for comparison in ("l1", "l2"):
        scores = compare(challenge.inputs, challenge.inputs[index], comparison)
        if best_band(scores, challenge.labels).agreement == 1:
            return index
    return None


def find_about(challenge: Challenge, fit: ClueFit) -> Clue:
    """Return the clue: the program's, or if there is none or it is not known, the fitted one."""
    index = known_clue(challenge)
    if index is not None:
        return Clue(index, known=True, applies=True)
    return Clue(fit.clue, known=False, applies=challenge.program is None)


def collection_of(challenge: Challenge) -> str:
    """Return what the challenge's images are called."""
    domain = {} if challenge.definition is None else challenge.definition.domain
    data = str(domain.get("data", "mnist"))
    return MNIST if data == "mnist" else data


def _structure(neurons: Neurons, detectors: Detectors) -> Metrics:
    """Measure class shares, variance shares, and the size of each group of neurons."""
    shares = detectors.plane.variance_shares
    return {
        table.LABEL1_SHARE.key: float(neurons.labels.mean()),
        table.CHANCE.key: chance_level(neurons.labels),
        table.VARIANCE_1.key: float(shares[0]),
        table.VARIANCE_2.key: float(shares[1]),
        table.NEURONS_LEFT.key: int(detectors.groups.anti_clue.sum()),
        table.NEURONS_RIGHT.key: int(detectors.groups.clue.sum()),
        table.NEURONS_DEAD.key: int(neurons.dead.sum()),
    }


def _bands(neurons: Neurons, images: np.ndarray, clue: np.ndarray) -> Metrics:
    """Measure how well bands on the L1 distance and the similarity fit the network's labels."""
    return {
        metric.key: best_band(compare(images, clue, comparison), neurons.labels).agreement
        for comparison, metric in (("l1", table.L1_BAND), ("similarity", table.SIMILARITY_BAND))
    }


def _ablate(neurons: Neurons, groups: Groups) -> dict[str, np.ndarray]:
    """Return the logit differences as they are, and with each group and both at zero."""
    without = {name: ablate_to_zero(neurons, mask) for name, mask in _by_name(groups).items()}
    return {"clean": difference(neurons.logits), **without}


def _by_name(groups: Groups) -> dict[str, np.ndarray]:
    """Return the masks of "anti_clue", "clue" and "both"."""
    return {**groups._asdict(), "both": groups.both}


def _logits_without(differences: dict[str, np.ndarray]) -> Metrics:
    """Average the logit differences over images."""
    metrics: Metrics = {}
    for name, values in differences.items():
        metrics[table.MEDIAN_WITHOUT[name].key] = float(np.median(values))
        metrics[table.MEAN_WITHOUT[name].key] = float(values.mean())
    return metrics


def _added(differences: dict[str, np.ndarray], labels: np.ndarray) -> Metrics:
    """Measure what each group adds to the logit difference, mean over the images of each label."""
    metrics: Metrics = {}
    for (group, label), metric in table.ADDED.items():
        added = (differences["clean"] - differences[group])[labels == label]
        metrics[metric.key] = float(added.mean()) if added.size else 0.0
    return metrics


def _minima(neurons: Neurons, groups: Groups, halves: Halves) -> Metrics:
    """Measure the labels kept in each half with each group at its minimum."""
    metrics: Metrics = {}
    by_name = _by_name(groups)
    kept = kept_at_minimum(neurons, list(by_name.values()), halves)
    for (half, members), of_half in zip(halves._asdict().items(), kept, strict=True):
        for name, share in zip(by_name, of_half, strict=True):
            metrics[table.AT_MINIMUM[half, name].key] = float(share)
        metrics[table.CLASS_0[half].key] = float((neurons.labels[members] == 0).mean())
    true = kept_by_half(neurons, groups, halves)
    random = [
        kept_by_half(neurons, groups.shuffled(seed), halves) for seed in range(table.RANDOM_GROUPS)
    ]
    least = [min(kept.without_other) for kept in random]
    return metrics | {
        table.SPECIFICITY.key: true.specificity,
        table.SPECIFICITY_RANDOM.key: float(np.mean([kept.specificity for kept in random])),
        table.KEPT_WITHOUT_OTHER.key: min(true.without_other),
        table.KEPT_WITHOUT_OTHER_RANDOM.key: float(np.mean(least)),
    }


def _scrubs(
    neurons: Neurons, groups: Groups, scores: np.ndarray, solution: ClueSolution
) -> Metrics:
    """Run the published scrub at every noise, and with any image as donor."""
    metrics: Metrics = {}
    for noise in solution.noises:
        outcome = scrub_near(neurons, groups.both, scores, noise, DRAWS)
        metrics |= table.SCRUBS[noise].values(outcome)
    return metrics | table.SCRUB_RANDOM.values(scrub_random(neurons, groups.both, DRAWS))


def _armwise(
    neurons: Neurons, groups: Groups, halves: Halves, relevant: DonorRule
) -> tuple[Metrics, np.ndarray]:
    """Run the arm-wise scrub on true, swapped and random groups; return each random result too."""
    true = scrub_armwise(neurons, groups, halves, DRAWS, relevant)
    swapped = scrub_armwise(neurons, groups.swapped, halves, DRAWS, relevant)
    irrelevant_only = scrub_armwise(neurons, groups, halves, DRAWS)
    random = np.array(
        [
            scrub_armwise(neurons, groups.shuffled(seed), halves, 1, relevant).kept
            for seed in range(table.RANDOM_GROUPS)
        ]
    )
    metrics = {
        **table.ARMWISE.values(true),
        table.ARMWISE_RANDOM_MEAN.key: float(random.mean()),
        table.ARMWISE_RANDOM_STD.key: float(random.std(ddof=1)),
        table.ARMWISE_RANDOM_MAX.key: float(random.max()),
        table.ARMWISE_SWAPPED.key: swapped.kept,
        table.ARMWISE_IRRELEVANT.key: irrelevant_only.kept,
    }
    return metrics, random


def _fit(fit: ClueFit, clue: np.ndarray, about: Clue) -> Metrics:
    """Compare the fitted clue with the network's labels, and with the true clue if it is known."""
    order, correlation = fit.ranking
    pixels = np.corrcoef(fit.template.reshape(-1), clue.reshape(-1))
    first, second = correlation[order[:2]]
    metrics: Metrics = {
        table.FIT_CLUE_INDEX.key: fit.clue,
        table.FIT_CLUE_CORRELATION.key: float(first),
        table.FIT_CLUE_LEAD.key: float(first - second),
        table.FIT_TEMPLATE_BAND.key: fit.template_band.agreement,
        table.FIT_BAND.key: fit.band.agreement,
        table.FIT_BAND_LOW.key: fit.band.low,
        table.FIT_BAND_HIGH.key: fit.band.high,
    }
    metrics |= {table.FIT_BANDS[name].key: band.agreement for name, band in fit.bands.items()}
    if about.known:
        metrics[table.FIT_CLUE_RANK.key] = fit.ranking.rank_of(about.image)
        metrics[table.FIT_TEMPLATE_CORRELATION.key] = float(pixels[0, 1])
    if fit.baseline is not None:
        metrics[table.BASELINE_CLUE_INDEX.key] = int(fit.baseline.order[0])
        if about.known:
            metrics[table.BASELINE_CLUE_RANK.key] = fit.baseline.rank_of(about.image)
    return metrics


def _other_features(
    neurons: Neurons,
    groups: Groups,
    scores: np.ndarray,
    images: np.ndarray,
    digits: np.ndarray,
    about: Clue,
    solution: ClueSolution,
) -> Metrics:
    """Fit the band and run the scrub with other features in the similarity's place."""
    rng = np.random.default_rng(0)
    same_digit = np.flatnonzero(digits[: len(images)] == digits[about.image])
    candidates = np.setdiff1d(same_digit, [about.image])
    if not len(candidates):
        candidates = np.setdiff1d(np.arange(len(images)), [about.image])
    others = rng.choice(candidates, min(table.OTHER_ONES, len(candidates)), replace=False)

    def band(feature: np.ndarray) -> float:
        return best_band(feature, neurons.labels).agreement

    def kept(feature: np.ndarray, groups: Groups = groups) -> float:
        return scrub_near(neurons, groups.both, feature, solution.control_noise, 1).kept

    permuted = rng.permutation(scores)
    brightness = images.sum(axis=(1, 2), dtype=np.float64)
    scores_of_others = similarities(images, images[others])
    bands_of_others = [band(feature) for feature in scores_of_others]
    kept_of_others = [kept(feature) for feature in scores_of_others]
    return {
        table.PERMUTED_BAND.key: band(permuted),
        table.PERMUTED_SCRUB.key: kept(permuted),
        table.BRIGHTNESS_BAND.key: band(brightness),
        table.BRIGHTNESS_SCRUB.key: kept(brightness),
        table.OTHER_ONES_BAND_MEAN.key: float(np.mean(bands_of_others)),
        table.OTHER_ONES_BAND_MAX.key: float(np.max(bands_of_others)),
        table.OTHER_ONES_SCRUB_MEAN.key: float(np.mean(kept_of_others)),
        table.OTHER_ONES_SCRUB_MAX.key: float(np.max(kept_of_others)),
        # One donor serves both groups, so random groups of the same neurons must give the same.
        table.SCRUB_RANDOM_GROUPS.key: kept(scores, groups.shuffled(0)),
    }


def _next_image(
    neurons: Neurons,
    groups: Groups,
    ranking: Ranking,
    images: np.ndarray,
    about: Clue,
    solution: ClueSolution,
) -> Metrics:
    """Fit the band and run the scrub with the image that fits the template best after the clue.

    This is the strictest control by features: it separates this clue from images like it.
    """
    image = next(int(i) for i in ranking.order if i != about.image)
    scores = similarity(images, images[image])
    outcome = scrub_near(neurons, groups.both, scores, solution.control_noise, 1)
    return {
        table.NEXT_IMAGE_INDEX.key: image,
        table.NEXT_IMAGE_BAND.key: best_band(scores, neurons.labels).agreement,
        table.NEXT_IMAGE_SCRUB.key: outcome.kept,
    }


def _other_network(
    name: str, control: Control, scores: np.ndarray, about: Clue, solution: ClueSolution
) -> Metrics:
    """Run the same pipeline on a network that was not trained on the challenge."""
    neurons = control.neurons
    groups = find_detectors(neurons, scores, solution).groups
    band = best_band(scores, neurons.labels)
    halves = halve(scores, band)
    relevant = near(scores, solution.control_noise)

    def armwise(groups: Groups) -> float:
        return scrub_armwise(neurons, groups, halves, 1, relevant).kept

    kept = kept_by_half(neurons, groups, halves)
    scrub = scrub_near(neurons, groups.both, scores, solution.control_noise, 1)
    random = [armwise(groups.shuffled(seed)) for seed in range(OTHER_NETWORK_GROUPS)]
    values: dict[Metric, int | float] = {
        table.SIMILARITY_BAND: band.agreement,
        table.CONTROL_SCRUB: scrub.kept,
        table.ARMWISE.kept: armwise(groups),
        table.ARMWISE_SWAPPED: armwise(groups.swapped),
        table.ARMWISE_RANDOM_MEAN: float(np.mean(random)),
        table.KEPT_WITHOUT_OTHER: min(kept.without_other),
        table.SPECIFICITY: kept.specificity,
    }
    if about.known:
        values[table.FIT_CLUE_RANK] = control.ranking.rank_of(about.image)
    return {table.ON_CONTROL_NETWORK[name, metric].key: value for metric, value in values.items()}


def _visualise(
    network: Network, detectors: Detectors, towards_1: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Find images that drive each neuron, and images that drive the arms and the logit difference.

    There are at most `MAX_DRAWN` images of neurons. The objectives are activations before the ReLU:
    after it, a neuron that does not fire at the start has no gradient.
    """
    arms = detectors.arms.directions @ detectors.plane.components[:2]
    objectives = np.stack([*np.eye(len(towards_1))[:MAX_DRAWN], *arms, towards_1])
    images, _ = visualise(network, "fc1.pre", objectives, shape, jax.random.key(0))
    return images[:-3], images[-3:]
