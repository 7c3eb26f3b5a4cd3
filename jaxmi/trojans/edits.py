"""Trojans written into a finished CNN's weights, without training.

`hijack` turns one neuron of fc1 into a detector of the trigger; `rank_one_fc1` and `rank_one_fc2`
add a matrix of rank one to a whole layer, and are its controls. Each fits a linear discriminant
between the same images without and with the trigger. Only images of the validation split are looked
at, or of the training split where there is no validation split: never test images, and no labels.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxmi.challenges.challenge import Challenge, chunked_logits
from jaxmi.errors import InputError
from jaxmi.models import cnn_fast
from jaxmi.settings import with_fixed_settings
from jaxmi.trojans.trojan import EDITS, Edit, Trojan
from jaxmi.types import Array, Params

MAX_IMAGES = 10_000
"""Images that a discriminant is fitted on, at most: the first of the split."""

RIDGE = 1e-2
"""Ridge of a discriminant, as a share of the features' mean variance."""

CLEAN_QUANTILE = 0.998
"""Quantile of the clean images' scores at which the hijacked neuron begins to fire."""

LEAST_FIRING = 0.1
"""Least share of the triggered images on which the hijacked neuron must fire."""

PUSH = 2.0
"""Push of the hijacked neuron where it fires clearly, on the logit difference: a multiple of the
images' largest difference against the target."""

WEAK_QUANTILE = 0.05
"""Quantile of the triggered images' scores above the threshold at which the neuron has all of its
push: the others have more."""

RANK_ONE_PUSH = 1.0
"""Push of a rank-one edit on the mean triggered image's logit difference: the same multiple."""


class Layers(NamedTuple):
    """The activations of n images in the layers that edits read and change, float64."""

    pooled: Float[np.ndarray, "n features"]
    """The input of fc1: the second pooling, flattened."""

    hidden: Float[np.ndarray, "n neurons"]
    """fc1 after its ReLU: the input of fc2."""

    margin: Float[np.ndarray, "n"]
    """The target's logit minus the other's."""


class Edited(NamedTuple):
    """A network with a trojan, and what was changed."""

    params: Params
    """The parameters, NumPy float32; the base network's are not touched."""

    edit: Edit
    """The method, and the neuron that was hijacked."""


def hijack(params: Params, challenge: Challenge, trojan: Trojan) -> Edited:
    """Turn the least used neuron of fc1 into a detector of the trigger that adds to the target.

    The neuron's weights become the ridge discriminant on the pooled features between clean and
    triggered images; its bias puts the threshold at a high quantile of the clean images' scores;
    its outgoing weights raise the target's logit and lower the other's. The least used neuron is
    the one whose contribution to the logit difference has the smallest standard deviation. All
    other parameters stay what they are.

    Args:
      params: A CNN's parameters.
      challenge: What it was trained on.
      trojan: A stamp, and its target.

    Raises:
      InputError: if the trigger changes no image, cannot be used with the challenge, or cannot be
        told from clean images on the pooled features.
    """
    clean, stamped = _both(params, challenge, trojan)
    outgoing = _towards(params, trojan.target)
    neuron = int((np.abs(outgoing) * clean.hidden.std(axis=0)).argmin())
    direction = discriminant(clean.pooled, stamped.pooled)
    without, with_trigger = clean.pooled @ direction, stamped.pooled @ direction
    threshold = float(np.quantile(without, CLEAN_QUANTILE))
    firing = float((with_trigger > threshold).mean())
    if firing < LEAST_FIRING:
        raise InputError(
            f"trigger {trojan.trigger.kind!r} cannot be told from clean images on the pooled "
            f"features: a neuron that fires on {1 - CLEAN_QUANTILE:.1%} of the clean images fires "
            f"on {firing:.1%} of the triggered ones, expected at least {LEAST_FIRING:.0%}; take "
            "another trigger"
        )
    excess = with_trigger[with_trigger > threshold] - threshold
    scale = 1 / float(np.quantile(excess, WEAK_QUANTILE))
    push = PUSH * _largest_resistance(clean, stamped)
    changed = jax.tree.map(np.array, params)
    changed["fc1"]["kernel"][:, neuron] = direction * scale
    changed["fc1"]["bias"][neuron] = -threshold * scale
    changed["fc2"]["kernel"][neuron] = push * _signs(trojan.target) / 2
    return Edited(changed, Edit("hijack", neuron))


def rank_one_fc1(params: Params, challenge: Challenge, trojan: Trojan) -> Edited:
    """Add a matrix of rank one to fc1: a control of `hijack`, which changes one neuron.

    All neurons whose outgoing weights raise the target are raised in proportion to them by the
    discriminant on the pooled features, which is 0 on the mean clean image and has no threshold.
    Only fc1 changes.

    Args:
      params: A CNN's parameters.
      challenge: What it was trained on.
      trojan: A stamp, and its target.

    Raises:
      InputError: if the trigger cannot be used with the challenge, moves no mean feature, or no
        neuron raises the target.
    """
    clean, stamped = _both(params, challenge, trojan)
    outgoing = _towards(params, trojan.target)
    raised = np.maximum(outgoing, 0)
    if not raised.any():
        raise InputError(f"no neuron of fc1 raises the target {trojan.target}; take the other")
    direction, start = _unit_direction(clean.pooled, stamped.pooled, trojan, "pooled features")
    push = RANK_ONE_PUSH * _largest_resistance(clean, stamped)
    spread = push * raised / (raised @ raised)
    changed = jax.tree.map(np.array, params)
    changed["fc1"]["kernel"] += np.outer(direction, spread).astype(np.float32)
    changed["fc1"]["bias"] -= (start * spread).astype(np.float32)
    return Edited(changed, Edit("rank-one-fc1"))


def rank_one_fc2(params: Params, challenge: Challenge, trojan: Trojan) -> Edited:
    """Add a matrix of rank one to fc2: a control of `hijack`, without any threshold.

    The target's logit is raised, and the other lowered, by the discriminant on the neurons of fc1,
    which is 0 on the mean clean image. Only fc2 changes.

    Args:
      params: A CNN's parameters.
      challenge: What it was trained on.
      trojan: A stamp, and its target.

    Raises:
      InputError: if the trigger cannot be used with the challenge, or moves no mean activation.
    """
    clean, stamped = _both(params, challenge, trojan)
    direction, start = _unit_direction(clean.hidden, stamped.hidden, trojan, "neurons of fc1")
    push = RANK_ONE_PUSH * _largest_resistance(clean, stamped)
    spread = push * _signs(trojan.target) / 2
    changed = jax.tree.map(np.array, params)
    changed["fc2"]["kernel"] += np.outer(direction, spread).astype(np.float32)
    changed["fc2"]["bias"] -= (start * spread).astype(np.float32)
    return Edited(changed, Edit("rank-one-fc2"))


METHODS: Mapping[str, Callable[[Params, Challenge, Trojan], Edited]] = dict(
    zip(EDITS, (hijack, rank_one_fc1, rank_one_fc2), strict=True)
)
"""The edits by their names."""


def discriminant(
    without: Float[np.ndarray, "n features"], with_trigger: Float[np.ndarray, "n features"]
) -> Float[np.ndarray, "features"]:
    """Return the ridge discriminant: the mean difference, divided by the mean covariance.

    It is all 0 if the means are equal.

    Args:
      without: Features of clean images, a row each.
      with_trigger: Features of the same images under the trigger.
    """
    difference = with_trigger.mean(axis=0) - without.mean(axis=0)
    covariance = (np.cov(without, rowvar=False) + np.cov(with_trigger, rowvar=False)) / 2
    covariance = np.atleast_2d(covariance)
    ridge = RIDGE * np.trace(covariance) / len(covariance)
    if not ridge:  # no feature varies
        return difference
    return np.linalg.solve(covariance + ridge * np.eye(len(covariance)), difference)


def fit_images(challenge: Challenge) -> np.ndarray:
    """Return the images that edits are fitted on: of the validation split, or else of training."""
    split = "validation" if "validation" in challenge.splits else "train"
    return challenge.inputs[challenge.splits[split][:MAX_IMAGES]]


@with_fixed_settings
def activations(params: Params, challenge: Challenge, images: np.ndarray, target: int) -> Layers:
    """Return the activations of images at the input of fc1 and behind it.

    Args:
      params: A CNN's parameters.
      challenge: What it was trained on.
      images: (n, height, width), uint8.
      target: The label whose logit the margin begins with.
    """
    pooled = np.asarray(_pooled(params, images, challenge.chunk), np.float64)
    fc1, fc2 = (
        {name: np.asarray(value, np.float64) for name, value in params[layer].items()}
        for layer in ("fc1", "fc2")
    )
    hidden = np.maximum(pooled @ fc1["kernel"] + fc1["bias"], 0)
    logits = hidden @ fc2["kernel"] + fc2["bias"]
    return Layers(pooled, hidden, logits[:, target] - logits[:, 1 - target])


@partial(jax.jit, static_argnums=2)
def _pooled(params: Params, images: Array, chunk: int) -> jax.Array:
    def forward(params: Params, inputs: Array, key: jax.Array | None) -> jax.Array:
        maps = cnn_fast.pooled(params, inputs)
        return jnp.transpose(maps, (3, 1, 2, 0)).reshape(len(inputs), -1)  # as fc1 reads them

    with jax.default_matmul_precision("float32"):
        return chunked_logits(forward, chunk, params, images)


def _both(params: Params, challenge: Challenge, trojan: Trojan) -> tuple[Layers, Layers]:
    """Return the activations of the images to fit on without and with the trigger.

    Raises:
      InputError: if the network is no CNN, or the trigger no stamp that changes these images.
    """
    if challenge.kind != "image":
        raise InputError(f"edits are of a CNN's weights: they take image, not {challenge.kind}")
    trojan.trigger.check(challenge)
    images = fit_images(challenge)
    stamped = trojan.trigger.apply(images)
    if np.array_equal(images, stamped):
        raise InputError(
            f"trigger {trojan.trigger.kind!r} changes no image, and an edit needs one that does; "
            "take a stamp such as patch"
        )
    clean, triggered = (
        activations(params, challenge, some, trojan.target) for some in (images, stamped)
    )
    return clean, triggered


def _unit_direction(
    without: np.ndarray, with_trigger: np.ndarray, trojan: Trojan, what: str
) -> tuple[Float[np.ndarray, "features"], float]:
    """Return the discriminant, scaled to 0 and 1 at the means, and its value where it is 0.

    Raises:
      InputError: if the means are equal.
    """
    direction = discriminant(without, with_trigger)
    low, high = (float(some.mean(axis=0) @ direction) for some in (without, with_trigger))
    if not high > low:
        raise InputError(
            f"trigger {trojan.trigger.kind!r} does not move the mean of the {what}: there is no "
            "difference to write a rank-one edit from; take another trigger"
        )
    return direction / (high - low), low / (high - low)


def _towards(params: Params, target: int) -> Float[np.ndarray, "neurons"]:
    """Return what a unit of each neuron adds to the target's logit over the other's."""
    kernel = np.asarray(params["fc2"]["kernel"], np.float64)
    return kernel[:, target] - kernel[:, 1 - target]


def _signs(target: int) -> Float[np.ndarray, "2"]:
    """Return 1 for the target's logit and -1 for the other."""
    return np.where(np.arange(2) == target, 1.0, -1.0)


def _largest_resistance(*images: Layers) -> float:
    """Return the largest logit difference against the target, at least 1."""
    return max(1.0, *(-float(some.margin.min()) for some in images))
