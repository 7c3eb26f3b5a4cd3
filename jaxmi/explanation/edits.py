"""Interventions: functions that replace an activation, or a component of it, during a forward pass.

An edit names a site, an action, and the component that the action applies to::

    at("fc1.post", zero(), neuron=detectors)
    at("blocks.0.attn.hook_pattern", mean(patterns), query=-1)
    compose(at("fc1.post", patch(donor)), at("fc1.post", shift(direction, 2.0)))

The result is passed to `model.apply({"params": params}, one_input, edits)`. Edits are functions of
one example's activation; for a donor per example, make the edit within `jax.vmap`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float, Int

from jaxmi.errors import InputError
from jaxmi.explanation.components import Index, check_axes, select
from jaxmi.types import Array, Edits

Action = Callable[[jax.Array], jax.Array]
"""From a site's activation to its replacement, of the same shape."""


def at(site: str, action: Action, **component: Index) -> Edits:
    """Return the edit that applies an action to a site, or to a component of it.

    Args:
      site: A site of a network, as named in its `SITES`.
      action: Maps the whole activation to its replacement; only the component is replaced.
      component: Axis name -> positions on it, such as `neuron=`, `head=`, `query=`, `pos=` or
        `d_model=`; axes that are not named are taken whole.

    Returns:
      The edit, for `model.apply`.

    Raises:
      InputError: if there is no such site or axis; when the edit is applied, if an index matches
        nothing, or the replacement's shape is not the activation's.
    """
    check_axes(site, component)

    def edit(activation: jax.Array) -> jax.Array:
        replacement = jnp.asarray(action(activation), activation.dtype)
        if replacement.shape != activation.shape:
            raise InputError(
                f"the replacement for {site} has shape {replacement.shape}, not {activation.shape}"
            )
        positions = np.ix_(*select(site, activation.shape, component).index)
        return activation.at[positions].set(replacement[positions])

    return {site: edit}


def compose(*edits: Edits) -> Edits:
    """Join edits. Those of one site are applied one after the other, in the order given.

    Raises:
      InputError: if there is no edit.
    """
    composed: dict[str, Action] = {}
    if not any(edits):
        raise InputError("no edit to compose: give at least one that names a site")
    for edit in edits:
        for site, action in edit.items():
            earlier = composed.get(site)
            composed[site] = action if earlier is None else _chain(earlier, action)
    return composed


def zero() -> Action:
    """Return the action that sets an activation to 0."""
    return jnp.zeros_like


def constant(value: float | Float[Array, "..."]) -> Action:
    """Return the action that puts a number, or an array of the activation's shape, in its place."""
    array = jnp.asarray(value)
    return lambda activation: jnp.full(activation.shape, array) if array.ndim == 0 else array


def mean(activations: Float[Array, "n ..."]) -> Action:
    """Return the action that puts the mean over examples in an activation's place.

    Raises:
      InputError: if there is no example.
    """
    return constant(_check_examples(activations).mean(axis=0))


def minimum(activations: Float[Array, "n ..."]) -> Action:
    """Return the action that puts each entry's minimum over examples in an activation's place.

    Raises:
      InputError: if there is no example.
    """
    return constant(_check_examples(activations).min(axis=0))


def patch(activation: Float[Array, "..."]) -> Action:
    """Return the action that puts another input's activation in place of an input's own."""
    return lambda _: jnp.asarray(activation)


def resample(activations: Float[Array, "n ..."], donor: int | Int[Array, ""]) -> Action:
    """Return the action that puts the activation of one of several examples in place.

    Args:
      activations: One row per possible donor.
      donor: The row, 0 <= donor < n. A traced number is not checked.

    Raises:
      InputError: if there is no such row.
    """
    n = len(_check_examples(activations))
    if not isinstance(donor, Tracer) and not 0 <= int(donor) < n:
        raise InputError(f"no donor {donor}: the examples are 0..{n - 1}")
    return patch(jnp.asarray(activations)[donor])


def shift(direction: Float[Array, "..."], amount: float | Float[Array, ""] = 1.0) -> Action:
    """Return the action that adds `amount` times a direction.

    Args:
      direction: An array of the activation's shape, or of the shape of its last axes.
      amount: The multiple of it to add.

    Raises:
      InputError: when the edit is applied, if the direction's shape does not fit.
    """

    def add(activation: jax.Array) -> jax.Array:
        step = amount * jnp.asarray(direction)
        if step.shape != activation.shape[activation.ndim - step.ndim :]:
            raise InputError(f"a direction of shape {step.shape} does not fit {activation.shape}")
        return activation + jnp.broadcast_to(step, activation.shape)

    return add


def _check_examples(activations: Array) -> Array:
    if len(activations) == 0:
        raise InputError("no activations to replace by: 0 examples")
    return activations


def _chain(first: Action, second: Action) -> Action:
    return lambda activation: second(first(activation))
