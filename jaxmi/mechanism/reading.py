"""A readable program, read off the weights: classes of values, and thresholds that are curves.

It starts from the smaller network (replacement.py), whose tables say what each value of x and of y
adds. Each table is read as curves plus what the classes of values differ by (smooth.py); classes
that do the same are merged. The smaller network with these smooth tables gives a label for every
pair, and for each class a map of labels, which is described by pieces (pieces.py). The result is a
program in the language of challenges. Neither true labels nor a given program enter.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.mechanism.pieces import Piece, fit_pieces
from jaxmi.mechanism.replacement import Replacement, inputs_of
from jaxmi.mechanism.smooth import ClassOfValue, SmoothTable, fit_table, merge_classes
from jaxmi.programs import language as lang
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse

PRICE = 3e-4
"""Cost of a number of the program, as a share of wrong labels."""

VARIABLES = "abcdefgh"
"""Names of the program's variables for classes."""

OPERANDS = ("x", "y")
"""The operands of a pair. A row of a map is a value of x, a column one of y."""


class Partition(NamedTuple):
    """A partition of an operand's values into classes."""

    text: str
    """As a program writes it, such as "int(x ** 1.5) % 8"."""
    classes: ClassOfValue
    """The class of each value."""


class Groups(NamedTuple):
    """Classes of which some were merged."""

    text: str
    classes: ClassOfValue
    """The class of each value, before merging."""
    groups: ClassOfValue
    """The group of each value."""

    def members(self, group: int) -> list[int]:
        """Return the classes in a group."""
        return np.unique(self.classes[self.groups == group]).tolist()

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return len(np.unique(self.groups))


class Cell(NamedTuple):
    """A part of the domain in which no class changes its group."""

    groups: tuple[tuple[int, ...], tuple[int, ...]]
    """The groups of x, then those of y."""
    rows: Int[np.ndarray, "row"]
    """The values of x."""
    columns: Int[np.ndarray, "column"]
    """The values of y."""


@dataclass(frozen=True)
class Smoothed:
    """A smaller network with smooth tables."""

    network: Replacement
    """With the tables at every value's own class."""
    groups: Mapping[str, tuple[Groups, ...]]
    """Operand -> its classes."""
    values: Int[np.ndarray, "p"]
    """The values of each operand."""
    sums: Sequence[SmoothTable]
    factors: Sequence[SmoothTable]
    scales: Float[np.ndarray, "operand 1 term"]
    """The units of the factors' tables."""

    @property
    def labels(self) -> Bool[np.ndarray, "p p"]:
        """Its labels, a row for each value of x."""
        return self._map(self.network)

    @property
    def cells(self) -> Iterator[Cell]:
        """The parts of the domain in which no class changes its group, those of x first."""
        keys = [
            np.stack([part.groups for part in self.groups[name]], axis=1)
            if self.groups[name]
            else np.zeros((len(self.values), 0), int)
            for name in OPERANDS
        ]
        for x, y in product(*(sorted(set(map(tuple, key.tolist()))) for key in keys)):
            rows, columns = (
                np.flatnonzero((key == np.array(groups)).all(axis=1))
                for key, groups in zip(keys, (x, y), strict=True)
            )
            yield Cell((x, y), rows, columns)

    def as_if(self, groups: Sequence[Sequence[int]]) -> Bool[np.ndarray, "p p"]:
        """Return the labels that it gives if all values were in the groups of one cell."""
        sums, factors = [], []
        for i, name in enumerate(OPERANDS):
            partitions = [np.full_like(self.values, group) for group in groups[i]]
            shares = _shares(self.values)
            assert len(partitions) == len(self.groups[name])
            sums.append(self.sums[i](shares, partitions))
            factors.append(self.factors[i](shares, partitions) * self.scales[i])
        return self._map(replace(self.network, sums=np.stack(sums), factors=np.stack(factors)))

    def _map(self, network: Replacement) -> Bool[np.ndarray, "p p"]:
        shape = (len(self.values),) * len(OPERANDS)
        return (network.difference(inputs_of(shape)) > 0).reshape(shape)


@dataclass(frozen=True)
class Reading:
    """A program that was read off a network's weights."""

    text: str
    """The program, in the language of challenges."""
    labels: Bool[np.ndarray, "n"]
    """The program's labels of all pairs."""
    numbers: int
    """The count of the numbers that are written in it."""
    size: int
    """Its length in nodes of the language."""
    smoothed: Smoothed
    """The network that it describes."""
    pieces: Sequence[tuple[Cell, Sequence[Piece]]]
    """The pieces of each part of the domain."""


def smooth_network(
    given: Replacement, values: Int[np.ndarray, "p"], partitions: Mapping[str, Sequence[Partition]]
) -> Smoothed:
    """Make a smaller network's tables smooth along the values, but for classes.

    Args:
      given: A smaller network on pairs.
      values: The values of each operand.
      partitions: Operand -> classes of its values.
    """
    shares = _shares(values)
    spread = given.factors.std(axis=1, keepdims=True)
    scales = np.where(spread > 0, spread, 1.0)
    sums, factors, groups = [], [], {}
    for i, name in enumerate(OPERANDS):
        classes = [part.classes for part in partitions[name]]
        tables = [given.sums[i], given.factors[i] / scales[i]]
        fitted = merge_classes(tables, [fit_table(table, shares, classes) for table in tables])
        sums.append(fitted[0])
        factors.append(fitted[1])
        groups[name] = tuple(
            Groups(part.text, part.classes, merged)
            for part, merged in zip(partitions[name], fitted[0].partitions, strict=True)
        )
    network = replace(
        given,
        sums=np.stack([table(shares, table.partitions) for table in sums]),
        factors=np.stack([table(shares, table.partitions) for table in factors]) * scales,
    )
    return Smoothed(network, groups, values, sums, factors, scales)


def read_program(
    smoothed: Smoothed, price: float = PRICE, labels: Bool[np.ndarray, "p p"] | None = None
) -> Reading | None:
    """Describe a smooth network's labels by a program.

    Args:
      smoothed: The network.
      price: Cost of a number of the program, as a share of wrong labels; it is raised until the
        program fits the language's limits.
      labels: Labels to describe in place of the smooth network's own: a control.

    Returns:
      The program; None if it has more parts than the language's limits allow.
    """
    labels, values = smoothed.labels if labels is None else labels, smoothed.values
    cells = list(smoothed.cells)
    while price < 1:
        pieces = [
            (
                cell,
                fit_pieces(
                    labels[np.ix_(cell.rows, cell.columns)],
                    values[cell.rows],
                    values[cell.columns],
                    price * labels.size,
                ),
            )
            for cell in cells
        ]
        text = _program(smoothed.groups, pieces)
        program = _parsed(text)
        if program is not None:
            given = label(program, PairDomain(len(values))) == 1
            numbers = sum(isinstance(node, lang.Number) for node in lang.walk(program))
            return Reading(text, given, numbers, program.size, smoothed, pieces)
        price *= 4
    return None


def _parsed(text: str) -> lang.Program | None:
    """Return a program; None if it is too long for the language."""
    try:
        return parse(text, kind="pairs")
    except lang.ProgramError:
        return None


def _shares(values: Int[np.ndarray, "p"]) -> Float[np.ndarray, "p"]:
    """Return values as shares of their range."""
    return values / max(int(values.max()), 1)


def _program(
    groups: Mapping[str, Sequence[Groups]], pieces: Sequence[tuple[Cell, Sequence[Piece]]]
) -> str:
    """Write pieces as a program; what most parts of the domain say comes last, without condition.

    Args:
      groups: Operand -> its classes.
      pieces: The pieces of each part of the domain.
    """
    variables = iter(VARIABLES)
    names = {
        name: [next(variables) if part.n_groups > 1 else "" for part in groups[name]]
        for name in OPERANDS
    }
    lines = [
        f"{variable} = {part.text}"
        for name in OPERANDS
        for variable, part in zip(names[name], groups[name], strict=True)
        if variable
    ]
    parts = []
    for cell, of_cell in pieces:
        conditions = [
            _membership(variable, part.members(group))
            for name, keys in zip(OPERANDS, cell.groups, strict=True)
            for variable, part, group in zip(names[name], groups[name], keys, strict=True)
            if variable
        ]
        parts.append((" and ".join(conditions), tuple(_of_pieces(of_cell))))
    ((most, _),) = Counter(body for _, body in parts).most_common(1)
    for condition, body in parts:
        if body != most:
            lines += [f"if {condition}:", *(f"    {line}" for line in body)]
    return "\n".join([*lines, *most]) + "\n"


def _membership(variable: str, members: Sequence[int]) -> str:
    if len(members) == 1:
        return f"{variable} == {members[0]}"
    return f"{variable} in ({', '.join(map(str, members))})"


def _of_pieces(pieces: Sequence[Piece]) -> Iterator[str]:
    """Write the pieces of one part of the domain, a line or two each."""
    for piece in pieces[:-1]:
        yield f"if x <= {piece.end}:"
        yield f"    return {_condition(piece)}"
    yield f"return {_condition(pieces[-1])}"


def _condition(piece: Piece) -> str:
    """Write when a piece's label is 1."""
    if not piece.thresholds:
        return str(piece.first)
    return " or ".join(
        f"{polynomial_text(low)} <= y < {polynomial_text(high)}"
        if low is not None and high is not None
        else f"y >= {polynomial_text(low)}"
        if low is not None
        else f"y < {polynomial_text(high or ())}"
        for low, high in piece.intervals
    )


def polynomial_text(coefficients: Sequence[float]) -> str:
    """Write a polynomial of x, constant first; terms that are 0 are left out."""
    powers = ("", " * x", " * x ** 2", " * x ** 3")
    terms = [
        (value, power) for value, power in zip(coefficients, powers, strict=False) if value != 0
    ]
    if not terms:
        return "0"
    text = f"{terms[0][0]!r}{terms[0][1]}"
    for value, power in terms[1:]:
        text += f" {'-' if value < 0 else '+'} {abs(value)!r}{power}"
    return text
