"""Components of a site: the part of an activation that an edit, a claim or a control is about.

A component is a set of positions on a site's axes (neurons, heads, channels, token positions), or
a set of directions in the last axis at one place. Edits (`edits.at`), causal scrubbing
(`scrub.Claim`) and the judge of submitted explanations all select their components here, so that
every index is checked once and in the same words: one that matches nothing raises `InputError`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.registry import KINDS
from jaxmi.errors import InputError

AXES: Mapping[str, tuple[str, ...]] = {
    site: axes for kind in KINDS.values() for site, axes in kind.sites.items()
}
"""Site -> the names of its axes, for the sites of all networks."""

POSITION_AXES = ("pos", "query", "key", "height", "width")
"""Axes that say where in the input something is; the others count neurons, heads, channels."""

Index = int | slice | list[int] | tuple[int, ...] | np.ndarray
"""Positions on one axis: a number, a slice, several numbers, or a mask."""

Values = Float[np.ndarray, "n ..."]
"""Activations at a site, one row per input."""


@dataclass(frozen=True, eq=False)
class Component:
    """Positions on a site's axes, or directions in its last axis."""

    axes: tuple[str, ...]
    """Names of the site's axes."""
    index: tuple[Int[np.ndarray, "_"], ...]
    """Positions on each axis. For directions: one position on each axis but the last."""
    rows: Float[np.ndarray, "k d"] | None = None
    """For directions: linearly independent vectors; `rows @ activation` are the coordinates."""
    duals: Float[np.ndarray, "d k"] | None = None
    """For directions: the change of the activation per unit of each coordinate; `rows @ duals` is
    the identity."""

    @property
    def place(self) -> tuple[int, ...]:
        """The position on each axis but the last of the vector that directions are in."""
        return tuple(int(positions[0]) for positions in self.index)

    def exchange(self, values: Values, donors: Int[np.ndarray, "n"]) -> Values:
        """Return the activations with this component of every input taken from its donor.

        Args:
          values: Activations at the site, one row per input.
          donors: The row that each input takes the component from; its own row changes no bit.
        """
        exchanged = values.copy()
        if self.rows is None or self.duals is None:
            exchanged[(slice(None), *np.ix_(*self.index))] = values[np.ix_(donors, *self.index)]
            return exchanged
        vectors = (slice(None), *self.place)
        coordinates = values[vectors].astype(np.float64) @ self.rows.T
        change = coordinates[donors] - coordinates  # exactly 0 for an input that keeps its own
        exchanged[vectors] += (change @ self.duals.T).astype(values.dtype)
        return exchanged

    def surroundings(self) -> tuple[Int[np.ndarray, "_"] | slice, ...]:
        """Return the token or image positions of the component, with every neuron or head there."""
        axes = zip(self.axes, self.index, strict=False)  # directions have no index on the last axis
        return tuple(index if axis in POSITION_AXES else slice(None) for axis, index in axes)

    def randomised(
        self, draw: Callable[[str, int], np.ndarray], shape: Sequence[int]
    ) -> "Component":
        """Return a random component of the same size.

        Neurons, heads and channels are permuted. If the component takes all of these, positions
        are permuted instead. Directions are rotated.

        Args:
          draw: (axis, its size) -> a random permutation of its positions; ("", size) -> a random
            rotation. Components that share `draw` overlap as much as before.
          shape: Sizes of the site's axes.
        """
        if self.rows is not None and self.duals is not None:
            rotation = draw("", self.rows.shape[1])
            return replace(self, rows=self.rows @ rotation, duals=rotation.T @ self.duals)
        is_inner = [axis not in POSITION_AXES for axis in self.axes]
        is_partial = [len(i) < size for i, size in zip(self.index, shape, strict=True)]
        permute_inner = any(i and p for i, p in zip(is_inner, is_partial, strict=True))
        index = tuple(
            draw(axis, size)[positions] if inner == permute_inner else positions
            for axis, size, positions, inner in zip(
                self.axes, shape, self.index, is_inner, strict=True
            )
        )
        return replace(self, index=tuple(np.sort(positions) for positions in index))

    def equals(self, other: "Component") -> bool:
        """Return whether this is the same positions, or the same subspace, as another."""
        if (self.rows is None) != (other.rows is None):
            return False
        if self.rows is None or other.rows is None:
            pairs = zip(self.index, other.index, strict=True)
            return all(np.array_equal(a, b) for a, b in pairs)
        same_span = np.allclose(_projection(self.rows), _projection(other.rows))
        return self.place == other.place and same_span

    def contains(self, other: "Component") -> bool:
        """Return whether another component of the same site is part of this one."""
        if self.rows is None:
            if other.rows is not None:  # the whole vectors that its directions are in
                outer, whole = self.index[:-1], len(self.index[-1]) == other.rows.shape[1]
                pairs = zip(outer, other.place, strict=True)
                return whole and all(place in positions for positions, place in pairs)
            pairs = zip(self.index, other.index, strict=True)
            return all(np.isin(b, a).all() for a, b in pairs)
        if other.rows is None or self.place != other.place:
            return False
        return np.allclose(other.rows @ _projection(self.rows), other.rows)

    def read(self, values: Values) -> Float[np.ndarray, "n d"]:
        """Return what the component is, a row per input: its activations or its coordinates."""
        if self.rows is not None:
            return values[(slice(None), *self.place)].astype(np.float64) @ self.rows.T
        return values[(slice(None), *np.ix_(*self.index))].reshape(len(values), -1)


Selection = (
    int | slice | list[int] | np.ndarray | tuple[Index, ...] | Mapping[str, Index] | Component
)
"""How a component is named: an index on the last axis; a tuple of indices, one for each axis; axis
name -> index, for the sites in `AXES`; or a `Component`. Axes not named are taken whole."""


def select(site: str, shape: Sequence[int], selection: Selection | None) -> Component:
    """Return the component of a site that a selection names.

    Args:
      site: The site's name.
      shape: Sizes of the site's axes.
      selection: Which part of it; None selects all.

    Raises:
      InputError: if there is no such axis, or an index matches nothing.
    """
    if isinstance(selection, Component):
        return selection
    axes = AXES.get(site, ())
    if len(axes) != len(shape):
        axes = tuple(f"axis{i}" for i in range(len(shape)))
    everything = slice(None)
    if selection is None:
        indices = {}
    elif isinstance(selection, Mapping):
        indices = check_axes(site, selection)
    else:
        others = (everything,) * (len(axes) - 1)
        ordered = selection if isinstance(selection, tuple) else (*others, selection)
        if len(ordered) > len(axes):
            raise InputError(f"{site} has {len(axes)} axes; {len(ordered)} indices were given")
        indices = dict(zip(axes, ordered, strict=False))
    return Component(
        tuple(axes),
        tuple(
            find_positions(site, axis, size, indices.get(axis, everything))
            for axis, size in zip(axes, shape, strict=True)
        ),
    )


def check_axes(site: str, selection: Mapping[str, Index]) -> Mapping[str, Index]:
    """Return a selection by axis names if the site has all these axes.

    Raises:
      InputError: if there is no such site, or it has no such axis.
    """
    if site not in AXES:
        raise InputError(f"no site {site!r}; the sites are: {', '.join(AXES)}")
    for axis in selection:
        if axis not in AXES[site]:
            raise InputError(f"{site} has no axis {axis!r}; its axes are: {', '.join(AXES[site])}")
    return selection


def find_positions(site: str, axis: str, size: int, index: Index) -> Int[np.ndarray, "_"]:
    """Return the positions that an index selects on an axis.

    NumPy counts negative numbers from the end and refuses what is out of range; JAX would clip it.

    Args:
      site: The site's name, for messages.
      axis: The axis's name, for messages.
      size: How many positions the axis has.
      index: Which of them.

    Raises:
      InputError: if the index matches nothing, or is none.
    """
    shown = " ".join(repr(index).split())
    name = f"{site}, {axis}={shown if len(shown) <= 60 else shown[:57] + '...'}"
    if index is None or isinstance(index, bool | np.bool_):
        raise InputError(f"{name}: an index is a number, a slice, a list of numbers or a mask")
    if isinstance(index, list | tuple):
        index = np.asarray(index, int if len(index) == 0 else None)
    try:
        positions = np.atleast_1d(np.arange(size)[index])
    except IndexError:
        positions = np.empty(0, int)
    if positions.ndim > 1:
        raise InputError(f"{name}: positions on one axis are a flat list")
    if positions.size == 0:
        raise InputError(f"{name} matches nothing: {axis} has the positions 0..{size - 1}")
    return positions


def dual_directions(rows: Float[np.ndarray, "k d"], name: str) -> Float[np.ndarray, "d k"]:
    """Return the directions in the rows' span that change one coordinate each and no other.

    Args:
      rows: The vectors that read the coordinates.
      name: What they are, in the plural, for the message.

    Raises:
      InputError: if the rows are not linearly independent.
    """
    if np.linalg.matrix_rank(rows) < len(rows):
        raise InputError(f"{name} are not linearly independent")
    return np.linalg.pinv(rows)


def replace_rest(
    values: Values, others: Values, claimed: Sequence[tuple[Component, Bool[np.ndarray, "n"]]]
) -> Values:
    """Return other activations everywhere but in the claimed components.

    Args:
      values: Activations at a site, one row per input.
      others: What to put in their place, of the same shape.
      claimed: The components that stay, and the inputs for which each does.
    """
    if not claimed:
        return others.copy()
    result = np.empty_like(values)
    patterns, pattern_of = np.unique(
        np.stack([inputs for _, inputs in claimed]), axis=1, return_inverse=True
    )
    for number, pattern in enumerate(patterns.T):
        rows = np.flatnonzero(pattern_of.reshape(-1) == number)
        fixed = [component for (component, _), stays in zip(claimed, pattern, strict=True) if stays]
        result[rows] = _keep_only(fixed, values[rows], others[rows])
    return result


def variance_share(values: Values, components: Sequence[Component]) -> float:
    """Return the components' share of the variance at the positions where they are, in 0..1.

    Values that are not finite, such as masked attention scores, count as 0.
    """
    compared = np.zeros(values.shape[1:], bool)
    for component in components:
        positions = component.surroundings()
        full = [np.arange(size)[p] for p, size in zip(positions, compared.shape, strict=False)]
        compared[np.ix_(*full, *map(np.arange, compared.shape[len(full) :]))] = True
    finite = np.where(np.isfinite(values), values, 0).astype(np.float32)
    mean = np.broadcast_to(finite.mean(axis=0), finite.shape)
    part = _keep_only(components, finite, mean).var(axis=0, dtype=np.float64)[compared].sum()
    total = finite.var(axis=0, dtype=np.float64)[compared].sum()
    return float(part / total) if total else 0.0


def _keep_only(fixed: Sequence[Component], values: Values, others: Values) -> Values:
    """Return others everywhere but in some components, the same for every input."""
    mask = np.zeros(values.shape[1:], bool)
    directions: dict[tuple[int, ...], list[np.ndarray]] = {}
    for component in fixed:
        if component.rows is None:
            mask[np.ix_(*component.index)] = True
        else:
            directions.setdefault(component.place, []).append(component.rows)
    result = np.where(mask, values, others)
    for place, rows in directions.items():
        vectors = (slice(None), *place)
        span = _projection(np.concatenate([*rows, np.eye(values.shape[-1])[mask[place]]]))
        difference = (values[vectors] - others[vectors]).astype(np.float64)
        result[vectors] = others[vectors] + (difference @ span).astype(values.dtype)
    return result


def _projection(rows: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "d d"]:
    """Return the orthogonal projection onto the span of some vectors."""
    _, singular, directions = np.linalg.svd(rows, full_matrices=False)
    directions = directions[singular > 1e-9 * singular.max()]
    return directions.T @ directions
