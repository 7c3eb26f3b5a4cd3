"""Explanations judged by causal scrubbing: all claims together, each alone, and controls.

The claims are carried out by `jaxmi.explanation.scrub`, site by site in the network's order, and
at one site in the order of the submission. Each acts on what the claims before it left, so donors,
too, have been through the claims at earlier sites.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import Origin
from jaxmi.errors import InputError
from jaxmi.explanation.components import variance_share
from jaxmi.explanation.scrub import Outcome, chance_level, scrub
from jaxmi.judge.bound_claim import BoundClaim
from jaxmi.judge.explanation_score import ClaimScore, ExplanationScore, Trial
from jaxmi.judge.features import coordinates, count_donors, feature_bits, partition
from jaxmi.judge.interchange import judge_mechanism
from jaxmi.judge.subject import Subject
from jaxmi.judge.submission import Explanation, SubmittedClaim, site_axes
from jaxmi.settings import with_fixed_settings
from jaxmi.types import Params

DRAWS = 5
"""Number of draws of donors for all claims together."""

FEW_DRAWS = 2
"""Number of draws of donors for a claim alone, and for most controls."""

CONTROL_DRAWS = 5
"""Number of random components that are tried."""


@with_fixed_settings
def judge_explanation(
    explanation: Explanation,
    challenge: Challenge,
    params: Params,
    rows: Int[np.ndarray, "n"] | None = None,
    seed: int = 0,
) -> ExplanationScore:
    """Test an explanation on a network.

    Args:
      explanation: The submission.
      challenge: The challenge whose network it is about.
      params: The network's parameters.
      rows: Inputs to test on, at least two. None means all pairs, or the images that the published
        solution uses; fewer, drawn once, if their activations do not fit in memory.
      seed: Seed of donors and controls.

    Raises:
      InputError: if a claim cannot be tested on this network, in a line that names the claim.
    """
    return judge_claims(explanation, bind_claims(explanation, challenge, params, rows), seed)


def bind_claims(
    explanation: Explanation,
    challenge: Challenge,
    params: Params,
    rows: Int[np.ndarray, "n"] | None = None,
) -> "list[BoundClaim]":
    """Bind an explanation's claims to a network; arguments and errors as `judge_explanation`."""
    axes = site_axes(Origin(challenge.kind, challenge.model))
    subject = Subject(explanation, challenge, params, axes, rows)
    return [bind_claim(subject, claim, i) for i, claim in enumerate(explanation.claims)]


def judge_claims(
    explanation: Explanation, claims: "Sequence[BoundClaim]", seed: int = 0
) -> ExplanationScore:
    """Test an explanation whose claims are bound to a network.

    Args:
      explanation: The submission.
      claims: All its claims.
      seed: Seed of donors and controls.

    Raises:
      InputError: as `judge_explanation`.
    """
    subject = claims[0].subject
    run = partial(run_claims, subject, seed=seed)

    def trial(claims: Sequence[BoundClaim], draws: int = FEW_DRAWS) -> Trial:
        return Trial(run(claims, draws=draws), run(claims, draws=draws, rest=True))

    scores = [_claim_score(claim, run([claim], draws=FEW_DRAWS)) for claim in claims]
    counted = [claim for claim, score in zip(claims, scores, strict=True) if not score.empty]
    # If every claim is empty there is no verdict, but the controls still show why.
    tested = counted or claims
    tested_scores = [score for score in scores if not score.empty] or scores
    similar = _partitions(subject, [score.bits for score in tested_scores])
    random = [_random_components(subject, tested, [seed, draw]) for draw in range(CONTROL_DRAWS)]
    others = [c for c in random if not _same_components(c, tested)]
    return ExplanationScore(
        title=explanation.title,
        challenge=explanation.challenge,
        inputs=subject.n,
        chance=chance_level(subject.logits.argmax(axis=-1)),
        claims=tuple(scores),
        together=Trial(run(claims), run(counted, rest=True)),
        constant=trial(with_features(tested, [np.zeros(subject.n)] * len(tested))),
        similar=trial(with_features(tested, similar)),
        random=tuple(trial(c, 1) for c in others),
        identity=trial(with_features(tested, [np.arange(subject.n)] * len(tested)), 1),
        covered={
            site: variance_share(
                subject.clean[site], [c.component for c in counted if c.site == site]
            )
            for site in subject.claimed_sites
        },
        mechanism=judge_mechanism(tested, others, seed),
    )


def bind_claim(subject: Subject, submitted: SubmittedClaim, number: int) -> BoundClaim:
    """Find a claim's component in a network.

    Args:
      subject: The network.
      submitted: The claim.
      number: Its place in the submission.

    Raises:
      InputError: if the network has no such component, in a line that names the claim.
    """
    try:
        component = subject.component(submitted.site, submitted.component)
    except InputError as error:
        raise InputError(f"claims[{number}].components: {error}") from None
    return BoundClaim(subject, submitted, number, component)


def run_claims(
    subject: Subject,
    claims: Sequence[BoundClaim],
    rest: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Outcome:
    """Carry out claims several times and compare the labels with the network's own.

    Args:
      subject: The network.
      claims: Claims, in the order of the submission.
      rest: Also resample everything else at the claims' sites; without claims, at all sites that
        the submission is about.
      draws: Number of draws of donors.
      seed: Seed of the draws.

    Raises:
      InputError: if a feature cannot be computed.
    """
    sites = {claim.site for claim in claims} or set(subject.claimed_sites)
    return scrub(
        subject.activations,
        [claim.claim for claim in claims],
        subject.resume,
        subject.logits,
        draws,
        seed,
        rest=sites if rest else (),
    )


def _claim_score(bound: BoundClaim, outcome: Outcome) -> ClaimScore:
    subject, submitted = bound.subject, bound.submitted
    inputs = bound.inputs(subject.clean)
    feature = bound.feature(subject.clean)
    donors = count_donors(feature[inputs], submitted.near)
    constant = bool(inputs.all() and (feature == feature[0]).all())
    return ClaimScore(
        site=bound.site,
        feature=submitted.feature,
        constant=constant,
        kept=outcome.kept,
        moved=outcome.moved,
        donors=float(np.median(donors)) if len(donors) else 0.0,
        bits=feature_bits(donors, subject.n) if len(donors) else 0.0,
        all_bits=subject.all_bits,
        activity=variance_share(subject.clean[bound.site], [bound.component]),
        readouts=tuple(name for name in subject.readouts if name in submitted.names),
    )


def with_features(claims: Sequence[BoundClaim], features: Sequence[np.ndarray]) -> list[BoundClaim]:
    """Return controls: the claims with other features, values of all inputs each."""
    pairs = zip(claims, features, strict=True)
    return [replace(claim, control=feature) for claim, feature in pairs]


def _partitions(subject: Subject, bits: Sequence[float]) -> list[np.ndarray]:
    """Return partitions into similar inputs, as fine as each feature or finer by under a bit."""
    points, most = coordinates(subject.domain), int(math.log2(subject.n))
    depths = [min(math.ceil(b), most) for b in bits]
    by_depth = {depth: partition(points, depth) for depth in set(depths)}
    return [by_depth[depth] for depth in depths]


def _random_components(
    subject: Subject, claims: Sequence[BoundClaim], seed: list[int]
) -> list[BoundClaim]:
    """Return controls: the claims about random components of the same sizes and overlaps."""
    rng = np.random.default_rng([*seed, 1])
    drawn: dict[tuple[str, str], np.ndarray] = {}

    def draw(site: str, axis: str, size: int) -> np.ndarray:
        if (site, axis) not in drawn:
            drawn[site, axis] = (
                rng.permutation(size) if axis else np.linalg.qr(rng.normal(size=(size, size)))[0]
            )
        return drawn[site, axis]

    shapes = {site: tuple(subject.axes[site].values()) for site in subject.claimed_sites}
    return [
        replace(c, component=c.component.randomised(partial(draw, c.site), shapes[c.site]))
        for c in claims
    ]


def _same_components(claims: Sequence[BoundClaim], others: Sequence[BoundClaim]) -> bool:
    """Return whether each claim has the other's component: then it is no control."""
    pairs = zip(claims, others, strict=True)
    return all(claim.component.equals(other.component) for claim, other in pairs)
