"""Scores and edges of planted networks are found; what has none is told apart."""

import numpy as np
import pytest

from jaxmi.mechanism.boundary import (
    ENOUGH,
    MAX_SCORES,
    Edge,
    Layer,
    Rule,
    at_quantiles,
    axial_clusters,
    find_rule,
    find_scores,
    fit_inputs,
    group_neurons,
)

N, K = 6000, 12
FITTED, HELD = np.arange(N // 2), np.arange(N // 2, N)
FEATURES = np.random.default_rng(0).normal(size=(N, K)).astype(np.float32)
DIRECTIONS = np.linalg.qr(np.random.default_rng(1).normal(size=(K, K)))[0].T
S, T = FEATURES @ DIRECTIONS[0], FEATURES @ DIRECTIONS[1]


def layer_of(inputs: list, weights: list, bias: float) -> Layer:
    """A network whose neurons take these, and a little of everything else."""
    noise = np.random.default_rng(2).normal(size=(N, len(inputs))) * 0.02
    return Layer((np.stack(inputs, axis=1) + noise).astype(np.float32), np.array(weights), bias)


BAND = layer_of([S - 0.5, -0.7 - S, 2 * S - 1.2], [1.0, 1.5, 0.4], -0.1)
BOTH = layer_of([0.2 - S, -0.3 - T, 0.1 - S], [-2.0, -2.0, -1.0], 0.2)
EITHER = layer_of([S - 0.6, T + 0.4 - 1.0, S - 0.5], [2.0, 3.0, 1.0], -0.2)
UP_AND_LOW = layer_of([0.2 - S, T - 0.1, T], [-2.0, -1.0, -1.0], 0.2)


def found(layer: Layer):
    linear = fit_inputs(FEATURES[FITTED], layer.inputs[FITTED])
    scores = find_scores(FEATURES, layer, linear, FITTED)
    assert scores is not None
    values, labels = scores.values(FEATURES), layer.difference() > 0
    return scores, find_rule(scores.edges, values[FITTED], labels[FITTED]), linear, values, labels


@pytest.mark.parametrize(
    ("layer", "count", "edges", "causes"),
    [(BAND, 1, 2, [1, 1]), (BOTH, 2, 2, [2]), (EITHER, 2, 2, [1, 1]), (UP_AND_LOW, 2, 2, [2])],
)
def test_planted_scores_and_their_rule_are_found(layer, count, edges, causes) -> None:
    scores, rule, _, values, labels = found(layer)
    assert scores.enough and len(scores.directions) == count
    planted = DIRECTIONS[:count]
    assert (np.abs(scores.directions @ planted.T).max(axis=1) > 0.99).all()
    assert len(scores.edges) == edges
    assert rule.causes is not None and sorted(map(len, rule.causes)) == causes
    assert (rule.labels(values) == labels)[HELD].mean() > 0.95
    # The control: the same on other directions, with edges at the same shares of the images.
    others = FEATURES @ DIRECTIONS[2 : 2 + count].T
    other = find_rule(at_quantiles(scores.edges, values, others), others[FITTED], labels[FITTED])
    assert (other.labels(others) == labels)[HELD].mean() < 0.8


def test_many_directions_are_not_called_few() -> None:
    rng = np.random.default_rng(3)
    inputs = [FEATURES @ row for row in rng.normal(size=(60, K))]
    scores, _, _, _, _ = found(layer_of(inputs, rng.normal(size=60).tolist(), 0.0))
    assert not scores.enough
    assert len(scores.directions) == MAX_SCORES
    assert scores.carried[0] < scores.carried[-1] < ENOUGH


def test_a_network_without_a_boundary_has_no_scores() -> None:
    silent = layer_of([S - 100, T - 100], [1.0, 1.0], 1.0)
    linear = fit_inputs(FEATURES, silent.inputs)
    assert find_scores(FEATURES, silent, linear, FITTED) is None
    one_label = layer_of([S, T], [1.0, 1.0], 5.0)
    linear = fit_inputs(FEATURES, one_label.inputs)
    assert find_scores(FEATURES, one_label, linear, FITTED) is None
    balanced = one_label.balanced()
    assert (balanced.difference() > 0).mean() == pytest.approx(0.5, abs=0.01)
    assert find_scores(FEATURES, balanced, linear, FITTED) is not None


def test_a_vector_and_its_opposite_lie_along_one_line() -> None:
    rng = np.random.default_rng(4)
    signs = rng.choice([-1, 1], size=(400, 1))
    normals = DIRECTIONS[rng.integers(0, 2, 400)] * signs
    lines, carried = axial_clusters(normals, 2)
    assert carried == pytest.approx(1)
    np.testing.assert_allclose(np.sort(np.abs(lines @ DIRECTIONS[:2].T)), [[0, 1]] * 2, atol=1e-6)
    assert axial_clusters(normals, 1)[1] < 0.7


def test_the_sign_of_a_score_is_a_convention() -> None:
    scores, rule, _, values, labels = found(BAND)
    flipped = scores.flipped([-1.0])
    assert [edge.towards for edge in flipped.edges] == [-1, 1]
    assert flipped.edges[0].threshold == -scores.edges[1].threshold
    negated = flipped.values(FEATURES)
    np.testing.assert_allclose(negated, -values, atol=1e-6)
    again = find_rule(flipped.edges, negated[FITTED], labels[FITTED])
    np.testing.assert_array_equal(again.labels(negated), rule.labels(values))


def test_sides_on_which_no_image_lies_follow_those_beyond_fewer_edges() -> None:
    _, rule, _, _, _ = found(BAND)
    assert rule.shares[3] == 0 and rule.table.tolist() == [False, True, True, True]
    edges = Edge(0, 1, 0.0), Edge(1, 1, 0.0)
    values = np.random.default_rng(5).normal(size=(500, 2))
    differ = find_rule(edges, values, (values[:, 0] > 0) != (values[:, 1] > 0))
    assert differ.causes is None  # one or the other, not both: no side always adds to label 1
    assert Rule(edges, np.zeros(4, bool), np.ones(4) / 4).causes == []
    assert Rule(edges, np.ones(4, bool), np.ones(4) / 4).causes == [()]


def test_neurons_that_read_the_scores_only_lose_what_lies_across() -> None:
    scores, _, linear, _, labels = found(BOTH)
    only = BOTH.difference(linear.of(FEATURES, scores.directions)) > 0
    assert (only == labels)[HELD].mean() > 0.97
    across = BOTH.difference(linear.of(FEATURES, DIRECTIONS[4:6])) > 0
    assert (across == labels)[HELD].mean() < 0.75
    np.testing.assert_allclose(
        linear.of(FEATURES, np.eye(K)), linear.of(FEATURES), atol=1e-4
    )  # nothing lies across all directions


def test_neurons_are_grouped_by_what_they_read() -> None:
    scores, rule, linear, _, _ = found(BOTH)
    groups = group_neurons(scores, linear, BOTH)
    first, second = (groups.of_score(i).nonzero()[0].tolist() for i in (0, 1))
    assert sorted((first, second)) == [[0, 2], [1]]
    assert (groups.one > 0.95).all() and groups.live.all()
    scores, rule, linear, _, _ = found(BAND)
    groups = group_neurons(scores, linear, BAND)
    lower, upper = (groups.of_edge(edge, rule.edges) for edge in rule.edges)
    assert (lower | upper).all() and not (lower & upper).any()
    alone = [lower.nonzero()[0].tolist(), upper.nonzero()[0].tolist()]
    assert sorted(alone) == [[0, 2], [1]]
