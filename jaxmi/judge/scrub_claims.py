"""Judges an explanation by causal scrubbing: all claims together, each alone, and controls.

Claims are carried out site by site in the network's order, and at one site in the order given, each
on what the claims before it left. So donors, too, have been through the claims at earlier sites.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Bool, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explain.scrub import Outcome, chance_level, difference
from jaxmi.judge.components import Component, activity, covered, everything_else
from jaxmi.judge.explanation_score import ClaimScore, ExplanationScore, Trial, emptiness
from jaxmi.judge.features import bits, count_donors, draw_donors, values
from jaxmi.judge.network_sites import site_axes
from jaxmi.judge.subject import Subject
from jaxmi.judge.submission import Explanation, SubmittedClaim
from jaxmi.programs import language as lang
from jaxmi.types import Params

DRAWS = 5
"""How often donors are drawn for all claims together."""

CONTROL_DRAWS = 5
"""How many random components are tried."""

State = Mapping[str, np.ndarray]
"""Site -> what stands there by now."""


def judge_explanation(
    explanation: Explanation,
    challenge: Challenge,
    params: Params,
    rows: Int[np.ndarray, "n"] | None = None,
    seed: int = 0,
) -> ExplanationScore:
    """Tests an explanation on a network.

    Args:
      explanation: What is claimed.
      challenge: Whose network it is.
      params: The network.
      rows: Which inputs to look at; None means all pairs, or the images that come with the
        published solution: as many as memory can hold.
      seed: Of donors and controls.

    Raises:
      InputError: if a claim cannot be tested on this network; names it.
    """
    subject = Subject(explanation, challenge, params, site_axes(explanation.challenge), rows)
    tested = [_Tested(subject, claim, i) for i, claim in enumerate(explanation.claims)]
    scores = [_alone(subject, claim, seed) for claim in tested]
    counted = [t for t, score in zip(tested, scores, strict=True) if not score.empty]

    def trial(claims: Sequence[_Tested], rest: bool = False, draws: int = DRAWS) -> Trial:
        return _trial(subject, claims, rest, draws, seed)

    constant = [replace(claim, fixed="constant") for claim in counted]
    identity = [replace(claim, fixed="identity") for claim in counted]
    turned = [_turned(subject, counted, seed, draw) for draw in range(CONTROL_DRAWS)]
    # What is the same in any components has no such control.
    turned = [
        claims
        for claims in turned
        if not all(a.component.same_as(b.component) for a, b in zip(claims, counted, strict=True))
    ]
    return ExplanationScore(
        title=explanation.title,
        challenge=explanation.challenge,
        inputs=subject.n,
        chance=chance_level(subject.logits.argmax(axis=-1)),
        claims=tuple(scores),
        together=trial(tested),
        complete=trial(counted, rest=True),
        constant=trial(constant),
        constant_complete=trial(constant, rest=True),
        identity=trial(identity, draws=1),
        identity_complete=trial(identity, rest=True, draws=1),
        random=tuple(trial(claims, draws=1) for claims in turned),
        random_complete=tuple(trial(claims, rest=True, draws=1) for claims in turned),
        covered=_covered(subject, counted),
    )


@dataclass(frozen=True, eq=False)
class _Tested:
    """A claim on a network."""

    subject: Subject
    claim: SubmittedClaim
    number: int
    component: Component
    fixed: str | None = None

    def __init__(self, subject, claim, number, component=None, fixed=None) -> None: ...
