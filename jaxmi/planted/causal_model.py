"""Causal models of labels: variables, their values on every input, and the label that follows.

A model has two levels. At the first its variables have values: those of a program's conditions and
numbers, or, in a look-up, an operand and the places where the label changes. At the second each
part adds a number, and the label follows from the sum. A program's variables are the same at both;
a look-up's parts are its comparisons of the operand with the places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.errors import InputError
from jaxmi.planted.accumulation import (
    MAX_SUMS,
    Accumulation,
    Summand,
    accumulation,
    threshold_along,
)
from jaxmi.planted.look_up import changes
from jaxmi.programs import language as lang
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.show import show_expression
from jaxmi.programs.variables import named_parts

Follows = Literal["sum", "places"]
"""How the label follows from the variables. "sum": it is 1 where their sum exceeds 0. "places": the
first is an operand, the others are places; each place that is at most the operand counts 1 and -1
in turn, and the label is 1 where the count is 1 or more. Exchanges may put places out of order."""


@dataclass(frozen=True, eq=False)
class CausalVariable:
    """A variable of a causal model, by its name."""

    name: str
    """As `programs.variables` names it, if it is a program's."""
    role: str
    """As `planted.key.Entry` has it."""
    computed: Float[np.ndarray, "n"]
    """Its value on each input, truth values as 0 and 1."""


@dataclass(frozen=True, eq=False)
class CausalModel:
    """Variables of labels, with their values on n inputs."""

    follows: Follows
    variables: Sequence[CausalVariable]
    values: Float[np.ndarray, "n v"]
    """The number of each variable on each input from which labels follow: a program's variable
    times its weight, the first one less the threshold."""
    parts: Sequence[CausalVariable]
    added: Float[np.ndarray, "n w"]
    """What each part adds on each input; the label is 1 where the sum exceeds 0."""
    aliases: Sequence[tuple[CausalVariable, int]] = ()
    """Names of a program's variables that have other values, but are a function of a variable as
    it is of them: with its number."""
    without: Sequence[CausalVariable] = ()
    """Variables of the program that the model does not have."""

    @property
    def labels(self) -> Bool[np.ndarray, "n"]:
        """The label of each input."""
        return np.asarray(self.added.sum(axis=1) > 0)

    def exchanged(
        self, bases: np.ndarray, sources: np.ndarray, variables: Sequence[int]
    ) -> Bool[np.ndarray, "m"]:
        """Return the labels of bases with some variables' values of their sources."""
        values = self.values[bases]
        values[:, variables] = self.values[sources][:, variables]
        return follow(values, self.follows)

    def exchanged_parts(
        self, bases: np.ndarray, sources: np.ndarray, parts: Sequence[int]
    ) -> Bool[np.ndarray, "m"]:
        """Return the labels of bases where some parts add what they add in their sources."""
        added = self.added[bases]
        added[:, parts] = self.added[sources][:, parts]
        return np.asarray(added.sum(axis=1) > 0)


def follow(values: Float[np.ndarray, "m v"], follows: Follows) -> Bool[np.ndarray, "m"]:
    """Return the labels that follow from variables' values."""
    if follows == "sum":
        return np.asarray(values.sum(axis=1) > 0)
    counted = (values[:, :1] >= values[:, 1:]) * _signs(values.shape[1] - 1)[None]
    return np.asarray(counted.sum(axis=1) > 0)


def _signs(n: int) -> Float[np.ndarray, "n"]:
    return np.where(np.arange(n) % 2 == 0, 1.0, -1.0)


def of_program(program: lang.Program, p: int) -> CausalModel:
    """Return a program as a sum of its conditions and numbers.

    Args:
      program: A program on pairs.
      p: The number of values of each operand.

    Raises:
      InputError: if it is no threshold of a sum, or something in it depends on the sum so far.
    """
    domain = PairDomain(p)
    read = accumulation(program, domain)
    for one in read.summands:
        if one.reads_sum:
            raise InputError(
                f"`{show_expression(one.expression)}` depends on the sum so far: a trained plant "
                "computes all variables at once; take a program without guards, or rows"
            )
    summands = [one for one in read.summands if np.ptp(one.values) > 0]
    if not summands:
        raise InputError("the program has no variable: every input gets the same sum")
    sign = 1 if read.above else -1
    added = np.stack([sign * one.weight * one.values.reshape(-1) for one in summands], axis=1)
    threshold = _threshold(read, added, sign, p)
    added[:, 0] -= threshold
    names = [_name(one) for one in summands]
    aliases, without = [], []
    for part in named_parts(program, domain):
        name = CausalVariable(part.name, part.role, part.values)
        same = [i for i, one in enumerate(summands) if _is_one_to_one(part.values, one)]
        if part.role == "partial sum" or not same:
            without.append(name)
        elif name.name == names[same[0]].name:
            names[same[0]] = name
        else:
            aliases.append((name, same[0]))
    return CausalModel("sum", names, added, names, added, aliases, without)


def _name(summand: Summand) -> CausalVariable:
    role = "condition" if summand.is_condition else "term"
    return CausalVariable(show_expression(summand.expression), role, summand.values.reshape(-1))


def _is_one_to_one(values: Float[np.ndarray, "n"], summand: Summand) -> bool:
    """Return whether a variable and a summand have as many values as pairs of values."""
    other = summand.values.reshape(-1)
    pairs = np.unique(np.stack([values, other], axis=1), axis=0)
    return len(pairs) == len(np.unique(values)) == len(np.unique(other)) > 1


def _threshold(read: Accumulation, added: Float[np.ndarray, "n v"], sign: int, p: int) -> float:
    """Return the threshold of the sum of `added`, also for sums that no input has.

    If there are too many sums, it is where the inputs' sums put it.

    Raises:
      InputError: if the label changes more than once along the sums.
    """
    constant = sum(
        one.weight * float(one.values.flat[0]) for one in read.summands if np.ptp(one.values) == 0
    )
    rest = sign * (read.const + constant)
    plain = float(sign * read.threshold - rest)
    sums = np.zeros(1)
    for column in added.T:
        sums = np.unique(sums[:, None] + np.unique(column)[None])
        if read.name is None or len(sums) > MAX_SUMS:
            return plain
    found = threshold_along(read, np.sort(sign * (sums + rest)), p)
    if found is None or found[1] != read.above:
        raise InputError("the label must change at one value of the sum only")
    return float(sign * found[0] - rest)


def of_places(labels: Bool[np.ndarray, "p p"], along: Literal["x", "y"]) -> CausalModel:
    """Return labels as a look-up: the places along one operand where they change.

    Args:
      labels: The label of each pair, row = x.
      along: The operand along which the places lie; the other one looks them up.

    Raises:
      InputError: if no label changes.
    """
    p = len(labels)
    table = labels if along == "y" else labels.T
    places = changes(table)
    if not len(places):
        raise InputError("every label is 0: there is no place where it changes")
    x, y = np.indices((p, p)).reshape(2, -1)
    row, operand = (x, y) if along == "y" else (y, x)
    values = np.column_stack([operand, places.T[row]]).astype(np.float64)
    added = (values[:, :1] >= values[:, 1:]) * _signs(len(places))[None]
    added[:, 0] -= 0.5
    other = "x" if along == "y" else "y"
    names = [f"place {k + 1} of {other}" for k in range(len(places))]
    below = 1 - (values[:, :1] >= values[:, 1:]).astype(np.float64)
    return CausalModel(
        "places",
        [
            CausalVariable(name, role, values[:, i])
            for i, (name, role) in enumerate([(along, "operand"), *((n, "place") for n in names)])
        ],
        values,
        [CausalVariable(f"{along} < {name}", "place", below[:, i]) for i, name in enumerate(names)],
        added,
    )
