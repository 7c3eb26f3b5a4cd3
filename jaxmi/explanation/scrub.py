"""Causal scrubbing: replace activations by those of other inputs that a hypothesis calls the same.

A hypothesis is a list of claims. Each says: in these components of this site, only this feature of
the input matters. So every input may take those components from another input with the same
feature, its donor; if the network then changes its answers, the claim is wrong. Claims are carried
out in the order given, each on what the claims before it left.

After Chan et al., "Causal scrubbing" (2022).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.errors import InputError

Scrubbed = Mapping[str, np.ndarray]
"""Site -> (n, ...) activations, one row per input."""

Index = int | slice | list[int] | np.ndarray
"""Positions on an axis: a number, a slice, numbers, or a mask."""

DonorRule = Callable[[np.random.Generator, Scrubbed], Int[np.ndarray, "n"]]
"""Draws a donor for each input, given the activations that the claims before left."""


@dataclass(frozen=True)
class Claim:
    """At this site, in these components, nothing matters but what donors share with the input."""

    site: str
    """A key of the activations that are scrubbed."""

    donors: DonorRule
    """Draws the donors, such as `same(feature)` or `near(feature, noise)`."""

    components: Index | tuple[Index, ...] | None = None
    """Positions on the site's last axis, or a mask over it; for several axes a tuple with one entry
    for each but the inputs', such as `(slice(None), 3)` for head 3 of (pos, head, d_head) and all
    of what follows. None means all."""


class Outcome(NamedTuple):
    """What scrubbing did, over several draws of the donors."""

    kept: float
    """Share of inputs whose label stays as it was; mean over draws, in 0..1."""
    kept_std: float
    """Its standard deviation over draws (with n - 1); 0 for a single draw."""
    chance: float
    """What `kept` would be for labels drawn at random by the network's own class shares."""
    logit_error: float
    """Mean of |scrubbed - clean logit difference|, over inputs and draws."""
    moved: float
    """Share of inputs that took something from another input; mean over draws."""


def same(feature: Int[np.ndarray, "n"] | Bool[np.ndarray, "n"]) -> DonorRule:
    """Donors have the same value of the feature; never the input itself.

    An input that is the only one with its value has no donor and keeps its own activation.
    """
    groups = _Groups(feature)
    return lambda rng, _: groups.draw(rng, groups.own)


def near(feature: Float[np.ndarray, "n"], noise: float) -> DonorRule:
    """Donors have nearly the same value: nearest to the input's plus noise; never the input itself.

    Of several inputs with the nearest value, one is drawn.

    Args:
      feature: A number per input.
      noise: Standard deviation of the Gaussian noise, as a share of the feature's range.

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

    def draw(rng: np.random.Generator, _: Scrubbed) -> Int[np.ndarray, "n"]:
        wanted = feature + rng.normal(0.0, noise * np.ptp(groups.values), n)
        above = np.searchsorted(groups.values, wanted)
        # The input's own value may be the nearest on one side, and barred: so two on each.
        last = len(groups.values) - 1
        candidates = np.clip(above[:, None] + np.array([[-2, -1, 0, 1]]), 0, last)
        distance = np.abs(groups.values[candidates] - wanted[:, None])
        distance[alone[:, None] & (candidates == groups.own[:, None])] = np.inf
        return groups.draw(rng, candidates[np.arange(n), distance.argmin(axis=1)])

    return draw


class _Groups:
    """Inputs by their value of a feature."""

    def __init__(self, feature: np.ndarray) -> None:
        self.values, self.own, self.sizes = np.unique(
            feature, return_inverse=True, return_counts=True
        )
        self._members = np.argsort(self.own, kind="stable")  # group after group
        self._starts = np.cumsum(self.sizes) - self.sizes
        self._rank = np.empty(len(feature), np.int64)
        self._rank[self._members] = np.arange(len(feature)) - np.repeat(self._starts, self.sizes)

    def draw(self, rng: np.random.Generator, group: np.ndarray) -> Int[np.ndarray, "n"]:
        """Draws for each input one of a group's members: another than itself, if there is one."""
        size = self.sizes[group]
        is_own = group == self.own
        place = rng.integers(0, np.where(is_own, np.maximum(size - 1, 1), size))
        place = np.where(is_own, (self._rank + 1 + place) % size, place)
        return self._members[self._starts[group] + place]


def anyone(n: int) -> DonorRule:
    """Donors are any of the other inputs: unconditional resampling."""
    return same(np.zeros(n, np.int32))


def within(where: Bool[np.ndarray, "n"]) -> DonorRule:
    """Inputs for which `where` holds take from each other; the rest keep their own."""
    return same(np.where(where, -1, np.arange(len(where))))


def scrub(
    activations: Scrubbed,
    claims: Sequence[Claim],
    logits: Callable[[Scrubbed], Float[np.ndarray, "n classes"]],
    clean: Float[np.ndarray, "n classes"],
    draws: int,
    seed: int = 0,
) -> Outcome:
    """Tests a hypothesis.

    Args:
      activations: What the network computes on each input, at the sites that are scrubbed.
      claims: The hypothesis.
      logits: Goes on from such activations to the answers.
      clean: The answers that must be kept: the network's own, unless another comparison is meant.
      draws: How often donors are drawn anew, >= 1.
      seed: Of the draws: the same seed gives the same donors.

    Raises:
      InputError: if a claim names no site or touches no component, or draws < 1.
    """
    if draws < 1:
        raise InputError(f"scrubbing takes at least one draw, not {draws}")
    kept, errors, moved = [], [], []
    labels = clean.argmax(axis=-1)
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        scrubbed, touched = replace(activations, claims, rng)
        answers = logits(scrubbed)
        kept.append(float((answers.argmax(axis=-1) == labels).mean()))
        errors.append(float(np.abs(difference(answers) - difference(clean)).mean()))
        moved.append(float(touched.mean()))
    return Outcome(
        kept=float(np.mean(kept)),
        kept_std=float(np.std(kept, ddof=1)) if draws > 1 else 0.0,
        chance=chance_level(labels),
        logit_error=float(np.mean(errors)),
        moved=float(np.mean(moved)),
    )


def replace(
    activations: Scrubbed, claims: Sequence[Claim], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, "n"]]:
    """Carries out the claims once; returns the new activations, and which inputs had a donor.

    Raises:
      InputError: if a claim names no site, touches no component or one that is not there, or its
        feature is not one of these inputs.
    """
    scrubbed = {site: np.array(values) for site, values in activations.items()}
    touched = np.zeros(len(next(iter(scrubbed.values()))), bool)
    for claim in claims:
        if claim.site not in scrubbed:
            raise InputError(f"no site {claim.site!r}; there are: {', '.join(scrubbed)}")
        values = scrubbed[claim.site]
        positions = _positions(claim, values.shape)
        donors = claim.donors(rng, scrubbed)
        if donors.shape != values.shape[:1]:
            raise InputError(
                f"a claim about {claim.site} has {len(donors)} donors for {len(values)} inputs"
            )
        values[(slice(None), *np.ix_(*positions))] = values[np.ix_(donors, *positions)]
        touched |= donors != np.arange(len(donors))
    return scrubbed, touched


def _positions(claim: Claim, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The components of a claim: positions on each axis but the inputs'."""
    given = claim.components
    last_only = (slice(None),) * (len(shape) - 2)
    indices = () if given is None else given if isinstance(given, tuple) else (*last_only, given)
    indices = (*indices, *(slice(None),) * (len(shape) - 1 - len(indices)))
    try:
        positions = [
            np.atleast_1d(np.arange(size)[index])
            for size, index in zip(shape[1:], indices, strict=True)
        ]
    except (IndexError, ValueError) as error:
        raise InputError(f"a claim about {claim.site}, {shape[1:]}: {error}") from None
    if any(position.ndim > 1 for position in positions):
        raise InputError(f"a claim about {claim.site}: positions on one axis are a flat list")
    if any(position.size == 0 for position in positions):
        raise InputError(f"a claim about {claim.site} touches no component")
    return positions


def difference(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n"]:
    """Returns logit 1 - logit 0."""
    return logits[:, 1] - logits[:, 0]


def chance_level(labels: Int[np.ndarray, "n"]) -> float:
    """Returns how often two labels agree that are drawn independently by their shares."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float((shares**2).sum())
