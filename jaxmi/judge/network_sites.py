"""Where in each challenge's network claims can be made: sites, their axes and sizes."""

from collections.abc import Mapping
from functools import cache

import jax
import numpy as np

from jaxmi.challenges.registry import param_shapes
from jaxmi.models import cnn, transformer

Axes = Mapping[str, int]
"""A site's axes in order: name -> size."""

POSITIONS = ("pos", "query", "key", "height", "width")
"""Axes that say where something is; the others are of components."""


@cache
def site_axes(challenge_name: str) -> Mapping[str, Axes]:
    """Returns the sites of a challenge's network, in the order in which they are computed.

    Raises:
      InputError: if there is no such challenge.
    """
    params = param_shapes(challenge_name)
    if challenge_name == "cnn":
        model, example, sites = cnn.Cnn(), np.zeros((28, 28), np.uint8), cnn.SITES
    else:
        model, example = transformer.Transformer(), np.zeros(3, np.int32)
        sites = transformer.SITES
    _, activations = jax.eval_shape(lambda p: model.apply({"params": p}, example), params)
    return {
        site: dict(zip(names, activations[site].shape, strict=True))
        for site, names in sites.items()
    }
