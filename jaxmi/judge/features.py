"""Features of inputs: evaluated from expressions, measured in bits, and compared by partitions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.directions import pca
from jaxmi.explanation.scrub import near, same
from jaxmi.programs import language as lang
from jaxmi.programs.domain import ImageDomain, NumberDomain
from jaxmi.programs.evaluate import evaluate


@dataclass(frozen=True, eq=False)
class NumberRows(NumberDomain):
    """Some pairs or triples as a list, with further numbers of each."""

    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The operands and further numbers, by name, (n,) each."""

    of_kind: lang.Kind = "pairs"
    """What programs label in the domain that these are rows of."""

    @property
    def kind(self) -> lang.Kind:  # type: ignore[override] - a class has it elsewhere
        """What programs label."""
        return self.of_kind

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,)."""
        return (len(self.numbers[self.operands[0]]),)

    def inputs(self) -> Mapping[str, np.ndarray]:
        """Return each input's values by name."""
        return {"p": np.array([self.p]), **self.numbers}

    def describe(self, index: int) -> str:
        """Name an input by its place in the list."""
        return ", ".join(f"{name} = {self.numbers[name][index]}" for name in self.operands)


@dataclass(frozen=True, eq=False)
class ImageRows(ImageDomain):
    """Some images, with further numbers of each."""

    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further numbers, by name, (n,) each."""

    def inputs(self) -> Mapping[str, np.ndarray]:
        """Return the numbers by name; the image is not a number."""
        return self.numbers


def domain_rows(challenge: Challenge, rows: Int[np.ndarray, "n"]) -> NumberRows | ImageRows:
    """Return some of a challenge's inputs, in the order of `rows`, as a domain of programs."""
    domain = challenge.program_domain
    if isinstance(domain, ImageDomain):
        return ImageRows(domain.images[rows], domain.templates)
    values = np.unravel_index(rows.astype(np.int64), domain.shape)
    numbers = dict(zip(domain.operands, values, strict=True))
    return NumberRows(domain.p, numbers, domain.kind)


def evaluate_feature(
    program: lang.Program, domain: NumberRows | ImageRows, readouts: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return a feature of every input: (n,) truth values, int64 or float64.

    Args:
      program: Computes the feature.
      domain: The inputs.
      readouts: Numbers read off the network that the program may name, (n,) each.

    Raises:
      InputError: if it cannot be computed for some input, or is not finite there.
    """
    extended = replace(domain, numbers={**domain.numbers, **readouts})
    computed = evaluate(program, extended)
    if computed.dtype.kind in "bi":
        return computed
    try:
        numbers = computed.astype(np.float64)
    except OverflowError:
        numbers = np.full(len(computed), np.inf)
    infinite = np.flatnonzero(~np.isfinite(numbers))
    if len(infinite):
        raise InputError(f"no finite number at {domain.describe(int(infinite[0]))}")
    return numbers


def draw_donors(
    feature: np.ndarray,
    chosen: Bool[np.ndarray, "n"],
    noise: float | None,
    rng: np.random.Generator,
) -> Int[np.ndarray, "n"]:
    """Draw a donor for each chosen input: another chosen one that shares its feature, if any.

    Args:
      feature: A value per input.
      chosen: Inputs that a claim is about; the others are their own donors.
      noise: As in `near`; None means exactly the same value.
      rng: Draws the donors.
    """
    donors = np.arange(len(feature))
    rows = donors[chosen]
    if len(rows) >= 2:
        values = feature[rows]
        groups = np.unique(values, return_inverse=True)[1]
        rule = same(groups) if noise is None else near(values.astype(np.float64), noise)
        donors[rows] = rows[rule(rng, {})]
    return donors


def count_donors(feature: np.ndarray, noise: float | None) -> Float[np.ndarray, "n"]:
    """Return the number of donors that each input can draw from; with noise it is at least 1.

    With noise, donors within two standard deviations count: a normal distribution has the entropy
    of a uniform one that is 4.1 standard deviations wide.
    """
    _, own, sizes = np.unique(feature, return_inverse=True, return_counts=True)
    exact = sizes[own] - 1.0
    if noise is None:
        return exact
    order = np.sort(feature.astype(np.float64))
    reach = _deviations(order, noise)
    low = np.searchsorted(order, feature - reach, "left")
    high = np.searchsorted(order, feature + reach, "right")
    return np.maximum(high - low - 1.0, 1.0)  # the nearest is always a donor


def near_reach(feature: Float[np.ndarray, "n"], noise: float) -> Float[np.ndarray, "n"]:
    """Return how far a donor's feature may be from each input's: the donors of `count_donors`.

    It is two standard deviations of the noise, or the distance to the nearest other input's value
    if no other is within these.
    """
    if len(feature) < 2:
        return np.zeros(len(feature))
    order = np.argsort(feature, kind="stable")
    gaps = np.diff(feature[order])
    nearest = np.empty(len(feature))
    nearest[order] = np.minimum(np.r_[np.inf, gaps], np.r_[gaps, np.inf])
    return np.maximum(_deviations(feature, noise), nearest * (1 + 1e-9))


def _deviations(feature: Float[np.ndarray, "n"], noise: float) -> float:
    """Return two standard deviations of the noise on a feature."""
    return 2 * noise * float(np.ptp(feature)) if len(feature) else 0.0


def feature_bits(donors: Float[np.ndarray, "n"], n: int) -> float:
    """Return the mean information about an input in its feature, in bits; log2(n) identifies it."""
    return float(np.log2(n / (donors + 1)).mean())


DIRECTIONS = 8
"""Number of principal components of the pixels by which images are compared."""

SAMPLE = 5000
"""Number of images that the principal components are computed from."""


def coordinates(domain: NumberRows | ImageRows) -> Float[np.ndarray, "n d"]:
    """Return coordinates in which similar inputs are near: the operands, or pixels' components."""
    if isinstance(domain, NumberRows):
        columns = [domain.numbers[name] for name in domain.operands]
        return np.stack(columns, axis=1).astype(np.float64)
    pixels = domain.images.reshape(len(domain.images), -1)
    basis = pca(pixels[:SAMPLE].astype(np.float64))
    basis = basis._replace(components=basis.components[:DIRECTIONS])
    parts = np.array_split(pixels, -(-len(pixels) // SAMPLE))
    return np.concatenate([basis.project(part.astype(np.float64)) for part in parts])


def partition(points: Float[np.ndarray, "n d"], depth: int) -> Int[np.ndarray, "n"]:
    """Partition inputs into 2**depth cells of similar inputs, equally many in each.

    Every cell is halved at the median of the coordinate that varies most in it. The number of the
    cell is a feature of `depth` bits that is unrelated to the network: a control for submitted
    features.

    Args:
      points: Coordinates of the inputs.
      depth: How often cells are halved.
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
