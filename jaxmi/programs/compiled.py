"""Labels of many programs at once, exact: what bounds prove is compiled, the rest is evaluated.

Programs with the same skeleton are one XLA program, with their constants as arguments. It computes
in float64, whatever JAX's configuration, and always on a CPU: that is where it was checked.
"""

from collections.abc import Hashable, Iterator, Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import Float, Int, Int32

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.arrays import label_domain
from jaxmi.programs.bounds import why_not_exact
from jaxmi.programs.domain import Domain
from jaxmi.programs.evaluate import evaluate, label
from jaxmi.programs.skeleton import Skeleton, constants, filled, skeleton

Constants = Float[np.ndarray, "programs constants"]
Labels = Int32[np.ndarray, "programs n"]
Rows = Int[np.ndarray, "_"]

BLOCK = 32
"""Programs per call of the compiled function, the last call filled up: so it is compiled once."""

FEWEST = 64
"""Fewer programs are not worth compiling, which takes as long as evaluating about 100."""


def label_batch(programs: Sequence[lang.Program], domain: Domain, fewest: int = FEWEST) -> Labels:
    """Labels every input by every program, exactly as `evaluate.label` does one by one.

    Args:
      programs: Of the domain's kind. Those that differ only in constants go together.
      domain: The inputs.
      fewest: How many must go together to be compiled, >= 1.

    Raises:
      InputError: as `evaluate.label`, for the first program that it refuses.
    """
    labels = np.empty((len(programs), int(np.prod(domain.shape))), np.int32)
    groups: dict[Hashable, list[int]] = {}
    found = []
    for i, program in enumerate(programs):
        key, values = constants(program)
        groups.setdefault(key, []).append(i)
        found.append(values)
    left = set(range(len(programs)))
    for group in groups.values():
        if len(group) < fewest:
            continue
        values = np.array([found[i] for i in group], np.float64).reshape(len(group), -1)
        for block, theirs in _compiled(skeleton(programs[group[0]]), values, domain, fewest):
            rows = [group[i] for i in block]
            labels[rows] = theirs
            left.difference_update(rows)
    for i in sorted(left):
        labels[i] = label(programs[i], domain)
    return labels


def label_constants(
    shared: Skeleton, values: Constants, domain: Domain, fewest: int = FEWEST
) -> Labels:
    """Labels every input by every program of a skeleton: what a search over constants calls.

    Args:
      shared: The skeleton.
      values: A row of constants for each program, whole numbers where the skeleton has them.
      domain: The inputs.
      fewest: As in `label_batch`.

    Raises:
      InputError: as `evaluate.label`, or if the constants do not fit the skeleton.
    """
    _check_constants(shared, values)
    labels = np.empty((len(values), int(np.prod(domain.shape))), np.int32)
    left = set(range(len(values)))
    for block, theirs in _compiled(shared, values, domain, fewest):
        labels[block] = theirs
        left.difference_update(block.tolist())
    for i in sorted(left):
        labels[i] = label(filled(shared, values[i].tolist()), domain)
    return labels


def why_not_compiled(program: lang.Program, domain: Domain) -> str | None:
    """Says why a program is outside of the domain of exactness: line and reason; None if inside."""
    values = np.array([constants(program)[1]], np.float64).reshape(1, -1)
    shared = skeleton(program)
    try:
        return why_not_exact(shared, values, _tables(shared, domain))
    except InputError as error:
        return str(error)


def _check_constants(shared: Skeleton, values: np.ndarray) -> None:
    if values.shape[1] != len(shared.kinds):
        raise InputError(f"{values.shape[1]} constants for a skeleton of {len(shared.kinds)}")
    whole = values[:, [kind is int for kind in shared.kinds]]
    for odd in (values[~(np.abs(values) < np.inf)], whole[whole != np.floor(whole)]):
        if len(odd):
            raise InputError(f"{odd[0]} is no constant of the skeleton's type")


def _compiled(
    shared: Skeleton, values: np.ndarray, domain: Domain, fewest: int
) -> Iterator[tuple[Rows, np.ndarray]]:
    """Yields rows of constants that are proven exact, and their labels (rows, n)."""
    try:
        cpu = jax.local_devices(backend="cpu")[0]
        tables = _tables(shared, domain)
    except (RuntimeError, InputError):  # no CPU; a program that fails
        return
    proven = _proven(shared, values, tables, np.arange(len(values)), max(fewest, 1))
    if not len(proven):
        return
    floats = tuple(table.astype(np.float64) for table in tables)
    zero = np.zeros(domain.shape, np.int64)
    for first in range(0, len(proven), BLOCK):
        block = proven[first : first + BLOCK]
        with jax.enable_x64(True), jax.default_device(cpu):
            found = np.asarray(_run(shared, values[np.resize(block, BLOCK)], floats, zero))
        yield block, found[: len(block)].reshape(len(block), -1)


def _proven(
    shared: Skeleton, values: np.ndarray, tables: list[np.ndarray], rows: Rows, fewest: int
) -> Rows:
    """Finds rows in the domain of exactness, by halves, as long as they are worth compiling."""
    if len(rows) < fewest:
        return rows[:0]
    if why_not_exact(shared, values[rows], tables) is None:
        return rows
    if len(rows) == 1:
        return rows[:0]
    halves = np.array_split(rows, 2)
    return np.concatenate([_proven(shared, values, tables, half, fewest) for half in halves])


def _tables(shared: Skeleton, domain: Domain) -> list[np.ndarray]:
    """Computes what does not depend on constants, in arrays that broadcast to the domain."""
    tables = []
    for expression in shared.tables:
        program = lang.Program(shared.kind, (lang.Return(expression),))
        values = evaluate(program, domain).reshape(domain.shape)
        if domain.kind == "pairs":
            used = {node.name for node in lang.walk(expression) if isinstance(node, lang.Name)}
            values = values[: None if "x" in used else 1, : None if "y" in used else 1]
        tables.append(values)
    return tables


@partial(jax.jit, static_argnums=0)
def _run(
    shared: Skeleton, values: jax.Array, tables: tuple[jax.Array, ...], zero: jax.Array
) -> jax.Array:
    """Labels the domain by each program in turn, as truth values (programs, ...)."""
    # Not by vmap: what is the same for all programs would be divided by as one number is.
    return jax.lax.map(lambda numbers: label_domain(shared, numbers, tables, zero), values)
