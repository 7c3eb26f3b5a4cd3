"""Foreign layouts, as tables: the published files' and those of three TransformerLens versions.

A layout is a table of tensors, each with its name and axes in the foreign file and in ours. Axes
are written as in einops, and one table serves both directions: "d_model d_vocab" against
"d_vocab d_model" is a transpose either way, "c_out (c h w)" against "(h w c) c_out" is fc1's
permutation. The axes have names, not sizes: a network's configuration gives the sizes, and a file
without one is asked for them by the shapes of its tensors. To add a layout, add a `Layout` below
and to `LAYOUTS`, and a name to `foreign.FORMATS`.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import jax
import numpy as np
from einops import rearrange
from flax.traverse_util import unflatten_dict

from jaxmi.errors import InputError
from jaxmi.models.cnn import CnnConfig
from jaxmi.models.transformer import MAX_LAYERS, TransformerConfig, part_name
from jaxmi.models.trees import check_tensors, leaves_by_path
from jaxmi.programs.language import PUBLISHED, SIGNATURES, Kind
from jaxmi.storage.checkpoints import Tensors, check_finite
from jaxmi.types import Params

Config = CnnConfig | TransformerConfig
"""A network's configuration, which has its sizes."""

Sizes = Mapping[str, int]
"""Axis -> size."""

_BLOCK = "blocks.0."
"""The beginning of the names of a transformer's first block; block 1's begin with "blocks.1."."""

_HEADS = ("n_heads", "d_head")
"""The two axes that some layouts hold as one."""


@dataclass(frozen=True)
class Row:
    """One parameter in a layout; of a block's parameters, the first block's."""

    name: str
    """Its name in the foreign file."""
    ours: str
    """Its path in our tree of parameters."""
    axes: str
    """Its axes in the foreign file."""
    our_axes: str
    """The same axes, in our order."""

    def of_block(self, i: int) -> "Row":
        """Return the same row of another block."""
        part, _, rest = self.ours.partition(".")
        name = _block_name(self.name, i)
        return replace(self, name=name, ours=f"{part_name(part, i)}.{rest}")


@dataclass(frozen=True)
class Constant:
    """A tensor that every file of a layout holds and that no network learns."""

    name: str
    """Its name in the foreign file; of a block's constants, the first block's."""
    values: Callable[[Sizes], tuple[np.ndarray, ...]]
    """Returns the value that is written, and then others that are accepted, since other versions
    write them."""
    must_be: str
    """The value in words, for messages."""

    def check(self, array: np.ndarray, sizes: Sizes) -> None:
        """Check the value that was read; its type is free.

        Raises:
          InputError: if it is another value.
        """
        values = self.values(sizes)
        if not any(array.shape == value.shape and (array == value).all() for value in values):
            shape = f", {list(values[0].shape)}" if values[0].ndim else ""
            raise InputError(
                f"tensor {self.name}, {array.dtype}{list(array.shape)}, must be {self.must_be}"
                f"{shape}"
            )


@dataclass(frozen=True)
class SizedRow(Row):
    """One parameter of a network of known sizes."""

    sizes: Sizes

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the foreign file."""
        return tuple(math.prod(self.sizes[axis] for axis in group) for group in _groups(self.axes))

    def to_foreign(self, array: np.ndarray) -> np.ndarray:
        """Return our array with the axes of the foreign file."""
        return self._rearrange(array, self.our_axes, self.axes)

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """Return the foreign file's array with our axes."""
        return self._rearrange(array, self.axes, self.our_axes)

    def _rearrange(self, array: np.ndarray, source: str, target: str) -> np.ndarray:
        sizes = {axis: self.sizes[axis] for group in _groups(self.axes) for axis in group}
        return np.ascontiguousarray(rearrange(array, f"{source} -> {target}", **sizes))


@dataclass(frozen=True)
class Table:
    """The tensors of a layout for a network of known sizes."""

    rows: tuple[SizedRow, ...]
    """The network's parameters."""
    constants: tuple[Constant, ...]
    """Further tensors that a file must hold."""
    sizes: Sizes
    """The network's sizes."""

    def write(self, params: Params) -> dict[str, np.ndarray]:
        """Return the tensors of a foreign file, bit for bit.

        Args:
          params: The network's parameters.

        Returns:
          Name in the foreign file -> array; the constants last.
        """
        ours = leaves_by_path(jax.device_get(params))
        tensors = {row.name: row.to_foreign(ours[row.ours]) for row in self.rows}
        return tensors | {one.name: one.values(self.sizes)[0] for one in self.constants}

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
            constant.check(tensors[constant.name], self.sizes)
        ours = {row.ours: row.to_ours(tensors[row.name]) for row in self.rows}
        return unflatten_dict(ours, sep=".")


@dataclass(frozen=True)
class Found:
    """The sizes that a file's tensors have, as far as their shapes tell them."""

    config: Config
    """The configuration; where the shapes tell nothing, as published."""
    heads_known: bool
    """True if the shapes tell the number of heads, or their width is the published one; if not,
    `config` has one head."""
    heads_assumed: bool = False
    """True if `config` has the published heads because of their width only."""

    def differences(self) -> str:
        """Return in words the sizes that the published network does not have; "" if none."""
        found, published = asdict(self.config), asdict(_published(self.config))
        if not self.heads_known:
            for sizes in (found, published):
                sizes["n_heads * d_head"] = math.prod(sizes.pop(name) for name in _HEADS)
        return ", ".join(
            f"{name} = {','.join(map(str, size)) if isinstance(size, tuple) else size}"
            for name, size in found.items()
            if size != published[name]
        )


@dataclass(frozen=True)
class Layout:
    """The tensors in which another tool stores the networks of one architecture."""

    name: str
    """The layout's name on the command line."""
    kind: Kind
    """The kind of the published challenge that has this architecture."""
    parameters: tuple[Row, ...]
    """The parameters of a network with one block."""
    fixed: tuple[Constant, ...] = ()
    """Further tensors that a file must hold, of a network with one block."""
    wrapped: bool = False
    """Whether a .pt file has the state dict under "model"."""

    @property
    def published(self) -> str:
        """The name of the published challenge that has this architecture."""
        return PUBLISHED[self.kind]

    def fits(self, kind: Kind) -> bool:
        """Return whether a kind of challenge has networks of this architecture."""
        return PUBLISHED[kind] == self.published

    def table(self, config: Config | None = None) -> Table:
        """Return the table for a network of some sizes; by default the published ones."""
        sizes = _sizes(_DEFAULTS[self.kind] if config is None else config)
        n_layers = sizes.get("n_layers", 1)
        return Table(
            rows=tuple(SizedRow(**vars(row), sizes=sizes) for row in self._rows(n_layers)),
            constants=tuple(
                replace(constant, name=_block_name(constant.name, i))
                for i in range(n_layers)
                for constant in self.fixed
                if i == 0 or constant.name.startswith(_BLOCK)
            ),
            sizes=sizes,
        )

    def write(self, params: Params) -> dict[str, np.ndarray]:
        """Return the tensors of a foreign file, for a network of any sizes; see `Table.write`."""
        shapes = {path: leaf.shape for path, leaf in leaves_by_path(params).items()}
        return self.table(self._find(shapes, ours=True).config).write(params)

    def read(self, tensors: Tensors) -> Params:
        """Return the parameters in the tensors of a network of any sizes; see `Table.read`.

        Raises:
          InputError: as `Table.read`, or if the tensors do not tell the number of heads.
        """
        found = self.find_sizes(tensors)
        if not found.heads_known:
            raise InputError("the number of heads cannot be told from its tensors")
        return self.table(found.config).read(tensors)

    def find_sizes(self, tensors: Tensors) -> Found:
        """Return the sizes that most of a file's tensors have.

        A tensor of another shape than the others ask for therefore does not change the sizes, and
        `Table.read` names it. Sequences have a length that some kind of challenge has.
        """
        return self._find({name: array.shape for name, array in tensors.items()}, ours=False)

    def likeness(self, tensors: Tensors) -> float:
        """Return the share of this layout's parameters that a file has, by name and shape, 0..1.

        Shapes count where they fit those of most other tensors.
        """
        rows = self.table(self.find_sizes(tensors).config).rows
        shapes = {name: array.shape for name, array in tensors.items()}
        return sum(shapes.get(row.name) == row.shape for row in rows) / len(rows)

    def names(self) -> frozenset[str]:
        """Return the names of its parameters, for any number of blocks."""
        return frozenset(row.name for row in self._rows(MAX_LAYERS))

    def _rows(self, n_layers: int) -> Iterator[Row]:
        for i in range(n_layers):
            for row in self.parameters:
                if row.name.startswith(_BLOCK):
                    yield row.of_block(i)
                elif i == 0:
                    yield row

    def _find(self, shapes: Mapping[str, tuple[int, ...]], ours: bool) -> Found:
        """Return the sizes by a vote of the tensors; ties go to the published size."""
        default = _DEFAULTS[self.kind]
        published, n_layers = _sizes(default), 1
        if self.kind == "pairs":
            n_layers = self._count_blocks(shapes, ours)
        votes: dict[str, Counter[int]] = defaultdict(Counter)
        for row in self._rows(n_layers):
            shape = shapes.get(row.ours if ours else row.name, ())
            groups = _groups(row.our_axes if ours else row.axes)
            if len(shape) != len(groups):
                continue
            for group, size in zip(groups, shape, strict=True):
                free = tuple(axis for axis in group if axis not in _FIXED)
                rest = math.prod(published[axis] for axis in group if axis in _FIXED)
                if free == ("n_ctx",) and size not in _LENGTHS:
                    continue
                if free and size and size % rest == 0:
                    votes[" ".join(free)][size // rest] += 1

        def most(axis: str, published_size: int) -> int:
            most_votes = max(votes[axis].values(), default=0)
            sizes = [size for size, count in votes[axis].items() if count == most_votes]
            return sizes[0] if sizes and published_size not in sizes else published_size

        sizes = {axis: most(axis, size) for axis, size in published.items() if axis not in _FIXED}
        if isinstance(default, CnnConfig):
            channels = sizes["c1"], sizes["c2"]
            return Found(replace(default, channels=channels, neurons=sizes["neurons"]), True)
        heads_known = all(votes[axis] for axis in _HEADS)
        if not heads_known:
            usual = default.n_heads * default.d_head
            width = most(" ".join(_HEADS), usual)
            heads_known = width == usual
            sizes |= {} if heads_known else {"n_heads": 1, "d_head": width}
        assumed = heads_known and not all(votes[axis] for axis in _HEADS)
        return Found(replace(default, **sizes, n_layers=n_layers), heads_known, assumed)

    def _count_blocks(self, shapes: Mapping[str, tuple[int, ...]], ours: bool) -> int:
        """Return how many blocks have half of their parameters or more, at least 1."""
        block = [row for row in self.parameters if row.name.startswith(_BLOCK)]
        for i in range(1, MAX_LAYERS):
            rows = [row.of_block(i) for row in block]
            present = sum((row.ours if ours else row.name) in shapes for row in rows)
            if 2 * present < len(rows):
                return i
        return MAX_LAYERS


def _groups(axes: str) -> list[tuple[str, ...]]:
    """Return the names of the axes in each dimension."""
    found = re.findall(r"\(([^)]*)\)|(\w+)", axes)
    return [tuple("".join(group).split()) for group in found]


def _block_name(name: str, i: int) -> str:
    return f"blocks.{i}.{name.removeprefix(_BLOCK)}" if name.startswith(_BLOCK) else name


_DEFAULTS: Mapping[Kind, Config] = {"image": CnnConfig(), "pairs": TransformerConfig()}
"""The published networks' configurations."""

_LENGTHS = {len(signature.numbers) for signature in SIGNATURES.values() if signature.numbers}
"""Lengths of token sequences, over all kinds of challenge: the operands and p."""

_FIXED = ("grey", "kh", "kw", "h", "w", "classes", "n_layers")
"""Axes whose sizes no shape is asked for: all challenges of a kind have the same."""


def _published(config: Config) -> Config:
    return _DEFAULTS["image" if isinstance(config, CnnConfig) else "pairs"]


def _sizes(config: Config) -> dict[str, int]:
    """Return the sizes of the axes."""
    if isinstance(config, TransformerConfig):
        return asdict(config)
    c1, c2 = config.channels
    side = 28
    for _ in config.channels:  # a 3x3 convolution without padding, then a pooling by 2
        side = (side - 2) // 2
    maps = {"grey": 1, "c1": c1, "c2": c2, "kh": 3, "kw": 3, "h": side, "w": side}
    return {**maps, "neurons": config.neurons, "classes": config.classes}


def _rows(*table: tuple[str, str, str, str]) -> tuple[Row, ...]:
    return tuple(Row(*entry) for entry in table)


def _float(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _zeros(name: str, axes: str) -> Constant:
    """Return the constant for a bias that the network does not have."""

    def zeros(sizes: Sizes) -> tuple[np.ndarray, ...]:
        shape = [math.prod(sizes[axis] for axis in group) for group in _groups(axes)]
        return (np.zeros(shape, np.float32),)

    return Constant(name, zeros, must_be="zero")


def _mask(dtype: type, *also: np.ndarray) -> Constant:
    def mask(sizes: Sizes) -> tuple[np.ndarray, ...]:
        return (np.tril(np.ones((sizes["n_ctx"], sizes["n_ctx"]), dtype)), *also)

    return Constant(f"{_BLOCK}attn.mask", mask, must_be="lower-triangular ones")


CASPER_CNN = Layout(
    name="casper",
    kind="image",
    parameters=_rows(
        ("conv1.weight", "conv1.kernel", "c1 grey kh kw", "kh kw grey c1"),
        ("conv1.bias", "conv1.bias", "c1", "c1"),
        ("conv2.weight", "conv2.kernel", "c2 c1 kh kw", "kh kw c1 c2"),
        ("conv2.bias", "conv2.bias", "c2", "c2"),
        ("fc1.weight", "fc1.kernel", "neurons (c2 h w)", "(h w c2) neurons"),
        ("fc1.bias", "fc1.bias", "neurons", "neurons"),
        ("fc2.weight", "fc2.kernel", "classes neurons", "neurons classes"),
        ("fc2.bias", "fc2.bias", "classes", "classes"),
    ),
)
"""The published CNN: the layers of `torch.nn`."""

CASPER_TRANSFORMER = Layout(
    name="casper",
    kind="pairs",
    parameters=_rows(
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
    fixed=(_mask(np.float32),),
    wrapped=True,
)
"""The published transformer: the grokking code's matrices, most of them transposed."""

TRANSFORMER_LENS = Layout(
    name="transformer-lens",
    kind="pairs",
    # Our trees follow TransformerLens, so each tensor has the same axes as ours.
    parameters=tuple(replace(row, axes=row.our_axes) for row in CASPER_TRANSFORMER.parameters),
    fixed=(
        # TransformerLens 3 saves an empty mask.
        _mask(bool, np.zeros((0, 0), bool)),
        # TransformerLens 1 and the solvers' notebook have large negative numbers here.
        Constant(
            "blocks.0.attn.IGNORE",
            lambda sizes: (_float(-np.inf), _float(-1e5), _float(-1e10)),
            must_be="-inf",
        ),
        *(_zeros(f"blocks.0.attn.{name}", "n_heads d_head") for name in ("b_Q", "b_K", "b_V")),
        _zeros("blocks.0.attn.b_O", "d_model"),
        _zeros("unembed.b_U", "d_vocab"),
    ),
)
"""`HookedTransformer.state_dict()` of TransformerLens 2 and 3: 4 tensors, and 14 of each block. 4
can convert it."""

TRANSFORMER_LENS_4 = Layout(
    name="transformer-lens-4",
    kind="pairs",
    parameters=_rows(
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
    fixed=(
        *(_zeros(f"blocks.0.attn.{name}.bias", "(n_heads d_head)") for name in "qkv"),
        _zeros("blocks.0.attn.o.bias", "d_model"),
        _zeros("unembed.bias", "d_vocab"),
    ),
)
"""`TransformerBridge.state_dict()` of TransformerLens 4, after `boot_native`: 4 tensors, and 12 of
each block."""

LAYOUTS = (CASPER_CNN, CASPER_TRANSFORMER, TRANSFORMER_LENS, TRANSFORMER_LENS_4)
"""Every layout."""


def detect(tensors: Tensors, layouts: Sequence[Layout]) -> Layout:
    """Return the layout of a file's tensors: the one of which the file has most, half or more.

    Raises:
      InputError: if none of the layouts fits, or several fit equally well.
    """
    likeness = {layout: layout.likeness(tensors) for layout in layouts}
    best = max(likeness.values())
    candidates = [layout for layout, share in likeness.items() if share == best >= 0.5]
    if len(candidates) != 1:
        names = ", ".join(sorted(tensors)[:3])
        formats = ", ".join(sorted({layout.name for layout in layouts}))
        raise InputError(
            f"its layout is not clear ({names} ...): fewer than half of its tensors have the names "
            f"and shapes of {formats}; docs/checkpoints.md lists these"
        )
    return candidates[0]
