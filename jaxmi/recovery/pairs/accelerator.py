"""What a search on pairs spends its time on, for many candidates at once by JAX: on accelerators.

On a CPU the search does the same by NumPy, which sorts faster there.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxmi.recovery.pairs.boundaries import Family


def is_there() -> bool:
    """Says if JAX computes on an accelerator."""
    return jax.default_backend() != "cpu"


def sweep_families(
    groups: Int[np.ndarray, "n"],
    signed: Float[np.ndarray, "n"],
    families: Sequence[Family],
) -> tuple[Float[np.ndarray, "families"], Int[np.ndarray, "families"]]:
    """Does what `tables.sweep` does, for all families together, in single precision."""
    orders, ends = _on_device(tuple(families))
    width = _padded(int(groups.max()) + 1)
    worth = jnp.asarray(signed, jnp.float32)
    added, at = _sweep_all(jnp.asarray(groups, jnp.int32), worth, orders, ends, width)
    return np.asarray(added), np.asarray(at)


def absolute_products(
    members: Float[np.ndarray, "rows count"],
    tables: Float[np.ndarray, "groups count others"],
    other_members: Float[np.ndarray, "columns others"],
) -> Float[np.ndarray, "rows columns"]:
    """Sums, over groups, the absolute values of members @ table @ other_members.T."""
    missing = _padded(len(tables)) - len(tables)
    padded = np.pad(tables, ((0, missing), (0, 0), (0, 0)))  # so that few shapes are compiled
    return np.asarray(_absolute_products(members, padded, other_members))


def _padded(count: int) -> int:
    return 1 << (count - 1).bit_length()


@lru_cache(maxsize=2)
def _on_device(
    families: tuple[Family, ...],
) -> tuple[Int[Array, "families n"], Bool[Array, "families n"]]:
    orders = np.stack([family.order for family in families]).astype(np.int32)
    return jnp.asarray(orders), jnp.asarray(np.stack([family.ends for family in families]))


@partial(jax.jit, static_argnames="width")
def _sweep_all(
    groups: Int[Array, "n"],
    signed: Float[Array, "n"],
    orders: Int[Array, "families n"],
    ends: Bool[Array, "families n"],
    width: int,
) -> tuple[Float[Array, "families"], Int[Array, "families"]]:
    total = jnp.bincount(groups, signed, length=width)
    counts = jnp.bincount(groups, length=width)
    starts = jnp.cumsum(counts) - counts

    def sweep(order: Array, is_end: Array) -> tuple[Array, Array]:
        in_order = groups[order]
        places = jnp.argsort(in_order, stable=True)  # by group, in it by score
        group = in_order[places]
        sums = jnp.cumsum(signed[order[places]])
        before = sums - jnp.append(0.0, sums)[starts][group]
        margin = jnp.abs(before) + jnp.abs(total[group] - before)
        is_first = jnp.arange(len(order)) == starts[group]
        gain = margin - jnp.where(is_first, jnp.abs(total[group]), jnp.roll(margin, 1))
        added = jnp.where(is_end, jnp.cumsum(jnp.zeros_like(gain).at[places].set(gain)), 0.0)
        end = added.argmax()
        return added[end], end

    return jax.vmap(sweep)(orders, ends)


@jax.jit
def _absolute_products(
    members: Float[Array, "rows count"],
    tables: Float[Array, "groups count others"],
    other_members: Float[Array, "columns others"],
) -> Float[Array, "rows columns"]:
    def add(total: Array, table: Array) -> tuple[Array, None]:
        times = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)  # no bfloat16 on a TPU
        return total + jnp.abs(times(times(members, table), other_members.T)), None

    zeros = jnp.zeros((len(members), len(other_members)), jnp.float32)
    return jax.lax.scan(add, zeros, tables)[0]
