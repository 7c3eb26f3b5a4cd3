"""What a planted network holds, by its key, measured by exchanges on the network itself."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxmi.mechanism.interchange import Pairs
from jaxmi.mechanism.subspaces import orthonormal
from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import Asked
from jaxmi.planted.key import BEFORE_MLP, NEURONS

PAIRS = 100
"""Strict pairs on which an exchange is measured."""

HELD_FROM = 0.99
"""Least share of strict pairs right when the part of a held variable is exchanged."""

MIMICKED_FROM = 0.8
"""A variable that some parts of another mechanism give so many strict pairs of is not asked
there: whether it is held would be a matter of degree."""

MAX_PARTS = 8
"""A network of more parts is not asked about: too many exchanges to rule out."""


@dataclass(frozen=True, eq=False)
class KeyPart:
    """What a key says of one variable."""

    name: str
    full: bool
    directions: Float[np.ndarray, "k d_model"] | None
    """Orthonormal directions of the residual stream before the MLP; None if they are elsewhere."""
    neurons: Int[np.ndarray, "m"]

    def at(self, site: str) -> bool:
        """Tell whether it is something at a site."""
        return self.directions is not None if site == BEFORE_MLP else len(self.neurons) > 0


def parts_of(key: Mapping[str, Any], d_model: int) -> list[KeyPart]:
    """Return the parts that a key names: what is held, each once."""
    found = []
    for entry in key["variables"]:
        if not entry["held"]:
            continue
        directions = None
        if entry["site"] == BEFORE_MLP and entry["directions"]:
            directions = np.zeros((len(entry["directions"]), d_model))
            for row, one in zip(directions, entry["directions"], strict=True):
                row[[int(i) for i in one]] = list(one.values())
        neurons = np.array(sorted(int(i) for i in entry["neurons"]), int)
        found.append(KeyPart(entry["name"], entry["full"], directions, neurons))
    return found


def share_right(view: NetworkView, site: str, parts: Sequence[KeyPart], pairs: Pairs) -> float:
    """Return the share of pairs that get their label when parts are exchanged at a site."""
    here = view.activations[site]
    own, change = here[pairs.bases], here[pairs.sources] - here[pairs.bases]
    if site == NEURONS:
        mask = np.zeros(here.shape[1])
        mask[np.concatenate([part.neurons for part in parts])] = 1
        values = own + change * mask
    else:
        rows = np.concatenate([part.directions for part in parts if part.directions is not None])
        basis = orthonormal(rows)  # two variables may share a direction
        values = own + change @ basis.T @ basis
    return float(((view.resume(site, pairs.bases, values) > 0) == pairs.labels).mean())


def best_share(view: NetworkView, site: str, parts: Sequence[KeyPart], pairs: Pairs) -> float:
    """Return the largest such share, over all sets of the parts that a key names.

    Args:
      view: The network.
      site: Where parts are exchanged.
      parts: At most `MAX_PARTS` that are something there.
      pairs: The pairs.
    """
    here = [part for part in parts if part.at(site)]
    sets = itertools.chain.from_iterable(
        itertools.combinations(here, size) for size in range(1, len(here) + 1)
    )
    return max((share_right(view, site, one, pairs) for one in sets), default=0.0)


def strict_pairs(one: Asked, seed: int) -> Pairs:
    """Draw the strict pairs on which exchanges are measured."""
    return one.strict(PAIRS, np.random.default_rng(seed))
