"""Explanations scored against the key of a planted network: who is right about what is held where.

The judge's causal scrubbing asks whether a network bears a claim out. Here the truth is known: the
key says which directions and neurons hold which variable. docs/sealed-challenges.md has the rules
for participants.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxmi import notebook
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import Origin
from jaxmi.judge.judge_explanation import BoundClaim, bind_claim
from jaxmi.judge.key_explanation import KeyClaim, claims_of
from jaxmi.judge.subject import Subject
from jaxmi.judge.submission import Explanation, site_axes
from jaxmi.mechanism.subspaces import orthonormal
from jaxmi.planted.compile import MECHANISMS
from jaxmi.settings import with_fixed_settings
from jaxmi.types import Params

FOUND = 0.9
"""A part of the key counts as found, in words, from this match on; the total takes all matches."""

TOUCHES = 0.1
"""A claim counts in full if the key lists at least this share of what it is about; below it counts
in proportion, so that a claim about what the key does not list counts neither way."""

DRAWS = 5
"""Draws of each control."""

RULE = (
    "a part of the key is a variable at a site; it is matched by a claim to min(share of the key's "
    "subspace or neurons that is claimed, share of the claimed that is the key's) times the "
    "adjusted Rand index of the claim's feature and the variable. right: the best match of each "
    "part, added up, and 1 for the mechanism. wrong: claims about what the key lists, each less "
    "its best match, and 1 for a wrong mechanism. total: 2 right / (right + wrong + parts + 1)"
)
"""The rule from which the total follows, for people who read the score."""

_SAME_AS = {"0.hook_attn_out": "0.hook_resid_mid", "0.hook_mlp_out": "0.hook_resid_post"}
"""What the first block adds to the stream holds what the stream holds then, in those directions."""


@dataclass(frozen=True, eq=False)
class Part:
    """Directions or neurons, and a partition of the inputs that they are said to carry."""

    site: str
    width: int
    """How many dimensions or neurons the site has."""
    span: Float[np.ndarray, "k d"] | frozenset[int]
    """Orthonormal directions, or neurons."""
    features: Sequence[Int[np.ndarray, "n"]]
    """The number of each input's value. The key's may be named in more than one way. Of a claim
    that nothing matters: none."""


@dataclass(frozen=True)
class KeyRow:
    """How well a part of the key was found. Shares are in 0..1."""

    variable: str
    site: str
    claim: int | None
    """The number of the claim that matches best; None if none touches it."""
    covered: float
    """Share of the key's subspace, or neurons, that the claim is about."""
    pure: float
    """Share of what the claim is about that is the key's."""
    feature: float
    """Adjusted Rand index of the claim's feature and the variable: 1 if they tell the same inputs
    apart, 0 if they agree as chance would have it; never below 0."""
    match: float
    """The lesser of `covered` and `pure`, times `feature`."""

    @property
    def found(self) -> bool:
        """Whether it counts as found, in words."""
        return self.match >= FOUND


@dataclass(frozen=True)
class ClaimRow:
    """What a claim counts. Shares are in 0..1."""

    site: str
    feature: str
    counts: float
    """How much of a claim it counts: 0 if it is about nothing that the key lists."""
    right: float
    """Its best match with a part of the key."""
    remark: str
    """Why it does not count; "" if it does."""

    @property
    def wrong(self) -> float:
        """How much it counts against the submission."""
        return max(0.0, self.counts - self.right)


@dataclass(frozen=True, repr=False)
class KeyScore:
    """The score of an explanation against a key."""

    title: str
    challenge: str
    mechanism: str
    """The network's mechanism."""
    answer: str | None
    """The mechanism that the submission names; None if it names none."""
    rows: tuple[KeyRow, ...]
    """A row for each part of the key."""
    claims: tuple[ClaimRow, ...]
    """A row for each claim."""
    controls: Mapping[str, float]
    """Total of each control: the same claims about random components, and with their features
    exchanged among them, each with a mechanism drawn at random; mean over draws."""

    @property
    def right(self) -> float:
        """The matches of all parts, and 1 for the right mechanism."""
        return sum(row.match for row in self.rows) + (self.answer == self.mechanism)

    @property
    def wrong(self) -> float:
        """The claims' shares that are wrong, and 1 for a wrong mechanism."""
        named = self.answer is not None
        return sum(one.wrong for one in self.claims) + (named and self.answer != self.mechanism)

    @property
    def precision(self) -> float:
        """Share of what is claimed that is right; 0 if nothing is claimed."""
        claimed = self.right + self.wrong
        return self.right / claimed if claimed else 0.0

    @property
    def recall(self) -> float:
        """Share of the key that was found."""
        return self.right / (len(self.rows) + 1)

    @property
    def total(self) -> float:
        """The harmonic mean of precision and recall, in 0..1."""
        return total(self.right, self.wrong, len(self.rows))

    @property
    def verdict(self) -> str:
        """The total and what it is made of, in a line."""
        found = sum(row.found for row in self.rows)
        if self.answer is None:
            mechanism = f"the mechanism, {self.mechanism}, is not named"
        elif self.answer == self.mechanism:
            mechanism = f"the mechanism is {self.mechanism}, as it says"
        else:
            mechanism = f"the mechanism is {self.mechanism}, not {self.answer}"
        controls = ", ".join(f"{name} {value:.2f}" for name, value in self.controls.items())
        return (
            f"{self.total:.2f} of 1: {found} of {len(self.rows)} parts of the key found; "
            f"{mechanism}; precision {self.precision:.2f}, recall {self.recall:.2f}; "
            f"controls: {controls}"
        )

    def __repr__(self) -> str:
        """Return the verdict."""
        return f"KeyScore({self.verdict!r})"

    def _repr_html_(self) -> str:
        cells = {f"{row.variable} at {row.site}": f"{row.match:.2f}" for row in self.rows}
        return notebook.table(self.verdict, cells)

    def metrics(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "title": self.title,
            "challenge": self.challenge,
            "total": self.total,
            "precision": self.precision,
            "recall": self.recall,
            "right": self.right,
            "wrong": self.wrong,
            "mechanism": self.mechanism,
            "mechanism_answer": self.answer,
            "mechanism_right": None if self.answer is None else self.answer == self.mechanism,
            "parts": [{**vars(row), "found": row.found} for row in self.rows],
            "key_claims": [{**vars(one), "wrong": one.wrong} for one in self.claims],
            "controls": dict(self.controls),
            "verdict": self.verdict,
            "rule": RULE,
        }

    def table(self) -> list[tuple[str, ...]]:
        """Return a table to print: for each part of the key how well it was found."""
        heads = ("", "site", "covered", "pure", "feature", "match", "best claim")
        rows = [
            (
                row.variable,
                row.site,
                f"{row.covered:.2f}",
                f"{row.pure:.2f}",
                f"{row.feature:.2f}",
                f"{row.match:.2f}",
                "none" if row.claim is None else f"claims[{row.claim}]",
            )
            for row in self.rows
        ]
        return [heads, *rows]


@with_fixed_settings
def score_against_key(
    explanation: Explanation,
    key: Mapping[str, Any],
    challenge: Challenge,
    params: Params,
    seed: int = 0,
) -> KeyScore:
    """Score an explanation against the key of the network that it is about.

    Args:
      explanation: The submission.
      key: The key, as `mechanism.json` has it.
      challenge: The network's challenge, with the program that was compiled.
      params: The network's parameters.
      seed: Seed of the controls.

    Raises:
      InputError: if the key does not fit the network, or a claim's feature or component cannot be
        computed; names the claim.
    """
    found = claims_of(key, challenge, params)
    axes = site_axes(Origin(challenge.kind, challenge.model))
    subject = Subject(explanation, challenge, params, axes, None)
    position = int(key["position"])
    listed = [(claim, _part(claim, subject)) for claim in found.claims]
    listed = [(claim, part) for claim, part in listed if part.features]
    parts = [part for _, part in listed]
    claims, remarks = [], []
    for number, submitted in enumerate(explanation.claims):
        claim, remark = _claim(bind_claim(subject, submitted, number), position)
        claims.append(claim)
        remarks.append(remark)
    alike = _alike(parts, claims)
    marks = _mark(parts, claims, alike)
    return KeyScore(
        title=explanation.title,
        challenge=explanation.challenge,
        mechanism=found.mechanism,
        answer=explanation.mechanism,
        rows=tuple(
            KeyRow(claim.variable, claim.site, *row)
            for (claim, _), row in zip(listed, marks.rows, strict=True)
        ),
        claims=tuple(
            ClaimRow(submitted.site, submitted.feature, *counted, remark)
            for submitted, counted, remark in zip(
                explanation.claims, marks.claims, remarks, strict=True
            )
        ),
        controls=_controls(found.mechanism, parts, claims, alike, np.random.default_rng(seed)),
    )


def _part(claim: KeyClaim, subject: Subject) -> Part:
    """Return what a key says of one component; without a feature if it is the same everywhere."""
    named = [claim.values, *([] if claim.held is None else [claim.held])]
    features = [one for values in named if (one := _numbers(values[subject.rows])).any()]
    width = list(subject.axes[claim.site].values())[-1]
    if claim.directions is None:
        return Part(claim.site, width, frozenset(claim.neurons), features)
    return Part(claim.site, width, orthonormal(claim.directions), features)


def _claim(bound: BoundClaim, position: int) -> tuple[Part | None, str]:
    """Return what a claim says of components at the key's position; or None, and why."""
    submitted, component, subject = bound.submitted, bound.component, bound.subject
    axes = subject.axes[submitted.site]
    *outer, last = axes
    if outer != ["pos"]:
        return None, "about another site than the key"
    if position not in component.index[0]:
        return None, "about another position than the key"
    if submitted.where_program is not None:
        return None, "about some inputs only"
    if submitted.names & set(subject.readouts):
        return None, "its feature is read off the network, and names nothing"
    span: Any
    if component.rows is not None:
        span = orthonormal(component.rows)
    elif last == "neuron":
        span = frozenset(component.index[1].tolist())
    else:
        span = np.eye(axes[last])[component.index[1]]
    values = bound.feature(subject.clean)
    features = [one] if (one := _numbers(np.asarray(values))).any() else []
    return Part(_canonical(submitted.site), axes[last], span, features), ""


def _canonical(site: str) -> str:
    """Return the site at which a key would say what is held at a site."""
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", site)
    if match is None:
        return site
    block, name = int(match[1]), match[2]
    if name == "hook_resid_pre" and block > 0:
        return f"blocks.{block - 1}.hook_resid_post"
    if name == "mlp.hook_pre":
        return f"blocks.{block}.mlp.hook_post"
    return f"blocks.{_SAME_AS.get(f'{block}.{name}', f'{block}.{name}')}"


def _numbers(values: np.ndarray) -> Int[np.ndarray, "n"]:
    """Return the number of each value, or row of values, among the distinct ones."""
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)


Alike = Float[np.ndarray, "parts claims"]
"""Adjusted Rand index of each part of the key and each claim's feature."""


@dataclass(frozen=True)
class _Marks:
    """How well parts were found, and what claims count, in their order."""

    rows: list[tuple[int | None, float, float, float, float]]
    """Claim, covered, pure, feature and match of each part of the key."""
    claims: list[tuple[float, float]]
    """How much each claim counts, and its best match."""


def _alike(parts: Sequence[Part], claims: Sequence[Part | None]) -> Alike:
    """Return how much each claim's feature is each part's; 0 of claims without a feature."""
    alike = np.zeros((len(parts), len(claims)))
    for j, claim in enumerate(claims):
        for i, part in enumerate(parts if claim is not None and claim.features else []):
            assert claim is not None
            alike[i, j] = max(adjusted_rand(one, claim.features[0]) for one in part.features)
    return alike


def _mark(parts: Sequence[Part], claims: Sequence[Part | None], alike: Alike) -> _Marks:
    rows: list[tuple[int | None, float, float, float, float]] = [
        (None, 0.0, 0.0, 0.0, 0.0) for _ in parts
    ]
    counted = []
    for number, claim in enumerate(claims):
        here = [] if claim is None else [i for i, p in enumerate(parts) if p.site == claim.site]
        if claim is None or not here:
            counted.append((0.0, 0.0))
            continue
        shares = {i: _shares(parts[i].span, claim.span) for i in here}
        if not claim.features:  # it says that nothing matters there
            counted.append((max(covered for covered, _ in shares.values()), 0.0))
            continue
        best = 0.0
        for i, (covered, pure) in shares.items():
            match = min(covered, pure) * float(alike[i, number])
            best = max(best, match)
            if match > rows[i][-1]:
                rows[i] = (number, covered, pure, float(alike[i, number]), match)
        known = _shares(_union([parts[i].span for i in here]), claim.span)[1]
        counted.append((max(min(1.0, known / TOUCHES), best), best))
    return _Marks(rows, counted)


def _union(spans: Sequence[Any]) -> Any:
    if isinstance(spans[0], frozenset):
        return frozenset().union(*spans)
    return orthonormal(np.concatenate(spans))


def _shares(key: Any, claimed: Any) -> tuple[float, float]:
    """Return the share of the key's that is claimed, and of the claimed that is the key's.

    Of subspaces these are the sums of squared cosines of the principal angles, over the dimensions.
    """
    if isinstance(key, frozenset):
        common = float(len(key & claimed))
    else:
        common = float(((key @ claimed.T) ** 2).sum())
    return min(1.0, common / len(key)), min(1.0, common / len(claimed))


def adjusted_rand(one: Int[np.ndarray, "n"], other: Int[np.ndarray, "n"]) -> float:
    """Return the adjusted Rand index of two partitions, and 0 where it is below 0.

    It is 1 if they are the same, and 0 on average for partitions with these sizes drawn at random
    (Hubert and Arabie, "Comparing partitions", 1985).

    Args:
      one: The number of each input's class.
      other: The same of the other partition.
    """
    width = int(other.max()) + 1
    both, first, second = (
        _pairs(np.unique(one * width + other, return_counts=True)[1]),
        _pairs(np.bincount(one)),
        _pairs(np.bincount(other)),
    )
    expected = first * second / _pairs(np.array([len(one)]))
    most = (first + second) / 2
    return max(0.0, (both - expected) / (most - expected)) if most > expected else 0.0


def _pairs(counts: np.ndarray) -> float:
    """Return how many pairs there are within classes of some sizes."""
    return float((counts * (counts - 1.0) / 2).sum())


def _controls(
    mechanism: str,
    parts: Sequence[Part],
    claims: Sequence[Part | None],
    alike: Alike,
    rng: np.random.Generator,
) -> dict[str, float]:
    carrying = [i for i, claim in enumerate(claims) if claim is not None and claim.features]
    totals: dict[str, list[float]] = {"random components": [], "exchanged features": []}
    for _ in range(DRAWS):
        answer = str(rng.choice(list(MECHANISMS)))
        exchanged = alike.copy()
        exchanged[:, carrying] = alike[:, rng.permutation(carrying)] if carrying else 0.0
        for name, marks in (
            ("random components", _mark(parts, _elsewhere(claims, rng), alike)),
            ("exchanged features", _mark(parts, claims, exchanged)),
        ):
            right = sum(row[-1] for row in marks.rows) + (answer == mechanism)
            wrong = sum(counts - best for counts, best in marks.claims) + (answer != mechanism)
            totals[name].append(total(right, wrong, len(parts)))
    return {name: float(np.mean(values)) for name, values in totals.items()}


def total(right: float, wrong: float, parts: int) -> float:
    """Return the harmonic mean of precision and recall, in 0..1.

    Args:
      right: The matches of all parts of the key, and 1 for the right mechanism.
      wrong: What is claimed and is not so, and 1 for a wrong mechanism.
      parts: The number of the key's parts, without the mechanism.
    """
    return 2 * right / (right + wrong + parts + 1)


def _elsewhere(claims: Sequence[Part | None], rng: np.random.Generator) -> list[Part | None]:
    """Return the claims about random directions and neurons, which overlap as before."""
    drawn: dict[tuple[str, bool], np.ndarray] = {}
    moved: list[Part | None] = []
    for claim in claims:
        if claim is None:
            moved.append(None)
        elif isinstance(claim.span, frozenset):
            order = drawn.setdefault((claim.site, True), rng.permutation(claim.width))
            moved.append(replace(claim, span=frozenset(order[list(claim.span)].tolist())))
        else:
            rotation = np.linalg.qr(rng.normal(size=(claim.width, claim.width)))[0]
            rotation = drawn.setdefault((claim.site, False), rotation)
            moved.append(replace(claim, span=claim.span @ rotation))
    return moved
