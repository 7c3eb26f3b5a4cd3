"""Causal scrubbing: test a hypothesis by exchanging activations among inputs that it calls alike.

A hypothesis is a list of claims. A claim says: of the input, these components of this site carry
only this feature. So every input may take the components from a donor, another input with the same
feature. If the network's labels then change, the claim is wrong.

Claims are carried out site by site, in the order of the activations that are given, and at one site
in the order of the claims; each acts on what the claims before it left. The method is that of Chan
et al., "Causal scrubbing: a method for rigorously testing interpretability hypotheses" (2022).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.errors import InputError
from jaxmi.explanation.components import Component, Selection, replace_rest, select

Scrubbed = Mapping[str, np.ndarray]
"""Site -> (n, ...) activations, one row per input, after the claims at this and earlier sites."""

Source = np.ndarray | Callable[[Scrubbed], np.ndarray]
"""A site's (n, ...) activations, or a function that computes them from the scrubbed activations of
the sites before it."""

DonorRule = Callable[[np.random.Generator, Scrubbed], Int[np.ndarray, "n"]]
"""Draws a donor's row for each input, given the scrubbed activations of this and earlier sites."""


@dataclass(frozen=True)
class Claim:
    """Part of a hypothesis: some components carry only what an input and its donors share."""

    site: str
    """A key of the activations that are scrubbed."""

    donors: DonorRule
    """Draws the donors, such as `same(feature)` or `near(feature, noise)`."""

    components: Selection | None = None
    """The components that are exchanged: an index on the site's last axis; a tuple of indices, one
    for each axis, such as `(slice(None), 3)` for head 3 of (pos, head, d_head); a mapping of axis
    name to index; or directions as a `Component`. None means the whole site."""

    inputs: Callable[[Scrubbed], Bool[np.ndarray, "n"]] | None = None
    """Selects the inputs that the claim is about, given the activations before the claims at its
    site. For these inputs the claim's components are kept when `rest` is resampled. None means
    all inputs."""


class Outcome(NamedTuple):
    """Measured effect of scrubbing, over several draws of donors."""

    kept: float
    """Share of inputs that keep their label; mean over draws, in 0..1."""
    kept_std: float
    """Standard deviation of `kept` over draws (n - 1 in the denominator); 0 for a single draw."""
    chance: float
    """`kept` of labels that are drawn at random by the network's own class shares."""
    logit_error: float
    """Mean of |scrubbed - clean logit difference| over inputs and draws, in logits."""
    moved: float
    """Share of resampled inputs, those with a donor other than themselves; mean over draws."""
    kept_of_moved: float
    """Share of the resampled inputs that keep their label; 1 in a draw without any."""


def scrub(
    activations: Mapping[str, Source],
    claims: Sequence[Claim],
    logits: Callable[[Scrubbed], Float[np.ndarray, "n classes"]],
    clean: Float[np.ndarray, "n classes"],
    draws: int,
    seed: int = 0,
    rest: Collection[str] = (),
) -> Outcome:
    """Test a hypothesis: exchange activations as it allows and compare the labels.

    Args:
      activations: Site -> what the network computes there, in the network's order. Give a function
        for a site that depends on an earlier one.
      claims: The hypothesis.
      logits: Computes the logits from scrubbed activations.
      clean: Logits to compare with: the network's own, unless another comparison is meant.
      draws: How often donors are drawn, >= 1.
      seed: Seed of the draws: draw i uses the generator seeded by [seed, i].
      rest: Sites at which every component without a claim is resampled, too, from a random other
        input.

    Raises:
      InputError: if draws < 1, or a claim cannot be carried out (see `replace`).
    """
    if draws < 1:
        raise InputError(f"scrubbing takes at least one draw, not {draws}")
    labels = clean.argmax(axis=-1)
    kept, kept_of_moved, errors, moved = [], [], [], []
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        scrubbed, resampled = replace(activations, claims, rng, rest)
        scrubbed_logits = logits(scrubbed)
        stays = scrubbed_logits.argmax(axis=-1) == labels
        kept.append(float(stays.mean()))
        kept_of_moved.append(float(stays[resampled].mean()) if resampled.any() else 1.0)
        errors.append(float(np.abs(difference(scrubbed_logits) - difference(clean)).mean()))
        moved.append(float(resampled.mean()))
    return Outcome(
        kept=float(np.mean(kept)),
        kept_std=float(np.std(kept, ddof=1)) if draws > 1 else 0.0,
        chance=chance_level(labels),
        logit_error=float(np.mean(errors)),
        moved=float(np.mean(moved)),
        kept_of_moved=float(np.mean(kept_of_moved)),
    )


def replace(
    activations: Mapping[str, Source],
    claims: Sequence[Claim],
    rng: np.random.Generator,
    rest: Collection[str] = (),
) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, "n"]]:
    """Carry out claims once.

    Args:
      activations: As in `scrub`; the arrays given are not changed.
      claims: The hypothesis.
      rng: Draws the donors.
      rest: As in `scrub`.

    Returns:
      Site -> the new activations; and which inputs were resampled: those to which some claim gave
      a donor other than themselves.

    Raises:
      InputError: if a claim names no site, its components match nothing, or its donors are not one
        for each input.
    """
    for site in [*(claim.site for claim in claims), *rest]:
        if site not in activations:
            raise InputError(f"no site {site!r}; the sites are: {', '.join(activations)}")
    scrubbed: dict[str, np.ndarray] = {}
    moved: list[np.ndarray] = []  # for each claim, the inputs with a donor other than themselves
    n = 0
    for site, source in activations.items():
        values = scrubbed[site] = source(scrubbed) if callable(source) else source
        n = len(values)
        claims_here = [
            (claim, select(site, values.shape[1:], claim.components))
            for claim in claims
            if claim.site == site
        ]
        spared = _spared(claims_here, scrubbed, n) if site in rest else []
        for claim, component in claims_here:
            donors = claim.donors(rng, scrubbed)
            if donors.shape != (n,):
                raise InputError(f"a claim about {site} has {len(donors)} donors for {n} inputs")
            scrubbed[site] = component.exchange(scrubbed[site], donors)
            moved.append(donors != np.arange(n))
        if site in rest:
            others = scrubbed[site][anyone(n)(rng, scrubbed)]
            scrubbed[site] = replace_rest(scrubbed[site], others, spared)
    return scrubbed, np.any(moved, axis=0) if moved else np.zeros(n, bool)


def _spared(
    claims: Sequence[tuple[Claim, Component]], scrubbed: Scrubbed, n: int
) -> list[tuple[Component, Bool[np.ndarray, "n"]]]:
    """Return each claim's component, and the inputs for which it is not resampled."""
    everyone = np.ones(n, bool)
    return [
        (component, everyone if claim.inputs is None else claim.inputs(scrubbed))
        for claim, component in claims
    ]


def same(feature: Int[np.ndarray, "n"] | Bool[np.ndarray, "n"]) -> DonorRule:
    """Return the rule that draws donors with the same value of a feature, never the input itself.

    An input that alone has its value has no donor and keeps its own activation.
    """
    groups = _Groups(feature)
    return lambda rng, _: groups.draw(rng, groups.own)


def near(feature: Float[np.ndarray, "n"], noise: float) -> DonorRule:
    """Return the rule that draws donors with nearly the same value, never the input itself.

    The donor is the input whose value is nearest to the input's own plus Gaussian noise; one of
    them is drawn if several have that value.

    Args:
      feature: A number per input.
      noise: Standard deviation of the noise, as a share of the feature's range.

    Raises:
      InputError: if there are fewer than two inputs, the noise is negative, or a value not finite.
    """
    n = len(feature)
    if n < 2:
        raise InputError(f"no donor among {n} inputs")
    if not noise >= 0:
        raise InputError(f"the noise on a feature must not be negative: {noise}")
    if not np.isfinite(feature).all():
        raise InputError("a feature has values that are not finite")
    groups = _Groups(np.asarray(feature, np.float64))
    alone = groups.sizes[groups.own] == 1
    rising = np.argsort(groups.own, kind="stable")

    def draw(rng: np.random.Generator, _: Scrubbed) -> Int[np.ndarray, "n"]:
        target = feature + rng.normal(0.0, noise * np.ptp(groups.values), n)
        above = np.empty(n, np.int64)
        above[rising] = np.searchsorted(groups.values, target[rising])  # nearly sorted is faster
        # The input's own value may be the nearest on one side, and barred: so two on each side.
        last = len(groups.values) - 1
        candidates = np.clip(above[:, None] + np.array([[-2, -1, 0, 1]]), 0, last)
        distance = np.abs(groups.values[candidates] - target[:, None])
        distance[alone[:, None] & (candidates == groups.own[:, None])] = np.inf
        return groups.draw(rng, candidates[np.arange(n), distance.argmin(axis=1)])

    return draw


def anyone(n: int) -> DonorRule:
    """Return the rule that draws any other of n inputs: unconditional resampling."""
    return same(np.zeros(n, np.int32))


def within(where: Bool[np.ndarray, "n"]) -> DonorRule:
    """Return the rule that draws donors among the inputs where a condition holds.

    Other inputs keep their own activation.
    """
    return same(np.where(where, -1, np.arange(len(where))))


class _Groups:
    """Inputs grouped by their value of a feature."""

    def __init__(self, feature: np.ndarray) -> None:
        self.values, self.own, self.sizes = np.unique(
            feature, return_inverse=True, return_counts=True
        )
        self._members = np.argsort(self.own, kind="stable")  # group after group
        self._starts = np.cumsum(self.sizes) - self.sizes
        self._rank = np.empty(len(feature), np.int64)
        self._rank[self._members] = np.arange(len(feature)) - np.repeat(self._starts, self.sizes)

    def draw(self, rng: np.random.Generator, group: np.ndarray) -> Int[np.ndarray, "n"]:
        """Draw a member of a group for each input; not the input itself, if there is another."""
        size = self.sizes[group]
        is_own = group == self.own
        place = rng.integers(0, np.where(is_own, np.maximum(size - 1, 1), size))
        place = np.where(is_own, (self._rank + 1 + place) % size, place)
        return self._members[self._starts[group] + place]


def difference(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n"]:
    """Return logit 1 - logit 0 of each input."""
    return logits[:, 1] - logits[:, 0]


def chance_level(labels: Int[np.ndarray, "n"]) -> float:
    """Return the probability that two independent draws from the labels agree."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float((shares**2).sum())
