"""What a foreign layout is: a table of tensors, each with its name and axes there and here.

Axes are written as in einops, and one table serves both directions: "d_model d_vocab" against
"d_vocab d_model" is a transpose either way, "c_out (c h w)" against "(h w c) c_out" is fc1's
permutation.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from einops import rearrange
from flax.traverse_util import unflatten_dict

from jaxmi.errors import InputError
from jaxmi.types import Params
from jaxmi.weights.native import flatten
from jaxmi.weights.tensors import Tensors, check_tensors


@dataclass(frozen=True)
class Row:
    """One tensor in a layout."""

    name: str
    """Its name there."""
    ours: str
    """Its path in our tree of parameters."""
    axes: str
    """Its axes there."""
    our_axes: str
    """The same axes, in our order."""
    sizes: Mapping[str, int]
    """Axis -> size."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape there."""
        groups = re.findall(r"\(([^)]*)\)|(\w+)", self.axes)
        return tuple(math.prod(self.sizes[axis] for axis in "".join(g).split()) for g in groups)

    def rearranged(self, array: np.ndarray, there: bool) -> np.ndarray:
        """Brings an array into their order of axes, or into ours."""
        pattern = (self.our_axes, self.axes) if there else (self.axes, self.our_axes)
        used = {axis: self.sizes[axis] for axis in re.findall(r"\w+", self.axes)}
        return np.ascontiguousarray(rearrange(array, " -> ".join(pattern), **used))


@dataclass(frozen=True)
class Constant:
    """A tensor that every file of a layout holds and that no network learns."""

    name: str
    """Its name there."""
    value: np.ndarray
    """What is written, and must be read."""
    must_be: str
    """The same in words."""
    also: tuple[np.ndarray, ...] = ()
    """What else may be read: other versions write it."""

    def check(self, found: np.ndarray) -> None:
        """Checks what was read, whatever its type.

        Raises:
          InputError: if it is something else.
        """
        values = (self.value, *self.also)
        if not any(found.shape == value.shape and (found == value).all() for value in values):
            raise InputError(
                f"tensor {self.name}, {found.dtype}{list(found.shape)}, must be {self.must_be}"
            )


@dataclass(frozen=True)
class Layout:
    """How another tool lays out one of the two networks."""

    name: str
    """What users call it."""
    challenge: str
    """The challenge whose network it is."""
    rows: tuple[Row, ...]
    """The network's parameters."""
    constants: tuple[Constant, ...] = ()
    """What else a file must hold."""
    wrapped: bool = False
    """Whether a .pt file has the state dict under "model"."""

    def write(self, params: Params) -> dict[str, np.ndarray]:
        """Lays out parameters, bit for bit.

        Args:
          params: This network's parameters.
        """
        ours = flatten(jax.device_get(params))
        tensors = {row.name: row.rearranged(ours[row.ours], there=True) for row in self.rows}
        return tensors | {constant.name: constant.value.copy() for constant in self.constants}

    def read(self, tensors: Tensors) -> Params:
        """Takes parameters out of a file's tensors, bit for bit.

        Raises:
          InputError: naming the first tensor that is missing, unexpected, misshapen, of another
            type or not finite, or a constant with another value.
        """
        constants = {constant.name for constant in self.constants}
        learned = {name: array for name, array in tensors.items() if name not in constants}
        check_tensors(
            {row.name: jax.ShapeDtypeStruct(row.shape, np.float32) for row in self.rows}, learned
        )
        for constant in self.constants:
            if constant.name not in tensors:
                raise InputError(f"tensor {constant.name} is missing")
            constant.check(tensors[constant.name])
        ours = {row.ours: row.rearranged(tensors[row.name], there=False) for row in self.rows}
        return unflatten_dict(ours, sep=".")

    def likeness(self, tensors: Tensors) -> float:
        """Returns the share of this layout's parameters that are there, name and shape, 0..1."""
        shapes = {name: array.shape for name, array in tensors.items()}
        return sum(shapes.get(row.name) == row.shape for row in self.rows) / len(self.rows)
