"""Smooth tables with classes: what each value of an operand adds, read as curves plus offsets.

A table has one vector for each value of an operand. It is fitted by a Gaussian process along the
value: one curve that all values share, and for each class of values an offset and a curve of its
own. The process predicts the vector of any value as if it were in any class, which no input shows.
How smooth curves are, and how much classes differ, is chosen by leave-one-out prediction
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4).
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

LENGTHS = (0.05, 0.1, 0.2, 0.4)
"""Length scales of curves, as a share of the operand's range. The covariance falls exponentially
with the distance, so that curves may have kinks, as programs with conditions do."""

OFFSETS = (0.3, 3.0)
"""Variances of the classes' offsets; the shared curve's is 1."""

CURVES = (0.03, 0.3, 3.0)
"""Variances of the classes' own curves."""

NOISES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 0.3, 1.0)
"""Variances of what is not smooth."""

CONSTANT = 4.0
"""Variance of the constant."""

NEAREST = 8
"""Pairs of classes whose merging is tried: those whose tables differ least."""

SIMPLER = 1.02
"""Two classes are merged unless the left-out error rises by more than this factor."""

ClassOfValue = Int[np.ndarray, "n"]
"""The class of each value of an operand."""


@dataclass(frozen=True)
class Kernel:
    """The covariance of two values of an operand."""

    length: float
    offset: float = 0.0
    curve: float = 0.0
    noise: float = NOISES[0]

    def __call__(
        self,
        values: Float[np.ndarray, "n"],
        partitions: Sequence[ClassOfValue],
        others: Float[np.ndarray, "m"],
        other_partitions: Sequence[Int[np.ndarray, "m"]],
    ) -> Float[np.ndarray, "n m"]:
        """Return the covariances without noise.

        Args:
          values: Values, as shares of the operand's range.
          partitions: The classes of each, one array for each partition into classes.
          others: Other values.
          other_partitions: Their classes, of the same partitions.
        """
        curve = np.exp(-np.abs(values[:, None] - others[None, :]) / self.length)
        covariance = CONSTANT + curve
        of_class = self.offset + self.curve * curve
        shared = np.ones_like(curve)
        for classes, other_classes in zip(partitions, other_partitions, strict=True):
            same = classes[:, None] == other_classes[None, :]
            covariance = covariance + same * of_class
            shared = shared * same
        # What several classes do together need not be the sum of what each does.
        return covariance + shared * of_class if len(partitions) > 1 else covariance


@dataclass(frozen=True)
class SmoothTable:
    """A table read as curves and classes."""

    kernel: Kernel
    partitions: tuple[ClassOfValue, ...]
    values: Float[np.ndarray, "n"]
    """The operand's values, as shares of its range."""
    weights: Float[np.ndarray, "n d"]
    mean: Float[np.ndarray, "d"]
    error: float
    """The squared error of predicting each vector from all others, summed."""

    def __call__(
        self, values: Float[np.ndarray, "m"], partitions: Sequence[Int[np.ndarray, "m"]]
    ) -> Float[np.ndarray, "m d"]:
        """Return the vectors of any values, as if they were in the classes that are given."""
        return self.mean + self.kernel(values, partitions, self.values, self.partitions) @ (
            self.weights
        )


def fit_table(
    table: Float[np.ndarray, "n d"],
    values: Float[np.ndarray, "n"],
    partitions: Sequence[ClassOfValue] = (),
) -> SmoothTable:
    """Fit a table, with the kernel that predicts left-out vectors best.

    Args:
      table: A vector for each value, in units that matter alike.
      values: The values, as shares of the operand's range.
      partitions: Partitions of the values into classes; each adds offsets and curves of its own.
    """
    kernels = (
        [Kernel(*terms) for terms in itertools.product(LENGTHS, OFFSETS, (0.0, *CURVES))]
        if partitions
        else [Kernel(length) for length in LENGTHS]
    )
    candidates = [_fit(kernel, table, values, partitions, NOISES) for kernel in kernels]
    return min(candidates, key=lambda candidate: candidate.error)


def merge_classes(
    tables: Sequence[Float[np.ndarray, "n _"]], given: Sequence[SmoothTable]
) -> list[SmoothTable]:
    """Merge classes that no table tells apart, one pair after the other.

    In each partition, of the `NEAREST` pairs of classes, the pair is merged whose merging raises
    the left-out errors least, while no table's error is above `SIMPLER` times its least so far.

    Args:
      tables: Tables of one operand, such as what its values add to sums and to products.
      given: The tables as they were fitted, with the same partitions.
    """
    best, least = list(given), [fitted.error for fitted in given]
    for place in range(len(given[0].partitions)):
        while True:
            candidates = [
                [
                    _fit(fitted.kernel, table, fitted.values, partitions)
                    for table, fitted in zip(tables, best, strict=True)
                ]
                for partitions in _with_one_class_less(best, place)
            ]
            ratios = [
                [fitted.error / (error or 1.0) for fitted, error in zip(each, least, strict=True)]
                for each in candidates
            ]
            allowed = [i for i, each in enumerate(ratios) if max(each) <= SIMPLER]
            if not allowed:
                break
            best = candidates[min(allowed, key=lambda i: sum(ratios[i]))]
            least = [min(pair) for pair in zip(least, (each.error for each in best), strict=True)]
    return best


def _with_one_class_less(
    given: Sequence[SmoothTable], place: int
) -> Iterator[tuple[ClassOfValue, ...]]:
    """Merge each of the `NEAREST` pairs of classes of a partition: those that differ least."""
    partitions = given[0].partitions
    classes = np.unique(partitions[place]).tolist()

    def with_(changed: ClassOfValue) -> tuple[ClassOfValue, ...]:
        return (*partitions[:place], changed, *partitions[place + 1 :])

    as_if = {
        value: np.concatenate(
            [
                fitted(fitted.values, with_(np.full_like(partitions[place], value)))
                / np.sqrt(fitted.error or 1.0)
                for fitted in given
            ],
            axis=1,
        )
        for value in classes
    }

    def difference(pair: tuple[int, int]) -> float:
        return float(((as_if[pair[0]] - as_if[pair[1]]) ** 2).sum())

    pairs = heapq.nsmallest(NEAREST, itertools.combinations(classes, 2), key=difference)
    for kept, merged in pairs:
        yield with_(np.where(partitions[place] == merged, kept, partitions[place]))


def _fit(
    kernel: Kernel,
    table: Float[np.ndarray, "n d"],
    values: Float[np.ndarray, "n"],
    partitions: Sequence[ClassOfValue],
    noises: Sequence[float] | None = None,
) -> SmoothTable:
    """Fit a table with one kernel, and the noise of those given that predicts best."""
    mean = table.mean(axis=0)
    squares, axes = np.linalg.eigh(kernel(values, partitions, values, partitions))
    along = axes.T @ (table - mean)
    best: SmoothTable | None = None
    for noise in (kernel.noise,) if noises is None else noises:
        scale = 1 / (np.maximum(squares, 0) + noise)
        weights = (axes * scale) @ along
        error = float(((weights / ((axes**2) @ scale)[:, None]) ** 2).sum())
        if best is None or error < best.error:
            chosen = Kernel(kernel.length, kernel.offset, kernel.curve, noise)
            best = SmoothTable(chosen, tuple(partitions), values, weights, mean, error)
    assert best is not None
    return best
