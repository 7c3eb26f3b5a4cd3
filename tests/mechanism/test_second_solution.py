"""The second published solution: planted embeddings and clusters are found, random ones are not."""

import jax
import numpy as np
import pytest
from mechanism.test_tables import small

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.explanation.verdicts import HOLDS, IN_PART, NOT_SHOWN
from jaxmi.mechanism import second_metrics as table
from jaxmi.mechanism import second_solution as second
from jaxmi.models.transformer import part_name
from jaxmi.report import second_page
from jaxmi.storage.checkpoints import load_checkpoint

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def published(transformer: Challenge, checkpoints) -> second.SecondSolution:
    params = load_checkpoint(checkpoints / "transformer").params
    solution = second.second_solution(transformer, params, max_inputs=2500)
    assert solution is not None
    return solution


def test_our_network_s_numbers_stand_beside_their_controls(
    published: second.SecondSolution, transformer: Challenge, checkpoints
) -> None:
    f = published.metrics
    assert f.keys() == set(table.TABLE)
    assert all(np.isfinite(value) for value in f.values())
    assert f["extended_embedding_row_rank"] > 0.8
    assert f["control_extended_embedding_row_rank_untrained"] < 0.4
    assert f["extended_embedding_row_kept"] > f["control_extended_embedding_row_kept_next"] + 0.1
    assert f["extended_embedding_only_kept"] > f["extended_embedding_nothing_kept"] + 0.05
    assert f["attention_fixed_lost"] > 0.1 > f["control_attention_fixed_lost"]
    assert published.verdicts.keys() == {claim.name for claim in table.CLAIMS}
    network = transformer.logits(
        load_checkpoint(checkpoints / "transformer").params, published.domain.rows
    )
    assert np.array_equal(published.labels.reshape(-1), network.argmax(axis=-1) == 1)


def test_the_sections_name_every_claim_with_its_verdict(published: second.SecondSolution) -> None:
    sections = second_page.sections(published)
    assert [list(section.figures) for section in sections] == [["extended"], ["clusters"]]
    reasons = "; ".join(section.reason for section in sections)
    for claim in table.CLAIMS:
        assert f"{claim.text}: {published.verdicts[claim.name]} (" in reasons
    keys = {metric.key for section in sections for metric in section.metrics}
    assert keys == set(table.TABLE)


def test_a_network_that_is_its_extended_embedding_passes_and_another_does_not() -> None:
    """Neurons never clipped make the chain exact: the row's labels follow from it alone."""
    sizes = {"d_model": 8, "n_heads": 1, "d_mlp": 40}
    challenge: Challenge = jaxmi.make_challenge("return x < 3", p=12, network=sizes)
    params = jax.tree.map(np.asarray, jax.jit(challenge.init)(jax.random.key(1)))
    name = part_name("mlp", 0)
    unclipped = {**params[name], "b_in": params[name]["b_in"] + 100}
    exact = {**params, name: unclipped}
    run = _run(challenge, exact)
    difference = run.inputs @ run.mlp.weights.astype(np.float32)
    labels = difference > np.median(difference)
    got = second._rows(run, run, challenge.subgrid(None), labels, RNG(0))
    shuffled = second._rows(
        run, run, challenge.subgrid(None), labels[RNG(1).permutation(12)], RNG(0)
    )
    assert got["extended_embedding_row_kept"] > shuffled["extended_embedding_row_kept"] + 0.1
    assert got["extended_embedding_row_rank"] > 0.8 > shuffled["extended_embedding_row_rank"]


def _run(challenge: Challenge, params) -> second._Run:
    domain = challenge.subgrid(None)
    return second._run(challenge, params, domain, challenge.inputs[domain.rows][:, :-1])


def test_planted_clusters_are_told_from_a_cloud() -> None:
    rng = RNG(0)
    centres = second._unit(rng.normal(size=(table.CLUSTERS, 8)))
    member = rng.integers(table.CLUSTERS, size=200)
    apart = second._unit(centres[member] + 0.05 * rng.normal(size=(200, 8)))
    cloud = second._unit(rng.normal(size=(200, 8)))
    found = second._k_means(apart, RNG(1))
    pairs = {(a, b) for a, b in zip(member.tolist(), found.tolist(), strict=True)}
    assert len(pairs) == table.CLUSTERS  # the same partition, under other numbers
    assert second._silhouette(apart, found) > 0.7
    assert second._silhouette(apart, found) > second._k_means_of_cloud(apart, RNG(2)) + 0.2
    assert second._silhouette(cloud, second._k_means(cloud, RNG(1))) < 0.2
    assert second._silhouette(apart, np.zeros(200, int)) == 0


def test_a_trend_and_runs_beat_permutations_only_if_there_are_any() -> None:
    values, rng = np.arange(60), RNG(0)
    rising = np.exp(values / 9.0)[None]
    assert second._rank(rising, values) == pytest.approx(1)
    wave = np.sin(values / 3.0)
    noise = rng.normal(size=60)
    metric = table.RUNS["x"]
    for curve, beats in ((wave, True), (noise, False)):
        got = second._in_runs(metric, curve, RNG(1))
        assert (got[metric.key] > got[f"control_{metric.key}"] + 0.2) == beats
    assert second._correlation(np.ones((1, 5)), np.arange(5.0)) == 0  # a constant


def test_the_nearest_value_is_never_itself() -> None:
    assert second._nearest(np.array([0.0, 10.0, 1.0, 12.0])).tolist() == [2, 3, 0, 1]
    assert second._nearest(np.zeros(3)).tolist() == [1, 0, 0]


def test_a_claim_holds_in_part_or_not_at_all() -> None:
    claim = table.EMBEDDING_CLAIMS[0]
    metric, *controls = (claim.metric, *claim.controls)
    for value, control, expected in (
        (0.95, 0.5, HOLDS),
        (0.8, 0.5, IN_PART),
        (0.95, 0.92, NOT_SHOWN),
    ):
        metrics = {metric.key: value, controls[0].key: 0.1, controls[1].key: control}
        assert claim.known(metrics) and claim.verdict(metrics) == expected
    assert not claim.known({metric.key: 1.0})


@pytest.mark.parametrize(
    ("kind", "sizes", "asked"),
    [
        pytest.param(
            "pairs", {"d_model": 8, "n_heads": 2, "d_mlp": 40}, True, marks=pytest.mark.slow
        ),
        ("pairs", {"d_model": 1, "n_heads": 1, "d_mlp": 4}, True),
        pytest.param(
            "pairs",
            {"d_model": 8, "n_heads": 2, "d_mlp": 40, "n_layers": 2},
            False,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "triples", {"d_model": 8, "n_heads": 2, "d_mlp": 12}, False, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_any_network_is_measured_or_left_out(kind: str, sizes: dict[str, int], asked: bool) -> None:
    challenge, params, _ = small(kind, **sizes)
    solution = second.second_solution(challenge, params)
    assert (solution is not None) == asked
    if solution is None:
        return
    assert all(np.isfinite(value) for value in solution.metrics.values())
    assert (solution.clusters is None) == (len(solution.metrics) < len(table.TABLE))
    assert [section.verdict for section in second_page.sections(solution)]
