"""Interventions: what to put in an activation's place, and in which of its components.

An edit says where, what, and in which component::

    at("fc1.post", zero(), neuron=detectors)
    at("blocks.0.attn.hook_pattern", mean(patterns), query=-1)
    compose(at("fc1.post", patch(donor)), at("fc1.post", shift(direction, 2.0)))

Each is an edit for `model.apply({"params": params}, one_input, edits)`. They are functions of one
example's activation; for a donor per example, make the edit within `jax.vmap`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float, Int

from jaxmi.errors import InputError
from jaxmi.models import cnn, transformer
from jaxmi.types import Array, Edits

Action = Callable[[jax.Array], jax.Array]
"""From an activation to what stands in its place; `at` takes the chosen components of it."""

Index = int | slice | list[int] | tuple[int, ...] | np.ndarray
"""Positions on one axis: a number, a slice, numbers, or a mask."""

AXES = {**cnn.SITES, **transformer.SITES}
"""Site -> names of its axes, of both networks."""


def at(site: str, action: Action, **component: Index) -> Edits:
    """Edits a site: the whole activation, or a component of it.

    Args:
      site: One of the network's sites.
      action: What to put there.
      component: Axis name -> which positions on it; axes not named are taken whole. Axis names
        stand in the network's `SITES`: `neuron=`, `head=`, `query=`, `pos=`, `d_model=`, ...

    Returns:
      The edit, for `model.apply`.

    Raises:
      InputError: if there is no such site or axis; when the edit is made, if the component is empty
        or out of range, or the replacement has another shape than the activation.
    """
    if site not in AXES:
        raise InputError(f"no site {site!r} to edit; the sites are: {', '.join(AXES)}")
    axes = AXES[site]
    for axis in component:
        if axis not in axes:
            raise InputError(f"{site} has no axis {axis!r}; its axes are: {', '.join(axes)}")

    def edit(activation: jax.Array) -> jax.Array:
        replacement = jnp.asarray(action(activation), activation.dtype)
        if replacement.shape != activation.shape:
            raise InputError(
                f"the replacement for {site} has shape {replacement.shape}, not {activation.shape}"
            )
        chosen = np.ix_(
            *(
                _positions(site, axis, size, component.get(axis, slice(None)))
                for axis, size in zip(axes, activation.shape, strict=True)
            )
        )
        return activation.at[chosen].set(replacement[chosen])

    return {site: edit}


def compose(*edits: Edits) -> Edits:
    """Joins edits; those of one site are made one after the other, in the order given.

    Raises:
      InputError: if there is none.
    """
    composed: dict[str, Action] = {}
    if not any(edits):
        raise InputError("an edit that touches nothing: there is none to compose")
    for edit in edits:
        for site, action in edit.items():
            earlier = composed.get(site)
            composed[site] = action if earlier is None else _after(earlier, action)
    return composed


def zero() -> Action:
    """Replaces by 0."""
    return jnp.zeros_like


def constant(value: float | Float[Array, "..."]) -> Action:
    """Replaces by a number, or by an array of the activation's shape."""
    array = jnp.asarray(value)
    return lambda activation: jnp.full(activation.shape, array) if array.ndim == 0 else array


def mean(activations: Float[Array, "n ..."]) -> Action:
    """Replaces by the mean over these examples."""
    return constant(_several(activations).mean(axis=0))


def minimum(activations: Float[Array, "n ..."]) -> Action:
    """Replaces by the minimum over these examples, component by component."""
    return constant(_several(activations).min(axis=0))


def patch(activation: Float[Array, "..."]) -> Action:
    """Replaces by what another input had there."""
    return lambda _: jnp.asarray(activation)


def resample(activations: Float[Array, "n ..."], donor: int | Int[Array, ""]) -> Action:
    """Replaces by what one of these examples had there.

    Args:
      activations: The possible donors'.
      donor: Which of them; 0 <= donor < n, and if it is traced, that is for the caller to see to.

    Raises:
      InputError: if there is no such donor.
    """
    n = len(_several(activations))
    if not isinstance(donor, Tracer) and not 0 <= int(donor) < n:
        raise InputError(f"no donor {donor}: there are {n}, counted from 0")
    return patch(jnp.asarray(activations)[donor])


def shift(direction: Float[Array, "..."], amount: float | Float[Array, ""] = 1.0) -> Action:
    """Adds `amount` times a direction of the activation's shape, or that of its last axes.

    Raises:
      InputError: when the edit is made, if the direction does not fit.
    """

    def add(activation: jax.Array) -> jax.Array:
        step = amount * jnp.asarray(direction)
        if step.shape != activation.shape[activation.ndim - step.ndim :]:
            raise InputError(f"a direction of shape {step.shape} does not fit {activation.shape}")
        return activation + jnp.broadcast_to(step, activation.shape)

    return add


def _several(activations: Array) -> Array:
    if len(activations) == 0:
        raise InputError("no activations to replace by: 0 examples")
    return activations


def _after(first: Action, second: Action) -> Action:
    return lambda activation: second(first(activation))


def _positions(site: str, axis: str, size: int, index: Index) -> np.ndarray:
    """The positions that an index means, checked: JAX itself would clip what is out of range."""
    where = f"{site}, {axis}={index!r}"
    if index is None or isinstance(index, bool):
        raise InputError(f"{where}: an index is a number, a slice, numbers or a mask")
    if isinstance(index, list | tuple):
        index = np.asarray(index, int if len(index) == 0 else None)
    try:
        positions = np.atleast_1d(np.arange(size)[index])
    except IndexError as error:
        raise InputError(f"{where}: {error}") from None
    if positions.ndim > 1:
        raise InputError(f"{where}: positions on one axis are a flat list")
    if positions.size == 0:
        raise InputError(f"an edit at {site} touches nothing: {axis}={index!r} is empty")
    return positions
