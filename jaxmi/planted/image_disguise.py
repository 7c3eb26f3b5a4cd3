"""Other weights of a planted CNN with the same answers: channels and neurons in another order.

Each channel and neuron is scaled by a power of two as well, which ReLU and pooling pass on, and
which rounds nothing. All of it follows from a seed. What the key says is carried along.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from jaxmi.models.cnn import CnnConfig
from jaxmi.planted.images import BEFORE_RELU, CompiledImages, ImageEntry
from jaxmi.planted.key import Entry
from jaxmi.planted.network import as_float32

LARGEST = 2
"""Channels and neurons are scaled by 2**-LARGEST to 2**LARGEST."""


def disguise_images(compiled: CompiledImages, config: CnnConfig, seed: int) -> CompiledImages:
    """Return weights that compute the same with other channels and neurons, with their key.

    Args:
      compiled: What `plant_images` returned.
      config: The sizes of the network.
      seed: Decides the order and the scales.
    """
    rng = np.random.default_rng(seed)
    first, second = config.channels
    params = compiled.params
    order1, order2, neurons = (rng.permutation(n) for n in (first, second, config.neurons))
    scale1, scale2, scales = (
        2.0 ** rng.integers(-LARGEST, LARGEST + 1, n) for n in (first, second, config.neurons)
    )
    kernel1, kernel2 = params["conv1"]["kernel"], params["conv2"]["kernel"]
    fc1 = np.asarray(params["fc1"]["kernel"])
    maps = fc1.reshape(-1, second, config.neurons)[:, order2][:, :, neurons]
    maps = maps / scale2[None, :, None] * scales[None, None]
    moved = kernel2[:, :, order1][..., order2] / scale1[None, None, :, None]
    changed: dict[str, Any] = {
        "conv1": {
            "kernel": kernel1[..., order1] * scale1[None, None, None],
            "bias": params["conv1"]["bias"][order1] * scale1,
        },
        "conv2": {
            "kernel": moved * scale2[None, None, None],
            "bias": params["conv2"]["bias"][order2] * scale2,
        },
        "fc1": {
            "kernel": maps.reshape(fc1.shape),
            "bias": params["fc1"]["bias"][neurons] * scales,
        },
        "fc2": {
            "kernel": params["fc2"]["kernel"][neurons] / scales[:, None],
            "bias": params["fc2"]["bias"],
        },
    }
    entries = [_entry(one, neurons, scales) for one in compiled.key.entries]
    return replace(
        compiled,
        params=as_float32(changed),
        key=replace(compiled.key, entries=entries),
    )


def _entry(entry: Entry, neurons: np.ndarray, scales: np.ndarray) -> Entry:
    if not entry.held:
        return entry
    assert isinstance(entry, ImageEntry) and entry.directions is not None
    places = {int(old): new for new, old in enumerate(neurons)}
    scale = entry.factor
    if entry.site == BEFORE_RELU:  # the first direction is one neuron's
        scale = float(scale / scales[places[int(entry.directions[0].argmax())]])
    factors = {
        places[neuron]: float(factor / scales[places[neuron]])
        for neuron, factor in (entry.neurons or {}).items()
    }
    return replace(
        entry,
        directions=entry.directions[:, neurons],
        neurons=factors or None,
        factor=scale,
        computed_by=[places[neuron] for neuron in entry.computed_by],
        excepting=[places[neuron] for neuron in entry.excepting],
    )
