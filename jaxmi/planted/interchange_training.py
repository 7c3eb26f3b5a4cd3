"""Trained plants: networks trained from random weights so that stated sites hold stated variables.

Strict interchange-intervention training (Geiger et al., "Inducing causal structure for
interpretable neural networks", 2022; Gupta et al., "InterpBench", 2024). Each variable of a causal
model gets a random subspace of the residual stream before the MLP, and each part a random group of
neurons, all at the last position. The losses are cross-entropies of

- behaviour: the label of each input;
- interchange: a base input with some variables' subspaces from a source input must get the label
  that the model says, and so must one with some parts' neurons from the source;
- strictness: in half of these, all that belongs to no variable comes from a third input.

Inputs are split in two halves. Bases and sources of one step are of the same half, so all pairs
across the halves are left to measure on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Int

from jaxmi.errors import InputError
from jaxmi.models.transformer import Transformer, TransformerConfig
from jaxmi.models.transformer_fast import activations, add_neurons, last_resid_mid, neurons
from jaxmi.planted.causal_model import CausalModel, follow
from jaxmi.types import Array, Params

LEAST = 0.99
"""A plant is refused if an interchange accuracy over random held-out pairs is below this."""

LEAST_STRICT = 0.95
"""The same over strict held-out pairs, of which there are about 20 times fewer."""

PAIRS = 20_000
"""Held-out pairs that each interchange accuracy is measured on."""

FEWEST = 40
"""With fewer strict pairs than this, nothing is said of them."""

CANDIDATES = 4
"""Pairs drawn for each that is trained on: those that tell more are preferred."""

BLOCK = 250
"""Steps whose pairs are drawn at a time, so that candidates take little memory."""

STRICT_WEIGHT, DIFFERENT_WEIGHT = 8.0, 2.0
"""Odds by which pairs are preferred, against 1: strict ones, and others with different labels."""


CLIP = 1.0
"""Largest norm of a step's gradient; larger ones are scaled down."""

PADDED = 6
"""Models with up to so many variables share one compiled program."""


@dataclass(frozen=True)
class Training:
    """How a plant is trained: AdamW, a linear warm-up, then a cosine down to 0."""

    steps: int = 6000
    """Optimiser steps."""
    batch: int = 256
    """Pairs of base and source in each step; even."""
    rate: float = 1e-2
    """Peak learning rate."""
    decay: float = 0.1
    """Decoupled weight decay."""
    warm_up: int = 50
    """Steps over which the rate rises."""
    dims: int = 2
    """Dimensions of each variable's subspace."""
    interchange: float = 1.0
    """Weight of the interchange losses; 0 trains the behaviour only, as a control."""


class Layout(NamedTuple):
    """Where the variables of a causal model are to be."""

    basis: Float[Array, "d_model d_model"]
    """Orthonormal columns: directions of the residual stream."""
    of_column: Int[Array, "d_model"]
    """The variable that each column belongs to; the largest number: none."""
    of_neuron: Int[Array, "d_mlp"]
    """The part that each neuron belongs to; the largest number: none."""

    def subspace(self, variable: int) -> Float[np.ndarray, "k d_model"]:
        """Return the directions of a variable's subspace."""
        return np.asarray(self.basis)[:, np.asarray(self.of_column) == variable].T


@dataclass(frozen=True)
class Accuracy:
    """How many held-out exchanges at one place get the label that the causal model says."""

    random: float
    """The share of random pairs, in 0..1."""
    strict: float | None
    """The share of pairs where the label said is neither the base's nor the source's; None if there
    are fewer than `FEWEST`."""
    strict_pairs: int
    """The number of these pairs."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {"random": self.random, "strict": self.strict, "strict_pairs": self.strict_pairs}


@dataclass(frozen=True, eq=False)
class Measured:
    """What a trained network does on held-out pairs."""

    variables: Sequence[Accuracy]
    """Of each variable, its subspace exchanged."""
    parts: Sequence[Accuracy]
    """Of each part, its neurons exchanged."""
    rest: float
    """The share of labels that stay with all dimensions exchanged that belong to no variable."""
    rest_neurons: float
    """The share of labels that stay with all neurons exchanged that belong to no part."""
    agreement: float
    """The share of inputs whose label is the causal model's."""

    @property
    def random(self) -> float:
        """The least share over random pairs, of variables, parts, and the rest."""
        shares = [one.random for one in (*self.variables, *self.parts)]
        return min(*shares, self.rest, self.rest_neurons)

    @property
    def strict(self) -> float | None:
        """The least share over strict pairs; None if there are none."""
        found = [one.strict for one in (*self.variables, *self.parts) if one.strict is not None]
        return min(found, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the least shares as JSON types."""
        return {
            "random": self.random,
            "strict": self.strict,
            "rest": min(self.rest, self.rest_neurons),
        }

    @property
    def is_plant(self) -> bool:
        """Whether the variables are where they were to be."""
        return self.random >= LEAST and (self.strict is None or self.strict >= LEAST_STRICT)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network, where its variables were to be, and what was measured."""

    params: Params
    layout: Layout
    measured: Measured


def draw_layout(
    model: CausalModel, config: TransformerConfig, dims: int, rng: np.random.Generator
) -> Layout:
    """Draw subspaces and groups of neurons; one group more is left for no part.

    Raises:
      InputError: if the network is too small for them.
    """
    n_variables, n_parts = len(model.variables), len(model.parts)
    if dims * n_variables >= config.d_model:
        raise InputError(
            f"{n_variables} variables need more than {dims * n_variables} dimensions, and the "
            f"network has d_model = {config.d_model}: take a larger network"
        )
    each = config.d_mlp // (n_parts + 1)
    if not each:
        raise InputError(
            f"{n_parts} parts need at least {n_parts + 1} neurons, and the network has "
            f"d_mlp = {config.d_mlp}: take a larger network"
        )
    basis = np.linalg.qr(rng.normal(size=(config.d_model, config.d_model)))[0]
    of_column = np.minimum(np.arange(config.d_model) // dims, n_variables)
    of_neuron = rng.permutation(np.minimum(np.arange(config.d_mlp) // each, n_parts))
    none = max(n_variables, PADDED), max(n_parts, PADDED)
    of_column[of_column == n_variables], of_neuron[of_neuron == n_parts] = none
    return Layout(np.asarray(basis, np.float32), of_column, of_neuron)


def train(
    model: CausalModel,
    config: TransformerConfig,
    seed: int,
    training: Training | None = None,
) -> Trained:
    """Train a network with one block to hold a causal model's variables, and measure it.

    Args:
      model: On all p * p inputs, in domain order.
      config: The sizes of the network.
      seed: Draws the layout, halves, weights and pairs.
      training: How; None: the default.

    Raises:
      InputError: if the network has several blocks, or is too small.
    """
    if config.n_layers > 1:
        raise InputError(f"n_layers = {config.n_layers}: a trained plant has one block")
    training = training or Training()
    rng = np.random.default_rng(seed)
    layout = draw_layout(model, config, training.dims, rng)
    halves = rng.permutation(len(model.values))[: len(model.values) // 2 * 2].reshape(2, -1)
    params = _train(
        _random_weights(config, rng),
        layout,
        jax.tree.map(jnp.asarray, draw_batches(model, halves, training, rng)),
        config,
        replace(training, steps=0),  # the batches say how many; one compiled program for all
    )
    params = jax.tree.map(np.asarray, params)
    return Trained(params, layout, measure(params, model, layout, halves, rng))


class Drawn(NamedTuple):
    """What is trained on, for each step a batch: its first half from one half of the inputs."""

    bases: Int[Array, "*steps m"]
    sources: Int[Array, "*steps m"]
    base_labels: Int[Array, "*steps m"]
    source_labels: Int[Array, "*steps m"]
    variables: Bool[Array, "*steps m v"]
    """The variables that are exchanged; the last one stands for what belongs to none."""
    said: Int[Array, "*steps m"]
    """The label that follows."""
    parts: Bool[Array, "*steps m v"]
    """The same of parts."""
    said_of_parts: Int[Array, "*steps m"]


def draw_batches(
    model: CausalModel,
    halves: Int[np.ndarray, "2 half"],
    training: Training,
    rng: np.random.Generator,
) -> Drawn:
    """Draw all batches."""
    each, steps = training.batch // 2, training.steps
    blocks = [min(BLOCK, steps - first) for first in range(0, steps, BLOCK)]
    drawn = []
    for block in blocks:
        both = [_draw_pairs(model, half, block * each, rng) for half in halves]
        shaped = [[part.reshape(block, each, *part.shape[1:]) for part in one] for one in both]
        drawn.append([np.concatenate(parts, axis=1) for parts in zip(*shaped, strict=True)])
    return Drawn(*(np.concatenate(parts) for parts in zip(*drawn, strict=True)))


def _draw_pairs(
    model: CausalModel, half: Int[np.ndarray, "half"], n: int, rng: np.random.Generator
) -> Drawn:
    """Draw pairs within one half of the inputs, each the preferred one of `CANDIDATES`."""
    n_variables, n_parts, own = len(model.variables), len(model.parts), model.labels
    shape = (n, CANDIDATES)
    bases, sources = rng.choice(half, (2, *shape))
    single = rng.integers(n_variables, size=shape)[..., None] == np.arange(n_variables)
    several = rng.random((*shape, n_variables)) < 0.5
    taken = np.where(rng.random((*shape, 1)) < 0.5, single, several)
    values = np.where(taken, model.values[sources], model.values[bases])
    said = follow(values.reshape(-1, n_variables), model.follows).reshape(shape)
    differs = own[bases] != own[sources]
    strict = (said != own[bases]) & ~differs
    odds = np.where(strict, STRICT_WEIGHT, np.where(differs, DIFFERENT_WEIGHT, 1.0))
    chosen = (np.log(odds) + rng.gumbel(size=shape)).argmax(axis=1)
    rows = np.arange(n)
    bases, sources, taken = bases[rows, chosen], sources[rows, chosen], taken[rows, chosen]
    # A look-up's first variable, the operand, has no part of its own.
    parts = taken[:, n_variables - n_parts :]
    added = np.where(parts, model.added[sources], model.added[bases])
    rest = rng.random((n, 1)) < 0.5
    return Drawn(
        bases.astype(np.int32),
        sources.astype(np.int32),
        own[bases].astype(np.int32),
        own[sources].astype(np.int32),
        _padded(taken, rest),
        said[rows, chosen].astype(np.int32),
        _padded(parts, rest),
        (added.sum(axis=1) > 0).astype(np.int32),
    )


def _padded(taken: Bool[np.ndarray, "m v"], rest: Bool[np.ndarray, "m 1"]) -> np.ndarray:
    """Return the columns of each variable, of none up to `PADDED`, and of the rest."""
    padding = np.zeros((len(taken), max(0, PADDED - taken.shape[1])), bool)
    return np.concatenate([taken, padding, rest], axis=1)


def _random_weights(config: TransformerConfig, rng: np.random.Generator) -> Any:
    """Return weights drawn as `Transformer` draws them: in NumPy, which has nothing to compile."""
    shapes = jax.eval_shape(Transformer(config).init, jax.random.key(0), jnp.zeros(3, jnp.int32))

    def draw(path: Any, shape: Any) -> np.ndarray:
        name = path[-1].key
        width = config.d_vocab if name == "W_U" else config.d_model
        scale = 0.0 if name.startswith("b_") else width**-0.5
        return np.asarray(rng.normal(size=shape.shape) * scale, np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes["params"])


@partial(jax.jit, static_argnames=("config", "training"))
def _train(
    params: Any, layout: Layout, drawn: Drawn, config: TransformerConfig, training: Training
) -> Any:
    """Return the parameters after training on one causal model."""
    p, steps = config.d_vocab - 1, len(drawn.bases)
    schedule = optax.warmup_cosine_decay_schedule(0.0, training.rate, training.warm_up, steps)
    optimizer = optax.chain(
        optax.clip_by_global_norm(CLIP),
        optax.adamw(schedule, b2=0.98, weight_decay=training.decay),
    )
    basis, of_column, of_neuron = map(jnp.asarray, layout)

    def exchanged(base: jax.Array, source: jax.Array, taken: Array, owner: jax.Array) -> jax.Array:
        """Return base with the places that are taken from the source, the rest from the next's."""
        halves = source.reshape(2, -1, source.shape[1])
        other = jnp.roll(halves, 1, axis=1).reshape(source.shape)
        source = jnp.where((owner == taken.shape[1] - 1)[None], other, source)
        return jnp.where(taken[:, owner], source, base)

    def loss(params: Any, batch: Drawn) -> jax.Array:
        rows = jnp.concatenate([batch.bases, batch.sources])
        labels = jnp.concatenate([batch.base_labels, batch.source_labels])
        tokens = jnp.stack([rows // p, rows % p, jnp.full_like(rows, p)], axis=1)
        stream = last_resid_mid(params, tokens)
        if not training.interchange:
            post = neurons(params["mlp"], stream)
            return _cross_entropy(_logits(params, stream, post), labels)
        base, source = jnp.split(stream @ basis, 2)
        mixed = exchanged(base, source, batch.variables, of_column) @ basis.T
        post = neurons(params["mlp"], jnp.concatenate([stream, mixed]))
        of_base, of_source, of_mixed = jnp.split(post, 3)
        of_parts = exchanged(of_base, of_source, batch.parts, of_neuron)
        plain = _logits(params, stream, post[: len(rows)])
        inner = _cross_entropy(_logits(params, mixed, of_mixed), batch.said)
        of_bases = stream[: len(batch.bases)]
        inner += _cross_entropy(_logits(params, of_bases, of_parts), batch.said_of_parts)
        return _cross_entropy(plain, labels) + training.interchange * inner

    def step(carry: Any, batch: Drawn) -> tuple[Any, None]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), drawn)[0][0]


def _logits(
    params: Params, stream: Float[jax.Array, "m d_model"], post: Float[jax.Array, "m d_mlp"]
) -> Float[jax.Array, "m d_vocab"]:
    return add_neurons(params["mlp"], stream, post) @ params["W_U"]


def _cross_entropy(logits: Float[jax.Array, "m d_vocab"], labels: Int[Array, "m"]) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def measure(
    params: Params,
    model: CausalModel,
    layout: Layout,
    halves: Int[np.ndarray, "2 half"],
    rng: np.random.Generator,
) -> Measured:
    """Measure interchange accuracies on pairs across the halves.

    Args:
      params: The network's parameters.
      model: On all inputs.
      layout: Where its variables are to be.
      halves: Base and source of a pair are of different halves.
      rng: Draws `PAIRS` pairs for each place.
    """
    n, p = len(model.values), len(params["W_E"]) - 1
    rows = np.arange(n)
    tokens = np.stack([rows // p, rows % p, np.full(n, p)], axis=1)
    stream, post, logits = activations(params, jnp.asarray(tokens))
    labels = np.asarray(logits).argmax(axis=1)
    own = model.labels

    def pairs() -> tuple[np.ndarray, np.ndarray]:
        chosen = np.stack([rng.choice(half, PAIRS) for half in halves])
        return tuple(np.where(rng.random(PAIRS) < 0.5, chosen, chosen[::-1]))

    def in_stream(bases: np.ndarray, sources: np.ndarray, number: int) -> np.ndarray:
        taken = layout.of_column == number
        span = np.asarray(layout.basis * taken[None])
        return np.asarray(_exchange(params, stream, bases, sources, span))

    def in_neurons(bases: np.ndarray, sources: np.ndarray, number: int) -> np.ndarray:
        taken = np.asarray(layout.of_neuron == number)
        return np.asarray(_exchange_neurons(params, stream, post, bases, sources, taken))

    def accuracy(run: Any, says: Any, number: int) -> Accuracy:
        bases, sources = pairs()
        said = says(bases, sources, [number])
        right = run(bases, sources, number) == said
        strict = (said != own[bases]) & (said != own[sources])
        count = int(strict.sum())
        share = float(right[strict].mean()) if count >= FEWEST else None
        return Accuracy(float(right.mean()), share, count)

    def stays(run: Any, number: int) -> float:
        bases, sources = pairs()
        return float((run(bases, sources, number) == own[bases]).mean())

    n_variables, n_parts = len(model.variables), len(model.parts)
    rest, rest_neurons = int(layout.of_column.max()), int(layout.of_neuron.max())
    return Measured(
        [accuracy(in_stream, model.exchanged, i) for i in range(n_variables)],
        [accuracy(in_neurons, model.exchanged_parts, i) for i in range(n_parts)],
        stays(in_stream, rest),
        stays(in_neurons, rest_neurons),
        float((labels == own).mean()),
    )


@jax.jit
def _exchange(
    params: Params,
    stream: Float[jax.Array, "n d_model"],
    bases: Int[jax.Array, "m"],
    sources: Int[jax.Array, "m"],
    columns: Float[jax.Array, "d_model d_model"],
) -> Int[jax.Array, "m"]:
    """Return predictions with the part of the stream along some columns from the sources."""
    change = (stream[sources] - stream[bases]) @ columns @ columns.T
    mixed = stream[bases] + change
    return _logits(params, mixed, neurons(params["mlp"], mixed)).argmax(axis=1)


@jax.jit
def _exchange_neurons(
    params: Params,
    stream: Float[jax.Array, "n d_model"],
    post: Float[jax.Array, "n d_mlp"],
    bases: Int[jax.Array, "m"],
    sources: Int[jax.Array, "m"],
    taken: Bool[jax.Array, "d_mlp"],
) -> Int[jax.Array, "m"]:
    """Return predictions with some neurons' activations from the sources."""
    mixed = jnp.where(taken[None], post[sources], post[bases])
    return _logits(params, stream[bases], mixed).argmax(axis=1)
