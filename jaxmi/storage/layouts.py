"""Foreign layouts, as tables: the published files' and those of three TransformerLens versions.

A layout is a table of tensors, each with its name and axes in the foreign file and in ours. Axes
are written as in einops, and one table serves both directions: "d_model d_vocab" against
"d_vocab d_model" is a transpose either way, "c_out (c h w)" against "(h w c) c_out" is fc1's
permutation. To add a layout, add a `Layout` below and to `LAYOUTS`, and a name to
`foreign.FORMATS`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import jax
import numpy as np
from einops import rearrange
from flax.traverse_util import unflatten_dict

from jaxmi.errors import InputError
from jaxmi.models.cnn import CnnConfig
from jaxmi.models.transformer import TransformerConfig
from jaxmi.models.trees import check_tensors, leaves_by_path
from jaxmi.storage.checkpoints import Tensors, check_finite
from jaxmi.types import Params


@dataclass(frozen=True)
class Row:
    """One tensor in a layout."""

    name: str
    """Its name in the foreign file."""
    ours: str
    """Its path in our tree of parameters."""
    axes: str
    """Its axes in the foreign file."""
    our_axes: str
    """The same axes, in our order."""
    sizes: Mapping[str, int]
    """Axis -> size."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the foreign file."""
        groups = re.findall(r"\(([^)]*)\)|(\w+)", self.axes)
        return tuple(math.prod(self.sizes[axis] for axis in "".join(g).split()) for g in groups)

    def to_foreign(self, array: np.ndarray) -> np.ndarray:
        """Return our array with the axes of the foreign file."""
        return self._rearrange(array, self.our_axes, self.axes)

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """Return the foreign file's array with our axes."""
        return self._rearrange(array, self.axes, self.our_axes)

    def _rearrange(self, array: np.ndarray, source: str, target: str) -> np.ndarray:
        sizes = {axis: self.sizes[axis] for axis in re.findall(r"\w+", self.axes)}
        return np.ascontiguousarray(rearrange(array, f"{source} -> {target}", **sizes))


@dataclass(frozen=True)
class Constant:
    """A tensor that every file of a layout holds and that no network learns."""

    name: str
    """Its name in the foreign file."""
    value: np.ndarray
    """The value that is written, and expected on reading."""
    must_be: str
    """The value in words, for messages."""
    also: tuple[np.ndarray, ...] = ()
    """Other values that are accepted, since other versions write them."""

    def check(self, array: np.ndarray) -> None:
        """Check the value that was read; its type is free.

        Raises:
          InputError: if it is another value.
        """
        values = (self.value, *self.also)
        if not any(array.shape == value.shape and (array == value).all() for value in values):
            raise InputError(
                f"tensor {self.name}, {array.dtype}{list(array.shape)}, must be {self.must_be}"
            )


@dataclass(frozen=True)
class Layout:
    """The tensors in which another tool stores one challenge's network."""

    name: str
    """The layout's name on the command line."""
    challenge: str
    """The challenge whose network it is."""
    rows: tuple[Row, ...]
    """The network's parameters."""
    constants: tuple[Constant, ...] = ()
    """Further tensors that a file must hold."""
    wrapped: bool = False
    """Whether a .pt file has the state dict under "model"."""

    def write(self, params: Params) -> dict[str, np.ndarray]:
        """Return the tensors of a foreign file, bit for bit.

        Args:
          params: Parameters of the challenge's network.

        Returns:
          Name in the foreign file -> array; the constants last.
        """
        ours = leaves_by_path(jax.device_get(params))
        tensors = {row.name: row.to_foreign(ours[row.ours]) for row in self.rows}
        return tensors | {constant.name: constant.value.copy() for constant in self.constants}

    def read(self, tensors: Tensors) -> Params:
        """Return the parameters in a file's tensors, bit for bit.

        Raises:
          InputError: naming the first tensor that is missing, unexpected, misshapen, of another
            type or not finite, or a constant with another value.
        """
        constants = {constant.name for constant in self.constants}
        learned = {name: array for name, array in tensors.items() if name not in constants}
        check_tensors(
            {row.name: jax.ShapeDtypeStruct(row.shape, np.float32) for row in self.rows}, learned
        )
        check_finite(learned)
        for constant in self.constants:
            if constant.name not in tensors:
                raise InputError(f"tensor {constant.name} is missing")
            constant.check(tensors[constant.name])
        ours = {row.ours: row.to_ours(tensors[row.name]) for row in self.rows}
        return unflatten_dict(ours, sep=".")

    def likeness(self, tensors: Tensors) -> float:
        """Return the share of this layout's parameters that a file has, by name and shape, 0..1."""
        shapes = {name: array.shape for name, array in tensors.items()}
        return sum(shapes.get(row.name) == row.shape for row in self.rows) / len(self.rows)


def _rows(sizes: Mapping[str, int], table: Iterable[tuple[str, str, str, str]]) -> tuple[Row, ...]:
    return tuple(Row(*entry, sizes) for entry in table)


def _float(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _zeros(name: str, *shape: int) -> Constant:
    """Return the constant for a bias that the network does not have."""
    return Constant(name, np.zeros(shape, np.float32), must_be=f"zero, {list(shape)}")


_CNN, _TRANSFORMER = CnnConfig(), TransformerConfig()
_CNN_SIZES = {
    "grey": 1,
    "c1": _CNN.channels[0],
    "c2": _CNN.channels[1],
    "kh": 3,
    "kw": 3,
    "h": 5,
    "w": 5,
    "neurons": _CNN.neurons,
    "classes": _CNN.classes,
}
_MASK = np.tril(np.ones((_TRANSFORMER.n_ctx, _TRANSFORMER.n_ctx), bool))
_CAUSAL = f"lower-triangular ones, {list(_MASK.shape)}"

CASPER_CNN = Layout(
    name="casper",
    challenge="cnn",
    rows=_rows(
        _CNN_SIZES,
        (
            ("conv1.weight", "conv1.kernel", "c1 grey kh kw", "kh kw grey c1"),
            ("conv1.bias", "conv1.bias", "c1", "c1"),
            ("conv2.weight", "conv2.kernel", "c2 c1 kh kw", "kh kw c1 c2"),
            ("conv2.bias", "conv2.bias", "c2", "c2"),
            ("fc1.weight", "fc1.kernel", "neurons (c2 h w)", "(h w c2) neurons"),
            ("fc1.bias", "fc1.bias", "neurons", "neurons"),
            ("fc2.weight", "fc2.kernel", "classes neurons", "neurons classes"),
            ("fc2.bias", "fc2.bias", "classes", "classes"),
        ),
    ),
)
"""The published CNN: the layers of `torch.nn`."""

CASPER_TRANSFORMER = Layout(
    name="casper",
    challenge="transformer",
    rows=_rows(
        asdict(_TRANSFORMER),
        (
            ("embed.W_E", "W_E", "d_model d_vocab", "d_vocab d_model"),
            ("pos_embed.W_pos", "W_pos", "n_ctx d_model", "n_ctx d_model"),
            *(
                (
                    f"blocks.0.attn.{name}",
                    f"attn.{name}",
                    "n_heads d_head d_model",
                    "n_heads d_model d_head",
                )
                for name in ("W_K", "W_Q", "W_V")
            ),
            ("blocks.0.attn.W_O", "attn.W_O", "d_model (n_heads d_head)", "n_heads d_head d_model"),
            ("blocks.0.mlp.W_in", "mlp.W_in", "d_mlp d_model", "d_model d_mlp"),
            ("blocks.0.mlp.b_in", "mlp.b_in", "d_mlp", "d_mlp"),
            ("blocks.0.mlp.W_out", "mlp.W_out", "d_model d_mlp", "d_mlp d_model"),
            ("blocks.0.mlp.b_out", "mlp.b_out", "d_model", "d_model"),
            ("unembed.W_U", "W_U", "d_model d_vocab", "d_model d_vocab"),
        ),
    ),
    constants=(Constant("blocks.0.attn.mask", _MASK.astype(np.float32), _CAUSAL),),
    wrapped=True,
)
"""The published transformer: the grokking code's matrices, most of them transposed."""

TRANSFORMER_LENS = Layout(
    name="transformer-lens",
    challenge="transformer",
    # Our trees follow TransformerLens, so each tensor has the same axes as ours.
    rows=tuple(replace(row, axes=row.our_axes) for row in CASPER_TRANSFORMER.rows),
    constants=(
        # TransformerLens 3 saves an empty mask.
        Constant("blocks.0.attn.mask", _MASK, _CAUSAL, also=(np.zeros((0, 0), bool),)),
        # TransformerLens 1 and the solvers' notebook have large negative numbers here.
        Constant(
            "blocks.0.attn.IGNORE",
            _float(-np.inf),
            must_be="-inf",
            also=(_float(-1e5), _float(-1e10)),
        ),
        *(
            _zeros(f"blocks.0.attn.{name}", _TRANSFORMER.n_heads, _TRANSFORMER.d_head)
            for name in ("b_Q", "b_K", "b_V")
        ),
        _zeros("blocks.0.attn.b_O", _TRANSFORMER.d_model),
        _zeros("unembed.b_U", _TRANSFORMER.d_vocab),
    ),
)
"""`HookedTransformer.state_dict()` of TransformerLens 2 and 3: 18 tensors. 4 can convert it."""

TRANSFORMER_LENS_4 = Layout(
    name="transformer-lens-4",
    challenge="transformer",
    rows=_rows(
        asdict(_TRANSFORMER),
        (
            ("embed.weight", "W_E", "d_vocab d_model", "d_vocab d_model"),
            ("pos_embed.weight", "W_pos", "n_ctx d_model", "n_ctx d_model"),
            *(
                (
                    f"blocks.0.attn.{name.lower()}.weight",
                    f"attn.W_{name}",
                    "(n_heads d_head) d_model",
                    "n_heads d_model d_head",
                )
                for name in "QKV"
            ),
            (
                "blocks.0.attn.o.weight",
                "attn.W_O",
                "d_model (n_heads d_head)",
                "n_heads d_head d_model",
            ),
            ("blocks.0.mlp.in.weight", "mlp.W_in", "d_mlp d_model", "d_model d_mlp"),
            ("blocks.0.mlp.in.bias", "mlp.b_in", "d_mlp", "d_mlp"),
            ("blocks.0.mlp.out.weight", "mlp.W_out", "d_model d_mlp", "d_mlp d_model"),
            ("blocks.0.mlp.out.bias", "mlp.b_out", "d_model", "d_model"),
            ("unembed.weight", "W_U", "d_vocab d_model", "d_model d_vocab"),
        ),
    ),
    constants=(
        *(_zeros(f"blocks.0.attn.{name}.bias", _TRANSFORMER.d_model) for name in "qkvo"),
        _zeros("unembed.bias", _TRANSFORMER.d_vocab),
    ),
)
"""`TransformerBridge.state_dict()` of TransformerLens 4, after `boot_native`: 16 tensors."""

LAYOUTS = (CASPER_CNN, CASPER_TRANSFORMER, TRANSFORMER_LENS, TRANSFORMER_LENS_4)
"""Every layout."""


def detect(tensors: Tensors, layouts: Sequence[Layout]) -> Layout:
    """Return the layout of a file's tensors: the only one of which the file has half or more.

    Raises:
      InputError: if none or several of the layouts fit.
    """
    candidates = [layout for layout in layouts if layout.likeness(tensors) >= 0.5]
    if len(candidates) != 1:
        names = ", ".join(sorted(tensors)[:3])
        raise InputError(f"its layout is not clear ({names} ...); name it with --from, --challenge")
    return candidates[0]
