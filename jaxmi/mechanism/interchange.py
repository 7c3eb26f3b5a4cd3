"""Interchange interventions on a variable of a program, and the subspace that they need.

A base input is run with part of its activations taken from a source input. If that part holds a
variable of a program, the network's label becomes what the program says when the variable has the
source's value. The part is learned on one half of the inputs and judged on the other: a set of
neurons (`neuron_sets`), or a subspace (distributed alignment search: Geiger et al., "Finding
alignments between interpretable causal variables and distributed neural representations", 2024).

Pairs of base and source are of three kinds, by the label that the program says: `strict`, which
differs from both the base's and the source's; `keep`, the base's and not the source's; `follow`,
the source's and not the base's. Only strict pairs tell a variable from all or nothing: exchanging
nothing gives every keep, exchanging everything every follow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxmi.mechanism.neuron_sets import MOST, NeuronSets
from jaxmi.mechanism.replacement import Source, important_directions
from jaxmi.mechanism.tables import LastMlp, Streams

KINDS = ("strict", "keep", "follow")

DIMENSIONS = 4
"""Dimensions of the subspace of the residual stream. In the neurons it has one: they are read
linearly, so one direction does what any number would."""

COORDINATES = 128
"""The subspace lies within so many directions of the residual stream, the most important ones."""

START_COORDINATES = 32
"""A random start lies within so many of them."""

RANK = 1e-6
"""Directions that vary by less than this share of the one that varies most are not counted."""

NEURON_COORDINATES = 128
"""The direction lies within so many of the neurons: the read-out and principal components."""

RESTARTS = 3
"""Times that each subspace is learned; the one with the least loss is judged. One start is the
subspace that the set of neurons reads; the others are random."""

STEPS = 600
"""Steps of Adam for a subspace of the residual stream."""

NEURON_STEPS = 600
"""Steps of Adam for a direction of the neurons."""

BATCH = 256
"""Pairs in a step."""

DRAWN = 60_000
"""Pairs that are drawn at random, to find some of each kind among them."""

TO_LEARN = 2_048
"""Pairs of each kind to learn from, drawn with repetition."""

SET_PAIRS = 1_536
"""Pairs of all kinds to learn a set of neurons from."""

TO_JUDGE = 700
"""Most pairs of each kind to judge on."""

LEAST = 40
"""A kind with fewer pairs than this is not judged."""

RATE, NEURON_RATE = 2e-2, 1e-2
"""The step sizes at first; they fall to 0 along a cosine."""

SHARPNESS = 5.0
"""The logit difference is learned in units in which its mean size is this."""


Wanted = Callable[[np.ndarray, np.ndarray, np.ndarray], Bool[np.ndarray, "m"]]


@dataclass(frozen=True)
class Pairs:
    """Base and source inputs, with the label that a hypothesis says follows from an exchange."""

    bases: Int[np.ndarray, "m"]
    sources: Int[np.ndarray, "m"]
    labels: Bool[np.ndarray, "m"]
    kinds: Int[np.ndarray, "m"]
    """The number in `KINDS` of each."""

    def part(self, chosen: np.ndarray) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(
            self.bases[chosen], self.sources[chosen], self.labels[chosen], self.kinds[chosen]
        )

    def evened(self, n: int, rng: np.random.Generator) -> "Pairs":
        """Draw n of the pairs with repetition, equally many of each kind that there is."""
        groups = [np.flatnonzero(self.kinds == kind) for kind in np.unique(self.kinds)]
        each = -(-n // len(groups))
        rows = np.concatenate([rng.choice(group, each) for group in groups])
        return self.part(rng.permutation(rows)[:n])

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of pairs of each kind."""
        return tuple(int((self.kinds == kind).sum()) for kind in range(len(KINDS)))


def draw_pairs(
    counterfactual: Callable[[np.ndarray, np.ndarray], Bool[np.ndarray, "m"]],
    own: Bool[np.ndarray, "n"],
    inputs: Int[np.ndarray, "k"],
    most: int,
    rng: np.random.Generator,
    wanted: Wanted | None = None,
) -> Pairs:
    """Draw pairs of each kind, as many with label 0 as with label 1 if there are both.

    Args:
      counterfactual: (bases, sources) -> the label that the hypothesis says.
      own: The hypothesis's label of every input.
      inputs: The inputs to draw from.
      most: Most pairs of each kind.
      rng: Draws them.
      wanted: (bases, sources, labels) -> which pairs are wanted; None: all.
    """
    bases, sources = rng.choice(inputs, (2, DRAWN))
    labels = counterfactual(bases, sources)
    of_base, of_source = own[bases], own[sources]
    is_wanted = np.ones(DRAWN, bool) if wanted is None else wanted(bases, sources, labels)
    members = (
        (labels != of_base) & (of_base == of_source),
        (labels == of_base) & (of_base != of_source),
        (labels == of_source) & (of_base != of_source),
    )
    chosen, kinds = [], []
    for kind, member in enumerate(members):
        sides = [np.flatnonzero(member & is_wanted & (labels == side)) for side in (False, True)]
        # A hypothesis may say one label only, as beside a constant that was moved one way.
        each = min([len(side) for side in sides if len(side)] + [most // 2])
        chosen += [side[:each] for side in sides]
        kinds += [np.full(len(side[:each]), kind) for side in sides]
    rows = np.concatenate(chosen)
    return Pairs(bases[rows], sources[rows], labels[rows], np.concatenate(kinds))


@dataclass(frozen=True, eq=False)
class ResidMid:
    """The residual stream before the last MLP, at the last position."""

    mlp: LastMlp
    stream: Streams
    directions: Float[np.ndarray, "q d_model"]
    """Orthonormal directions that the subspace lies within, the most important first."""
    sets: NeuronSets | None = None
    """Where sets of neurons are looked for, whose inputs are one start; None: only random ones."""
    name: str = "resid_mid"

    def learn(self, tasks: Sequence[Pairs], seed: int) -> list[Float[np.ndarray, "d_model k"]]:
        """Learn a subspace of `DIMENSIONS` for each task.

        Args:
          tasks: For each the pairs to learn from; all of one number.
          seed: Draws the starts.

        Returns:
          For each task an orthonormal basis.
        """
        mlp, across = self.mlp, self.directions
        works = np.flatnonzero(mlp.weights)
        w_in = mlp.w_in[:, works]
        arrays = {
            "coordinates": self.stream @ across.T,
            "pre": self.stream @ w_in + mlp.b_in[works],
            "rest": self.stream @ mlp.direct + mlp.bias,
            "w_in": across @ w_in,
            "weights": mlp.weights[works],
            "direct": across @ mlp.direct,
        }
        q = len(across)
        k, within = min(DIMENSIONS, q), min(START_COORDINATES, q)
        starts = np.zeros((len(tasks), RESTARTS, q, k))
        starts[:, :, :within] = np.random.default_rng(seed).normal(
            size=(len(tasks), RESTARTS, within, k)
        )
        if self.sets is not None:
            for start, task in zip(starts, tasks, strict=True):
                start[0] = self._read_by(_set_of(self.sets, task), k)
        size = np.abs(mlp.difference(self.stream)).mean() or 1.0
        found = _learned(_in_stream, arrays, tasks, starts, SHARPNESS / size, STEPS, RATE)
        return [across.T @ basis for basis in found]

    def _read_by(self, neurons: Bool[np.ndarray, "neuron"], k: int) -> Float[np.ndarray, "q k"]:
        """Return a basis of k directions that neurons read, those that vary most.

        If they read fewer, the others are directions along which the stream hardly varies.
        """
        read = self.directions @ (self.mlp.w_in * self.mlp.weights)[:, neurons]
        coordinates = self.stream @ self.directions.T
        covariance = np.cov(coordinates.T).reshape(len(read), len(read))
        squares, axes = np.linalg.eigh(covariance)
        if not read.size:
            return axes[:, :k]
        root = axes * np.sqrt(np.maximum(squares, 0)) @ axes.T
        _, sizes, mixes = np.linalg.svd(root @ read, full_matrices=False)
        count = min(k, int((sizes > RANK * max(float(sizes.max()), 1e-30)).sum()))
        whole = np.linalg.qr(read @ mixes[:count].T, mode="complete")[0]
        other = whole[:, count:]
        still = np.linalg.eigh(other.T @ covariance @ other)[1][:, : k - count]
        return np.column_stack([whole[:, :count], other @ still])

    def difference(
        self, basis: Float[np.ndarray, "d_model k"], pairs: Pairs
    ) -> Float[np.ndarray, "m"]:
        """Return each base's logit difference with the subspace's part from its source."""
        own, source = self.stream[pairs.bases], self.stream[pairs.sources]
        return self.mlp.difference(own + (source - own) @ basis @ basis.T)


@dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons of the last MLP, at the last position."""

    weights: Float[np.ndarray, "neuron"]
    """The weight of each in the logit difference."""
    neurons: Float[np.ndarray, "n neuron"]
    differences: Float[np.ndarray, "n"]
    """The logit difference without an exchange."""
    directions: Float[np.ndarray, "q neuron"]
    """Orthonormal directions that the direction lies within."""
    sets: NeuronSets | None = None
    """Where sets of neurons are looked for; None: only directions are."""
    name: str = "neurons"

    def learn(self, tasks: Sequence[Pairs], seed: int) -> list[Float[np.ndarray, "neuron 1"]]:
        """Learn a set of neurons and a direction for each task, and take what gets more right.

        The neurons are read linearly. So exchanging a set of them does what exchanging one
        direction does, the read-out's part in the set: it is returned as that direction.

        Args:
          tasks: For each the pairs to learn from; all of one number.
          seed: Draws the starts, near the read-out.

        Returns:
          For each task a unit vector; of a set, it is 0 at all other neurons.
        """
        weights = self.directions @ self.weights
        arrays = {
            "coordinates": self.neurons @ self.directions.T,
            "weights": weights,
            "differences": self.differences,
        }
        size = np.abs(self.differences).mean() or 1.0
        d = len(weights)
        noise = np.random.default_rng(seed).normal(size=(len(tasks), RESTARTS, d, 1))
        toward = weights[:, None] / (np.linalg.norm(weights) or 1.0)
        starts = toward + 0.3 * noise / np.sqrt(d)
        found = _learned(
            _in_neurons, arrays, tasks, starts, SHARPNESS / size, NEURON_STEPS, NEURON_RATE
        )
        found = [self.directions.T @ basis for basis in found]
        if self.sets is None:
            return found
        sets = [self._along(_set_of(self.sets, task)) for task in tasks]
        return [
            max(pair, key=lambda basis, task=task: self._right(basis, task))  # the set if equal
            for task, *pair in zip(tasks, sets, found, strict=True)
        ]

    def _along(self, chosen: Bool[np.ndarray, "neuron"]) -> Float[np.ndarray, "neuron 1"]:
        """Return the direction whose exchange is the exchange of a set of neurons."""
        part = np.where(chosen, self.weights, 0.0)[:, None]
        return part / (np.linalg.norm(part) or 1.0)

    def _right(self, basis: np.ndarray, pairs: Pairs) -> float:
        return float(((self.difference(basis, pairs) > 0) == pairs.labels).mean())

    def difference(
        self, basis: Float[np.ndarray, "neuron 1"], pairs: Pairs
    ) -> Float[np.ndarray, "m"]:
        """Return each base's logit difference with the direction's part from its source."""
        along = basis[:, 0]
        places = self.neurons @ along
        change = places[pairs.sources] - places[pairs.bases]
        return self.differences[pairs.bases] + change * (along @ self.weights)


Site = ResidMid | Neurons
"""A place in a network where a subspace is exchanged."""


def sites_of(source: Source) -> Sequence[Site]:
    """Return the places where variables are looked for in a network.

    Args:
      source: The network, with its own logit difference.
    """
    _, important = important_directions(source)
    across = np.linalg.qr(important[:COORDINATES].T)[0].T
    weights, centred = source.mlp.weights, source.neurons - source.neurons.mean(axis=0)
    components = np.linalg.eigh(np.asarray(centred.T @ centred, np.float64))[1][:, ::-1]
    chosen = components[:, : min(NEURON_COORDINATES, len(weights)) - 1]
    along = np.linalg.qr(np.column_stack([weights, chosen]))[0].T
    sets = sets_of(source)
    return [
        ResidMid(source.mlp, source.stream, across, sets),
        Neurons(weights, source.neurons, source.difference, along, sets),
    ]


def sets_of(source: Source, most: int = MOST) -> NeuronSets:
    """Return where sets of a network's neurons are looked for.

    Args:
      source: The network, with its own logit difference.
      most: Most neurons that can be in a set.
    """
    size = float(np.abs(source.difference).mean()) or 1.0
    contributions = source.neurons * source.mlp.weights
    return NeuronSets(contributions, source.difference, size / SHARPNESS, most)


def neurons_of(basis: Float[np.ndarray, "d k"], site: Site) -> list[int] | None:
    """Return the set of neurons that was learned at a site; None if it is no set."""
    if not isinstance(site, Neurons):
        return None
    chosen = np.flatnonzero(basis[:, 0])
    along, weights = basis[chosen, 0], site.weights[chosen]
    is_set = np.allclose(along, weights * (along @ weights / (weights @ weights or 1.0)))
    return chosen.tolist() if is_set else None


def _set_of(sets: NeuronSets, task: Pairs) -> Bool[np.ndarray, "neuron"]:
    """Learn a set from the first pairs of a task, which are in a random order."""
    return sets.learn(task.bases[:SET_PAIRS], task.sources[:SET_PAIRS], task.labels[:SET_PAIRS])


Arrays = Mapping[str, Float[Array, "..."]]


def _in_stream(
    arrays: Arrays, basis: Float[Array, "q k"], bases: Int[Array, "m"], sources: Int[Array, "m"]
) -> Float[Array, "m"]:
    """Do what `ResidMid.difference` does, for gradients."""
    coordinates = arrays["coordinates"]
    change = (coordinates[sources] - coordinates[bases]) @ basis
    neurons = jax.nn.relu(arrays["pre"][bases] + change @ (basis.T @ arrays["w_in"]))
    direct = change @ (basis.T @ arrays["direct"])
    return neurons @ arrays["weights"] + arrays["rest"][bases] + direct


def _in_neurons(
    arrays: Arrays,
    basis: Float[Array, "q 1"],
    bases: Int[Array, "m"],
    sources: Int[Array, "m"],
) -> Float[Array, "m"]:
    """Do what `Neurons.difference` does, for gradients."""
    coordinates = arrays["coordinates"]
    change = (coordinates[sources] - coordinates[bases]) @ basis
    return arrays["differences"][bases] + change @ (basis.T @ arrays["weights"])


def _learned(
    difference: Callable[..., Float[Array, "m"]],
    arrays: Mapping[str, np.ndarray],
    tasks: Sequence[Pairs],
    starts: Float[np.ndarray, "task restart d k"],
    sharpness: float,
    steps: int,
    rate: float,
) -> list[Float[np.ndarray, "d k"]]:
    """Return for each task the basis with the least loss among its restarts."""
    pairs = [
        np.stack([getattr(task, name) for task in tasks]) for name in ("bases", "sources", "labels")
    ]
    numbers = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
    bases, losses = _descend(
        difference,
        numbers,
        *map(jnp.asarray, pairs),
        jnp.asarray(starts, jnp.float32),
        jnp.asarray(sharpness, jnp.float32),
        steps,
        rate,
    )
    best = np.asarray(losses).argmin(axis=1)
    return [np.asarray(basis[i], np.float64) for basis, i in zip(bases, best, strict=True)]


@partial(jax.jit, static_argnames=("difference", "steps", "rate"))
def _descend(
    difference: Callable[..., Float[Array, "m"]],
    arrays: Arrays,
    bases: Int[Array, "task m"],
    sources: Int[Array, "task m"],
    labels: Bool[Array, "task m"],
    starts: Float[Array, "task restart d k"],
    sharpness: Float[Array, ""],
    steps: int,
    rate: float,
) -> tuple[Float[Array, "task restart d k"], Float[Array, "task restart"]]:
    """Learn every task's basis from every start; return them with their losses."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))
    n_batches = bases.shape[1] // BATCH

    def loss(matrix: Any, pairs: Any) -> jax.Array:
        bases, sources, labels = pairs
        basis, _ = jnp.linalg.qr(matrix)
        logits = difference(arrays, basis, bases, sources) * sharpness
        return optax.sigmoid_binary_cross_entropy(logits, labels.astype(jnp.float32)).mean()

    def from_start(pairs, start):
        def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
            matrix, state = carry
            begin = (i % n_batches) * BATCH
            batch = [jax.lax.dynamic_slice(part, (begin,), (BATCH,)) for part in pairs]
            updates, state = optimizer.update(jax.grad(loss)(matrix, batch), state)
            return (optax.apply_updates(matrix, updates), state), None

        carry = (start, optimizer.init(start))
        (matrix, _), _ = jax.lax.scan(step, carry, jnp.arange(steps))
        ends = jnp.stack([start, matrix])  # learning may make a good start worse
        losses = jax.vmap(loss, (0, None))(ends, pairs)
        basis, _ = jnp.linalg.qr(ends[losses.argmin()])
        return basis, losses.min()

    def task(arguments):
        pairs, starts = arguments
        return jax.vmap(partial(from_start, pairs))(starts)

    return jax.lax.map(task, ((bases, sources, labels), starts))
