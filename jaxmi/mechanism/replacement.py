"""A smaller network in place of a network of one block: tables of few dimensions, few neurons.

The residual stream before the MLP is projected onto few directions: those along which it varies and
to which the logit difference is sensitive. In these, it is replaced by a function of each operand
plus few products of one function of each operand, as attention would make them. Few of the
network's neurons read the result; their read-out is refitted to the network's own logit difference.
True labels do not enter, and nothing is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxmi.mechanism import simplify
from jaxmi.mechanism.neurons import Fit, Pursuit, nearness
from jaxmi.mechanism.tables import LastMlp, Streams

DIMENSIONS = (2, 3, 4, 6)
"""Numbers of directions that are tried."""

TERMS = (0, 1, 2, 4, 6)
"""Numbers of products that are tried."""

COUNTS = (8, 16, 32)
"""Numbers of neurons that are tried."""

ENOUGH = 0.9975
"""The smallest network that keeps so many of the labels is the one that is written."""

SENSITIVITY_FLOOR = 1e-3
"""Added to the sensitivity of every direction, as a share of the mean."""


class Form(NamedTuple):
    """The sizes of a smaller network."""

    dimensions: int
    """Directions of the residual stream."""
    terms: int
    """Products of one function of each operand."""
    neurons: int


@dataclass(frozen=True)
class Replacement:
    """A smaller network of the same kind, as tables: everything that its labels depend on."""

    sums: Float[np.ndarray, "operand p d"]
    """The vector that each value of each operand adds to the stream."""
    factors: Float[np.ndarray, "operand p term"]
    """The factor of each value of each operand in each product."""
    directions: Float[np.ndarray, "term d"]
    """The direction in which each product is added to the stream."""
    w_in: Float[np.ndarray, "d neuron"]
    b_in: Float[np.ndarray, "neuron"]
    weights: Float[np.ndarray, "neuron"]
    """The weight of each neuron's activation in the logit difference."""
    bias: Float[np.ndarray, ""]

    @property
    def form(self) -> Form:
        """Its sizes."""
        return Form(self.w_in.shape[0], len(self.directions), self.w_in.shape[1])

    @property
    def arrays(self) -> Mapping[str, Float[np.ndarray, "..."]]:
        """Name -> array: what `replacement.npz` holds."""
        return {name: np.asarray(array) for name, array in vars(self).items()}

    @property
    def numbers(self) -> int:
        """The count of all its numbers: entries of tables, weights and biases."""
        return sum(array.size for array in self.arrays.values())

    def neurons(self, operands: Int[np.ndarray, "n operand"]) -> Float[np.ndarray, "n neuron"]:
        """Return its neurons' activations."""
        places = range(operands.shape[1])
        stream = sum(self.sums[i, operands[:, i]] for i in places)
        products = np.prod([self.factors[i, operands[:, i]] for i in places], axis=0)
        return np.maximum((stream + products @ self.directions) @ self.w_in + self.b_in, 0)

    def difference(self, operands: Int[np.ndarray, "n operand"]) -> Float[np.ndarray, "n"]:
        """Return logit 1 minus logit 0: the label is 1 where it is positive."""
        return self.neurons(operands) @ self.weights + self.bias


@dataclass(frozen=True)
class Source:
    """A network to cut smaller ones out of, and the logit difference that they are fitted to."""

    mlp: LastMlp
    stream: Streams
    """The residual stream before the MLP, on the whole domain."""
    neurons: Float[np.ndarray, "n neuron"]
    shape: tuple[int, ...]
    """The number of values of each operand."""
    difference: Float[np.ndarray, "n"]
    """The logit difference to reproduce, of this network or another."""


def cut(
    source: Source,
    candidates: Int[np.ndarray, "m"],
    rows: Int[np.ndarray, "k"] | None = None,
    dimensions: Sequence[int] = DIMENSIONS,
    terms: Sequence[int] = TERMS,
    counts: Sequence[int] = COUNTS,
) -> list[Replacement]:
    """Cut smaller networks of several forms out of a network.

    The tables are the network's own at all inputs.

    Args:
      source: The network.
      candidates: The neurons to choose from, by their numbers.
      rows: The inputs on which directions and neurons are chosen and the read-out is fitted; None:
        all.
      dimensions: Numbers of directions; a network of fewer gives all that it has.
      terms: Numbers of products.
      counts: Numbers of neurons; one above that of the candidates is left out.
    """
    width, operands = source.stream.shape[1], inputs_of(source.shape)
    to_coordinates, to_stream = important_directions(source, rows)
    middle = source.stream.mean(axis=0)
    centred = source.stream - middle
    found = []
    for d in sorted({min(d, width) for d in dimensions}):
        grid = (centred @ to_coordinates[:, :d]).reshape(*source.shape, d)
        tables = _tables(grid, max(terms))
        whole = Replacement(
            *tables,
            w_in=to_stream[:d] @ source.mlp.w_in[:, candidates],
            b_in=middle @ source.mlp.w_in[:, candidates] + source.mlp.b_in[candidates],
            weights=np.zeros(len(candidates)),
            bias=np.zeros(()),
        )
        for n_terms in terms:
            part = replace(
                whole,
                factors=whole.factors[..., :n_terms],
                directions=whole.directions[:n_terms],
            )
            fits = Pursuit(part.neurons(operands), source.difference, rows).best(counts)
            found += [_with_neurons(part, fit) for fit in fits.values()]
    return found


def important_directions(
    source: Source, rows: Int[np.ndarray, "k"] | None = None
) -> tuple[Float[np.ndarray, "d_model d"], Float[np.ndarray, "d d_model"]]:
    """Return maps to coordinates of the stream and back, the most important coordinate first.

    They are principal components of the stream, in units of what the logit difference feels: each
    direction is scaled by the root mean square of the difference's gradient along it, inputs near
    the boundary weighing most.

    Args:
      source: The network.
      rows: The inputs that count; None: all.
    """
    rows = np.arange(len(source.stream)) if rows is None else rows
    weight = nearness(source.difference[rows])
    gradient = source.mlp.gradient(source.neurons[rows]) * np.sqrt(weight)[:, None]
    sensitivity = gradient.T @ gradient
    mean = np.trace(sensitivity) / len(sensitivity) or 1.0
    squares, axes = np.linalg.eigh(sensitivity / mean)
    scale = np.sqrt(np.maximum(squares, 0) + SENSITIVITY_FLOOR)
    centred = (source.stream - source.stream.mean(axis=0)) @ (axes * scale)
    components = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    return axes * scale @ components, components.T @ (axes / scale).T


def inputs_of(shape: Sequence[int]) -> Int[np.ndarray, "n operand"]:
    """Return all inputs of a domain with so many values of each operand, in order."""
    return np.indices(shape).reshape(len(shape), -1).T


def smallest(
    found: Sequence[Replacement], kept: Sequence[float], enough: float = ENOUGH
) -> int | None:
    """Return the place of the smallest that keeps enough, else of the one that keeps most.

    Args:
      found: Smaller networks.
      kept: The share of the network's labels that each gives.
      enough: The share that is enough.
    """
    if not found:
        return None
    sufficient = [i for i, share in enumerate(kept) if share >= enough]
    if sufficient:
        return min(sufficient, key=lambda i: found[i].numbers)
    return max(range(len(found)), key=lambda i: (kept[i], -found[i].numbers))


def front(numbers: Sequence[int], kept: Sequence[float]) -> list[int]:
    """Return the places, by size, of what keeps more than everything that is as small."""
    order = sorted(range(len(numbers)), key=lambda i: (numbers[i], -kept[i]))
    best, places = -1.0, []
    for i in order:
        if kept[i] > best:
            best = kept[i]
            places.append(i)
    return places


def _tables(
    grid: Float[np.ndarray, "..."], n_terms: int
) -> tuple[
    Float[np.ndarray, "operand p d"],
    Float[np.ndarray, "operand p term"],
    Float[np.ndarray, "term d"],
]:
    """Return a function of each operand, and the leading products of what these leave."""
    n, d = grid.ndim - 1, grid.shape[-1]
    effects = [grid.mean(axis=tuple(j for j in range(n) if j != i)) for i in range(n)]
    rest = grid - simplify.additive(grid, n)
    factors, directions = [], []
    for _ in range(n_terms):
        *along, direction = simplify.leading_factors(rest)
        rest = rest - simplify.outer([*along, direction])
        factors.append(along)
        directions.append(direction)
    if not factors:
        return np.stack(effects), np.empty((n, len(grid), 0)), np.empty((0, d))
    return np.stack(effects), np.moveaxis(np.array(factors), 0, -1), np.array(directions)


def _with_neurons(part: Replacement, fit: Fit) -> Replacement:
    """Return a smaller network with few of its neurons and their read-out."""
    return replace(
        part,
        w_in=part.w_in[:, fit.neurons],
        b_in=part.b_in[fit.neurons],
        weights=fit.weights,
        bias=np.asarray(fit.bias),
    )
