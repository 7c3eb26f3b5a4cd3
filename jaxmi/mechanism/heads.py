"""Say what each attention head adds to the neurons, and what changes without it.

A head writes into few directions of the residual stream. Its output is held in coordinates along
these, so that a change of one head is a small product, and nothing else is computed again. Neurons
are computed in float32, everything before them in float64. True labels only say which labels are
mistakes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.subgrid import Subgrid
from jaxmi.explanation.metrics import Metric
from jaxmi.explanation.verdicts import verdict
from jaxmi.mechanism import heads_metrics as table
from jaxmi.mechanism.account import MAX_INPUTS, Answers
from jaxmi.mechanism.tables import LastMlp, Patterns, Streams, Tables, tables_of
from jaxmi.models.transformer import Transformer
from jaxmi.types import Metrics, Params

PAIRS = 4096
"""Random pairs of an input and another one that something is taken from."""

TURNS = 64
"""Random rotations, each of an equal part of the pairs. On the published network the labels lost by
a single rotation have a standard deviation of 5 points, so that a few are too few."""

MOSTLY = 2 / 3
"""A neuron's input is mostly of an operand that explains this share of its variance alone."""

SMALLEST = 1e-9
"""A direction or a standard deviation below this share of the largest is rounding."""

BLOCK = 1024
"""Inputs whose neurons are computed at once: few enough for the cache, enough for two threads."""


@dataclass(frozen=True)
class Heads:
    """Result on one network: what its heads add, and its labels without them."""

    domain: Subgrid
    """The inputs on which everything is measured."""
    names: table.HeadMetrics
    """The metrics that a network of this size has."""
    metrics: Metrics
    """Key -> value."""

    @property
    def depends(self) -> "Comparison":
        """Share of attention that moves with another input: does it depend on the operands?"""
        untrained = self.names.untrained_moved[table.ANY]
        value = self.metrics[self.names.every.moved[table.ANY].key]
        return Comparison(float(value), {"untrained": float(self.metrics[untrained.key])})

    @property
    def matters(self) -> "Comparison":
        """Labels lost with the attention of another input: does what it depends on matter?"""
        controls = {
            table.TURNED: self.names.turned_resampled,
            "untrained": self.names.untrained_resampled[table.ANY],
        }
        return Comparison(
            self.lost(self.names.every.pattern_resampled[table.ANY]),
            {name: self.lost(metric) for name, metric in controls.items()},
        )

    def lost(self, kept: Metric) -> float:
        """Return the share of labels that are lost, from the metric of those kept."""
        return 1 - float(self.metrics[kept.key])


@dataclass(frozen=True)
class Comparison:
    """A share by which a claim about attention is judged, beside its controls."""

    value: float
    controls: Mapping[str, float]

    @property
    def verdict(self) -> str:
        """Verdict on the claim, by the rule of `heads_metrics`."""
        return verdict(self.value, max(self.controls.values()), table.ENOUGH, table.MARGIN)


@dataclass(frozen=True)
class Head:
    """One head, in coordinates of the directions that it can write into."""

    directions: Float[np.ndarray, "r d_model"]
    values: Float[np.ndarray, "operand p r"]
    """Vectors that it writes if it attends to one operand only, by value."""
    last_value: Float[np.ndarray, "r"]
    """Vector that it writes if it attends to the last position only."""

    def output(
        self, pattern: Float[np.ndarray, "n source"], operands: Int[np.ndarray, "n operand"]
    ) -> Float[np.ndarray, "n r"]:
        """Return its output, from its attention to each source."""
        total = pattern[:, -1:] * self.last_value
        for i, values in enumerate(self.values):
            total += pattern[:, i, None] * values[operands[:, i]]
        return total

    def parts(
        self, pattern: Float[np.ndarray, "n source"], operands: Int[np.ndarray, "n operand"]
    ) -> list[Float[np.ndarray, "n r"]]:
        """Split its output, but for a constant, into what each operand's value and attention add.

        Returns:
          For each operand what its value adds at mean attention; then what the attention adds by
          its distance from the mean.
        """
        means = pattern.mean(axis=0)
        by_value = [means[i] * values[operands[:, i]] for i, values in enumerate(self.values)]
        return [*by_value, self.output(pattern - means, operands)]


def head_of(tables: Tables, head: int) -> Head:
    """Return one head of a network, in coordinates."""
    values, last_value = tables.values[:, :, head], tables.last_value[head]
    vectors = np.concatenate([values.reshape(-1, values.shape[-1]), last_value[None]])
    _, sizes, axes = np.linalg.svd(vectors, full_matrices=False)
    directions = axes[sizes > SMALLEST * sizes.max(initial=0)]
    return Head(directions, values @ directions.T, last_value @ directions.T)


@dataclass(frozen=True)
class _Start:
    """Neurons' inputs, and what comes past the MLP, before a change."""

    inputs: Float[np.ndarray, "n neuron"]
    past: Float[np.ndarray, "n"]

    def at(self, rows: Int[np.ndarray, "m"]) -> "_Start":
        """Return those of some inputs."""
        return _Start(self.inputs[rows], self.past[rows])


class Network:
    """A network of one block on some inputs, of which one head after the other is changed."""

    def __init__(self, tables: Tables, operands: Int[np.ndarray, "n operand"]) -> None:
        """Compute what every head adds, and the neurons' inputs."""
        self.tables, self.operands = tables, operands
        self.patterns = tables.patterns(operands)
        self.heads = [head_of(tables, head) for head in range(tables.scores.shape[-1])]
        self.outputs = self.outputs_at(self.patterns, operands)
        self.stream = tables.skip + self.together(self.outputs)
        self.start = start_of(tables.mlp, self.stream)

    def outputs_at(
        self, patterns: Patterns, operands: Int[np.ndarray, "n operand"]
    ) -> list[Float[np.ndarray, "n _"]]:
        """Return every head's output, in its coordinates, from attention patterns."""
        return [head.output(patterns[..., h], operands) for h, head in enumerate(self.heads)]

    def together(self, outputs: list[Float[np.ndarray, "n _"]]) -> Streams:
        """Return what outputs of all heads add to the residual stream."""
        total = np.zeros((len(outputs[0]), len(self.tables.skip)))
        for head, output in zip(self.heads, outputs, strict=True):
            total += output @ head.directions
        return total

    def difference(
        self,
        start: _Start,
        change: Float[np.ndarray, "n r"],
        directions: Float[np.ndarray, "r d_model"],
    ) -> Float[np.ndarray, "n"]:
        """Return the logit difference if the residual stream changes along directions."""
        mlp = self.tables.mlp
        to_neurons, weights = _float32(directions @ mlp.w_in), _float32(mlp.weights)
        by_coordinates, through = _float32(change), np.empty(len(change))
        for begin in range(0, len(change), BLOCK):
            rows = slice(begin, begin + BLOCK)
            neurons = by_coordinates[rows] @ to_neurons
            neurons += start.inputs[rows]
            np.maximum(neurons, 0, out=neurons)
            through[rows] = neurons @ weights
        return through + start.past + change @ (directions @ mlp.direct)

    def unchanged(self) -> Float[np.ndarray, "n"]:
        """Return the network's own logit difference."""
        none = np.zeros((len(self.stream), 0))
        return self.difference(self.start, none, np.zeros((0, self.stream.shape[1])))


def start_of(mlp: LastMlp, stream: Streams) -> _Start:
    """Return neurons' inputs, and what comes past the MLP."""
    inputs = _float32(stream) @ _float32(mlp.w_in) + _float32(mlp.b_in)
    return _Start(inputs, stream @ mlp.direct + mlp.bias)


@dataclass(frozen=True)
class Pairs:
    """Random pairs of an input and a different input that something is taken from."""

    rows: Int[np.ndarray, "pair"]
    """The inputs."""
    donors: Int[np.ndarray, "pair"]
    """The inputs that something is taken from."""
    operands: Mapping[str, Int[np.ndarray, "pair operand"]]
    """Operand -> the inputs' operands with another value of that; `ANY` -> the donors' operands."""

    def patterns(self, tables: Tables) -> Mapping[str, Patterns]:
        """Return attention with one operand's value, or all, taken from another input."""
        return {operand: tables.patterns(given) for operand, given in self.operands.items()}


def draw_pairs(domain: Subgrid, operands: Int[np.ndarray, "n operand"]) -> Pairs:
    """Return random pairs of inputs, the same for all networks on a domain.

    A donor is never the input itself, and another value is drawn evenly from the other values of
    the domain. An operand with a single value keeps it.

    Args:
      domain: The inputs.
      operands: Their operands.
    """
    rng = np.random.default_rng(0)
    rows = rng.integers(len(operands), size=PAIRS)
    donors = _another(rows, len(operands), rng)
    exchanged = {table.ANY: operands[donors]}
    for i, (operand, values) in enumerate(domain.values.items()):
        exchanged[operand] = operands[rows]
        index = np.searchsorted(values, operands[rows, i])
        exchanged[operand][:, i] = values[_another(index, len(values), rng)]
    return Pairs(rows, donors, exchanged)


def heads(
    challenge: Challenge, params: Params, untrained: Params, max_inputs: int = MAX_INPUTS
) -> Heads | None:
    """Measure what each head of a network adds, and what its labels are without it.

    Args:
      challenge: A challenge on pairs or triples. If it is sealed, no mistakes are known.
      params: The network's parameters.
      untrained: Those of a network as initialised, whose attention is the control.
      max_inputs: Measure a larger domain on a part of at most so many inputs.

    Returns:
      None for a network of several blocks: what its last block reads is no sum of tables.
    """
    model = challenge.model
    assert isinstance(model, Transformer)
    if model.config.n_layers > 1:
        return None
    domain = challenge.subgrid(max_inputs)
    operands = challenge.inputs[domain.rows][:, :-1]
    network = Network(tables_of(params, model.config), operands)
    labels = network.unchanged() > 0
    truth = None if challenge.sealed else challenge.labels[domain.rows] == 1
    answers = Answers(labels, None if truth is None else labels != truth)
    names = table.metrics_of(model.config.n_heads, tuple(domain.values))
    metrics = added(network, domain, names) | pattern_shares(network.patterns, domain, names)
    pairs = draw_pairs(domain, operands)
    metrics |= _ablated(network, answers, names) | _resampled(network, pairs, labels, names)
    metrics |= _of_untrained(tables_of(untrained, model.config), operands, pairs, names)
    return Heads(domain, names, metrics)


def added(network: Network, domain: Subgrid, names: table.HeadMetrics) -> Metrics:
    """Measure the share of the variance of each group's input that each part of each head adds.

    A part's share of a neuron's input is its covariance with the input over the input's variance,
    so that the shares of all parts sum to 1. A group's share is the mean over its neurons, each
    weighted by the variance of what it adds to the logit difference.
    """
    mlp, stream = network.tables.mlp, network.stream
    centred = stream - stream.mean(axis=0)
    variance = ((centred.T @ centred / len(centred) @ mlp.w_in) * mlp.w_in).sum(axis=0)
    importance = mlp.weights**2 * _activity(network.start.inputs)
    varies = variance > SMALLEST**2 * variance.max(initial=0)
    importance = np.where(varies, importance, 0.0)
    per_variance = importance / np.where(varies, variance, 1.0)
    groups = _groups(centred, variance, mlp, domain)
    total = importance.sum()
    metrics: Metrics = {}
    weights = np.zeros((len(names.groups), len(importance)))
    for group, weight in zip(names.groups, weights, strict=True):
        member = groups[group.name] & (importance > 0)
        metrics[group.neurons.key] = int(member.sum())
        metrics[group.importance.key] = min(1.0, float(importance[member].sum() / (total or 1.0)))
        if member.any():
            weight[member] = per_variance[member] / importance[member].sum()
    shown = [bool(weight.any()) for weight in weights]
    parts = [*(table.value_of(operand) for operand in domain.values), table.PATTERN]
    sums = np.zeros((len(parts), len(names.groups)))
    for h, head in enumerate(network.heads):
        to_neurons = head.directions @ mlp.w_in
        outputs = head.parts(network.patterns[..., h], network.operands)
        # `centred` has no mean, so that the outputs' means do not count.
        with_stream = np.concatenate(outputs, axis=1).T @ centred / len(centred)
        with_neurons = (with_stream @ mlp.w_in).reshape(len(parts), *to_neurons.shape)
        shares = (to_neurons * with_neurons).sum(axis=1) @ weights.T
        metrics |= _added(names.heads[h], parts, names, shares, shown)
        sums += shares
    return metrics | _added(names.every, parts, names, sums, shown)


def _added(
    scope: table.Scope,
    parts: list[str],
    names: table.HeadMetrics,
    shares: Float[np.ndarray, "part group"],
    shown: list[bool],
) -> Metrics:
    """Return shares under their keys; a group without a neuron that matters has none."""
    return {
        scope.added[group.name, part].key: float(shares[i, j])
        for j, group in enumerate(names.groups)
        if shown[j]
        for i, part in enumerate(parts)
    }


def _activity(inputs: Float[np.ndarray, "n neuron"]) -> Float[np.ndarray, "neuron"]:
    """Return the variance of each neuron's activation."""
    total, squares = np.zeros(inputs.shape[1]), np.zeros(inputs.shape[1])
    for begin in range(0, len(inputs), BLOCK):
        neurons = np.maximum(inputs[begin : begin + BLOCK], 0)
        total += neurons.sum(axis=0)
        squares += np.einsum("nj,nj->j", neurons, neurons)
    variance = squares / len(inputs) - (total / len(inputs)) ** 2
    # What rounding leaves of a neuron that is constant is no variance.
    return np.where(variance > 1e-6 * squares / len(inputs), variance, 0.0)


def _groups(
    centred: Streams, variance: Float[np.ndarray, "neuron"], mlp: LastMlp, domain: Subgrid
) -> dict[str, Bool[np.ndarray, "neuron"]]:
    """Return the neurons of each group: by the label that they raise, and what their input is of.

    No label and no cluster enters.
    """
    grid = centred.reshape(*domain.shape, -1)
    single = np.zeros(len(variance), bool)
    members = {}
    for i, operand in enumerate(domain.values):
        effects = grid.mean(axis=tuple(j for j in range(len(domain.shape)) if j != i)) @ mlp.w_in
        members[operand] = effects.var(axis=0) >= MOSTLY * variance
        members[operand] &= ~single
        single |= members[operand]
    members[None] = ~single
    raises = mlp.weights > 0
    groups = {table.ALL_NEURONS: np.ones(len(variance), bool)}
    for operand, member in members.items():
        groups[table.group_name(1, operand)] = member & raises
        groups[table.group_name(0, operand)] = member & ~raises
    return groups


def pattern_shares(patterns: Patterns, domain: Subgrid, names: table.HeadMetrics) -> Metrics:
    """Measure the share of attention's variance that is of each operand alone, and of none alone.

    This is the analysis of variance of the table of patterns, summed over what is attended to. A
    head whose attention does not vary has shares of 0.
    """
    grid = patterns.reshape(*domain.shape, *patterns.shape[1:])
    axes = tuple(range(len(domain.shape)))
    total = grid.var(axis=axes).sum(axis=0)
    effects = {
        operand: grid.mean(axis=tuple(j for j in axes if j != i)).var(axis=0).sum(axis=0)
        for i, operand in enumerate(domain.values)
    }
    effects[table.JOINT] = total - sum(effects.values())
    metrics: Metrics = {}
    for which, metric in names.every.shares.items():
        metrics[metric.key] = _share(effects[which].sum(), total.sum())
    for h, scope in enumerate(names.heads):
        for which, metric in scope.shares.items():
            metrics[metric.key] = _share(effects[which][h], total[h])
    return metrics


def _share(part: float, total: float) -> float:
    return float(np.clip(part / total, 0, 1)) if total > SMALLEST**2 else 0.0


def _ablated(network: Network, answers: Answers, names: table.HeadMetrics) -> Metrics:
    """Set each head's output to its mean and to zero, and all others' to their means."""
    count, width = network.stream.shape
    mean = start_of(network.tables.mlp, network.stream.mean(axis=0, keepdims=True))
    others = _Start(
        np.broadcast_to(mean.inputs, network.start.inputs.shape),
        np.broadcast_to(mean.past, count),
    )
    every = names.every
    metrics: Metrics = {}
    for scope, head, output in zip(names.heads, network.heads, network.outputs, strict=True):
        middle = output.mean(axis=0)
        for metric, start, change in (
            (scope.ablated, network.start, middle - output),
            (scope.zeroed, network.start, -output),
            (scope.alone, others, output - middle),
        ):
            metrics |= answers.kept(metric, network.difference(start, change, head.directions))
    best = max(names.heads, key=lambda scope: metrics[scope.alone.agreement.key])
    for of_every, of_best in zip(every.alone, best.alone, strict=True):
        if of_best.key in metrics:
            metrics[of_every.key] = metrics[of_best.key]
    for metric, stream in (
        (every.ablated, network.stream.mean(axis=0)),
        (every.zeroed, network.tables.skip),
    ):
        constant = network.tables.mlp.difference(stream.reshape(1, width))
        metrics |= answers.kept(metric, np.broadcast_to(constant, count))
    return metrics


def _resampled(
    network: Network, pairs: Pairs, labels: Bool[np.ndarray, "n"], names: table.HeadMetrics
) -> Metrics:
    """Take each head's output, or its attention alone, from another random input."""
    rng, rows, donors = np.random.default_rng(1), pairs.rows, pairs.donors
    own = network.operands[rows]
    start = network.start.at(rows)
    unit, leading = np.eye(network.stream.shape[1]), components(network.stream)
    metrics: Metrics = {}

    def measure(metric: Metric, change: np.ndarray, directions: np.ndarray) -> None:
        difference = network.difference(start, change, directions)
        metrics[metric.key] = float(((difference > 0) == labels[rows]).mean())

    def measure_turned(metric: Metric, change: np.ndarray, directions: np.ndarray) -> None:
        same = []
        for part in np.array_split(np.arange(len(rows)), TURNS):
            coordinates = turned(change[part], directions, leading, rng)
            difference = network.difference(start.at(part), coordinates, leading)
            same.append((difference > 0) == labels[rows[part]])
        metrics[metric.key] = float(np.concatenate(same).mean())

    patterns = pairs.patterns(network.tables)
    by_pattern = {operand: network.outputs_at(given, own) for operand, given in patterns.items()}
    for h, (scope, head) in enumerate(zip(names.heads, network.heads, strict=True)):
        output = network.outputs[h][rows]
        change = network.outputs[h][donors] - output
        measure(scope.resampled, change, head.directions)
        measure_turned(_control(scope.resampled), change, head.directions)
        for operand, metric in scope.pattern_resampled.items():
            measure(metric, by_pattern[operand][h] - output, head.directions)
    every, stream = names.every, network.stream[rows]
    change = network.stream[donors] - stream
    measure(every.resampled, change, unit)
    measure_turned(_control(every.resampled), change, unit)
    for operand, metric in every.pattern_resampled.items():
        change = network.tables.skip + network.together(by_pattern[operand]) - stream
        measure(metric, change, unit)
        if operand == table.ANY:
            measure_turned(names.turned_resampled, change, unit)
    before = network.patterns[rows]
    for operand, pattern in patterns.items():
        moved = np.abs(pattern - before).sum(axis=1).mean(axis=0) / 2
        metrics[every.moved[operand].key] = float(moved.mean())
        for scope, share in zip(names.heads, moved, strict=True):
            metrics[scope.moved[operand].key] = float(share)
    return metrics


def _of_untrained(
    tables: Tables,
    operands: Int[np.ndarray, "n operand"],
    pairs: Pairs,
    names: table.HeadMetrics,
) -> Metrics:
    """Measure an untrained network's attention, as the control, on the same pairs of inputs."""
    network = Network(tables, operands[pairs.rows])
    metrics: Metrics = {}
    before = network.unchanged()
    middle = np.median(before)  # an untrained network may give one label throughout
    unit = np.eye(network.stream.shape[1])
    for operand, pattern in pairs.patterns(tables).items():
        outputs = network.outputs_at(pattern, network.operands)
        change = network.tables.skip + network.together(outputs) - network.stream
        after = network.difference(network.start, change, unit)
        same = (after > middle) == (before > middle)
        metrics[names.untrained_resampled[operand].key] = float(same.mean())
        moved = np.abs(pattern - network.patterns).sum(axis=1).mean() / 2
        metrics[names.untrained_moved[operand].key] = float(moved)
    return metrics


def _another(
    indices: Int[np.ndarray, "n"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, "n"]:
    """Return a random other index for each index; the index itself if there is only one."""
    return (indices + rng.integers(min(1, count - 1), count, size=len(indices))) % count


def components(stream: Streams) -> Float[np.ndarray, "k d_model"]:
    """Return the leading principal components of a residual stream, or all if they are fewer."""
    _, sizes, axes = np.linalg.svd(stream - stream.mean(axis=0), full_matrices=False)
    rank = int((sizes > SMALLEST * sizes.max(initial=0)).sum())
    return axes[: max(1, min(rank, table.LEADING))]


def turned(
    change: Float[np.ndarray, "n r"],
    directions: Float[np.ndarray, "r d_model"],
    leading: Float[np.ndarray, "k d_model"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "n k"]:
    """Turn changes by one random rotation within the leading components.

    Args:
      change: For each input, in coordinates along `directions`.
      directions: Orthonormal.
      leading: Orthonormal; the turned changes are coordinates along these.
      rng: Draws the rotation.

    Returns:
      The projections of the changes, rotated, and each rescaled to the size of the whole change.
    """
    rotation = _rotation(len(leading), rng)
    coordinates = change @ (directions @ leading.T) @ rotation
    sizes, within = (np.linalg.norm(a, axis=1, keepdims=True) for a in (change, coordinates))
    # A change with no part within the components has no direction there: it gets a random one.
    coordinates = np.where(within > SMALLEST * sizes, coordinates, rotation[:1])
    return coordinates * (sizes / np.linalg.norm(coordinates, axis=1, keepdims=True))


def _rotation(width: int, rng: np.random.Generator) -> Float[np.ndarray, "k k"]:
    """Return a random orthogonal matrix, each as likely as any other."""
    axes, triangle = np.linalg.qr(rng.normal(size=(width, width)))
    return axes * np.sign(np.diag(triangle))


def _control(metric: Metric) -> Metric:
    assert metric.control is not None
    return metric.control.metric


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
