"""Features of the inputs by expressions of the language, and the donors that share them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.scrub import near, same
from jaxmi.models.cnn import Cnn
from jaxmi.programs import language as lang
from jaxmi.programs.domain import ImageDomain, PairDomain
from jaxmi.programs.evaluate import evaluate
from jaxmi.programs.parse import TRAINING_IMAGES


@dataclass(frozen=True, eq=False)
class PairRows(PairDomain):
    """Pairs one by one, with further numbers of each."""

    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)
    """x, y and the further ones, (n,) each."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,)."""
        return (len(self.numbers["x"]),)

    def inputs(self) -> Mapping[str, np.ndarray]:
        """Returns each input's values."""
        return {"p": np.array([self.p]), **self.numbers}

    def describe(self, index: int) -> str:
        """Names an input by its place."""
        return f"x = {self.numbers['x'][index]}, y = {self.numbers['y'][index]}"


@dataclass(frozen=True, eq=False)
class ImageRows(ImageDomain):
    """Images with further numbers of each."""

    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)
    """(n,) each."""

    def inputs(self) -> Mapping[str, np.ndarray]:
        """Returns the numbers; the image is none."""
        return self.numbers


def rows_of(challenge: Challenge, rows: Int[np.ndarray, "n"]) -> PairRows | ImageRows:
    """Returns some of a challenge's inputs as a domain of programs."""
    inputs = challenge.inputs[rows]
    if isinstance(challenge.model, Cnn):
        return ImageRows(inputs, challenge.inputs[:TRAINING_IMAGES])
    # The last token's number is p: the tokens before it are 0..p-1.
    p = int(inputs[0, 2])
    numbers = {"x": inputs[:, 0].astype(np.int64), "y": inputs[:, 1].astype(np.int64)}
    return PairRows(p, numbers)


def values(
    program: lang.Program, domain: PairRows | ImageRows, readouts: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Computes a feature of every input.

    Args:
      program: The feature's.
      domain: The inputs.
      readouts: Numbers read off the network, (n,) each, that the program may name.

    Returns:
      (n,) truth values, int64 or float64.

    Raises:
      InputError: if it cannot be computed for some input, or is not finite there.
    """
    given = replace(domain, numbers={**domain.numbers, **readouts})
    computed = evaluate(program, given)
    if computed.dtype.kind in "bi":
        return computed
    try:
        numbers = computed.astype(np.float64)
    except OverflowError:
        numbers = np.full(len(computed), np.inf)
    strange = np.flatnonzero(~np.isfinite(numbers))
    if len(strange):
        raise InputError(f"no finite number at {domain.describe(int(strange[0]))}")
    return numbers


def draw_donors(
    feature: np.ndarray,
    reached: Bool[np.ndarray, "n"],
    noise: float | None,
    rng: np.random.Generator,
) -> Int[np.ndarray, "n"]:
    """Draws a donor for each input: another that shares its feature, if there is one.

    Args:
      feature: A value per input.
      reached: Inputs that take from each other; the rest keep their own.
      noise: As in `near`; None means the very same value.
      rng: Draws.
    """
    donors = np.arange(len(feature))
    rows = donors[reached]
    if len(rows) >= 2:
        of = feature[rows]
        groups = np.unique(of, return_inverse=True)[1]
        rule = same(groups) if noise is None else near(of.astype(np.float64), noise)
        donors[rows] = rows[rule(rng, {})]
    return donors


def count_donors(feature: np.ndarray, noise: float | None) -> Float[np.ndarray, "n"]:
    """Returns how many others each input may well take from; with noise, one at least.

    With noise, those within two standard deviations of it: a normal distribution is as uncertain as
    a uniform one of 4.1 standard deviations.
    """
    _, own, sizes = np.unique(feature, return_inverse=True, return_counts=True)
    exact = sizes[own] - 1.0
    if noise is None:
        return exact
    order = np.sort(feature.astype(np.float64))
    reach = 2 * noise * (order[-1] - order[0])
    low = np.searchsorted(order, feature - reach, "left")
    high = np.searchsorted(order, feature + reach, "right")
    return np.maximum(high - low - 1.0, 1.0)  # the nearest, at least


def bits(donors: Float[np.ndarray, "n"], n: int) -> float:
    """Returns how much of an input a feature tells, on average, in bits: log2(n) is all of it."""
    return float(np.log2(n / (donors + 1)).mean())
