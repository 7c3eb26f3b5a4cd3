"""The search's sweeps and matrix products in JAX, batched over candidates, for accelerators.

On a CPU the search does the same in NumPy (`tables.py`), which sorts faster there.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxmi.recovery.numbers.boundaries import Family


def is_present() -> bool:
    """Return True if JAX computes on an accelerator."""
    return jax.default_backend() != "cpu"


def sweep_families(
    groups: Int[np.ndarray, "n"],
    log_odds: Float[np.ndarray, "n"],
    families: Sequence[Family],
) -> tuple[Float[np.ndarray, "families"], Int[np.ndarray, "families"]]:
    """Do what `tables.sweep_families` does for all families at once, in single precision."""
    orders, ends = _on_device(tuple(families))
    width = _padded(int(groups.max()) + 1)
    weights = jnp.asarray(log_odds, jnp.float32)
    gains, best = _sweep_all(jnp.asarray(groups, jnp.int32), weights, orders, ends, width)
    return np.asarray(gains), np.asarray(best)


def absolute_products(
    members: Float[np.ndarray, "rows count"],
    tables: Float[np.ndarray, "groups count others"],
    other_members: Float[np.ndarray, "columns others"],
) -> Float[np.ndarray, "rows columns"]:
    """Return the sum over groups of the absolute values of members @ table @ other_members.T."""
    missing = _padded(len(tables)) - len(tables)
    padded = np.pad(tables, ((0, missing), (0, 0), (0, 0)))  # few shapes to compile
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
    log_odds: Float[Array, "n"],
    orders: Int[Array, "families n"],
    ends: Bool[Array, "families n"],
    width: int,
) -> tuple[Float[Array, "families"], Int[Array, "families"]]:
    total = jnp.bincount(groups, log_odds, length=width)
    counts = jnp.bincount(groups, length=width)
    starts = jnp.cumsum(counts) - counts

    def sweep(order: Array, is_end: Array) -> tuple[Array, Array]:
        ordered_groups = groups[order]
        positions = jnp.argsort(ordered_groups, stable=True)  # by group, within it by score
        group = ordered_groups[positions]
        sums = jnp.cumsum(log_odds[order[positions]])
        before = sums - jnp.append(0.0, sums)[starts][group]
        margin = jnp.abs(before) + jnp.abs(total[group] - before)
        is_first = jnp.arange(len(order)) == starts[group]
        step = margin - jnp.where(is_first, jnp.abs(total[group]), jnp.roll(margin, 1))
        steps = jnp.zeros_like(step).at[positions].set(step)
        gain = jnp.where(is_end, jnp.cumsum(steps), 0.0)
        end = gain.argmax()
        return gain[end], end

    return jax.vmap(sweep)(orders, ends)


@jax.jit
def _absolute_products(
    members: Float[Array, "rows count"],
    tables: Float[Array, "groups count others"],
    other_members: Float[Array, "columns others"],
) -> Float[Array, "rows columns"]:
    def add(total: Array, table: Array) -> tuple[Array, None]:
        matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)  # no bfloat16 on a TPU
        return total + jnp.abs(matmul(matmul(members, table), other_members.T)), None

    zeros = jnp.zeros((len(members), len(other_members)), jnp.float32)
    return jax.lax.scan(add, zeros, tables)[0]
