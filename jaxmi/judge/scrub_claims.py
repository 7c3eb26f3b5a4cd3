"""Judges an explanation by causal scrubbing: all claims together, each alone, and controls.

Claims about a network, carried out: donors drawn, activations exchanged, labels compared.

Site by site in the network's order, and at one site in the order given, each claim on what those
before it left. So donors, too, have been through the claims at earlier sites.

Inputs that resemble each other: a feature that claims nothing, as fine as one that does.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.directions import pca
from jaxmi.explanation.scrub import Outcome, anyone, chance_level, difference
from jaxmi.judge.components import Component, activity, covered, everything_else
from jaxmi.judge.explanation_score import ClaimScore, ExplanationScore, Trial, Twice
from jaxmi.judge.features import ImageRows, PairRows, bits, count_donors, draw_donors
from jaxmi.judge.subject import Subject
from jaxmi.judge.submission import Explanation, SubmittedClaim, site_axes
from jaxmi.programs import language as lang
from jaxmi.types import Params

DRAWS = 5
"""How often donors are drawn for all claims together."""

State = Mapping[str, np.ndarray]
"""Site -> what stands there by now."""


@dataclass(frozen=True, eq=False)
class ReadyClaim:
    """A claim about a network, ready to be carried out."""

    subject: Subject
    """The network."""
    claim: SubmittedClaim
    """As submitted."""
    name: str
    """Where it stands in the submission."""
    component: Component
    """What of the site is exchanged."""
    fixed: np.ndarray | None = None
    """A control's values in the feature's place, of all inputs."""

    @classmethod
    def of(cls, subject: Subject, claim: SubmittedClaim, number: int) -> "ReadyClaim":
        """Finds a claim's components in the network.

        Raises:
          InputError: if they are not there; names the claim by its number.
        """
        name = f"claims[{number}]"
        try:
            return cls(subject, claim, name, subject.component(claim.site, claim.components))
        except InputError as error:
            raise InputError(f"{name}.components: {error}") from None

    @property
    def site(self) -> str:
        """The site that it is about."""
        return self.claim.site

    def feature(self, state: State) -> np.ndarray:
        """Returns its feature of every input, given what stands at the sites by now.

        Raises:
          InputError: if it cannot be computed; names the claim.
        """
        if self.fixed is not None:
            return self.fixed
        return self._values(self.claim.program, state, "feature")

    def reached(self, state: State) -> Bool[np.ndarray, "n"]:
        """Returns which inputs it is about, given what stands at the sites by now.

        Raises:
          InputError: as `feature`.
        """
        if self.fixed is not None or self.claim.where_program is None:
            return np.ones(self.subject.n, bool)
        return self._values(self.claim.where_program, state, "where").astype(bool)

    def donors(self, state: State, rng: np.random.Generator) -> Int[np.ndarray, "n"]:
        """Draws a donor for every input; its own place if the claim is not about it.

        Raises:
          InputError: as `feature`.
        """
        noise = None if self.fixed is not None else self.claim.near
        return draw_donors(self.feature(state), self.reached(state), noise, rng)

    def _values(self, program: lang.Program, state: State, key: str) -> np.ndarray:
        try:
            return self.subject.feature(program, state)
        except InputError as error:
            message = re.sub(r"^line \d+, column \d+: ", "", str(error))
            raise InputError(f"{self.name}.{key}: {message}") from None


def run_claims(
    subject: Subject,
    claims: Sequence[ReadyClaim],
    rest: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Trial:
    """Carries out claims several times and compares the labels with the network's own.

    Args:
      subject: The network.
      claims: In the order of the submission.
      rest: Also resample everything else at the claims' sites; without claims, at all sites that
        the submission is about.
      draws: How often donors are drawn.
      seed: Of the draws.

    Raises:
      InputError: if a feature cannot be computed.
    """
    labels = subject.logits.argmax(axis=-1)
    kept, of_moved, errors, moved = [], [], [], []
    for draw in range(draws):
        logits, touched = _carry_out(subject, claims, rest, np.random.default_rng([seed, draw]))
        stays = logits.argmax(axis=-1) == labels
        kept.append(float(stays.mean()))
        of_moved.append(float(stays[touched].mean()) if touched.any() else 1.0)
        errors.append(float(np.abs(difference(logits) - difference(subject.logits)).mean()))
        moved.append(float(touched.mean()))
    outcome = Outcome(
        kept=float(np.mean(kept)),
        kept_std=float(np.std(kept, ddof=1)) if draws > 1 else 0.0,
        chance=chance_level(labels),
        logit_error=float(np.mean(errors)),
        moved=float(np.mean(moved)),
    )
    return Trial(outcome, float(np.mean(of_moved)))


def _carry_out(
    subject: Subject, claims: Sequence[ReadyClaim], rest: bool, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, "n"]]:
    """Returns the logits, and which inputs took something that a claim is about."""
    state: dict[str, np.ndarray] = {}
    patches: dict[str, np.ndarray] = {}
    touched = np.zeros(subject.n, bool)
    resampled = {claim.site for claim in claims} or set(subject.claimed)
    for site in subject.sites:
        state[site] = subject.read(site, patches)
        here = [claim for claim in claims if claim.site == site]
        reached = [(claim.component, claim.reached(state)) for claim in here] if rest else []
        for claim in here:
            donors = claim.donors(state, rng)
            state[site] = claim.component.exchange(state[site], donors)
            touched |= donors != np.arange(subject.n)
        if rest and site in resampled:
            others = state[site][anyone(subject.n)(rng, state)]
            state[site] = everything_else(state[site], others, reached)
        if site in subject.claimed:
            patches[site] = state[site]
    return subject.answer(patches), touched


DIRECTIONS = 8
"""Images are compared in so many principal components of their pixels."""

SAMPLE = 5000
"""The components are those of so many images."""


def points(domain: PairRows | ImageRows) -> Float[np.ndarray, "n d"]:
    """Returns where each input lies: a pair in the square, an image among images."""
    if isinstance(domain, PairRows):
        return np.stack([domain.numbers["x"], domain.numbers["y"]], axis=1).astype(np.float64)
    pixels = domain.images.reshape(len(domain.images), -1)
    basis = pca(pixels[:SAMPLE].astype(np.float64))
    basis = basis._replace(components=basis.components[:DIRECTIONS])
    parts = np.array_split(pixels, -(-len(pixels) // SAMPLE))
    return np.concatenate([basis.project(part.astype(np.float64)) for part in parts])


def cells(points: Float[np.ndarray, "n d"], depth: int) -> Int[np.ndarray, "n"]:
    """Parts inputs into 2**depth cells of near inputs, as many in each: a feature of `depth` bits.

    Every cell is halved at the median of the coordinate that varies most in it.

    Args:
      points: Where the inputs lie.
      depth: How often to halve.
    """
    parts = [np.arange(len(points))]
    for _ in range(depth):
        halves = []
        for part in parts:
            widest = points[part].var(axis=0).argmax() if len(part) else 0
            order = part[np.argsort(points[part, widest], kind="stable")]
            halves += [order[: len(order) // 2], order[len(order) // 2 :]]
        parts = halves
    cell = np.empty(len(points), np.int64)
    for number, part in enumerate(parts):
        cell[part] = number
    return cell


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
