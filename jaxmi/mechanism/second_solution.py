"""Recompute the second published solution of challenge 2 on any one-block transformer on pairs.

An *extended embedding* is a number for each value of an operand: the embedding (W_E, with the
position's) times V and O of every head, weighted by the head's mean attention, times W_in, W_out
and the difference of the two logits' columns of W_U. No ReLU is applied. What x and y add to a
neuron's input is the same product up to W_in: a curve over the values of x, and one over those of
y.
docs/second-solution.md has the claims; `second_metrics.CLAIMS` has their rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy.stats import rankdata

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.subgrid import Subgrid
from jaxmi.explanation.metrics import Metric
from jaxmi.mechanism import second_metrics as table
from jaxmi.mechanism.account import MAX_INPUTS
from jaxmi.mechanism.neurons import in_doubt
from jaxmi.mechanism.tables import LastMlp, Patterns, Tables, tables_of
from jaxmi.models.transformer import Transformer
from jaxmi.types import Metrics, Params

LEADING = 8
"""Components that random directions are drawn in, and that neurons are clustered in."""

RESTARTS, STEPS = 4, 30
"""Starts of k-means, of which the one of least error counts, and steps of each."""


@dataclass(frozen=True)
class NeuronClusters:
    """Neurons that are active on some inputs and not on others, in clusters by their input."""

    neurons: Int[np.ndarray, "k"]
    """Their numbers."""
    cluster: Int[np.ndarray, "k"]
    """The cluster of each."""
    points: Float[np.ndarray, "k d"]
    """Leading coordinates of their curves, each scaled to length 1."""
    centres: Mapping[str, Float[np.ndarray, "cluster p"]]
    """Operand -> the cluster's mean curve over the operand's values."""


@dataclass(frozen=True)
class SecondSolution:
    """The second published solution recomputed on one network."""

    domain: Subgrid
    labels: Bool[np.ndarray, "px py"]
    """The network's own labels."""
    metrics: Metrics
    """Key -> value, for the metrics of `second_metrics.TABLE`."""
    embeddings: Mapping[str, Float[np.ndarray, "p"]]
    """Operand -> the extended embedding of its values."""
    clusters: NeuronClusters | None
    """None if fewer neurons are active on some inputs and not on others than there are clusters."""

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict on each claim that the network can be asked, by its name."""
        return {
            claim.name: claim.verdict(self.metrics)
            for claim in table.CLAIMS
            if claim.known(self.metrics)
        }


@dataclass(frozen=True)
class _Run:
    """One network on the domain: what each operand adds, and the neurons' inputs."""

    mlp: LastMlp
    tables: Tables
    patterns: Patterns
    added: tuple[Float[np.ndarray, "p d_model"], ...]
    """Operand -> what its values add to the residual stream, at mean attention, centred."""
    inputs: Float[np.ndarray, "px py neuron"]
    past: Float[np.ndarray, "px py"]
    """The part of the logit difference that comes past the MLP."""

    @property
    def chain(self) -> Float[np.ndarray, "d_model"]:
        """The direction of the residual stream whose product is the extended embedding."""
        return self.mlp.w_in @ self.mlp.weights

    def labels(
        self, *changes: Float[np.ndarray, "p neuron"], past: Float[np.ndarray, "..."] | float = 0.0
    ) -> Bool[np.ndarray, "px py"]:
        """Return the labels if each operand's values add something else to neurons' inputs.

        Args:
          *changes: What is added for each value of x, then of y.
          past: What is added past the MLP.
        """
        changed = [change.astype(np.float32) for change in changes]
        weights = self.mlp.weights.astype(np.float32)
        difference = np.empty(self.past.shape)
        for row, inputs in enumerate(self.inputs):
            new = inputs + changed[0][row] if changed else inputs
            if len(changed) > 1:
                new = new + changed[1]
            difference[row] = np.maximum(new, 0) @ weights
        return difference + self.past + past > 0


def second_solution(
    challenge: Challenge, params: Params, max_inputs: int = MAX_INPUTS
) -> SecondSolution | None:
    """Measure every claim of the second published solution on one network.

    Args:
      challenge: The network's challenge. True labels do not enter.
      params: The network's parameters.
      max_inputs: Measure a larger domain on a part of at most so many inputs.

    Returns:
      None for a network of several blocks, or on anything but pairs: the claims say nothing of it.
    """
    model = challenge.model
    if challenge.kind != "pairs" or not isinstance(model, Transformer) or model.config.n_layers > 1:
        return None
    domain = challenge.subgrid(max_inputs)
    operands = challenge.inputs[domain.rows][:, :-1]
    run = _run(challenge, params, domain, operands)
    untrained = _run(challenge, jax.jit(challenge.init)(jax.random.key(0)), domain, operands)
    labels = run.labels()
    rng = np.random.default_rng(0)
    embeddings = dict(zip(domain.values, (added @ run.chain for added in run.added), strict=True))
    metrics = _rows(run, untrained, domain, labels, rng)
    metrics |= _only(run, labels, rng)
    for name, embedding in embeddings.items():
        metrics |= _along(table.TREND[name], embedding[None], domain.values[name], rng)
        metrics |= _in_runs(table.RUNS[name], embedding, rng)
    clusters, measured = _clusters(run, domain, labels, rng)
    metrics |= measured | _attention(run, untrained, operands, labels)
    return SecondSolution(domain, labels, metrics, embeddings, clusters)


def _run(
    challenge: Challenge, params: Params, domain: Subgrid, operands: Int[np.ndarray, "n operand"]
) -> _Run:
    assert isinstance(challenge.model, Transformer)
    tables = tables_of(params, challenge.model.config)
    mlp, patterns = tables.mlp, tables.patterns(operands)
    stream = tables.resid_mid(patterns, operands)
    added = []
    for i, values in enumerate(domain.values.values()):
        vectors = np.einsum("phd,h->pd", tables.values[i, values], patterns[:, i].mean(axis=0))
        added.append(vectors - vectors.mean(axis=0))
    inputs = (stream @ mlp.w_in + mlp.b_in).astype(np.float32).reshape(*domain.shape, -1)
    past = (stream @ mlp.direct + mlp.bias).reshape(domain.shape)
    return _Run(mlp, tables, patterns, tuple(added), inputs, past)


def _rows(
    run: _Run,
    untrained: _Run,
    domain: Subgrid,
    labels: Bool[np.ndarray, "px py"],
    rng: np.random.Generator,
) -> Metrics:
    """Ask whether rows of nearly the same extended embedding are alike, and in its order."""
    share = labels.mean(axis=1)[None]
    mlp, (x, y) = run.mlp, run.added

    def kept(donors_x: np.ndarray, donors_y: np.ndarray | None = None) -> float:
        """Return the labels kept with values replaced: the network's own for the donors."""
        columns = np.arange(labels.shape[1]) if donors_y is None else donors_y
        return float((labels[np.ix_(donors_x, columns)] == labels).mean())

    def measure(direction: np.ndarray) -> tuple[float, float, float]:
        by_x, by_y = _nearest(x @ direction), _nearest(y @ direction)
        return _rank(share, x @ direction), kept(by_x), kept(by_x, by_y)

    shuffled = np.array(
        [measure(mlp.w_in @ rng.permutation(mlp.weights)) for _ in range(table.DRAWS)]
    )
    metrics: Metrics = {}
    for metric, value, control in zip(
        (table.ROWS, table.ROW_KEPT, table.BOTH_KEPT),
        measure(run.chain),
        shuffled.max(axis=0),
        strict=True,
    ):
        metrics |= _beside(metric, value, float(control))
    values = domain.values["x"]
    by_head = run.tables.values[0, values] @ run.chain * run.patterns[:, 0].mean(axis=0)
    next_value = np.r_[1 : len(values), len(values) - 2] if len(values) > 1 else np.zeros(1, int)
    metrics |= {
        table.ROWS_UNTRAINED.key: _rank(share, untrained.added[0] @ untrained.chain),
        table.ROW_KEPT_NEXT.key: kept(next_value),
        table.ROW_KEPT_HEADS.key: kept(_nearest(by_head)),
        table.ROW_KEPT_VECTOR.key: kept(_nearest(x)),
    }
    return metrics


def _only(run: _Run, labels: Bool[np.ndarray, "px py"], rng: np.random.Generator) -> Metrics:
    """Ask whether of what x adds only the extended embedding matters, by leaving out the rest."""
    x, mlp = run.added[0], run.mlp

    def kept(direction: np.ndarray | None) -> float:
        """Return the labels kept if x adds nothing but its part along a direction."""
        left_out = x
        if direction is not None and (length := np.linalg.norm(direction)) > 0:
            left_out = x - np.outer(x @ direction, direction) / length**2
        changed = run.labels(-left_out @ mlp.w_in, past=-(left_out @ mlp.direct)[:, None])
        return float((changed == labels).mean())

    components = np.linalg.svd(x, full_matrices=False)[2][:LEADING]
    random = [kept(rng.normal(size=len(components)) @ components) for _ in range(table.DRAWS)]
    return {
        **_beside(table.ONLY, kept(run.chain), max(random)),
        table.ONLY_COMPONENT.key: kept(components[0]),
        table.NOTHING.key: kept(None),
    }


def _along(
    metric: Metric,
    curves: Float[np.ndarray, "k p"],
    values: Int[np.ndarray, "p"],
    rng: np.random.Generator,
) -> Metrics:
    """Measure how nearly curves rise or fall throughout, and what permuted values give."""
    permuted = [_rank(curves, rng.permutation(values)) for _ in range(table.PERMUTATIONS)]
    return _beside(metric, _rank(curves, values), max(permuted))


def _in_runs(metric: Metric, curve: Float[np.ndarray, "p"], rng: np.random.Generator) -> Metrics:
    """Measure how nearly a curve's values are the mean of their neighbours."""

    def runs(values: np.ndarray) -> float:
        return _correlation(values[None, 1:-1], (values[:-2] + values[2:]) / 2)

    permuted = [runs(rng.permutation(curve)) for _ in range(table.PERMUTATIONS)]
    return _beside(metric, runs(curve), max(permuted))


def _clusters(
    run: _Run, domain: Subgrid, labels: Bool[np.ndarray, "px py"], rng: np.random.Generator
) -> tuple[NeuronClusters | None, Metrics]:
    """Cluster neurons by what x and y add to their inputs, and ask whether clusters are real."""
    live = np.flatnonzero(in_doubt(run.inputs.reshape(-1, run.inputs.shape[-1])))
    curves = np.concatenate([added @ run.mlp.w_in[:, live] for added in run.added]).T
    lengths = np.linalg.norm(curves, axis=1, keepdims=True)
    live, curves = live[lengths[:, 0] > 0], curves[lengths[:, 0] > 0]
    metrics: Metrics = {table.LIVE.key: len(live)}
    if len(live) < 2 * table.CLUSTERS:
        return None, metrics
    shapes = curves / np.linalg.norm(curves, axis=1, keepdims=True)
    directions = np.linalg.svd(shapes, full_matrices=False)[2][:LEADING]
    points = _unit(shapes @ directions.T)
    cluster = _k_means(points, rng)
    clouds = [_k_means_of_cloud(points, rng) for _ in range(table.DRAWS)]
    metrics |= _beside(table.SILHOUETTE, _silhouette(points, cluster), max(clouds))

    def kept(member: np.ndarray) -> float:
        """Return the labels kept if each neuron's curve is its cluster's mean, scaled to fit."""
        centres = np.zeros((table.CLUSTERS, shapes.shape[1]))
        for one in np.unique(member):
            centres[one] = shapes[member == one].mean(axis=0)
        own = _unit(centres)[member]
        change = (curves * own).sum(axis=1, keepdims=True) * own - curves
        whole = np.zeros((shapes.shape[1], run.inputs.shape[-1]))
        whole[:, live] = change.T
        return float((run.labels(*np.split(whole, [domain.shape[0]])) == labels).mean())

    def to_random_centres() -> np.ndarray:
        centres = points[rng.choice(len(points), table.CLUSTERS, replace=False)]
        return (points @ centres.T).argmax(axis=1)

    metrics |= _beside(
        table.CLUSTERS_KEPT,
        kept(cluster),
        max(kept(to_random_centres()) for _ in range(table.DRAWS)),
    )
    metrics[table.CLUSTERS_RANDOM.key] = max(
        kept(rng.permutation(cluster)) for _ in range(table.DRAWS)
    )
    means = np.stack([shapes[cluster == one].mean(axis=0) for one in range(table.CLUSTERS)])
    by_operand = np.split(means, [domain.shape[0]], axis=1)
    centres = dict(zip(domain.values, by_operand, strict=True))
    for name, curve in centres.items():
        metrics |= _along(table.CLUSTER_TREND[name], curve, domain.values[name], rng)
    return NeuronClusters(live, cluster, points, centres), metrics


def _attention(
    run: _Run, untrained: _Run, operands: np.ndarray, labels: Bool[np.ndarray, "px py"]
) -> Metrics:
    """Measure the labels that are lost if attention is fixed, of this network and an untrained."""
    lost = float(((_with_fixed_attention(run, operands) > 0) != labels.reshape(-1)).mean())
    before = untrained.tables.mlp.difference(
        untrained.tables.resid_mid(untrained.patterns, operands)
    )
    middle = np.median(before)  # an untrained network may give one label throughout
    changed = (_with_fixed_attention(untrained, operands) > middle) != (before > middle)
    return _beside(table.ATTENTION_LOST, lost, float(changed.mean()))


def _with_fixed_attention(run: _Run, operands: np.ndarray) -> Float[np.ndarray, "n"]:
    fixed = np.broadcast_to(run.patterns.mean(axis=0), run.patterns.shape)
    return run.mlp.difference(run.tables.resid_mid(fixed, operands))


def _beside(metric: Metric, value: float, control: float) -> Metrics:
    """Return a metric's value and its control's."""
    assert metric.control is not None
    return {metric.key: value, metric.control.metric.key: control}


def _nearest(vectors: Float[np.ndarray, "p ..."]) -> Int[np.ndarray, "p"]:
    """Return for each value the other one whose vector is nearest."""
    flat = vectors.reshape(len(vectors), -1)
    distance = ((flat[:, None] - flat[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(distance, np.inf)
    return distance.argmin(axis=1)


def _rank(curves: Float[np.ndarray, "k p"], values: Real[np.ndarray, "p"]) -> float:
    """Return the mean size of the curves' rank correlation with values."""
    return _correlation(rankdata(curves, axis=1), rankdata(values))


def _correlation(curves: Float[np.ndarray, "k p"], values: Float[np.ndarray, "p"]) -> float:
    """Return the mean size of the curves' correlation with values; 0 of what does not vary."""
    if curves.shape[1] < 2:
        return 0.0
    centred = curves - curves.mean(axis=1, keepdims=True)
    other = values - values.mean()
    scale = np.linalg.norm(centred, axis=1) * np.linalg.norm(other)
    return float(np.abs(centred @ other / np.where(scale > 0, scale, np.inf)).mean())


def _unit(vectors: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k d"]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _k_means(points: Float[np.ndarray, "k d"], rng: np.random.Generator) -> Int[np.ndarray, "k"]:
    """Return the cluster of each point, of the start with the least error."""
    best, least = np.zeros(len(points), int), np.inf
    for _ in range(RESTARTS):
        centres = points[rng.choice(len(points), 1)]
        while len(centres) < table.CLUSTERS:  # k-means++: far from the centres so far
            far = _squares(points, centres).min(axis=1)
            chance = far / far.sum() if far.sum() > 0 else None
            centres = np.concatenate([centres, points[rng.choice(len(points), 1, p=chance)]])
        member = _squares(points, centres).argmin(axis=1)
        for _ in range(STEPS):
            for one in np.unique(member):
                centres[one] = points[member == one].mean(axis=0)
            member = _squares(points, centres).argmin(axis=1)
        error = float(((points - centres[member]) ** 2).sum())
        if error < least:
            best, least = member, error
    return best


def _squares(
    points: Float[np.ndarray, "k d"], others: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "k m"]:
    """Return squared distances."""
    sizes = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    return np.maximum(sizes - 2 * points @ others.T, 0)


def _k_means_of_cloud(points: Float[np.ndarray, "k d"], rng: np.random.Generator) -> float:
    """Return the silhouette of clusters in a normal cloud of the points' mean and covariance.

    A cloud has no clusters; its points are scaled to length 1, as neurons' are.
    """
    centred = points - points.mean(axis=0)
    cloud = rng.normal(size=(len(points), len(points))) @ centred / np.sqrt(len(points))
    cloud = _unit(cloud + points.mean(axis=0))
    return _silhouette(cloud, _k_means(cloud, rng))


def _silhouette(points: Float[np.ndarray, "k d"], member: Int[np.ndarray, "k"]) -> float:
    """Return the mean silhouette (Rousseeuw, 1987): 1 for clusters far apart, 0 for none."""
    clusters, member = np.unique(member, return_inverse=True)
    if len(clusters) < 2:
        return 0.0
    distance = np.sqrt(_squares(points, points))
    np.fill_diagonal(distance, 0)
    sizes = np.bincount(member)
    to = np.stack([distance[:, member == one].sum(axis=1) for one in range(len(sizes))], axis=1)
    places = np.arange(len(points))
    own = to[places, member] / np.maximum(sizes[member] - 1, 1)
    to = to / sizes
    to[places, member] = np.inf
    other = to.min(axis=1)
    width = (other - own) / np.maximum(np.maximum(own, other), 1e-12)
    return float(np.where(sizes[member] > 1, width, 0.0).mean())
