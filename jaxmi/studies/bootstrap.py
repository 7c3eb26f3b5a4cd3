"""Estimates with 95 % intervals: networks, or rows of the domain, are resampled with replacement.

The percentile bootstrap is that of Efron, "Bootstrap methods: another look at the jackknife"
(1979); shares of networks have the interval of Clopper and Pearson (1934).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.stats import beta

from jaxmi.errors import InputError
from jaxmi.studies.study import Finding

DRAWS = 10_000
LEVEL = 0.95

Statistic = Callable[[Float[np.ndarray, "draws n *rest"]], Float[np.ndarray, "draws"]]


def mean(samples: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws"]:
    """Return the mean of each sample."""
    return samples.mean(axis=1)


def median(samples: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws"]:
    """Return the median of each sample."""
    return np.median(samples, axis=1)


def ratio(samples: Float[np.ndarray, "draws n 2"]) -> Float[np.ndarray, "draws"]:
    """Return the ratio of two sums over each sample; 0 where the second is 0."""
    numerator, denominator = np.moveaxis(samples.sum(axis=1), -1, 0)
    return divide(numerator, denominator)


def ratio_of_ratios(samples: Float[np.ndarray, "draws n 4"]) -> Float[np.ndarray, "draws"]:
    """Return the ratio of two such ratios; 0 where the second is 0."""
    return divide(ratio(samples[..., :2]), ratio(samples[..., 2:]))


def ratio_columns(
    numerator: np.ndarray, denominator: int | np.integer | np.ndarray
) -> Float[np.ndarray, "*n 2"]:
    """Stack a numerator and a denominator, which broadcasts, as the columns of `ratio`."""
    below = np.broadcast_to(np.asarray(denominator, np.float64), numerator.shape)
    return np.stack([numerator, below], axis=-1)


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide elementwise; 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def estimate(
    description: str,
    values: Num[np.ndarray, "n *rest"],
    statistic: Statistic = mean,
    seed: int = 0,
) -> Finding:
    """Compute a statistic over networks, and its interval over resampled networks.

    Args:
      description: What is estimated, and its unit.
      values: A number, or several, per network.
      statistic: A function of samples of networks.
      seed: The seed of the resampling.

    Raises:
      InputError: if there are no networks.
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    if n == 0:
        raise _no_networks(description)
    low, high = _percentiles(statistic(values[_resample(n, seed)]))
    return Finding(float(statistic(values[None])[0]), low, high, n, description)


def estimate_over_rows(
    description: str, values: Num[np.ndarray, "n rows *rest"], statistic: Statistic = mean
) -> Finding:
    """Compute a statistic over rows of the domain, and its interval over resampled rows.

    The interval says what other rows might have given, not other networks. Each row counts with
    the mean over networks.

    Args:
      description: What is estimated, and its unit.
      values: A number, or several, per network and row.
      statistic: A function of samples of rows.

    Raises:
      InputError: if there are no rows.
    """
    over_rows = estimate(f"{description}; interval over rows", values.mean(axis=0), statistic)
    return replace(over_rows, n=len(values))


def estimate_over_pairs(
    description: str, numerators: Float[np.ndarray, "n n"], denominators: Float[np.ndarray, "n n"]
) -> Finding:
    """Compute the ratio of two sums over all pairs of different networks, and its interval.

    Networks are resampled, not pairs, for the pairs of one network depend on each other. A network
    that is drawn twice makes no pair with itself.

    Args:
      description: What is estimated, and its unit.
      numerators: A number for each first and second network.
      denominators: The same.

    Raises:
      InputError: if there are fewer than two networks.
    """
    n = len(numerators)
    if n < 2:
        raise InputError(f"{description}: {n} networks make no pair; two at least are needed")
    different = ~np.eye(n, dtype=bool)
    counts = _counts(n)

    def over_pairs(counts: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws"]:
        tables = (numerators * different, denominators * different)
        return divide(*(((counts @ table) * counts).sum(axis=1) for table in tables))

    drawn = counts[(counts > 0).sum(axis=1) > 1]  # one network alone makes no pair
    low, high = _percentiles(over_pairs(drawn))
    return Finding(float(over_pairs(np.ones((1, n)))[0]), low, high, n, description)


def estimate_over_clusters(
    description: str, numerators: Float[np.ndarray, "n n"], denominators: Float[np.ndarray, "n n"]
) -> Finding:
    """Compute the ratio of two sums over all pairs of clusters, and its interval.

    Clusters are resampled. Unlike networks in `estimate_over_pairs`, one makes a pair with itself:
    its members are compared with each other, too. So an AUROC over questions about programs is the
    ratio of the comparisons that are right to all comparisons.

    Args:
      description: What is estimated, and its unit.
      numerators: A number for each first and second cluster.
      denominators: The same; their sum is not 0.

    Raises:
      InputError: if there are no clusters.
    """
    n = len(numerators)
    if n == 0:
        raise _no_networks(description)
    counts = _counts(n)
    above, below = (((counts @ one) * counts).sum(axis=1) for one in (numerators, denominators))
    low, high = _percentiles(above[below > 0] / below[below > 0])
    return Finding(float(numerators.sum() / denominators.sum()), low, high, n, description)


def estimate_share(description: str, holds: Bool[np.ndarray, "n"]) -> Finding:
    """Compute the share of networks for which something holds, and its Clopper-Pearson interval.

    The bootstrap would give no interval where it holds for all networks, or for none. After Clopper
    and Pearson, "The use of confidence or fiducial limits" (1934).

    Raises:
      InputError: if there are no networks.
    """
    n, k = len(holds), int(holds.sum())
    if n == 0:
        raise _no_networks(description)
    tail = (1 - LEVEL) / 2
    low = beta.ppf(tail, k, n - k + 1) if k else 0.0
    high = beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0
    return Finding(k / n, float(low), float(high), n, description)


def exact(description: str, value: int | float) -> Finding:
    """Return a number that follows from labels and split alone, without an interval."""
    return Finding(float(value), float(value), float(value), 0, description)


def _resample(n: int, seed: int = 0) -> Int[np.ndarray, "draws n"]:
    """Draw indices with replacement."""
    return np.random.default_rng(seed).integers(n, size=(DRAWS, n))


@cache
def _counts(n: int) -> Float[np.ndarray, "draws n"]:
    """Return how often each of n is drawn in each resample."""
    return (_resample(n)[..., None] == np.arange(n)).sum(axis=1).astype(np.float64)


def _percentiles(draws: Float[np.ndarray, "draws"]) -> tuple[float, float]:
    """Return the ends of the interval."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)


def _no_networks(description: str) -> InputError:
    return InputError(f"{description}: there are no networks to estimate it from")
