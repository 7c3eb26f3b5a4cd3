"""Trained plants: a program or labels -> a network trained to hold stated variables, with its key.

What it is trained on, and how that is measured, stands in `interchange_training`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxmi.errors import InputError
from jaxmi.models.transformer import TransformerConfig
from jaxmi.models.transformer_fast import activations
from jaxmi.planted.causal_model import CausalModel, CausalVariable, of_places, of_program
from jaxmi.planted.compile import (
    MECHANISMS,
    Compiled,
    Labels,
    check_mechanism,
    looked_up,
    needed_program,
)
from jaxmi.planted.interchange_training import (
    LEAST,
    LEAST_STRICT,
    Accuracy,
    Measured,
    Trained,
    Training,
    train,
)
from jaxmi.planted.key import Entry, Key
from jaxmi.programs.language import Program

FORM = "trained"
"""The form of what was trained to be where it is."""

RIDGE = 1e-6
"""Penalty of the factors of neurons, as a share of the activations' mean square."""


@dataclass(frozen=True, eq=False)
class TrainedPlant:
    """A trained network with its key."""

    compiled: Compiled
    measured: Measured


def train_plant(
    labels: Labels,
    program: Program | None,
    config: TransformerConfig,
    mechanism: str,
    seed: int,
    training: Training | None = None,
) -> TrainedPlant:
    """Train a network from random weights to hold the variables of a mechanism.

    Args:
      labels: The label of each pair, row = x.
      program: The program that gives them, if there is one.
      config: The sizes of the network, with one block.
      mechanism: One of `planted.compile.MECHANISMS`.
      seed: Draws weights, places and pairs.
      training: How; None: the default.

    Returns:
      The network, if its interchange accuracies are `LEAST` over random held-out pairs and
      `LEAST_STRICT` over strict ones. `measured.agreement` says how many labels are right.

    Raises:
      InputError: if they are not; or the mechanism cannot be trained with this program or network.
    """
    model = causal_model(labels, program, mechanism)
    found = train(model, config, seed, training)
    measured = found.measured
    if not measured.is_plant:
        strict = measured.strict
        raise InputError(
            f"after training with seed {seed} the least interchange accuracy is "
            f"{measured.random:.2%} on random pairs (needed: {LEAST:.0%})"
            + ("" if strict is None else f" and {strict:.2%} on strict ones ({LEAST_STRICT:.0%})")
            + ": take another seed, or a network of other sizes"
        )
    return TrainedPlant(_with_key(found, model, program, config, mechanism), measured)


def causal_model(labels: Labels, program: Program | None, mechanism: str) -> CausalModel:
    """Return the variables that a mechanism has.

    Raises:
      InputError: if there is no such mechanism, or it does not fit the program.
    """
    check_mechanism(mechanism, MECHANISMS)
    if mechanism != "conditions":
        return of_places(labels, "y" if mechanism == "rows" else "x")
    return of_program(needed_program(program, "rows or columns"), len(labels))


def _with_key(
    found: Trained,
    model: CausalModel,
    program: Program | None,
    config: TransformerConfig,
    mechanism: str,
) -> Compiled:
    """Return a trained network with its key."""
    p = config.d_vocab - 1
    x, y = np.indices((p, p)).reshape(2, -1)
    tokens = np.stack([x, y, np.full_like(x, p)], axis=1)
    post = np.asarray(activations(found.params, tokens)[1], np.float64)
    entries = []
    if mechanism != "conditions":
        entries += looked_up(program, p, *(("x", "y") if mechanism == "rows" else ("y", "x")))
    heads = list(range(config.n_heads))

    def entry(one: CausalVariable, variable: int, part: int | None) -> Entry:
        if np.ptp(one.computed) == 0:
            return Entry(one.name, one.role, "not held", "the same on every input")
        accuracies = {"directions": found.measured.variables[variable]}
        neurons, offset, fit = None, 0.0, None
        if part is not None:
            accuracies["neurons"] = found.measured.parts[part]
            group = np.flatnonzero((found.layout.of_neuron == part) & (np.ptp(post, axis=0) > 0))
            neurons, offset, fit = _read(one.computed, post, group)
        return Entry(
            one.name,
            one.role,
            FORM,
            _words(accuracies),
            directions=np.asarray(found.layout.subspace(variable), np.float64),
            neurons=neurons,
            offset=offset,
            heads=heads,
            fit=fit,
            interchange={place: one.to_json() for place, one in accuracies.items()},
        )

    # A look-up's first variable, the operand, has no neurons of its own.
    first = len(model.variables) - len(model.parts)
    entries += [entry(one, i, None) for i, one in enumerate(model.variables[:first])]
    entries += [entry(one, first + i, i) for i, one in enumerate(model.parts)]
    entries += [entry(one, i, i) for one, i in model.aliases]
    words = "no place of its own was trained"
    entries += [Entry(one.name, one.role, "not held", words) for one in model.without]
    sizes = {
        "d_model": int((found.layout.of_column < len(model.variables)).sum()),
        "n_heads": config.n_heads,
        "d_mlp": int((found.layout.of_neuron < len(model.parts)).sum()),
    }
    key = Key(mechanism, MECHANISMS[mechanism].words, entries, {"x": heads, "y": heads})
    return Compiled(found.params, key, sizes)


def _words(accuracies: dict[str, Accuracy]) -> str:
    shares = ", ".join(f"{place} {one.random:.2%}" for place, one in accuracies.items())
    return f"interchange accuracy: {shares}"


def _read(
    values: Float[np.ndarray, "n"], post: Float[np.ndarray, "n neuron"], group: np.ndarray
) -> tuple[dict[int, float], float, float]:
    """Return a variable as a sum of a group's activations: factors, offset, and the fit's R^2."""
    centred = post[:, group] - post[:, group].mean(axis=0)
    wanted = values - values.mean()
    penalty = RIDGE * max(float((centred**2).sum(axis=0).mean()), 1e-12) if len(group) else 0.0
    square = centred.T @ centred + penalty * np.eye(len(group))
    factors = np.linalg.solve(square, centred.T @ wanted)
    error = wanted - centred @ factors
    offset = float(values.mean() - post[:, group].mean(axis=0) @ factors)
    neurons = {int(i): float(factor) for i, factor in zip(group, factors, strict=True)}
    return neurons, offset, float(1 - (error**2).sum() / (wanted**2).sum())
