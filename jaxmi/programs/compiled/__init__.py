"""Exact labels of thousands of programs at once, compiled by XLA: call `label_batch`.

It serves studies and searches that label many programs that differ only in their constants, such as
one program with a thousand thresholds. One compilation costs about as much as evaluating 100
programs one by one (`evaluate.label`); from then on labels come 15 to 50 times faster, so below
`FEWEST` programs of one skeleton nothing is compiled. A handful of programs, or many of different
structure (the draws of `fairness.py`), gain nothing from it.

How a batch is labelled:

1. `skeleton` groups programs: those with the same skeleton become one XLA program, with their
   constants as arguments.
2. `bounds` proves, for a range of constants, that float64 computes Python's numbers exactly.
3. `arrays` computes the labels of programs with such a proof, always on a CPU: the platform on
   which they were compared with Python.
4. All other programs are evaluated one by one.

`flow` is the interpreter that `bounds` and `arrays` share.
"""

from collections.abc import Hashable, Iterator, Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import Float, Int, Int32

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.compiled.arrays import label_domain
from jaxmi.programs.compiled.bounds import why_not_exact
from jaxmi.programs.compiled.skeleton import Skeleton, fill, make_skeleton, split_constants
from jaxmi.programs.domain import Domain
from jaxmi.programs.evaluate import evaluate, label

Constants = Float[np.ndarray, "programs constants"]
Labels = Int32[np.ndarray, "programs n"]
Rows = Int[np.ndarray, "_"]

BLOCK = 32
"""Programs per call of the compiled function. The last block is padded, so that all calls have the
same shape and one compilation serves them."""

FEWEST = 64
"""Fewest programs of one skeleton that are compiled."""


def label_batch(programs: Sequence[lang.Program], domain: Domain, fewest: int = FEWEST) -> Labels:
    """Label every input by every program, exactly as `evaluate.label` does one by one.

    Args:
      programs: Programs of the domain's kind.
      domain: The inputs.
      fewest: How many programs must have the same skeleton to be compiled, >= 1.

    Returns:
      (programs, n) int32, 0 or 1; inputs in domain order.

    Raises:
      InputError: as `evaluate.label`, for the first program that fails.
    """
    labels = np.empty((len(programs), int(np.prod(domain.shape))), np.int32)
    groups: dict[Hashable, list[int]] = {}
    constants = []
    for i, program in enumerate(programs):
        key, values = split_constants(program)
        groups.setdefault(key, []).append(i)
        constants.append(values)
    remaining = set(range(len(programs)))
    for group in groups.values():
        if len(group) < fewest:
            continue
        values = np.array([constants[i] for i in group], np.float64).reshape(len(group), -1)
        skeleton = make_skeleton(programs[group[0]])
        for block, block_labels in _compiled(skeleton, values, domain, fewest):
            rows = [group[i] for i in block]
            labels[rows] = block_labels
            remaining.difference_update(rows)
    for i in sorted(remaining):
        labels[i] = label(programs[i], domain)
    return labels


def label_constants(
    skeleton: Skeleton, values: Constants, domain: Domain, fewest: int = FEWEST
) -> Labels:
    """Label every input by every program of a skeleton, without building the programs.

    Args:
      skeleton: The programs' skeleton.
      values: (programs, constants), a row for each program; whole numbers where the skeleton has
        holes of type int.
      domain: The inputs.
      fewest: As in `label_batch`.

    Returns:
      As `label_batch`.

    Raises:
      InputError: as `evaluate.label`, or if the constants do not fit the skeleton.
    """
    _check_constants(skeleton, values)
    labels = np.empty((len(values), int(np.prod(domain.shape))), np.int32)
    remaining = set(range(len(values)))
    for block, block_labels in _compiled(skeleton, values, domain, fewest):
        labels[block] = block_labels
        remaining.difference_update(block.tolist())
    for i in sorted(remaining):
        labels[i] = label(fill(skeleton, values[i].tolist()), domain)
    return labels


def why_not_compiled(program: lang.Program, domain: Domain) -> str | None:
    """Return why `label_batch` evaluates a program one by one: line and reason; or None."""
    values = np.array([split_constants(program)[1]], np.float64).reshape(1, -1)
    skeleton = make_skeleton(program)
    try:
        return why_not_exact(skeleton, values, _tables(skeleton, domain))
    except InputError as error:
        return str(error)


def _check_constants(skeleton: Skeleton, values: np.ndarray) -> None:
    expected = len(skeleton.kinds)
    if values.shape[1] != expected:
        raise InputError(f"{values.shape[1]} constants a program: the skeleton takes {expected}")
    integers = values[:, [kind is int for kind in skeleton.kinds]]
    infinite = values[~(np.abs(values) < np.inf)]
    if len(infinite):
        raise InputError(f"constant {infinite[0]}: expected a finite number")
    fractions = integers[integers != np.floor(integers)]
    if len(fractions):
        raise InputError(f"constant {fractions[0]}: the skeleton takes a whole number there")


def _compiled(
    skeleton: Skeleton, values: np.ndarray, domain: Domain, fewest: int
) -> Iterator[tuple[Rows, np.ndarray]]:
    """Yield rows of constants that are proven exact, and their labels (rows, n)."""
    try:
        cpu = jax.local_devices(backend="cpu")[0]
        tables = _tables(skeleton, domain)
    except (RuntimeError, InputError):  # no CPU backend; or a program that fails
        return
    proven = _proven(skeleton, values, tables, np.arange(len(values)), max(fewest, 1))
    if not len(proven):
        return
    floats = tuple(table.astype(np.float64) for table in tables)
    zero = np.zeros(domain.shape, np.int64)
    for first in range(0, len(proven), BLOCK):
        block = proven[first : first + BLOCK]
        with jax.enable_x64(True), jax.default_device(cpu):
            labels = np.asarray(_run(skeleton, values[np.resize(block, BLOCK)], floats, zero))
        yield block, labels[: len(block)].reshape(len(block), -1)


def _proven(
    skeleton: Skeleton, values: np.ndarray, tables: list[np.ndarray], rows: Rows, fewest: int
) -> Rows:
    """Return the rows that are proven exact, by bisection down to `fewest` rows."""
    if len(rows) < fewest:
        return rows[:0]
    if why_not_exact(skeleton, values[rows], tables) is None:
        return rows
    if len(rows) == 1:
        return rows[:0]
    halves = np.array_split(rows, 2)
    return np.concatenate([_proven(skeleton, values, tables, half, fewest) for half in halves])


def _tables(skeleton: Skeleton, domain: Domain) -> list[np.ndarray]:
    """Evaluate a skeleton's tables, in arrays that broadcast to the domain's shape."""
    tables = []
    for expression in skeleton.tables:
        program = lang.Program(skeleton.kind, (lang.Return(expression),))
        values = evaluate(program, domain).reshape(domain.shape)
        names = {node.name for node in lang.walk(expression) if isinstance(node, lang.Name)}
        tables.append(domain.narrow(values, names))
    return tables


@partial(jax.jit, static_argnums=0)
def _run(
    skeleton: Skeleton, values: jax.Array, tables: tuple[jax.Array, ...], zero: jax.Array
) -> jax.Array:
    """Label the domain by each program in turn: truth values (programs, *domain)."""
    # Not by vmap: XLA would turn a division by what all programs share into a product with its
    # inverse.
    return jax.lax.map(lambda numbers: label_domain(skeleton, numbers, tables, zero), values)
