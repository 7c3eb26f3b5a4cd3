"""Judges an explanation by causal scrubbing: all claims together, each alone, and controls."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.explain.scrub import chance_level
from jaxmi.judge.claim_trials import ReadyClaim, run_claims
from jaxmi.judge.components import activity, covered
from jaxmi.judge.explanation_score import ClaimScore, ExplanationScore, Trial, Twice
from jaxmi.judge.features import bits, count_donors
from jaxmi.judge.network_sites import site_axes
from jaxmi.judge.resemblance import cells, points
from jaxmi.judge.subject import Subject
from jaxmi.judge.submission import Explanation
from jaxmi.types import Params

FEW_DRAWS = 2
"""How often donors are drawn for a claim alone, and for most controls."""

CONTROL_DRAWS = 5
"""How many random components are tried."""


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
      rows: Which inputs to look at, two at least; None means all pairs, or the images that the
        published solution looks at: as many as memory can hold.
      seed: Of donors and controls.

    Raises:
      InputError: if a claim cannot be tested on this network; names it.
    """
    subject = Subject(explanation, challenge, params, site_axes(explanation.challenge), rows)
    claims = [ReadyClaim.of(subject, claim, i) for i, claim in enumerate(explanation.claims)]
    run = partial(run_claims, subject, seed=seed)

    def twice(claims: Sequence[ReadyClaim], draws: int = FEW_DRAWS) -> Twice:
        return Twice(run(claims, draws=draws), run(claims, draws=draws, rest=True))

    scores = [_alone(claim, run([claim], draws=FEW_DRAWS)) for claim in claims]
    counted = [claim for claim, score in zip(claims, scores, strict=True) if not score.empty]
    # If all are empty there is no verdict, but controls that show why.
    tested = counted or claims
    fine = [score for score in scores if not score.empty] or scores
    resembling = _resembling(subject, [score.bits for score in fine])
    turned = [_turned(subject, tested, [seed, draw]) for draw in range(CONTROL_DRAWS)]
    return ExplanationScore(
        title=explanation.title,
        challenge=explanation.challenge,
        inputs=subject.n,
        chance=chance_level(subject.logits.argmax(axis=-1)),
        claims=tuple(scores),
        together=Twice(run(claims), run(counted, rest=True)),
        constant=twice(_with(tested, [np.zeros(subject.n)] * len(tested))),
        resembling=twice(_with(tested, resembling)),
        random=tuple(twice(c, 1) for c in turned if not _same_components(c, tested)),
        identity=twice(_with(tested, [np.arange(subject.n)] * len(tested)), 1),
        covered={
            site: covered(subject.clean[site], [c.component for c in counted if c.site == site])
            for site in subject.claimed
        },
    )


def _with(claims: Sequence[ReadyClaim], features: Sequence[np.ndarray]) -> list[ReadyClaim]:
    pairs = zip(claims, features, strict=True)
    return [replace(claim, fixed=feature) for claim, feature in pairs]


def _resembling(subject: Subject, fineness: Sequence[float]) -> list[np.ndarray]:
    """Features as fine as these, in bits, or finer by less than one."""
    where, most = points(subject.domain), int(math.log2(subject.n))
    depths = [min(math.ceil(bits), most) for bits in fineness]
    made = {depth: cells(where, depth) for depth in set(depths)}
    return [made[depth] for depth in depths]


def _alone(claim: ReadyClaim, trial: Trial) -> ClaimScore:
    subject, submitted = claim.subject, claim.claim
    reached = claim.reached(subject.clean)
    feature = claim.feature(subject.clean)
    donors = count_donors(feature[reached], submitted.near)
    constant = bool(reached.all() and (feature == feature[0]).all())
    return ClaimScore(
        site=claim.site,
        feature=submitted.feature,
        constant=constant,
        kept=trial.outcome.kept,
        moved=trial.outcome.moved,
        donors=float(np.median(donors)) if len(donors) else 0.0,
        bits=bits(donors, subject.n) if len(donors) else 0.0,
        all_bits=subject.all_bits,
        activity=activity(subject.clean[claim.site], claim.component),
        readouts=tuple(name for name in subject.readouts if name in submitted.names),
    )


def _turned(subject: Subject, claims: Sequence[ReadyClaim], seed: list[int]) -> list[ReadyClaim]:
    """The claims about random components of the same size, which overlap as before."""
    rng = np.random.default_rng([*seed, 1])
    drawn: dict[tuple[str, str], np.ndarray] = {}

    def turn(site: str, axis: str, size: int) -> np.ndarray:
        if (site, axis) not in drawn:
            drawn[site, axis] = (
                rng.permutation(size) if axis else np.linalg.qr(rng.normal(size=(size, size)))[0]
            )
        return drawn[site, axis]

    sizes = {site: tuple(subject.axes[site].values()) for site in subject.claimed}
    return [
        replace(c, component=c.component.turned(partial(turn, c.site), sizes[c.site]))
        for c in claims
    ]


def _same_components(claims: Sequence[ReadyClaim], others: Sequence[ReadyClaim]) -> bool:
    """Whether each claim is about what the other is about: then turning it is no control."""
    pairs = zip(claims, others, strict=True)
    return all(mine.component.same_as(other.component) for mine, other in pairs)
