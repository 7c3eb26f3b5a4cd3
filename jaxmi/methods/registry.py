"""The methods that are marked side by side, by name."""

import inspect
import sys
from collections.abc import Mapping

from jaxmi.explanation.verdicts import MARGIN
from jaxmi.mechanism.variables import COMPUTED_FROM
from jaxmi.methods.questions import Method
from jaxmi.methods.side_by_side.ablation import ablation
from jaxmi.methods.side_by_side.alignment import alignment, alignment_sets
from jaxmi.methods.side_by_side.controls import labels, network, random
from jaxmi.methods.side_by_side.gradients import integrated_gradients
from jaxmi.methods.side_by_side.patching import patching_probe, patching_site
from jaxmi.methods.side_by_side.principal import principal
from jaxmi.methods.side_by_side.probe import probe
from jaxmi.methods.side_by_side.read_in import read_in
from jaxmi.methods.side_by_side.scrubbing import scrubbing

METHODS: Mapping[str, Method] = {
    "random": random,
    "labels": labels,
    "network": network,
    "probe": probe,
    "pca": principal,
    "patching-site": patching_site,
    "patching-probe": patching_probe,
    "ablation": ablation,
    "integrated-gradients": integrated_gradients,
    "read-in": read_in,
    "scrubbing": scrubbing,
    "das": alignment,
    "das-sets": alignment_sets,
}
"""Name -> method; the first three are controls."""

CONTROLS = ("random", "labels", "network")

THRESHOLDS: Mapping[str, float] = {
    "scrubbing": MARGIN,
    "das": COMPUTED_FROM,
    "das-sets": COMPUTED_FROM,
}
"""Method -> the score from which on it says itself that a variable is computed."""


def words_of(name: str, method: Method) -> str:
    """Return what a method is: the first line of its file's docstring, or of its own."""
    has_a_file = name in METHODS and name not in CONTROLS
    about = sys.modules[method.__module__] if has_a_file else method
    return (inspect.getdoc(about) or "").partition("\n")[0]
