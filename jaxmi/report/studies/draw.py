"""The figures of studies, by the study's name."""

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure

from jaxmi.errors import InputError
from jaxmi.report.studies.agreement import draw_agreement
from jaxmi.report.studies.boundary import draw_boundary
from jaxmi.report.studies.decay import draw_decay
from jaxmi.report.studies.duel import draw_duel
from jaxmi.report.studies.interpolation import draw_interpolation
from jaxmi.report.studies.mechanism import draw_mechanism
from jaxmi.report.studies.periodic import draw_periodic
from jaxmi.report.studies.solutions import draw_solutions
from jaxmi.report.studies.universality import draw_universality
from jaxmi.report.studies.variables import draw_variables

FIGURES: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "boundary": draw_boundary,
    "periodic": draw_periodic,
    "interpolation": draw_interpolation,
    "universality-cnn": draw_universality,
    "universality-transformer": draw_universality,
    "decay": draw_decay,
    "agreement": draw_agreement,
    "mechanism": draw_mechanism,
    "variables": draw_variables,
    "solutions": draw_solutions,
    "duel": draw_duel,
}
"""Study's name -> the function that draws its result."""


def draw_study(result: Mapping[str, Any]) -> Figure:
    """Draw a study's result, as `jaxmi study` wrote it.

    Raises:
      InputError: if the study is unknown.
    """
    if result["study"] not in FIGURES:
        raise InputError(f"unknown study {result['study']!r}")
    figure = FIGURES[result["study"]](result)
    seeds = result["provenance"]["seeds"]
    about = result["provenance"].get("challenge")
    of = "" if about is None else f" of {about['name']}"
    label = f"{result['study']}{of}: {len(seeds)} seeds, {seeds[0]} to {seeds[-1]}; 95 % intervals"
    if result["provenance"]["quick"]:
        label += "; quick: the networks are barely trained, the numbers mean nothing"
    figure.text(0.005, -0.005, label, fontsize="x-small", va="top")
    return figure
