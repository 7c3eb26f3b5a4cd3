"""Array and tree aliases that the whole package shares."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray
"""An array on a device or on the host."""

Params = Mapping[str, Any]
"""A network's parameters: nested mappings from module and parameter names to float32 arrays."""

Activations = dict[str, jax.Array]
"""What a forward pass computed on its way: site name -> array."""

Edits = Mapping[str, Callable[[jax.Array], jax.Array]]
"""Interventions: site name -> function from the activation there to its replacement."""

Metrics = dict[str, int | float]
"""What an explanation measured: key of a metric -> its value, in the metric's unit. A metric that
cannot be measured on a network is left out."""
