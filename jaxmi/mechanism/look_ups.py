"""Does a network look its labels up? Two other causal models of the same labels, and their test.

A look-up by rows holds, for each x, the places along y at which the label changes: the label is 1
if the number of places that y has reached, with alternating signs, is 1. A look-up by columns holds
the same for each y, along x. In such a network each place is a variable, "y < place 1 of x": it can
be exchanged between two inputs, like a condition of a program. So the same search finds it, if the
network has it.

A look-up with the labels of a network is also a control: what it gets right of a program's variable
does not tell that a network computes that variable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxmi.mechanism.interchange import (
    KINDS,
    LEAST,
    SET_PAIRS,
    TO_JUDGE,
    Pairs,
    Site,
    draw_pairs,
    sets_of,
    sites_of,
)
from jaxmi.mechanism.replacement import Source
from jaxmi.mechanism.tables import LastMlp
from jaxmi.planted.look_up import changes
from jaxmi.programs.variables import Variable

ROWS, COLUMNS, CONDITIONS = "rows", "columns", "conditions"
"""The three models."""

SEVERAL, NOT_SHOWN, NOT_ASKED = "cannot be told apart", "not shown", "not asked"

LOOK_UPS = {ROWS: ("x", "y"), COLUMNS: ("y", "x")}
"""Look-up -> the operand that it has places for, and the operand along which these lie."""

MOST_PLACES = 6
"""So many places are tested at most, those whose exchange changes the label most often."""

MOST_IN_SET = 96
"""Most neurons in a place's set."""

FOUND_FROM = 0.95
"""Least share of strict pairs that the neurons of a place get right."""

SHUFFLED_SHARE = 1 / 3
"""They go wrong at most this often, as a share of how often they do with shuffled values."""

OVERLAP = 0.5
"""Places have neurons of their own: of the neurons of two sets at most this share is in both."""

ENOUGH = 0.8
"""A model is shown if, of its variables that were tested, at least this share was found."""

Grid = Bool[np.ndarray, "x y"]
"""A label for each pair."""


@dataclass(frozen=True)
class Model:
    """What was found of a model's variables."""

    variables: int
    """How many the model has."""
    tested: int
    """How many were tested: those with enough strict pairs, of a look-up at most `MOST_PLACES`."""
    found: int
    strict: float | None
    """Mean over those tested: share of strict pairs that get the label that the model says."""

    @property
    def shown(self) -> bool:
        """Whether it is the network's model, as far as the test can say."""
        return self.tested > 0 and self.found >= ENOUGH * self.tested


@dataclass(frozen=True)
class Computes:
    """Which causal model a network follows."""

    model: str
    models: Mapping[str, Model]

    @property
    def words(self) -> str:
        """The verdict in a sentence."""
        places = {name: self.models[name] for name in LOOK_UPS if name in self.models}
        if self.model in places:
            one, (of, along) = places[self.model], LOOK_UPS[self.model]
            return (
                f"It looks the labels up: {one.found} of {one.tested} tested places along {along} "
                f"for each {of} were found in neurons of their own."
            )
        if self.model == CONDITIONS:
            one = self.models[CONDITIONS]
            return (
                f"It computes the program's conditions: {one.found} of {one.tested} of its "
                "variables were found inside."
            )
        if self.model == SEVERAL:
            return (
                "Whether it looks the labels up or computes conditions cannot be told: a look-up "
                "and a condition are the same here, or too few pairs tell them apart."
            )
        if self.model == NOT_ASKED:
            return "Whether it looks labels up is asked of networks on pairs only."
        conditions = "" if CONDITIONS in self.models else "; conditions were not asked for"
        return f"That it looks the labels up, by rows or by columns, was not shown{conditions}."

    @property
    def as_json(self) -> dict[str, Any]:
        """The object `computes` of figures.json."""
        return {
            "model": self.model,
            "words": self.words,
            **{name: asdict(one) for name, one in self.models.items()},
        }


def places(labels: Grid, by: str) -> list[Variable]:
    """Return the variables of a look-up: whether the other operand is below each place.

    Args:
      labels: The labels that are looked up.
      by: `ROWS` or `COLUMNS`.
    """
    of, along = LOOK_UPS[by]
    rows = labels if by == ROWS else labels.T
    where = changes(rows)[:, :, None]
    below = np.arange(rows.shape[1]) < where
    signs = np.where(np.arange(len(where)) % 2, -1, 1)[:, None, None]
    sums = (signs * ~below).sum(axis=0)
    found = []
    for k, is_below in enumerate(below):
        # The label if this place is reached or not, and all others are as they are.
        others = sums - signs[k] * ~is_below
        setting = np.stack([others + signs[k], others]) > 0
        if by == COLUMNS:
            is_below, setting = is_below.T, setting.transpose(0, 2, 1)
        found.append(
            Variable(
                f"{along} < place {k + 1} of {of}",
                "condition",
                is_below.reshape(-1).astype(np.int64),
                setting.reshape(2, -1),
            )
        )
    return found


def look_up(labels: Grid, by: str) -> Source:
    """Return a network that looks labels up: its stream holds an operand and the places.

    Args:
      labels: The labels.
      by: `ROWS` or `COLUMNS`.
    """
    rows = labels if by == ROWS else labels.T
    where = np.minimum(changes(rows), rows.shape[1]).astype(np.float64)
    count = len(where)
    stream = np.empty((*rows.shape, count + 1))
    stream[..., 0] = np.arange(rows.shape[1])
    stream[..., 1:] = where.T[:, None]
    if by == COLUMNS:
        stream = stream.transpose(1, 0, 2)
    stream = stream.reshape(labels.size, -1)
    # ReLU(place - along) - ReLU(place - along - 1) is 1 below the place.
    w_in = np.repeat(np.concatenate([-np.ones((1, count)), np.eye(count)]), 2, axis=1)
    signs = np.where(np.arange(count) % 2, -1.0, 1.0)
    mlp = LastMlp(
        w_in=w_in,
        b_in=np.tile([0.0, -1.0], count),
        weights=np.repeat(-signs, 2) * np.tile([1.0, -1.0], count),
        direct=np.zeros(count + 1),
        bias=float(signs.sum()) - 0.5,
    )
    neurons = mlp.neurons(stream)
    return Source(mlp, stream, neurons, labels.shape, mlp.difference(stream))


def look_up_sites(labels: Grid) -> dict[str, Sequence[Site]]:
    """Return look-up -> the sites of a network that looks these labels up; for controls.

    A look-up of labels that are all the same is left out.
    """
    if labels.all() or not labels.any():
        return {}
    return {name: sites_of(look_up(labels, name)) for name in LOOK_UPS}


def find_model(source: Source, conditions: Model | None = None, seed: int = 0) -> Computes:
    """Tell whether a network on pairs looks its labels up, by rows or by columns.

    Places are looked for in sets of neurons, which are learned on a random half of the inputs and
    judged on the other.

    Args:
      source: The network, with its own logit difference.
      conditions: What was found of a program's variables; None if nothing was asked.
      seed: Draws halves and pairs.
    """
    labels = source.difference > 0
    grid = labels.reshape(source.shape)
    models = {name: _of_look_up(source, places(grid, name), seed) for name in LOOK_UPS}
    if conditions is not None:
        models[CONDITIONS] = conditions
    shown = [name for name, one in models.items() if one.shown]
    # Without strict pairs a look-up can neither be shown nor excluded.
    unknown = any(models[name].variables and not models[name].tested for name in LOOK_UPS)
    # A look-up of one place is a boundary, a condition; one more place may be an edge of it.
    least = 3 if unknown else 2
    if len(shown) == 1 and (shown[0] == CONDITIONS or models[shown[0]].found >= least):
        return Computes(shown[0], models)
    return Computes(SEVERAL if shown or unknown else NOT_SHOWN, models)


def _of_look_up(source: Source, variables: Sequence[Variable], seed: int) -> Model:
    rng = np.random.default_rng(seed)
    labels = source.difference > 0
    halves = np.split(rng.permutation(len(labels)), [len(labels) // 2])
    shuffled = rng.permutation(len(labels))
    drawn = [
        (one, *(draw_pairs(one.labels, labels, half, SET_PAIRS, rng) for half in halves))
        for one in variables
    ]
    usable = [
        (one, learn, judge)
        for one, learn, judge in drawn
        if min(learn.counts[0], judge.counts[0]) >= LEAST
    ]
    usable.sort(key=lambda part: -part[1].counts[0])
    sets = sets_of(source, MOST_IN_SET)

    def share(learn: Pairs, judge: Pairs) -> tuple[float, np.ndarray]:
        members = [np.flatnonzero(learn.kinds == kind) for kind in range(len(KINDS))]
        each = SET_PAIRS // len(KINDS)
        learn = learn.part(np.concatenate([rng.choice(one, each) for one in members if len(one)]))
        judge = judge.part(np.flatnonzero(judge.kinds == 0)[:TO_JUDGE])
        chosen = sets.learn(learn.bases, learn.sources, learn.labels)
        effect = source.neurons[:, chosen] @ source.mlp.weights[chosen]
        after = source.difference[judge.bases] + effect[judge.sources] - effect[judge.bases]
        return float(((after > 0) == judge.labels).mean()), np.flatnonzero(chosen)

    shares: list[float] = []
    found: list[np.ndarray] = []
    for one, learn, judge in usable[:MOST_PLACES]:
        right, chosen = share(learn, judge)
        shares.append(right)
        if right < FOUND_FROM or any(_overlap(chosen, other) > OVERLAP for other in found):
            continue

        def wrong(bases: np.ndarray, sources: np.ndarray, one: Variable = one) -> np.ndarray:
            return one.labels(bases, shuffled[sources])

        learn, judge = (draw_pairs(wrong, labels, half, SET_PAIRS, rng) for half in halves)
        is_told = min(learn.counts[0], judge.counts[0]) >= LEAST
        if not is_told or 1 - right <= SHUFFLED_SHARE * (1 - share(learn, judge)[0]):
            found.append(chosen)
    strict = float(np.mean(shares)) if shares else None
    return Model(len(variables), len(shares), len(found), strict)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return len(np.intersect1d(one, other)) / max(len(np.union1d(one, other)), 1)
