"""What heads add, and labels without them: sums are exact, and planted heads are told apart."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
from mechanism import test_tables
from mechanism.test_account import relabelled

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.subgrid import Subgrid, draw_subgrid
from jaxmi.data.pairs import all_tuples
from jaxmi.explanation.verdicts import HOLDS, NOT_SHOWN
from jaxmi.mechanism import heads as module
from jaxmi.mechanism import heads_metrics as table
from jaxmi.mechanism.heads import Heads, Network, heads
from jaxmi.mechanism.tables import LastMlp, Tables, tables_of
from jaxmi.report import heads_page
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.types import Params

SIZES = [
    ("pairs", {"d_model": 8, "n_heads": 2, "d_mlp": 40}),
    ("pairs", {"d_model": 12, "n_heads": 4, "d_mlp": 16}),
    ("triples", {"d_model": 8, "n_heads": 2, "d_mlp": 12}),
    ("pairs", {"d_model": 1, "n_heads": 1, "d_mlp": 4}),
]


small = cache(test_tables.small)


def weak(params: Params) -> Params:
    """Returns smaller parameters, in place of those of an untrained network."""
    return jax.tree.map(lambda a: 0.1 * a, params)


@pytest.fixture(scope="module")
def published(transformer: Challenge, checkpoints) -> Heads:
    params = load_checkpoint(checkpoints / "transformer").params
    untrained = jax.jit(transformer.init)(jax.random.key(0))
    result = heads(transformer, params, untrained, max_inputs=2500)
    assert result is not None
    return result


def network_of(kind: str = "pairs", **sizes: int) -> tuple[Challenge, Network]:
    challenge, params, model = small(kind, **sizes)
    return challenge, Network(tables_of(params, model.config), challenge.inputs[:, :-1])


@pytest.mark.parametrize(("kind", "sizes"), SIZES, ids=str)
def test_heads_sum_to_the_stream_and_their_parts_to_each_head(kind: str, sizes: dict) -> None:
    _, network = network_of(kind, **sizes)
    tables = network.tables
    exact = tables.resid_mid(network.patterns, network.operands)
    np.testing.assert_allclose(network.stream, exact, atol=1e-10)
    np.testing.assert_allclose(
        network.unchanged(), tables.mlp.difference(exact), rtol=1e-4, atol=1e-3
    )
    for h, (head, output) in enumerate(zip(network.heads, network.outputs, strict=True)):
        parts = head.parts(network.patterns[..., h], network.operands)
        constant = output - sum(parts)
        np.testing.assert_allclose(constant - constant[0], 0, atol=1e-12)
        assert np.abs(parts[-1]).max() > 1e-4  # the control: attention does vary


def test_a_head_at_its_mean_is_what_the_tables_give() -> None:
    _, network = network_of(d_model=8, n_heads=2, d_mlp=40)
    output, head = network.outputs[1], network.heads[1]
    change = output.mean(axis=0) - output
    difference = network.difference(network.start, change, head.directions)
    stream = network.stream + change @ head.directions
    expected = network.tables.mlp.difference(stream)
    np.testing.assert_allclose(difference, expected, rtol=1e-4, atol=1e-3)
    assert np.abs(expected - network.unchanged()).max() > 0.1  # the control


@pytest.mark.parametrize(("kind", "sizes"), SIZES, ids=str)
def test_every_network_has_its_metrics_and_shares_sum_to_one(kind: str, sizes: dict) -> None:
    challenge, params, _ = small(kind, **sizes)
    result = heads(challenge, params, weak(params))
    assert result is not None
    f, names = result.metrics, result.names
    assert f.keys() <= names.table.keys()
    empty = [group for group in names.groups if f[group.neurons.key] == 0]
    missing = {
        metric.key
        for scope in (names.every, *names.heads)
        for (group, _), metric in scope.added.items()
        if group in [one.name for one in empty]
    }
    assert names.table.keys() - f.keys() == missing
    assert all(np.isfinite(value) for value in f.values())
    for group in names.groups:
        if group not in empty:
            of_heads = [heads_page.added_by(result, scope, group.name) for scope in names.heads]
            assert sum(filter(None, of_heads)) == pytest.approx(1)
            assert heads_page.added_by(result, names.every, group.name) == pytest.approx(1)
    assert sum(f[g.importance.key] for g in names.groups[1:]) == pytest.approx(1)
    for scope in (names.every, *names.heads):
        assert sum(f[metric.key] for metric in scope.shares.values()) == pytest.approx(1)
    logits = challenge.logits(params)
    labels = logits[:, 1] > logits[:, 0]
    chance = f["heads_ablated_agreement"]  # one label throughout
    assert chance == pytest.approx(labels.mean()) or chance == pytest.approx(1 - labels.mean())
    assert all(section.text for section in heads_page.sections(result))
    assert heads_page.sections(result)[0].figures["heads"]
    assert "labels stay" in heads_page.summary(result)


def test_a_share_is_a_covariance_over_the_variance() -> None:
    challenge, network = network_of(d_model=8, n_heads=2, d_mlp=40)
    names = table.metrics_of(2)
    f = module.added(network, challenge.subgrid(None), names)
    w_in, weights = network.tables.mlp.w_in, network.tables.mlp.weights
    inputs = network.stream @ w_in
    activity = np.maximum(inputs + network.tables.mlp.b_in, 0).var(axis=0)
    importance = weights**2 * activity
    by_head = network.outputs[0] @ network.heads[0].directions @ w_in
    shares = [np.cov(a, b)[0, 1] / b.var(ddof=1) for a, b in zip(by_head.T, inputs.T, strict=True)]
    expected = np.average(shares, weights=importance)
    parts = [f[f"head0_all_{part}_share"] for part in ("x_value", "y_value", "pattern")]
    assert sum(parts) == pytest.approx(expected, rel=1e-4)
    assert abs(expected - np.mean(shares)) > 1e-3  # the control: importance counts


def measured(tables: Tables, challenge: Challenge) -> dict[str, int | float]:
    """Returns all metrics of tables that need no truth and no control."""
    domain = challenge.subgrid(None)
    network = Network(tables, challenge.inputs[:, :-1])
    names = table.metrics_of(tables.scores.shape[-1])
    answers = module.Answers(network.unchanged() > 0, None)
    return {
        **module.added(network, domain, names),
        **module.pattern_shares(network.patterns, domain, names),
        **module._ablated(network, answers, names),
        **module._resampled(
            network, module.draw_pairs(domain, network.operands), answers.labels, names
        ),
    }


def comparison(tables: Tables, challenge: Challenge) -> module.Comparison:
    """Returns how much attention matters; the untrained network attends in a fixed way."""
    domain, operands = challenge.subgrid(None), challenge.inputs[:, :-1]
    names = table.metrics_of(tables.scores.shape[-1])
    untrained = replace(tables, scores=0 * tables.scores)
    pairs = module.draw_pairs(domain, operands)
    metrics = measured(tables, challenge)
    metrics |= module._of_untrained(untrained, operands, pairs, names)
    return Heads(domain, names, metrics).matters


def test_a_head_that_writes_nothing_changes_nothing() -> None:
    challenge, network = network_of(d_model=8, n_heads=2, d_mlp=40)
    silent = np.array([1.0, 0.0])[:, None]
    tables = replace(
        network.tables,
        values=network.tables.values * silent,
        last_value=network.tables.last_value * silent,
    )
    f = measured(tables, challenge)
    for what in ("ablated", "zeroed", "resampled", "pattern_resampled", "pattern_resampled_x"):
        assert f[f"head1_{what}_agreement"] == 1
        assert f[f"head0_{what}_agreement"] < 1  # the control
    assert f["head0_alone_agreement"] == 1 == f["heads_alone_agreement"]
    assert f["head1_alone_agreement"] < 1
    for part in ("x_value", "y_value", "pattern"):
        assert f[f"head1_all_{part}_share"] == 0
    assert f["head1_pattern_moved"] > 0  # it attends, to no effect


def test_attention_by_x_alone_is_told_from_attention_by_both() -> None:
    challenge, network = network_of(d_model=8, n_heads=2, d_mlp=40)
    scores = network.tables.scores.copy()
    scores[1] = scores[1].mean(axis=0)
    f = measured(replace(network.tables, scores=scores), challenge)
    both = measured(network.tables, challenge)
    for key in ("heads", "head0", "head1"):
        assert f[f"{key}_pattern_x_share"] == pytest.approx(1)
        assert f[f"{key}_pattern_y_share"] == pytest.approx(0) == f[f"{key}_pattern_joint_share"]
        assert f[f"{key}_pattern_moved_y"] == pytest.approx(0)
        assert f[f"{key}_pattern_resampled_y_agreement"] == 1
        x, every = (f[f"{key}_pattern_resampled{o}_agreement"] for o in ("_x", ""))
        assert x < 1
        assert every < 1
        assert both[f"{key}_pattern_y_share"] > 0.05  # the control
        assert both[f"{key}_pattern_resampled_y_agreement"] < 1


def test_attention_that_is_fixed_adds_nothing_and_has_no_shares() -> None:
    challenge, network = network_of(d_model=8, n_heads=2, d_mlp=40)
    f = measured(replace(network.tables, scores=0 * network.tables.scores), challenge)
    for key in ("heads", "head0", "head1"):
        assert f[f"{key}_all_pattern_share"] == pytest.approx(0)
        assert f[f"{key}_pattern_moved"] == pytest.approx(0)
        assert f[f"{key}_pattern_resampled_agreement"] == 1
        assert [f[f"{key}_pattern_{o}_share"] for o in ("x", "y", "joint")] == [0, 0, 0]
        assert f[f"{key}_resampled_agreement"] < 1  # the control


def planted(moves: str) -> tuple[Challenge, Tables]:
    """Returns tables whose attention moves the stream within 4 of 64 dimensions.

    Args:
      moves: "evenly" in all 4, or "along" the direction that the labels depend on.
    """
    sizes = {"d_model": 64, "n_heads": 2, "d_mlp": 16}
    p, rng = 30, np.random.default_rng(0)
    challenge = jaxmi.make_challenge("return x < y", p=p, network=sizes)
    axes = np.linalg.qr(rng.normal(size=(64, 4)))[0].T
    scores = np.zeros((2, p, 2))
    scores[..., 1] = rng.normal(size=(2, p))  # head 0 attends in a fixed way
    coordinates = rng.normal(size=(2, p, 2, 4))
    if moves == "along":
        coordinates[:, :, 1, 1:] = 0
    mlp = LastMlp(np.zeros((64, 16)), np.zeros(16), np.zeros(16), axes[0], 0.0)
    last = np.zeros((2, 64))
    return challenge, Tables(scores, np.zeros(2), coordinates @ axes, last, np.zeros(64), mlp)


def test_attention_matters_only_beyond_a_change_within_the_leading_components() -> None:
    challenge, tables = planted("evenly")
    result = comparison(tables, challenge)
    within = result.controls[table.TURNED]
    assert result.value > table.ENOUGH
    assert result.verdict == NOT_SHOWN
    # The control: the same change in random directions of all 64 dimensions loses less.
    network = Network(tables, challenge.inputs[:, :-1])
    pairs = module.draw_pairs(challenge.subgrid(None), network.operands)
    rng = np.random.default_rng(0)
    exchanged = tables.resid_mid(pairs.patterns(tables)[table.ANY], network.operands[pairs.rows])
    change = exchanged - network.stream[pairs.rows]
    anywhere = rng.normal(size=change.shape)
    anywhere *= np.linalg.norm(change, axis=1, keepdims=True) / np.linalg.norm(
        anywhere, axis=1, keepdims=True
    )
    before = network.unchanged()[pairs.rows] > 0
    after = tables.mlp.difference(network.stream[pairs.rows] + anywhere) > 0
    assert (before != after).mean() < within - table.MARGIN
    # The control: attention that moves the stream along what the labels depend on.
    assert comparison(planted("along")[1], challenge).verdict == HOLDS


@pytest.mark.parametrize("rank", [12, 3])
def test_a_turned_change_keeps_its_size_and_stays_within_the_leading_components(rank: int) -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(20, rank)))[0].T
    scales = 0.7 ** np.arange(rank)
    stream = 5 + (rng.normal(size=(2000, rank)) * scales) @ axes
    leading = module.components(stream)
    assert len(leading) == min(rank, table.LEADING)
    np.testing.assert_allclose(leading @ leading.T, np.eye(len(leading)), atol=1e-12)
    centred = stream - stream.mean(axis=0)
    variance = ((centred @ leading.T) ** 2).sum(axis=0)
    assert (np.diff(variance) < 0).all()
    most = np.linalg.eigvalsh(centred.T @ centred)[::-1][: len(leading)]
    np.testing.assert_allclose(variance, most)
    change = rng.normal(size=(50, 20))
    change[0] = 0
    change[1] -= change[1] @ leading.T @ leading  # no part within the components
    coordinates = module.turned(change, np.eye(20), leading, rng)
    sizes = np.linalg.norm(change, axis=1)
    assert coordinates.shape == (50, len(leading))
    np.testing.assert_allclose(np.linalg.norm(coordinates @ leading, axis=1), sizes, atol=1e-12)
    before, after = (
        a[2:] / np.linalg.norm(a[2:], axis=1, keepdims=True)
        for a in (change @ leading.T, coordinates)
    )
    np.testing.assert_allclose(before @ before.T, after @ after.T, atol=1e-12)  # one rotation
    assert np.abs(before - after).max() > 0.1  # the control


@pytest.mark.parametrize(
    ("names", "p", "max_inputs"), [("xy", 3, None), ("xyw", 3, None), ("xy", 3, 4), ("xy", 5, 9)]
)
def test_another_input_and_another_value_always_differ(
    names: str, p: int, max_inputs: int | None
) -> None:
    domain = draw_subgrid(tuple(names), p, max_inputs)
    operands = all_tuples(p, len(names))[domain.rows]
    pairs = module.draw_pairs(domain, operands)
    own = operands[pairs.rows]
    assert (pairs.rows != pairs.donors).all()
    assert set(pairs.donors) == set(range(len(operands)))
    assert (pairs.operands[table.ANY] == operands[pairs.donors]).all()
    for i, (operand, values) in enumerate(domain.values.items()):
        changed = pairs.operands[operand]
        assert (changed[:, i] != own[:, i]).all()
        assert (np.delete(changed, i, axis=1) == np.delete(own, i, axis=1)).all()
        for value in values:
            others, counts = np.unique(changed[own[:, i] == value, i], return_counts=True)
            assert set(others) == set(values) - {value}
            assert counts.min() > 0.8 * counts.max()


def test_an_operand_with_a_single_value_keeps_it() -> None:
    domain = Subgrid(np.array([5, 6]), {"x": np.array([1]), "y": np.array([0, 1])}, whole=False)
    operands = np.array([[1, 0], [1, 1]])
    pairs = module.draw_pairs(domain, operands)
    assert (pairs.operands["x"] == operands[pairs.rows]).all()
    assert (pairs.operands["y"][:, 1] == 1 - operands[pairs.rows][:, 1]).all()
    single = Subgrid(np.array([5]), {"x": np.array([1]), "y": np.array([0])}, whole=False)
    pairs = module.draw_pairs(single, operands[:1])
    assert (pairs.rows == 0).all()
    assert (pairs.donors == 0).all()


def test_our_network_s_heads_are_told_from_their_controls(published: Heads) -> None:
    f = published.metrics
    assert f["heads_pattern_moved"] > 0.05 > f["control_untrained_heads_pattern_moved"]
    turned = f["control_heads_pattern_resampled_agreement"]
    assert f["heads_pattern_resampled_agreement"] < turned - 0.05
    assert turned < f["control_untrained_heads_pattern_resampled_agreement"] - 0.05
    assert f["head4_resampled_agreement"] < f["control_head4_resampled_agreement"] - 0.05
    assert f["head5_resampled_agreement"] > f["control_head5_resampled_agreement"] - 0.02
    assert f["head7_ablated_agreement"] > 0.98 > 0.9 > f["head4_ablated_agreement"]
    assert f["head4_ablated_mistakes"] < f["head4_ablated_agreement"]
    assert "head 4 adds most" in heads_page.summary(published)
    verdicts = {section.title: section.verdict for section in heads_page.sections(published)}
    assert verdicts == {
        heads_page.ADDED: None,
        heads_page.WITHOUT: None,
        heads_page.DEPENDS: HOLDS,
        heads_page.MATTERS: HOLDS,
    }


def test_an_untrained_network_s_heads_show_nothing() -> None:
    sizes = {"d_model": 32, "n_heads": 2, "d_mlp": 64}
    challenge = jaxmi.make_challenge("return x * y % 5 < 2", p=20, network=sizes)
    init = jax.jit(challenge.init)
    result = heads(challenge, init(jax.random.key(3)), init(jax.random.key(0)))
    assert result is not None
    verdicts = [section.verdict for section in heads_page.sections(result)]
    assert verdicts == [None, None, NOT_SHOWN, NOT_SHOWN]


def test_mistakes_need_labels_that_are_known_and_sometimes_wrong() -> None:
    challenge, params, _ = small(d_model=8, n_heads=2, d_mlp=40)
    logits, untrained = challenge.logits(params), weak(params)
    labels = logits[:, 1] > logits[:, 0]
    wrong = labels ^ (np.arange(len(labels)) == 3)
    results = [
        heads(known, params, untrained)
        for known in (
            relabelled(challenge, wrong),
            relabelled(challenge, labels),
            challenge.without_labels(),
        )
    ]
    with_mistakes, *without = (result.metrics for result in results if result is not None)
    assert "head1_ablated_mistakes" in with_mistakes  # the control
    rest = {key: value for key, value in with_mistakes.items() if "mistakes" not in key}
    assert without == [rest, rest]
    for result in results:
        assert result is not None
        shown = [metric.key for metric in heads_page.sections(result)[1].comparison["head 1"]]
        assert ("head1_ablated_mistakes" in shown) == ("head1_ablated_mistakes" in result.metrics)


def test_one_label_throughout_is_no_error_and_several_blocks_are_left_out() -> None:
    challenge, params, _ = small(d_model=8, n_heads=2, d_mlp=40)
    constant: Params = jax.tree.map(np.zeros_like, params)
    result = heads(challenge, constant, weak(params))
    assert result is not None
    assert not any("_all_" in key and "share" in key for key in result.metrics)
    sections = heads_page.sections(result)
    assert [section.verdict for section in sections] == [None, None, NOT_SHOWN, NOT_SHOWN]
    assert sections[0].figures["heads"]
    assert "attention" in heads_page.summary(result)
    deep, params, _ = small(d_model=8, n_heads=2, d_mlp=16, n_layers=2)
    assert heads(deep, params, params) is None


def test_keys_are_those_of_the_network_s_size() -> None:
    names = table.metrics_of(3, ("x", "y", "w"))
    assert "head2_pattern_resampled_w_agreement" in names.table
    assert "head3_ablated_agreement" not in names.table
    assert "head2_pattern_resampled_w_agreement" not in table.TABLE
    assert {metric.key for metric in table.MAIN} <= table.TABLE.keys()


def test_a_part_of_a_variance_may_be_negative_but_not_minus_zero() -> None:
    metric = table.metrics_of(1).heads[0].added[table.ALL_NEURONS, table.PATTERN]
    for value, text in ((0.123, "12.3%"), (-0.123, "-12.3%"), (-0.0001, "0.0%")):
        assert metric.format({metric.key: value}) == text
