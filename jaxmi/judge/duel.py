"""A duel of two explanations: the same network, inputs and draws; who is right if they disagree.

First each is judged alone, and what its features keep beyond a constant feature is divided by their
bits. Then components of each are exchanged, every component with a donor of its own, taken from the
donor's own run. Exchanges are drawn in four classes: both explanations permit it, one does, or
neither. docs/explanations.md says what makes the comparison fair.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.judge.duel_score import (
    BOTH,
    CLASSES,
    CONTROLS,
    NEITHER,
    OTHER,
    OWNER,
    PERMUTED,
    SIMILAR,
    Cell,
    Duel,
    Estimate,
    Example,
    Interventions,
    Side,
    estimate,
)
from jaxmi.judge.explanation_score import ExplanationScore
from jaxmi.judge.features import coordinates, count_donors, feature_bits, partition
from jaxmi.judge.judge_explanation import (
    DRAWS,
    BoundClaim,
    bind_claims,
    judge_claims,
    run_claims,
    with_features,
)
from jaxmi.judge.permissions import Contents, Permissions, draw_permitted
from jaxmi.judge.subject import Exchange, Subject
from jaxmi.judge.submission import Explanation
from jaxmi.settings import with_fixed_settings
from jaxmi.types import Params

EXCHANGE_DRAWS = 10
"""Number of draws of inputs and donors for exchanges of each class."""

INPUTS = 512
"""Number of inputs of a draw."""

POOL = 16_384
"""Most inputs from which inputs and donors of exchanges are drawn."""

EXAMPLES = 5
"""The number of exchanges, permitted by one explanation only, that are named."""


@with_fixed_settings
def duel_explanations(
    explanations: tuple[Explanation, Explanation],
    names: tuple[str, str],
    challenge: Challenge,
    params: Params,
    rows: Int[np.ndarray, "n"] | None = None,
    seed: int = 0,
) -> Duel:
    """Compare two explanations of one network.

    Args:
      explanations: The submissions.
      names: What to call them.
      challenge: The challenge whose network they are about.
      params: The network's parameters.
      rows: Inputs to test on, at least two; None: as in `judge_explanation`, and the same for both.
      seed: Seed of donors and controls.

    Raises:
      InputError: if a claim cannot be tested on this network, in a line that names the submission
        and the claim.
    """
    bound = [
        _bind(*pair, challenge, params, rows) for pair in zip(names, explanations, strict=True)
    ]
    fewest = min((claims[0].subject.rows for claims in bound), key=len)
    for i, claims in enumerate(bound):
        if claims[0].subject.n > len(fewest):
            bound[i] = _bind(names[i], explanations[i], challenge, params, fewest)
    subject = bound[0][0].subject
    pool = np.arange(subject.n)
    if subject.n > POOL:
        pool = np.sort(np.random.default_rng(seed).choice(subject.n, POOL, replace=False))
    scored = [
        _score(name, explanation, claims, pool, seed)
        for name, explanation, claims in zip(names, explanations, bound, strict=True)
    ]
    one, other = scored
    points = coordinates(subject.domain)[pool]
    return Duel(
        challenge=challenge.name,
        inputs=subject.n,
        draws=EXCHANGE_DRAWS,
        sides=(one.side, other.side),
        interventions=(
            _intervene(one, other, pool, points, seed),
            _intervene(other, one, pool, points, seed),
        ),
    )


@dataclass(frozen=True, eq=False)
class _Scored:
    """An explanation, scored, with what it permits."""

    side: Side
    permissions: Permissions
    subject: Subject


def _bind(
    name: str,
    explanation: Explanation,
    challenge: Challenge,
    params: Params,
    rows: Int[np.ndarray, "n"] | None,
) -> list[BoundClaim]:
    with _named(name):
        return bind_claims(explanation, challenge, params, rows)


def _score(
    name: str,
    explanation: Explanation,
    claims: Sequence[BoundClaim],
    pool: Int[np.ndarray, "n"],
    seed: int,
) -> _Scored:
    with _named(name):
        score = judge_claims(explanation, claims, seed)
        tested = _tested(claims, score)
        permissions = Permissions(tested, pool)
    subject = claims[0].subject
    bits = permissions.bits()
    cell = partition(coordinates(subject.domain), min(math.ceil(bits), int(math.log2(subject.n))))
    constant, similar = (
        with_features(tested, [feature] * len(tested)) for feature in (np.zeros(subject.n), cell)
    )

    def kept(claims: Sequence[BoundClaim], rest: bool) -> np.ndarray:
        """Return the labels kept in each draw; the draws are the same for both explanations."""
        draws = range(seed + 1, seed + 1 + DRAWS)
        return np.array([run_claims(subject, claims, rest, 1, draw).kept for draw in draws])

    side = Side(
        name=name,
        score=score,
        bits=bits,
        kept=kept(tested, False),
        kept_rest=kept(tested, True),
        constant=kept(constant, False),
        constant_rest=kept(constant, True),
        similar=kept(similar, False),
        similar_rest=kept(similar, True),
        similar_bits=feature_bits(count_donors(cell, None), subject.n),
    )
    return _Scored(side, permissions, subject)


def _tested(claims: Sequence[BoundClaim], score: ExplanationScore) -> list[BoundClaim]:
    """Return the claims that count, as for the judge; all, if none does."""
    pairs = zip(claims, score.claims, strict=True)
    return [claim for claim, scored in pairs if not scored.empty] or list(claims)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Name the submission in errors about it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _intervene(
    owner: _Scored,
    other: _Scored,
    pool: Int[np.ndarray, "n"],
    points: np.ndarray,
    seed: int,
) -> Interventions:
    """Exchange components of one explanation in every class, and count labels that stay."""
    trials = _Trials(owner, other, pool, points, seed)
    draws = [trials.draw(draw) for draw in range(EXCHANGE_DRAWS)]
    cells = {name: _cell([draw.classes[name] for draw in draws]) for name in CLASSES}
    losses = {
        name: np.array([draw.losses[name][0] for draw in draws]) for name in (OTHER, *CONTROLS)
    }
    controls = {name: _estimate(losses[name]) for name in CONTROLS}
    known = {name: found.value for name, found in controls.items() if found is not None}
    largest = max(known, key=lambda name: known[name], default=None)
    beyond = losses[largest] if largest is not None and known[largest] > 0 else 0.0
    shares = {name: np.array([_share(draw.classes[name]) for draw in draws]) for name in CLASSES}
    return Interventions(
        owner=owner.side.name,
        other=other.side.name,
        inputs=EXCHANGE_DRAWS * trials.n_inputs,
        cells=cells,
        matched=sum(draw.losses[OTHER][1] for draw in draws),
        loss=_estimate(losses[OTHER]),
        control_losses=controls,
        excess=_estimate(losses[OTHER] - beyond),
        rise=_estimate(shares[OWNER] - shares[NEITHER]),
        lead=_estimate(shares[OWNER] - shares[OTHER]),
        examples=draws[0].examples,
    )


class _Run(NamedTuple):
    """The outcome of exchanges of one class in one draw."""

    exchanged: Bool[np.ndarray, "m"]
    """The inputs that something was exchanged in."""
    kept: Bool[np.ndarray, "m"]
    """The inputs with the network's own label."""


class _Draw(NamedTuple):
    """The trials of one draw of inputs."""

    classes: Mapping[str, _Run]
    losses: Mapping[str, tuple[float, int]]
    """Who stands in the other's place: the other, or a control -> labels kept if both permit, less
    those kept if only the owner does, and over how many inputs; NaN over none."""
    examples: Sequence[Example]


class _Trials:
    """Draws of inputs and donors, for exchanges of one explanation's components."""

    def __init__(
        self,
        owner: _Scored,
        other: _Scored,
        pool: Int[np.ndarray, "n"],
        points: np.ndarray,
        seed: int,
    ) -> None:
        self._owner, self._other, self._pool, self._seed = owner, other, pool, seed
        self.n_inputs = min(INPUTS, len(pool))
        self._labels = owner.subject.logits.argmax(axis=-1)
        self._components = owner.permissions.components
        clean = owner.subject.clean
        self._contents = [
            Contents(claim.component.read(clean[claim.site][pool]), points)
            for claim in self._components
        ]
        self._permuted = np.random.default_rng([seed, 2]).permutation(len(pool))
        depth = min(math.ceil(other.side.bits), int(math.log2(len(pool))))
        self._cells = partition(points, depth)

    def draw(self, number: int) -> _Draw:
        """Draw inputs, and exchange their components in every class and under every control."""
        rng = np.random.default_rng([self._seed, 3, number])
        rows = np.sort(rng.choice(len(self._pool), self.n_inputs, replace=False))
        sets = self._permitted(rows)
        donors = {
            name: [draw_permitted(own & view, rng) for own, view in classes]
            for name, classes in (
                (BOTH, [(one.permitted, one.views[OTHER]) for one in sets]),
                (OWNER, [(one.permitted, ~one.views[OTHER]) for one in sets]),
                (OTHER, [(one.forbidden, one.views[OTHER]) for one in sets]),
                (NEITHER, [(one.forbidden, ~one.views[OTHER]) for one in sets]),
            )
        }
        runs = {name: self._run(rows, drawn) for name, drawn in donors.items()}
        losses = {name: self._loss(rows, sets, name, rng) for name in (OTHER, *CONTROLS)}
        return _Draw(runs, losses, self._examples(rows, donors[OWNER], runs[OWNER]))

    def _permitted(self, rows: Int[np.ndarray, "m"]) -> "list[_Donors]":
        """Return the donors of each component, by who permits them."""
        other, permuted = self._other.permissions, self._permuted
        alike = {OTHER: other.alike(rows), PERMUTED: other.alike(permuted[rows])[:, permuted]}
        similar = self._cells[rows, None] == self._cells
        sets = []
        for claim, contents in zip(self._components, self._contents, strict=True):
            about = claim.site, claim.component
            donors, changes = contents.donors(rows), contents.changes(rows)
            own = self._owner.permissions.of(*about, rows)
            assert own is not None  # the claim is the owner's
            idle = donors & own & ~changes
            donors &= changes
            forbidden = donors & ~own
            never = ~forbidden.any(axis=1, keepdims=True)
            views = {**alike, SIMILAR: similar}
            if (named := other.of(*about, rows)) is not None:
                views[OTHER] = named
                again = other.of(*about, permuted[rows])
                assert again is not None  # the same claims, of other inputs
                views[PERMUTED] = again[:, permuted]
            sets.append(_Donors(donors & own, idle, forbidden | (donors & never), views))
        return sets

    def _loss(
        self,
        rows: Int[np.ndarray, "m"],
        sets: "Sequence[_Donors]",
        view: str,
        rng: np.random.Generator,
    ) -> tuple[float, int]:
        """Exchange the same components of the same inputs with and without the other's leave.

        What both permit may be an exchange that changes nothing, which keeps the label.
        """
        both, alone = [], []
        for one in sets:
            first = draw_permitted((one.permitted | one.idle) & one.views[view], rng)
            second = draw_permitted(one.permitted & ~one.views[view], rng)
            has_both = (first >= 0) & (second >= 0)
            both.append(np.where(has_both, first, -1))
            alone.append(np.where(has_both, second, -1))
        one, other = self._run(rows, both), self._run(rows, alone)
        matched = other.exchanged
        if not matched.any():
            return np.nan, 0
        return float(one.kept[matched].mean() - other.kept[matched].mean()), int(matched.sum())

    def _run(self, rows: Int[np.ndarray, "m"], donors: Sequence[Int[np.ndarray, "m"]]) -> _Run:
        """Exchange components; donors are numbers in the pool, -1 for none."""
        exchanges = [
            Exchange(claim.site, claim.component, np.where(drawn >= 0, self._pool[drawn], -1))
            for claim, drawn in zip(self._components, donors, strict=True)
        ]
        logits, changed = self._owner.subject.exchanged(self._pool[rows], exchanges)
        given = np.any([drawn >= 0 for drawn in donors], axis=0)
        labels = self._labels[self._pool[rows]]
        return _Run(given & changed, logits.argmax(axis=-1) == labels)

    def _examples(
        self, rows: Int[np.ndarray, "m"], donors: Sequence[Int[np.ndarray, "m"]], run: _Run
    ) -> list[Example]:
        """Name some inputs with their donors: half lose their label, and come first."""
        describe = self._owner.subject.describe
        places = [np.flatnonzero(run.exchanged & (run.kept == kept)) for kept in (False, True)]
        half = -(-EXAMPLES // 2)
        chosen = [*places[0][:half], *places[1][: EXAMPLES - half]]
        return [
            Example(
                describe(int(self._pool[rows[i]])),
                {
                    claim.name: describe(int(self._pool[drawn[i]]))
                    for claim, drawn in zip(self._components, donors, strict=True)
                    if drawn[i] >= 0
                },
                bool(run.kept[i]),
            )
            for i in chosen
        ]


class _Donors(NamedTuple):
    """The donors of one component, by who permits them."""

    permitted: Bool[np.ndarray, "m n"]
    """The permission of the component's owner."""
    idle: Bool[np.ndarray, "m n"]
    """The owner's permission of an exchange with the input's own content, which changes nothing."""
    forbidden: Bool[np.ndarray, "m n"]
    """Not by the owner; any donor for inputs for which the owner forbids none."""
    views: Mapping[str, Bool[np.ndarray, "m n"]]
    """The other, or a control in its place -> what it permits."""


def _cell(runs: Sequence[_Run]) -> Cell:
    exchanged = sum(int(run.exchanged.sum()) for run in runs)
    kept = sum(int((run.kept & run.exchanged).sum()) for run in runs)
    return Cell(exchanged, kept, _estimate(np.array([_share(run) for run in runs])))


def _share(run: _Run) -> float:
    """Return the share of exchanged inputs that keep their label; NaN if there is none."""
    return float(run.kept[run.exchanged].mean()) if run.exchanged.any() else np.nan


def _estimate(draws: np.ndarray) -> Estimate | None:
    """Return the estimate over the draws that have a value; None of fewer than two."""
    known = draws[~np.isnan(draws)]
    return estimate(known) if len(known) > 1 else None
