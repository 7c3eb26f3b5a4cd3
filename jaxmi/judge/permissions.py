"""The exchanges that an explanation permits: which donor each input may take a component from.

A claim permits a donor whose feature is the input's, if it is about both. An explanation permits an
exchange of a component if one of its claims about the component does; it calls two inputs alike if
it permits the exchange of every component that it names. Features are read on each input's own run,
so what an explanation permits is known before anything is exchanged.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.explanation.components import Component
from jaxmi.judge.bound_claim import BoundClaim
from jaxmi.judge.features import near_reach

SAMPLE = 2048
"""Number of inputs over which bits are averaged, at most."""

PROJECTIONS = 4
"""Number of random projections by which contents of a component are told apart."""


class ClaimPermissions:
    """The donors that one claim permits."""

    def __init__(self, claim: BoundClaim, pool: Int[np.ndarray, "n"]) -> None:
        """Read the claim's feature and condition.

        Args:
          claim: The claim.
          pool: Rows of the claim's network that are inputs and donors.

        Raises:
          InputError: if the feature cannot be computed, in a line that names the claim.
        """
        clean = claim.subject.clean
        self._inputs = claim.inputs(clean)[pool]
        feature = claim.feature(clean)[pool]
        noise = claim.submitted.near
        if noise is None:
            self._reach = None
            self._values = np.unique(feature, return_inverse=True)[1]
            return
        self._values = feature.astype(np.float64)
        self._reach = np.zeros(len(pool))
        self._reach[self._inputs] = near_reach(self._values[self._inputs], noise)

    def of(self, rows: Int[np.ndarray, "m"]) -> Bool[np.ndarray, "m n"]:
        """Return which donors the claim permits for some inputs."""
        values = self._values[rows, None]
        if self._reach is None:
            same = values == self._values
        else:
            same = np.abs(values - self._values) <= self._reach[rows, None]
        return same & self._inputs[rows, None] & self._inputs


class Permissions:
    """The exchanges that an explanation permits, among the inputs of a pool."""

    def __init__(self, claims: Sequence[BoundClaim], pool: Int[np.ndarray, "n"]) -> None:
        """Read every claim's feature; arguments and errors as `ClaimPermissions`."""
        self.n = len(pool)
        self._claims = [(claim, ClaimPermissions(claim, pool)) for claim in claims]
        distinct: list[BoundClaim] = []
        for claim in claims:
            if not any(_same_component(claim, other) for other in distinct):
                distinct.append(claim)
        self.components = tuple(distinct)
        """The first claim about each component, in the order of the submission."""

    def of(
        self, site: str, component: Component, rows: Int[np.ndarray, "m"]
    ) -> Bool[np.ndarray, "m n"] | None:
        """Return which donors some inputs may take a component from; None: no claim contains it."""
        about = [
            permissions
            for claim, permissions in self._claims
            if claim.site == site and claim.component.contains(component)
        ]
        found = [permissions.of(rows) for permissions in about]
        return np.logical_or.reduce(found) if found else None

    def alike(self, rows: Int[np.ndarray, "m"]) -> Bool[np.ndarray, "m n"]:
        """Return which inputs the explanation calls like some inputs: all components may go."""
        alike = np.ones((len(rows), self.n), bool)
        for claim in self.components:
            permitted = self.of(claim.site, claim.component, rows)
            assert permitted is not None  # a claim contains its own component
            alike &= permitted
        return alike

    def bits(self) -> float:
        """Return the mean information about an input in all features together, in bits.

        It is log2 of the number of inputs over the number that the explanation calls alike: of
        exact features the entropy of their common partition. log2(n) identifies the input.
        """
        rows = np.arange(self.n)
        if self.n > SAMPLE:
            rows = np.random.default_rng(0).choice(self.n, SAMPLE, replace=False)
        parts = np.array_split(rows, -(-len(rows) // 256))
        alike = np.concatenate([self.alike(part).sum(axis=1) for part in parts])
        return float(np.log2(self.n / np.maximum(alike, 1)).mean())


class Contents:
    """The donors that make different interventions on a component: one for each content.

    Donors with the same content make the same intervention. Where the component depends on x alone,
    (x', y) and (x', y') do. The input is compared with the one that is nearest to it, so that the
    two differ in what is exchanged and in as little else as can be.
    """

    def __init__(self, content: Float[np.ndarray, "n d"], points: Float[np.ndarray, "n k"]) -> None:
        """Group donors by content.

        Args:
          content: What the component is, for each input.
          points: Coordinates in which similar inputs are near.
        """
        finite = np.nan_to_num(content, posinf=0.0, neginf=0.0).astype(np.float64)
        mixed = finite @ np.random.default_rng(0).normal(size=(finite.shape[1], PROJECTIONS))
        rounded = np.round(mixed / (np.abs(mixed).max(initial=0.0) or 1.0), 6)
        self._points = points
        self._group = np.unique(rounded, axis=0, return_inverse=True)[1].reshape(-1)
        self._n_groups = int(self._group.max(initial=-1)) + 1

    def donors(self, rows: Int[np.ndarray, "m"]) -> Bool[np.ndarray, "m n"]:
        """Return the donors to choose from for some inputs, never the input itself.

        A donor with the input's own content is among them: `changes` leaves it out.
        """
        n = len(self._group)
        others = rows[:, None] != np.arange(n)
        if self._n_groups == n:
            return others
        distance = np.zeros((len(rows), n))
        for axis in self._points.T:
            distance += np.abs(axis[rows, None] - axis)
        distance[~others] = np.inf
        order = np.argsort(self._group, kind="stable")
        starts = np.searchsorted(self._group[order], np.arange(self._n_groups))
        nearest = np.minimum.reduceat(distance[:, order], starts, axis=1)
        return others & (distance <= nearest[:, self._group])

    def changes(self, rows: Int[np.ndarray, "m"]) -> Bool[np.ndarray, "m n"]:
        """Return which donors have another content than some inputs: others change nothing."""
        return self._group[rows, None] != self._group


def draw_permitted(
    permitted: Bool[np.ndarray, "m n"], rng: np.random.Generator
) -> Int[np.ndarray, "m"]:
    """Draw one of the permitted donors for each input; -1 where there is none."""
    m, n = permitted.shape
    counts = permitted.sum(axis=1)
    places = np.flatnonzero(permitted)  # input after input
    if not len(places):
        return np.full(m, -1)
    picks = np.cumsum(counts) - counts + rng.integers(0, np.maximum(counts, 1))
    drawn = places[np.minimum(picks, len(places) - 1)] - np.arange(m) * n
    return np.where(counts > 0, drawn, -1)


def _same_component(claim: BoundClaim, other: BoundClaim) -> bool:
    return claim.site == other.site and claim.component.equals(other.component)
