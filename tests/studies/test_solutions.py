"""The study `solutions`: what it measures on small networks, and what it concludes."""

import json

import jax
import numpy as np
import pytest
from matplotlib.patches import Rectangle

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation import transformer_metrics
from jaxmi.explanation.verdicts import HOLDS, NOT_SHOWN
from jaxmi.mechanism import second_metrics
from jaxmi.report.studies.solutions import claims_table, draw_solutions
from jaxmi.studies import solutions
from jaxmi.studies.study import Conclusion, Measured, Trained, plain, plain_of
from jaxmi.types import Params

SMALL = {"d_model": 8, "n_heads": 2, "d_mlp": 16}
N_FIRST, N_SECOND = len(transformer_metrics.CLAIMS), len(second_metrics.CLAIMS)


def network(above: float, without: str = "-") -> dict[str, np.ndarray]:
    """Measurements in which every claim's metric is so far above what is enough, or below."""
    measured = {}
    for published in solutions.CLAIMS:
        claim = published.claim
        measured |= {metric.key: claim.enough / 4 for metric in claim.controls}
    measured |= {
        published.claim.metric.key: published.claim.enough + above for published in solutions.CLAIMS
    }
    return {key: np.asarray(value) for key, value in measured.items() if without not in key}


def conclude(*networks: Measured) -> Conclusion:
    training = plain("transformer", quick=True)
    return solutions.conclude([training], {training.name: dict(enumerate(networks))})


def result_of(conclusion: Conclusion) -> dict:
    return {
        "findings": {key: finding.to_json() for key, finding in conclusion.findings.items()},
        "data": json.loads(json.dumps(conclusion.data, allow_nan=False)),
    }


def shares(conclusion: Conclusion, name: str) -> tuple[float, ...]:
    return tuple(
        conclusion.findings[f"{name}_{ending}"].value
        for ending in ("holds", "in_part", "not_shown")
    )


def test_networks_are_counted_by_their_verdicts() -> None:
    in_part = network(-0.005)
    overtaken = network(0.05)
    plane = transformer_metrics.PLANE_CLAIM
    overtaken[plane.controls[0].key] = overtaken[plane.metric.key] - 0.04  # the control can fail
    conclusion = conclude(network(0.05), network(0.05), in_part, overtaken)
    assert shares(conclusion, "first_filters") == (0.75, 0.25, 0)
    assert shares(conclusion, "first_plane") == (0.5, 0.25, 0.25)
    assert shares(conclusion, "second_clusters") == (0.75, 0.25, 0)
    found = conclusion.findings
    assert found["first_plane_holds"].low < 0.5 < found["first_plane_holds"].high
    assert found["first_plane"].value == pytest.approx(0.9 + (3 * 0.05 - 0.005) / 4)
    assert found["first_plane_control"].value == pytest.approx((3 * 0.225 + 0.91) / 4)
    assert found["first_all_hold"].value == 0.5 and found["first_all_shown"].value == 0.75
    assert found["second_all_hold"].value == 0.75 and found["second_all_shown"].value == 1
    assert found["first_count_holds"].value == (2 * N_FIRST + N_FIRST - 1) / 4
    assert found["first_count_not_shown"].value == 0.25
    assert found["second_count_holds"].value == 3 * N_SECOND / 4
    assert found["attention_both_hold"].value == 0.75
    assert conclusion.data["verdicts"]["first_plane"] == [HOLDS, HOLDS, "in part", NOT_SHOWN]
    assert set(solutions.STUDY.main) <= set(found)
    for published in solutions.CLAIMS:
        assert sum(shares(conclusion, published.name)) == pytest.approx(1)


def test_of_several_controls_the_largest_counts() -> None:
    claim = second_metrics.CLAIMS[0]
    assert len(claim.controls) > 1
    for key in (metric.key for metric in claim.controls):
        beaten = network(0.05) | {key: np.asarray(claim.enough + 0.04)}
        conclusion = conclude(network(0.05), beaten)
        assert shares(conclusion, f"second_{claim.name}") == (0.5, 0, 0.5)
        assert shares(conclusion, "first_plane") == (1, 0, 0)


def test_the_table_and_the_figure_show_every_claim_once() -> None:
    conclusion = conclude(*[network(0.05)] * 3, network(-0.005))
    header, _, *lines = claims_table(result_of(conclusion)).splitlines()
    assert "holds, of 4" in header
    assert len(lines) == len(solutions.CLAIMS)
    for line, published in zip(lines, solutions.CLAIMS, strict=True):
        assert line.startswith(f"| {published.claim.text} | {published.solution} | `")
        assert line.endswith(" | 3 (19 to 99 %) | 1 | 0 |")
    counts, values = draw_solutions(result_of(conclusion)).axes
    assert len(counts.get_yticks()) == len(solutions.CLAIMS)
    lengths = [bar.get_width() for bar in counts.patches if isinstance(bar, Rectangle)]
    assert sum(lengths) == 4 * len(solutions.CLAIMS)
    assert values.get_xlabel()


def test_a_claim_that_a_network_cannot_be_asked_is_not_shown() -> None:
    """As in a report: a network with too few neurons has no clusters."""
    bare = network(0.05, without="neuron_clusters")
    conclusion = conclude(network(0.05), bare)
    assert shares(conclusion, "second_clusters") == (0.5, 0, 0.5)
    assert conclusion.findings["second_clusters"].n == 1
    none = conclude(bare, bare)
    assert shares(none, "second_clusters") == (0, 0, 1)
    assert "second_clusters" not in none.findings
    (line,) = [
        line for line in claims_table(result_of(none)).splitlines() if "neurons fall into" in line
    ]
    assert "| - | - | 0 (" in line
    assert len(draw_solutions(result_of(none)).axes) == 2


@pytest.fixture(scope="module")
def own() -> Challenge:
    return jaxmi.make_challenge("return (x + 2 * y) % 5 < 2", p=11, network=SMALL)


@pytest.fixture(scope="module")
def params(own: Challenge) -> Params:
    return jax.jit(own.init)(jax.random.key(1))


@pytest.fixture(scope="module")
def metrics(own: Challenge, params: Params) -> dict[str, float]:
    measured = solutions.measure(plain_of(own, quick=True), Trained(0, params, ()))
    return {key: float(value) for key, value in measured.items()}


def test_both_solutions_are_measured_on_a_network(own: Challenge, metrics) -> None:
    known = {published.name for published in solutions.CLAIMS if published.claim.known(metrics)}
    assert {published.name for published in solutions.CLAIMS} - known <= {
        f"second_{claim.name}" for claim in second_metrics.CLUSTER_CLAIMS
    }
    fixed, lost = (
        claims.ATTENTION_CLAIM.metric.key for claims in (transformer_metrics, second_metrics)
    )
    assert metrics[fixed] == pytest.approx(1 - metrics[lost], abs=0.01)  # measured in two ways
    training = plain_of(own, quick=True)
    assert solutions.trainings_of(training) == [training]


@pytest.mark.slow
def test_a_network_is_measured_as_its_report_measures_it(
    own: Challenge, params: Params, metrics
) -> None:
    explanation = jaxmi.explain(jaxmi.Network(own, params, {}, {}))
    for published in solutions.CLAIMS:
        if published.claim.known(metrics):
            for metric in (published.claim.metric, *published.claim.controls):
                assert metrics[metric.key] == explanation.metrics[metric.key], metric.key
    titles = {
        "attention": "The labels survive fixed attention",
        "filters": "Two straight sides in a plane give the label",
        "plane": "Nothing but the plane matters",
        "sides": "Of the plane, only which sides are passed matters",
    }
    reported = {
        claim.name: claim.verdict(metrics)
        for claim in transformer_metrics.CLAIMS
        if claim.name in titles
    }
    assert reported == {name: explanation.verdicts[title] for name, title in titles.items()}


@pytest.mark.parametrize(
    ("text", "network", "has"),
    [
        ("return (x + y * w) % 5 < 2", SMALL, "is of triples"),
        ("return (x + y) % 5 < 2", {**SMALL, "n_layers": 2}, "has 2 blocks"),
        ("return (x + y) % 5 < 2", {**SMALL, "d_model": 2}, "has a stream of 2 dimensions"),
    ],
)
def test_a_challenge_that_the_solutions_are_not_about_is_refused(text, network, has) -> None:
    other = jaxmi.make_challenge(text, p=7, network=network)
    with pytest.raises(InputError, match=f"study solutions asks about transformers of .* {has}"):
        solutions.trainings_of(plain_of(other, quick=True))


def test_images_are_refused(cnn: Challenge) -> None:
    with pytest.raises(InputError, match=r"study solutions asks about .*; cnn is of image"):
        solutions.trainings_of(plain_of(cnn, quick=True))


def test_a_network_that_cannot_be_explained_is_named(own: Challenge) -> None:
    zero = jax.tree.map(np.zeros_like, jax.jit(own.init)(jax.random.key(0)))
    with pytest.raises(InputError, match=r"seed 7: .* nothing to explain; leave the seed out"):
        solutions.measure(plain_of(own, quick=True), Trained(7, zero, ()))
