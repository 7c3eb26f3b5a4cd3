"""Components of a site that a claim is about: what of them is exchanged, and what is left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.errors import InputError
from jaxmi.explanation.scrub import Claim
from jaxmi.explanation.scrub import replace as carry_out
from jaxmi.judge.submission import POSITIONS

Values = Float[np.ndarray, "n ..."]
"""Activations at a site, one row per input."""


@dataclass(frozen=True, eq=False)
class Component:
    """Positions on a site's axes, or directions in its last."""

    axes: tuple[str, ...]
    """The site's, by name."""
    index: tuple[Int[np.ndarray, "_"], ...]
    """Positions on each axis; for directions, on each but the last, one each."""
    rows: Float[np.ndarray, "k d"] | None = None
    """For directions: what reads their coordinates off the last axis; independent rows."""
    moves: Float[np.ndarray, "d k"] | None = None
    """And what changes them: `rows @ moves` is the identity."""

    @property
    def place(self) -> tuple[int, ...]:
        """For directions: where the vector stands that they are of."""
        return tuple(int(positions[0]) for positions in self.index)

    def exchange(self, values: Values, donors: Int[np.ndarray, "n"]) -> Values:
        """Takes this component of every input from its donor."""
        if self.rows is None or self.moves is None:
            return _exchange(values, donors, self.index)
        at = (slice(None), *self.place)
        coordinates = values[at].astype(np.float64) @ self.rows.T
        change = _exchange(coordinates, donors) - coordinates  # 0 for what keeps its own
        exchanged = values.copy()
        exchanged[at] += (change @ self.moves.T).astype(values.dtype)
        return exchanged

    def whole_positions(self) -> tuple[Int[np.ndarray, "_"] | slice, ...]:
        """Returns the positions that it touches, with all components there."""
        axes = zip(self.axes, self.index, strict=False)  # directions name no last one
        return tuple(index if axis in POSITIONS else slice(None) for axis, index in axes)

    def turned(self, turn: Callable[[str, int], np.ndarray], sizes: Sequence[int]) -> "Component":
        """Returns a random component of the same size.

        Args:
          turn: (axis, its size) -> a random permutation of its positions; ("", size) -> a random
            rotation. The same for all components of a site, so that they overlap as before.
          sizes: Of the site's axes.
        """
        if self.rows is not None and self.moves is not None:
            rotation = turn("", self.rows.shape[1])
            return replace(self, rows=self.rows @ rotation, moves=rotation.T @ self.moves)
        whole = [len(i) == size for i, size in zip(self.index, sizes, strict=True)]
        inner = [axis not in POSITIONS for axis in self.axes]
        # Among neurons, heads and channels; of a claim that takes them all, among positions.
        of_inner = any(is_inner and not all_ for is_inner, all_ in zip(inner, whole, strict=True))
        index = tuple(
            turn(axis, size)[positions] if is_inner == of_inner else positions
            for axis, size, positions, is_inner in zip(
                self.axes, sizes, self.index, inner, strict=True
            )
        )
        return replace(self, index=tuple(np.sort(positions) for positions in index))

    def same_as(self, other: "Component") -> bool:
        """Says whether two components of a site are one."""
        if (self.rows is None) != (other.rows is None):
            return False
        if self.rows is None or other.rows is None:
            pairs = zip(self.index, other.index, strict=True)
            return all(np.array_equal(mine, others) for mine, others in pairs)
        return self.place == other.place and np.allclose(_span(self.rows), _span(other.rows))


def everything_else(
    values: Values, others: Values, claimed: Sequence[tuple[Component, Bool[np.ndarray, "n"]]]
) -> Values:
    """Puts others in the place of all that is not claimed.

    Args:
      values: At a site.
      others: What to put there, per input.
      claimed: The components that stay, and for which inputs each does.
    """
    if not claimed:
        return others.copy()
    left = np.empty_like(values)
    patterns, which = np.unique(
        np.stack([reached for _, reached in claimed]), axis=1, return_inverse=True
    )
    for number, pattern in enumerate(patterns.T):
        rows = np.flatnonzero(which.reshape(-1) == number)
        kept = [component for (component, _), stays in zip(claimed, pattern, strict=True) if stays]
        left[rows] = _all_but(kept, values[rows], others[rows])
    return left


def activity(values: Values, component: Component) -> float:
    """Returns a component's share of the variance at the positions that it touches, in 0..1."""
    return covered(values, [component])


def covered(values: Values, components: Sequence[Component]) -> float:
    """Returns several components' share of the variance at the positions that they touch."""
    touched = np.zeros(values.shape[1:], bool)
    for component in components:
        positions = component.whole_positions()
        full = [np.arange(size)[p] for p, size in zip(positions, touched.shape, strict=False)]
        touched[np.ix_(*full, *map(np.arange, touched.shape[len(full) :]))] = True
    finite = np.where(np.isfinite(values), values, 0).astype(np.float32)
    mean = np.broadcast_to(finite.mean(axis=0), finite.shape)
    kept = _all_but(components, finite, mean)
    whole = finite.var(axis=0, dtype=np.float64)[touched].sum()
    return float(kept.var(axis=0, dtype=np.float64)[touched].sum() / whole) if whole else 0.0


def duals(rows: Float[np.ndarray, "k d"], what: str) -> Float[np.ndarray, "d k"]:
    """Returns the directions that change one coordinate each and no other, in the rows' span.

    Raises:
      InputError: if the rows are not independent; names them by `what`.
    """
    if np.linalg.matrix_rank(rows) < len(rows):
        raise InputError(f"{what} are not linearly independent")
    return np.linalg.pinv(rows)


def _all_but(kept: Sequence[Component], values: Values, others: Values) -> Values:
    """One input's way as another's: others everywhere but in some components."""
    stays = np.zeros(values.shape[1:], bool)
    for component in kept:
        if component.rows is None:
            stays[np.ix_(*component.index)] = True
    left = np.where(stays, values, others)
    directions: dict[tuple[int, ...], list[np.ndarray]] = {}
    for component in kept:
        if component.rows is not None:
            directions.setdefault(component.place, []).append(component.rows)
    for place, rows in directions.items():
        at = (slice(None), *place)
        span = _span(np.concatenate([*rows, np.eye(values.shape[-1])[stays[place]]]))
        difference = (values[at] - others[at]).astype(np.float64)
        left[at] = others[at] + (difference @ span).astype(values.dtype)
    return left


def _span(rows: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "d d"]:
    """The orthogonal projection on what some rows span."""
    _, singular, directions = np.linalg.svd(rows, full_matrices=False)
    directions = directions[singular > 1e-9 * singular.max()]
    return directions.T @ directions


def _exchange(
    values: np.ndarray, donors: np.ndarray, index: tuple[np.ndarray, ...] | None = None
) -> np.ndarray:
    claim = Claim("here", lambda *_: donors, index)
    return carry_out({"here": values}, [claim], np.random.default_rng(0))[0]["here"]
