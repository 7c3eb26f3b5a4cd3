"""How many candidate programs are evaluated in a second: one by one, and compiled."""

from importlib.resources import files
from typing import Any

import numpy as np

from jaxmi.bench.rounds import summary, time_in_turn
from jaxmi.programs.compiled import label_batch, label_constants
from jaxmi.programs.domain import Domain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.programs.skeleton import constants, filled, skeleton

CANDIDATES = 1000
"""Programs per batch: a published one, with its constants changed by up to a quarter."""


def programs_per_second(name: str, domain: Domain, rounds: int) -> dict[str, Any]:
    """Evaluates a challenge's program with many constants, over the whole domain.

    Args:
      name: The challenge's.
      domain: Its domain.
      rounds: How often each way is timed, in turn.

    Returns:
      Programs per second: `exact` by NumPy one by one; `compiled` from programs, which are grouped
      first; and `constants` compiled from their constants alone.
    """
    text = files("jaxmi.programs").joinpath(f"published/{name}.txt").read_text()
    program = parse(text, domain.kind)
    shared, own = skeleton(program), np.array(constants(program)[1], np.float64)
    factors = np.random.default_rng(0).uniform(0.8, 1.25, (CANDIDATES, len(own)))
    whole = [kind is int for kind in shared.kinds]
    values = np.where(whole, np.round(own * factors), own * factors)
    programs = [filled(shared, row) for row in values.tolist()]
    few = programs[: CANDIDATES // 20]
    seconds = time_in_turn(
        {
            "exact": lambda: [label(program, domain) for program in few],
            "compiled": lambda: label_batch(programs, domain),
            "constants": lambda: label_constants(shared, values, domain),
        },
        rounds,
    )
    counts = {"exact": len(few), "compiled": len(programs), "constants": len(values)}
    return {f"{way}_per_second": summary(counts[way] / np.asarray(seconds[way])) for way in counts}
