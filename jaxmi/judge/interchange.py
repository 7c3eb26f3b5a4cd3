"""Interchange interventions on an explanation's own variables.

Causal scrubbing takes a component from inputs with the same feature. It cannot tell mechanisms
apart where one feature, or features that go together, give the label: any component may then come
from any input with that label. So each variable is also exchanged between inputs with *different*
values. What the explanation says of the label then is read off the inputs themselves: the label of
those that have the recombined values. Only exchanges for which it says a label that neither input
has tell a component from nothing and from everything (`jaxmi.mechanism.interchange`).
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from jaxmi.explanation.components import Component
from jaxmi.judge.bound_claim import BoundClaim
from jaxmi.judge.mechanism_score import (
    DETERMINED,
    IDLE,
    LEAST_PAIRS,
    MechanismScore,
    VariableScore,
)
from jaxmi.judge.subject import Exchange, Subject

PAIRS = 200
"""Most exchanges of each kind."""

SIZE = 4 * PAIRS
"""Inputs of a run: always as many, so that runs compile once."""

DRAWN = 60_000
"""Exchanges that are drawn at random, to find some of each kind among them."""

Codes = Int[np.ndarray, "n"]
"""The number of a feature's value, of each input."""


def judge_mechanism(
    claims: Sequence[BoundClaim], controls: Sequence[Sequence[BoundClaim]], seed: int
) -> MechanismScore:
    """Exchange every variable of an explanation.

    Args:
      claims: The claims that count.
      controls: The same claims about random components, several times; none if there are no others.
      seed: Seed of the draws.

    Raises:
      InputError: if a feature cannot be computed, in a line that names the claim.
    """
    subject = claims[0].subject
    runs = _Runs(subject, np.random.default_rng([seed, 4]))
    featured = [(i, codes) for i, claim in enumerate(claims) if (codes := _codes(claim)).any()]
    idle = {i for i, _ in featured if runs.changed(claims[i]) < IDLE}
    scores: list[VariableScore] = []
    determined: dict[str, float] = {}
    for site in subject.claimed_sites:
        here = [(i, codes) for i, codes in featured if claims[i].site == site]
        if not here:
            continue
        variables = _variables([(i, claims[i], codes) for i, codes in here])
        table = _Table([variable.codes for variable in variables], runs.labels)
        determined[site] = table.determined
        parts = [[claims[i].component for i in one.claims] for one in variables]
        random = [[[drawn[i].component for i in v.claims] for v in variables] for drawn in controls]
        for number, variable in enumerate(variables):
            numbers = tuple(claims[i].number for i in variable.claims)
            about = site, numbers, int(variable.codes.max()) + 1
            if idle.issuperset(variable.claims):  # it takes part in exchanges of the others
                continue
            if reason := _untestable(table):
                scores.append(VariableScore(*about, reason))
            else:
                scores.append(runs.score(about, table, number, parts, random))
    return MechanismScore(tuple(scores), tuple(claims[i].number for i in sorted(idle)), determined)


class _Variable(NamedTuple):
    """A variable: the claims about one site that have one partition of the inputs in common."""

    claims: list[int]
    codes: Codes


def _codes(claim: BoundClaim) -> Codes:
    """Return the number of each input's value of a claim's feature; 0 everywhere if constant.

    Values within the noise of the claim count as one, and so do all inputs outside its condition.
    """
    clean = claim.subject.clean
    inputs, values = claim.inputs(clean), claim.feature(clean)
    if (noise := claim.submitted.near) and np.ptp(values := values.astype(np.float64)):
        values = np.floor((values - values.min()) / (2 * noise * np.ptp(values)))
    codes = np.unique(values, return_inverse=True)[1].reshape(-1)
    return _in_order(np.where(inputs, codes + 1, 0))


def _variables(claims: Sequence[tuple[int, BoundClaim, Codes]]) -> list[_Variable]:
    """Group claims about one site into variables.

    A component with several claims carries what these say together. Components that carry the same
    partition of the inputs carry one variable.
    """
    components: list[list[tuple[int, BoundClaim, Codes]]] = []
    for one in claims:
        component = one[1].component
        about = next((a for a in components if a[0][1].component.equals(component)), None)
        if about is None:
            components.append([one])
        else:
            about.append(one)
    variables: list[_Variable] = []
    for about in components:
        numbers, codes = [i for i, _, _ in about], _together(about)
        same = next((one for one in variables if np.array_equal(one.codes, codes)), None)
        if same is None:
            variables.append(_Variable(numbers, codes))
        else:
            same.claims.extend(numbers)
    return variables


def _together(claims: Sequence[tuple[int, BoundClaim, Codes]]) -> Codes:
    """Return what claims about one component say together.

    Claims about all inputs are carried out one after the other: inputs are alike if a chain of such
    claims calls them so. Beside these a claim about some inputs says how the label depends on the
    values, not what they are. Without these, an input's value is that of each claim about it.
    """
    everywhere = [codes for _, claim, codes in claims if claim.submitted.where is None]
    if everywhere:
        return _in_order(reduce(_joined, everywhere))
    columns = np.stack([codes for _, _, codes in claims], axis=1)
    return _in_order(np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1))


def _joined(one: Codes, other: Codes) -> Codes:
    """Return the classes of inputs that are connected by having a value of either in common."""
    offset = int(one.max()) + 1
    links = coo_matrix((np.ones(len(one)), (one, other + offset)))
    size = offset + int(other.max()) + 1
    links.resize((size, size))
    return connected_components(links, directed=False)[1][one].astype(np.int64)


def _in_order(codes: Codes) -> Codes:
    """Number classes by their first input: equal partitions get equal numbers."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.reshape(-1)]


class _Table:
    """The label as a function of the variables' values, as far as inputs show it."""

    def __init__(self, variables: Sequence[Codes], labels: Int[np.ndarray, "n"]) -> None:
        tuples, self.of = np.unique(np.stack(variables, axis=1), axis=0, return_inverse=True)
        self.of = self.of.reshape(-1)
        self.tuples: Int[np.ndarray, "t m"] = tuples
        ones = np.bincount(self.of, weights=labels, minlength=len(tuples))
        share = ones / np.bincount(self.of, minlength=len(tuples))
        self.labels = (share > 0.5).astype(np.int64)
        self.determined = float((self.labels[self.of] == labels).mean())

    def others(self, variable: int) -> Int[np.ndarray, "t"]:
        """Return the number of each tuple's values of all variables but one."""
        rest = np.delete(self.tuples, variable, axis=1)
        return np.unique(rest, axis=0, return_inverse=True)[1].reshape(-1)


def _untestable(table: _Table) -> str:
    """Return why no variable of a site can be tested; "" if they can."""
    if table.tuples.shape[1] == 1:
        return "one variable alone: its exchange gives the source's label"
    if table.determined < DETERMINED:
        return f"the features give the label of {table.determined:.1%} of the inputs only"
    return ""


class _Exchanges(NamedTuple):
    """Bases, the sources of their variables' values, and the labels that are said to follow."""

    bases: Int[np.ndarray, "k"]
    sources: Int[np.ndarray, "k m"]
    """The input that each variable's components come from; -1: they stay."""
    labels: Int[np.ndarray, "k"]

    @property
    def enough(self) -> bool:
        return len(self.bases) >= LEAST_PAIRS

    def part(self, rows: np.ndarray) -> "_Exchanges":
        return _Exchanges(self.bases[rows], self.sources[rows], self.labels[rows])


Parts = Sequence[Sequence[Component]]
"""The components of each variable."""


class _Runs:
    """Runs of a network with exchanged components."""

    def __init__(self, subject: Subject, rng: np.random.Generator) -> None:
        self._subject, self._rng = subject, rng
        self.labels: Int[np.ndarray, "n"] = subject.logits.argmax(axis=-1)

    def changed(self, claim: BoundClaim) -> float:
        """Return the share of inputs whose label changes if a component comes from any other."""
        bases, sources = self._rng.integers(0, self._subject.n, (2, SIZE))
        after = self._run(claim.site, [[claim.component]], bases, sources[:, None])
        return float((after != self.labels[bases]).mean())

    def score(
        self,
        about: tuple[str, tuple[int, ...], int],
        table: _Table,
        variable: int,
        parts: Parts,
        controls: Sequence[Parts],
    ) -> VariableScore:
        """Exchange one variable's components; if that says nothing, with those of others.

        Args:
          about: The site, the claims' numbers, and how many values the variable takes.
          table: The label by the values of the site's variables.
          variable: Which of these it is.
          parts: The variables' components.
          controls: Random components in their place, several times.
        """
        site = about[0]
        kinds = self._draw(table, *self._alone(table, variable))
        if not kinds[0].enough:
            kinds = self._draw(table, *self._with_others(table, variable))
        strict = kinds[0]
        if not strict.enough:
            reason = f"{len(strict.bases)} exchanges by which the label would be no input's own"
            return VariableScore(*about, reason, len(strict.bases))
        alike = self._alike(table, strict)
        of_strict, keep, follow, of_alike = self._shares(site, parts, [*kinds, alike])
        drawn = [
            self._shares(site, control, [strict, alike])
            for control in controls
            if not any(
                component.equals(own)
                for component, own in zip(control[variable], parts[variable], strict=True)
            )
        ]
        random, random_alike = map(_mean, zip(*drawn, strict=True)) if drawn else (None, None)
        return VariableScore(
            *about,
            reason="",
            strict_pairs=len(strict.bases),
            strict=of_strict,
            keep=keep,
            follow=follow,
            alike=of_alike,
            random=random,
            random_alike=random_alike,
            together=int((strict.sources >= 0).sum(axis=1).max()),
        )

    def _alike(self, table: _Table, strict: _Exchanges) -> _Exchanges:
        """Return the same exchanges from other inputs with the base's own values, if any."""
        bases, values = strict.bases, table.tuples[table.of]
        sources = np.full_like(strict.sources, -1)
        for i, column in enumerate(values.T):
            number = 2 * column + self.labels
            drawn = _Lists(number).draw(number[bases], self._rng)
            sources[:, i] = np.where(strict.sources[:, i] >= 0, drawn, -1)
        is_other = ((sources >= 0) & (sources != bases[:, None])).any(axis=1)
        return strict._replace(sources=sources).part(np.flatnonzero(is_other))

    def _alone(self, table: _Table, variable: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw bases, and tuples that differ from theirs in one variable only."""
        others = table.others(variable)
        order, sizes = np.argsort(others, kind="stable"), np.bincount(others)
        starts = np.cumsum(sizes) - sizes
        bases = self._rng.integers(0, len(self.labels), DRAWN)
        group = others[table.of[bases]]
        return bases, order[starts[group] + self._rng.integers(0, sizes[group])]

    def _with_others(self, table: _Table, variable: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw bases, and tuples that differ from theirs in one variable and are alike in some."""
        values, n = table.tuples[table.of], len(self.labels)
        bases = self._rng.integers(0, n, DRAWN)
        shared = self._rng.integers(0, values.shape[1], DRAWN)
        offset = int(values.max()) + 1
        lists = _Lists((values + offset * np.arange(values.shape[1])).T.reshape(-1))
        like = lists.draw(values[bases, shared] + offset * shared, self._rng) % n
        differs = values[like, variable] != values[bases, variable]
        return bases[differs], table.of[like[differs]]

    def _draw(
        self, table: _Table, bases: Int[np.ndarray, "k"], said: Int[np.ndarray, "k"]
    ) -> list[_Exchanges]:
        """Return exchanges of each kind, strict, keep and follow: the fewest variables first.

        Every variable that differs takes its value from an input of its own.

        Args:
          table: The label by the variables' values.
          bases: Inputs.
          said: For each the tuple that it is to have.
        """
        rng, labels = self._rng, self.labels
        target, label, own = table.tuples[said], table.labels[said], labels[bases]
        differs = target != table.tuples[table.of[bases]]
        some = differs.any(axis=1) & ~differs.all(axis=1)
        lists = [_Lists(2 * column + labels) for column in table.tuples[table.of].T]
        kinds = []
        for wanted, of_source in (
            (label != own, own),  # strict
            (label == own, 1 - own),  # keep
            (label != own, label),  # follow
        ):
            rows = np.flatnonzero(wanted & some)
            sources = np.full((len(rows), target.shape[1]), -1)
            known = np.ones(len(rows), bool)
            for i, members in enumerate(lists):
                drawn = members.draw(2 * target[rows, i] + of_source[rows], rng)
                sources[:, i] = np.where(differs[rows, i], drawn, -1)
                known &= ~differs[rows, i] | (drawn >= 0)
            found = _Exchanges(bases[rows], sources, label[rows]).part(known)
            kinds.append(_chosen(found))
        return kinds

    def _shares(self, site: str, parts: Parts, kinds: Sequence[_Exchanges]) -> list[float | None]:
        """Return the share of exchanges of each kind that give the label that is said."""
        bases, sources = (
            np.concatenate([getattr(kind, name) for kind in kinds]) for name in ("bases", "sources")
        )
        ends = np.cumsum([len(kind.bases) for kind in kinds[:-1]])
        after = np.split(self._run(site, parts, bases, sources), ends)
        return [
            float((got == kind.labels).mean()) if kind.enough else None
            for got, kind in zip(after, kinds, strict=True)
        ]

    def _run(
        self,
        site: str,
        parts: Parts,
        bases: Int[np.ndarray, "k"],
        sources: Int[np.ndarray, "k m"],
    ) -> Int[np.ndarray, "k"]:
        """Return the labels of bases with components from sources; in runs of one size."""
        rows = np.arange(SIZE) % len(bases)
        exchanges = [
            Exchange(site, component, sources[rows, i])
            for i, components in enumerate(parts)
            for component in components
            if (sources[:, i] >= 0).any()
        ]
        logits, _ = self._subject.exchanged(bases[rows], exchanges)
        return logits[: len(bases)].argmax(axis=-1)


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None


class _Lists:
    """Inputs in lists by a number of each."""

    def __init__(self, numbers: Int[np.ndarray, "n"]) -> None:
        self._order = np.argsort(numbers, kind="stable")
        self._sizes = np.bincount(numbers)
        self._starts = np.cumsum(self._sizes) - self._sizes

    def draw(self, numbers: Int[np.ndarray, "k"], rng: np.random.Generator) -> np.ndarray:
        """Return an input of each number, at random; -1 for numbers without."""
        known = numbers < len(self._sizes)
        at = np.where(known, numbers, 0)
        sizes = np.where(known, self._sizes[at], 0)
        places = self._starts[at] + rng.integers(0, np.maximum(sizes, 1))
        return np.where(sizes > 0, self._order[np.minimum(places, len(self._order) - 1)], -1)


def _chosen(found: _Exchanges) -> _Exchanges:
    """Return at most `PAIRS` distinct exchanges, of few variables first, of both labels."""
    both = np.column_stack([found.bases, found.sources])
    hashed = both @ np.random.default_rng(0).integers(1, 2**62, both.shape[1])  # wraps around
    _, first = np.unique(hashed, return_index=True)
    first = np.sort(first)  # the order in which they were drawn
    first = first[np.argsort((found.sources[first] >= 0).sum(axis=1), kind="stable")]
    sides = [first[found.labels[first] == side] for side in (0, 1)]
    most = [max(PAIRS // 2, PAIRS - len(other)) for other in reversed(sides)]
    return found.part(np.concatenate([side[:n] for side, n in zip(sides, most, strict=True)]))
