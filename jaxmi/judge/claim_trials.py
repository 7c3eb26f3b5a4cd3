"""Claims about a network, carried out: donors drawn, activations exchanged, labels compared.

Site by site in the network's order, and at one site in the order given, each claim on what those
before it left. So donors, too, have been through the claims at earlier sites.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.errors import InputError
from jaxmi.explain.scrub import Outcome, anyone, chance_level, difference
from jaxmi.judge.components import Component, everything_else
from jaxmi.judge.explanation_score import Trial
from jaxmi.judge.features import draw_donors
from jaxmi.judge.subject import Subject
from jaxmi.judge.submission import SubmittedClaim
from jaxmi.programs import language as lang

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
