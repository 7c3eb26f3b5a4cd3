"""The devices that seeds are trained on: a mesh with one axis, "seed", over all hosts' devices.

Each device trains its own seeds, so a program that is mapped over this axis communicates nothing; a
host reads and writes only the rows that its own devices hold.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Wrapped

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.training.loop import RunState, default_microbatch, make_data, make_start
from jaxmi.training.recipe import Recipe

Tree = TypeVar("Tree")

MEMORY_SHARE = 0.8
"""Fraction of a device's memory available to seeds; the data and the compiler take the rest. An
estimate, not tuned on an accelerator."""


def seed_mesh() -> Mesh:
    """Return the mesh over all devices, ordered by host."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(devices), ("seed",))


def place_by_seed(mesh: Mesh, tree: Any) -> Any:
    """Put arrays on the mesh, sharded along their leading axis, seeds.

    Args:
      mesh: From `seed_mesh`.
      tree: Arrays (seeds, ...), the same and complete on every host.
    """
    return _place(mesh, PartitionSpec("seed"), tree)


def place_everywhere(mesh: Mesh, tree: Any) -> Any:
    """Put arrays on every device of the mesh.

    Args:
      mesh: From `seed_mesh`.
      tree: Arrays, the same on every host.
    """
    return _place(mesh, PartitionSpec(), tree)


def _place(mesh: Mesh, spec: PartitionSpec, tree: Any) -> Any:
    sharding = NamedSharding(mesh, spec)

    def place(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(place, tree)


def map_over_seeds(
    function: Callable, mesh: Mesh, width: int, n_mapped: int = 1, donate: bool = False
) -> Wrapped:
    """Map a function of (a seed's own trees ..., shared arrays ...) over the leading axis.

    Args:
      function: Takes a seed's trees, and further arguments that all seeds share.
      mesh: From `seed_mesh`.
      width: Seeds at once; a multiple of the mesh's size.
      n_mapped: How many of the first arguments are a seed's own.
      donate: Reuse the first argument's memory for the result.

    Returns:
      A jitted function; arguments and results are sharded by seed but for the shared ones.
    """
    by_seed, everywhere = PartitionSpec("seed"), PartitionSpec()

    def on_one_device(*args: Any) -> Any:
        trees, shared = args[:n_mapped], args[n_mapped:]
        if width > mesh.size:
            return jax.vmap(lambda *trees: function(*trees, *shared))(*trees)
        # On XLA's CPU backend a product with a batch axis of one is several times slower than
        # without: a device that trains one seed does so without that axis.
        result = function(*jax.tree.map(lambda leaf: leaf[0], trees), *shared)
        return jax.tree.map(lambda leaf: leaf[None], result)

    def mapped(*args: Any) -> Any:
        specs = tuple(by_seed if i < n_mapped else everywhere for i in range(len(args)))
        return jax.shard_map(
            on_one_device, mesh=mesh, in_specs=specs, out_specs=by_seed, check_vma=False
        )(*args)

    return jax.jit(mapped, donate_argnums=(0,) if donate else ())


def gather_rows(tree: Tree) -> Tree:
    """Return arrays, sharded by seed, complete on every host; all hosts call this.

    Args:
      tree: Arrays (seeds, ...).
    """
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.array, tree)


def local_rows(tree: Tree) -> dict[int, Tree]:
    """Read the rows of arrays, sharded by seed, that this host's devices hold.

    Args:
      tree: Arrays (seeds, ...).

    Returns:
      Row number -> the tree with that row of each array, on the host.
    """
    leaves, structure = jax.tree.flatten(tree)
    for leaf in leaves:
        leaf.copy_to_host_async()
    rows: dict[int, list[np.ndarray]] = {}
    for leaf in leaves:
        for shard in leaf.addressable_shards:
            first = shard.index[0].start or 0
            for i, row in enumerate(np.array(shard.data)):
                rows.setdefault(first + i, []).append(row)
    return {i: jax.tree.unflatten(structure, rows[i]) for i in sorted(rows)}


def batch_width(
    challenge: Challenge, recipe: Recipe, n_seeds: int, seeds_per_batch: int | None = None
) -> int:
    """Return how many seeds to train at once, over all devices.

    Args:
      challenge: What is trained on.
      recipe: How.
      n_seeds: Seeds in all; no more are trained at once, but for filling up the devices.
      seeds_per_batch: The number that the user asks for; None takes one seed per device on CPUs,
        which one seed fills, and elsewhere as many as fit into memory.

    Returns:
      A multiple of the number of devices.

    Raises:
      InputError: if `seeds_per_batch` is below 1.
    """
    n_devices = jax.device_count()
    if seeds_per_batch is not None and seeds_per_batch < 1:
        raise InputError(f"seeds_per_batch = {seeds_per_batch}: expected at least 1")
    if seeds_per_batch is None:
        per_device = 1 if jax.default_backend() == "cpu" else _seeds_that_fit(challenge, recipe)
        seeds_per_batch = per_device * n_devices
    return -(-min(seeds_per_batch, n_seeds) // n_devices) * n_devices


def bytes_per_seed(challenge: Challenge, recipe: Recipe) -> int:
    """Return an upper estimate of a device's memory that one seed needs, in bytes.

    It is twice the state (parameters, two running means, the best parameters; the second time for
    gradients and updates) plus every value that a step computes for a microbatch, or an evaluation
    for a chunk, as if none were ever freed or fused away.
    """
    start = make_start(challenge, recipe)
    state = jax.eval_shape(lambda: start(jax.random.key(0), make_data(challenge)))
    n = recipe.batch_size or len(challenge.splits["train"])
    n = recipe.microbatch or default_microbatch(n, challenge.chunk)
    rows = jax.ShapeDtypeStruct((n, *challenge.inputs.shape[1:]), challenge.inputs.dtype)
    key = jax.random.key(0) if recipe.dropout else None

    def loss(params: Any, inputs: Any) -> jax.Array:
        return challenge.forms[recipe.form](params, inputs, key).sum()

    def evaluate(params: Any, inputs: Any) -> jax.Array:
        return challenge.forms[recipe.form](params, inputs, None)

    chunk = jax.ShapeDtypeStruct(
        (challenge.chunk, *challenge.inputs.shape[1:]), challenge.inputs.dtype
    )
    step = jax.make_jaxpr(jax.grad(loss))(state.train.params, rows)
    evaluation = jax.make_jaxpr(evaluate)(state.train.params, chunk)
    return 2 * _bytes_of(state) + max(
        _bytes_computed(step.jaxpr), _bytes_computed(evaluation.jaxpr)
    )


def _bytes_of(state: RunState) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def _bytes_computed(jaxpr: Any) -> int:
    """Return the bytes of all values that a program and its subprograms compute."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [
            getattr(value, "jaxpr", value)
            for value in equation.params.values()
            if hasattr(getattr(value, "jaxpr", value), "eqns")
        ]
        if inner:
            total += sum(map(_bytes_computed, inner))
        else:
            shapes = (variable.aval for variable in equation.outvars)
            total += sum(aval.size * getattr(aval.dtype, "itemsize", 8) for aval in shapes)
    return total


def _seeds_that_fit(challenge: Challenge, recipe: Recipe) -> int:
    limit = device_memory()
    return max(1, int(MEMORY_SHARE * limit) // bytes_per_seed(challenge, recipe)) if limit else 1


def device_memory() -> int | None:
    """Return a device's memory in bytes; None if the backend does not report it, as on CPUs."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


def usable_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
