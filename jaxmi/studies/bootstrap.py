"""Intervals by the bootstrap: networks drawn again, with replacement."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy.stats import beta

from jaxmi.errors import InputError
from jaxmi.studies.study import Finding

DRAWS = 10_000
LEVEL = 0.95

Statistic = Callable[[Float[np.ndarray, "draws n *rest"]], Float[np.ndarray, "draws"]]


def mean(samples: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws"]:
    """The mean of each sample."""
    return samples.mean(axis=1)


def median(samples: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws"]:
    """The median of each sample."""
    return np.median(samples, axis=1)


def ratio(samples: Float[np.ndarray, "draws n 2"]) -> Float[np.ndarray, "draws"]:
    """The ratio of two sums over each sample; 0 where the second is 0."""
    above, below = np.moveaxis(samples.sum(axis=1), -1, 0)
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def beside(above: np.ndarray, below: int | np.integer | np.ndarray) -> Float[np.ndarray, "*n 2"]:
    """Columns for `ratio`: what is counted, and what it is counted in."""
    return np.stack([above, np.broadcast_to(np.asarray(below, np.float64), above.shape)], axis=-1)


def ratio_of_ratios(samples: Float[np.ndarray, "draws n 4"]) -> Float[np.ndarray, "draws"]:
    """One such ratio divided by another; 0 where that is 0."""
    above, below = ratio(samples[..., :2]), ratio(samples[..., 2:])
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def find(
    words: str, values: Num[np.ndarray, "n *rest"], statistic: Statistic = mean, seed: int = 0
) -> Finding:
    """Computes a statistic over networks with its 95 % percentile interval.

    After Efron, "Bootstrap methods: another look at the jackknife" (1979).

    Args:
      words: What is found.
      values: A number, or several, per network.
      statistic: Of samples of networks.
      seed: Draws the samples.

    Raises:
      InputError: if there are no networks.
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    if n == 0:
        raise InputError(f"{words}: of no network")
    rows = np.random.default_rng(seed).integers(n, size=(DRAWS, n))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(statistic(values[rows]), [tail, 100 - tail])
    return Finding(float(statistic(values[None])[0]), float(low), float(high), n, words)


def find_over_rows(
    words: str, values: Num[np.ndarray, "n rows *rest"], statistic: Statistic = mean
) -> Finding:
    """A statistic whose interval says what other rows might have given, not other networks.

    Rows are drawn again, with replacement; of a row the networks' mean counts.

    Args:
      words: What is found.
      values: A number, or several, per network and row.
      statistic: Of samples of rows.
    """
    over_rows = find(f"{words}; interval over rows", values.mean(axis=0), statistic)
    return replace(over_rows, n=len(values))


def find_of_pairs(
    words: str, above: Float[np.ndarray, "n n"], below: Float[np.ndarray, "n n"]
) -> Finding:
    """The ratio of two sums over all pairs of different networks, with its 95 % interval.

    Networks are drawn again, with replacement; a network that is drawn twice makes no pair with
    itself. Pairs are not drawn: those of one network go together.

    Args:
      words: What is found.
      above: Of the first network and the second, what is counted.
      below: What it is counted in.

    Raises:
      InputError: if there are fewer than two networks.
    """
    n = len(above)
    if n < 2:
        raise InputError(f"{words}: of {n} networks, so of no pair")
    different = ~np.eye(n, dtype=bool)
    rows = np.random.default_rng(0).integers(n, size=(DRAWS, n))
    times = (rows[..., None] == np.arange(n)).sum(axis=1).astype(np.float64)

    def over_pairs(times: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws"]:
        sums = [((times @ (table * different)) * times).sum(axis=1) for table in (above, below)]
        return np.divide(*sums, out=np.zeros(len(times)), where=sums[1] != 0)

    tail = 100 * (1 - LEVEL) / 2
    drawn = times[(times > 0).sum(axis=1) > 1]  # of one network alone there are no pairs
    low, high = np.percentile(over_pairs(drawn), [tail, 100 - tail])
    return Finding(float(over_pairs(np.ones((1, n)))[0]), float(low), float(high), n, words)


def exactly(words: str, value: int | float) -> Finding:
    """A number that follows from the labels alone, and has no interval."""
    return Finding(float(value), float(value), float(value), 0, words)


def share(words: str, held: Bool[np.ndarray, "n"]) -> Finding:
    """The share of networks of which something holds, with its 95 % Clopper-Pearson interval.

    The bootstrap would say nothing where it holds of all or of none. After Clopper and Pearson,
    "The use of confidence or fiducial limits" (1934).

    Raises:
      InputError: if there are no networks.
    """
    n, k = len(held), int(held.sum())
    if n == 0:
        raise InputError(f"{words}: of no network")
    tail = (1 - LEVEL) / 2
    low = beta.ppf(tail, k, n - k + 1) if k else 0.0
    high = beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0
    return Finding(k / n, float(low), float(high), n, words)
