"""A part of a domain of numbers that is a table again: some values of each operand."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

MAX_SLICES = 4
"""Most tables that are drawn of a domain with three axes."""


@dataclass(frozen=True)
class Subgrid:
    """The inputs of a domain whose operands have some values, in domain order."""

    rows: Int[np.ndarray, "n"]
    """Their row numbers in the domain."""

    values: dict[str, Int[np.ndarray, "_"]]
    """Operand -> its values, increasing."""

    whole: bool
    """True if these are all values of all operands."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values of each operand."""
        return tuple(len(values) for values in self.values.values())

    def slices(self, numbers: Shaped[np.ndarray, "n"]) -> dict[str, Shaped[np.ndarray, "m k"]]:
        """Return one number per input as tables that can be drawn, row = x, column = y.

        Args:
          numbers: In the order of `rows`.

        Returns:
          Where the table is -> the table: of pairs the whole table under ""; of triples at most
          `MAX_SLICES`, evenly spaced, under "w = 0" and so on.
        """
        tables = {"": numbers.reshape(self.shape)}
        for operand, values in list(self.values.items())[2:]:
            chosen = np.unique(np.linspace(0, len(values) - 1, MAX_SLICES).astype(int))
            tables = {
                f"{place}{', ' if place else ''}{operand} = {values[i]}": table[:, :, i]
                for place, table in tables.items()
                for i in chosen
            }
        return tables


def draw_subgrid(
    operands: tuple[str, ...], p: int, max_inputs: int | None = None, seed: int = 0
) -> Subgrid:
    """Return a whole domain, or so many random values of each operand that it is small enough.

    Values are drawn for each operand separately, so that a rule that depends on one operand's
    residue keeps its variety, which evenly spaced values would not.

    Args:
      operands: The operands' names, in the order of the domain's axes.
      p: The number of values of each operand.
      max_inputs: Take the whole domain if it has at most so many inputs; None takes it always.
      seed: Draws the values.
    """
    n = len(operands)
    size = p if max_inputs is None else min(p, int(max_inputs ** (1 / n) + 1e-9))
    rng = np.random.default_rng(seed)
    values = {name: np.sort(rng.permutation(p)[:size]) for name in operands}
    places = np.meshgrid(*values.values(), indexing="ij")
    rows = np.ravel_multi_index(tuple(places), (p,) * n).reshape(-1)
    return Subgrid(rows, values, whole=size == p)
