"""Seeded draws of trojans that can be measured."""

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.trojans import triggers
from jaxmi.trojans.success import Attack, attack
from jaxmi.trojans.trojan import Trojan

MAX_DRAWS = 20
"""Triggers to draw for one trojan until one is not rejected."""

MIN_STRICT = 30
"""Least test inputs that strict success is measured on, for drawn regions; a region that holds
fewer is drawn again."""


def draw_trojan(
    kind: str, target: int, rate: float, rng: np.random.Generator, challenge: Challenge
) -> Attack:
    """Draw a trojan whose trigger is not rejected, and attack the test inputs with it.

    Args:
      kind: The kind of trigger.
      target: The label that it gives.
      rate: Share of poisoned training inputs.
      rng: Random numbers; the same give the same trojan.
      challenge: What it is for.

    Raises:
      InputError: if every trigger that is drawn is rejected; says why the last was.
    """
    best: Attack | None = None
    reason = None
    for _ in range(MAX_DRAWS):
        drawn = Trojan(triggers.draw(kind, rng, challenge, rate), target, rate)
        candidate = attack(drawn, challenge)
        reason = candidate.rejection
        if reason is None:
            if not drawn.trigger.is_region or candidate.strict.sum() >= MIN_STRICT:
                return candidate
            if best is None or candidate.strict.sum() > best.strict.sum():
                best = candidate
        elif kind == "invert":  # there is one
            break
    if best is None:
        raise InputError(str(reason))
    return best
