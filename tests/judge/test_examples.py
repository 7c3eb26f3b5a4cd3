"""The worked examples keep as many labels as `jaxmi explain` measures on the same networks."""

import json
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import origin
from jaxmi.errors import InputError
from jaxmi.explanation.cnn_detectors import observe, scrub_near, similarity
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import Outcome
from jaxmi.explanation.transformer_evidence import find_filters, run_both_ways
from jaxmi.explanation.transformer_solution import hypotheses, scrub_filters
from jaxmi.judge.duel import duel_explanations
from jaxmi.judge.judge_explanation import bind_claim, judge_explanation, run_claims
from jaxmi.judge.published import clue_detectors, extended_embeddings, two_filters
from jaxmi.judge.subject import Subject
from jaxmi.judge.submission import Explanation, read_explanation, site_axes
from jaxmi.mechanism.second_solution import second_solution
from jaxmi.storage.checkpoints import load_checkpoint

IMAGES = np.arange(15_000)


def example(name: str) -> Path:
    with resources.as_file(resources.files("jaxmi.judge") / "examples" / f"{name}.json") as path:
        return path


@pytest.fixture(scope="module")
def evidence(transformer: Challenge, checkpoints):
    """The transformer's filters as `jaxmi explain` finds them, and the submission about them."""
    params = load_checkpoint(checkpoints / "transformer").params
    stream, _, read_out, _ = run_both_ways(Network(transformer.model, params), transformer.inputs)
    filters = find_filters(stream)
    explanation = read_explanation(example("transformer"), "transformer", origin("transformer"))
    subject = Subject(explanation, transformer, params, site_axes(origin("transformer")), None)
    return stream, filters, read_out, subject, explanation


@pytest.mark.parametrize(
    ("row", "claims"), [("1", [0]), ("2", [1, 2]), ("1+2", [0, 1, 2]), ("1+2+3a+3b", range(5))]
)
def test_the_transformer_s_claims_are_the_rows_of_the_published_table(
    evidence, row, claims
) -> None:
    stream, filters, read_out, subject, explanation = evidence
    tested = [bind_claim(subject, explanation.claims[i], i) for i in claims]
    outcome = run_claims(subject, tested, draws=3)
    row_outcome = scrub_filters(
        stream, filters, hypotheses(filters)[row], read_out, stream.logits, 3
    )
    assert outcome.kept == pytest.approx(row_outcome.kept, abs=0.005)
    assert outcome.logit_error == pytest.approx(row_outcome.logit_error, rel=0.02)
    assert (outcome.moved, outcome.chance) == (1.0, row_outcome.chance)


@pytest.mark.long
def test_the_transformer_s_example_is_partly_right_given_readouts(transformer, checkpoints) -> None:
    params = load_checkpoint(checkpoints / "transformer").params
    explanation = read_explanation(example("transformer"), "transformer", origin("transformer"))
    score = judge_explanation(explanation, transformer, params)
    assert score.verdict.startswith("in part given readouts: 83.")
    assert score.readouts == ("alpha", "beta")
    assert score.together.resampled.kept == pytest.approx(score.together.as_is.kept)
    assert max(score.controls(rest=True).values()) < 0.65
    assert score.covered["blocks.0.hook_resid_mid"] == pytest.approx(1.0, abs=1e-4)
    assert not any(claim.empty for claim in score.claims)


@pytest.mark.parametrize("name", ["cnn", "transformer", "transformer-second"])
def test_every_example_can_be_read(name: str) -> None:
    about = name.split("-")[0]
    explanation = read_explanation(example(name), about, origin(about))
    assert explanation.title.endswith("2023)") and len(explanation.claims) >= 5


@pytest.mark.slow
def test_the_second_solution_s_example_keeps_what_its_page_says(transformer, checkpoints) -> None:
    params = load_checkpoint(checkpoints / "transformer").params
    path = example("transformer-second")
    explanation = read_explanation(path, "transformer", origin("transformer"))
    rows = np.sort(np.random.default_rng(0).permutation(12_769)[:2000])
    subject = Subject(explanation, transformer, params, site_axes(origin("transformer")), rows)
    claims = [bind_claim(subject, c, i) for i, c in enumerate(explanation.claims)]
    assert run_claims(subject, claims, draws=1).kept == pytest.approx(0.78, abs=0.03)
    assert run_claims(subject, claims[:2], draws=1).kept == pytest.approx(0.80, abs=0.03)
    wrong = [
        replace(one, component=two.component)
        for one, two in zip(claims, claims[1::-1], strict=False)
    ]
    assert run_claims(subject, wrong, draws=1).kept < 0.7  # x's embedding of y's position


@pytest.mark.slow
def test_the_second_solution_s_example_has_its_embeddings_and_clusters(
    transformer, checkpoints
) -> None:
    """What it reads off the network is what `jaxmi explain` measures, up to scale."""
    params = load_checkpoint(checkpoints / "transformer").params
    explanation = read_explanation(
        example("transformer-second"), "transformer", origin("transformer")
    )
    solution = second_solution(transformer, params)
    assert solution is not None and solution.clusters is not None
    rows = {"x": np.arange(113) * 113, "y": np.arange(113)}
    for operand, embedding in solution.embeddings.items():
        every = replace(explanation, claims=explanation.claims[:2])
        subject = Subject(
            every, transformer, params, site_axes(origin("transformer")), rows[operand]
        )
        claim = explanation.claims["xy".index(operand)]
        feature = subject.feature(claim.program, subject.clean)
        assert np.corrcoef(feature, embedding)[0, 1] == pytest.approx(1, abs=1e-5)
        assert claim.component.index[0] == ("xy".index(operand),)
    clusters = [set(claim.component.index[1]) for claim in explanation.claims[2:]]
    members = solution.clusters.neurons, solution.clusters.cluster
    assert sorted(map(sorted, clusters)) == sorted(
        sorted(members[0][members[1] == number].tolist()) for number in range(4)
    )


@pytest.mark.long
def test_the_published_solutions_can_be_written_for_other_networks(transformer, cnn) -> None:
    """Of an untrained network, too; what a solution is not about is refused by name."""
    params = jax.jit(transformer.init)(jax.random.key(1))
    network = Network(transformer.model, params)
    for write in (two_filters, extended_embeddings):
        text = json.dumps(write(network, transformer))
        assert read_explanation(text, "transformer", origin("transformer")).claims
    images = Network(cnn.model, jax.jit(cnn.init)(jax.random.key(1)))
    for write in (two_filters, extended_embeddings):
        with pytest.raises(InputError, match="cnn: the solution is about a transformer of one"):
            write(images, cnn)
    with pytest.raises(InputError, match="transformer has no clue"):
        clue_detectors(network, transformer)


@pytest.mark.long
def test_each_published_solution_is_right_where_only_the_other_permits(
    transformer, checkpoints
) -> None:
    params = load_checkpoint(checkpoints / "transformer").params
    first, second = (
        read_explanation(example(name), "transformer", origin("transformer"))
        for name in ("transformer", "transformer-second")
    )
    rows = np.sort(np.random.default_rng(0).permutation(12_769)[:6000])
    duel = duel_explanations((first, second), ("first", "second"), transformer, params, rows)
    assert [side.score.grade for side in duel.sides] == ["in part", "in part"]
    assert duel.difference.low > 0.02
    assert [side.right for side in duel.interventions] == ["second", "first"]
    one, other = (side.per_bit() for side in duel.sides)
    assert one is not None and other is not None
    assert one.low > 0.2 > 0.05 > other.high


@pytest.fixture(scope="module")
def cnn_parts(cnn: Challenge, checkpoints):
    params = load_checkpoint(checkpoints / "cnn").params
    return params, observe(Network(cnn.model, params), cnn.inputs[IMAGES])


def scrubbed(explanation: Explanation, cnn: Challenge, params) -> Outcome:
    subject = Subject(explanation, cnn, params, site_axes(origin("cnn")), IMAGES)
    claims = [bind_claim(subject, c, i) for i, c in enumerate(explanation.claims)]
    return run_claims(subject, claims, draws=3)


@pytest.mark.parametrize("noise", [0.001, 0.01, 0.1])
def test_the_cnn_s_detectors_carry_the_similarity_as_in_the_published_scrub(
    cnn: Challenge, cnn_parts, noise: float
) -> None:
    """One claim about both groups: they share a donor, as in the published solution."""
    params, neurons = cnn_parts
    submission = json.loads(example("cnn").read_text())
    both = [n for claim in submission["claims"][:2] for n in claim["components"]["neuron"]]
    claim = {"site": "fc1.post", "feature": "similarity", "match": {"near": noise}}
    submission["claims"] = [{**claim, "components": {"neuron": both}}]
    outcome = scrubbed(read_explanation(json.dumps(submission), "cnn", origin("cnn")), cnn, params)
    scores = similarity(cnn.inputs[IMAGES], cnn.inputs[6])
    published = scrub_near(neurons, np.isin(np.arange(200), both), scores, noise, 3)
    assert outcome.kept == pytest.approx(published.kept, abs=0.002)
    assert outcome.kept == pytest.approx({0.001: 0.95, 0.01: 0.93, 0.1: 0.64}[noise], abs=0.02)


def test_the_cnn_s_example_is_complete_and_its_groups_are_needed(cnn, cnn_parts) -> None:
    params, neurons = cnn_parts
    explanation = read_explanation(example("cnn"), "cnn", origin("cnn"))
    groups = [claim.component.index[0] for claim in explanation.claims]
    assert sorted(groups[0] + groups[1] + groups[4]) == list(range(200))
    assert neurons.dead[list(groups[4])].all()
    score = judge_explanation(explanation, cnn, params, IMAGES)
    assert score.grade == "complete"
    assert score.together.as_is.kept == pytest.approx(0.943, abs=0.005)
    assert [bool(claim.empty) for claim in score.claims] == [False, False, False, False, True]
    assert score.controls(rest=True)["random components"] < 0.8
    assert score.readouts == ()
    first, second, third, *others = explanation.claims
    swapped = replace(third, where=explanation.claims[3].where)
    swapped = replace(swapped, where_program=explanation.claims[3].where_program)
    wrong = replace(explanation, claims=(first, second, swapped, *others))
    assert scrubbed(wrong, cnn, params).kept < 0.8


@pytest.mark.slow
def test_the_clue_is_right_against_another_image(cnn, cnn_parts) -> None:
    """MNIST's first image is no clue; what is like it is not alike to the network."""
    other = json.loads(example("cnn").read_text())
    other["definitions"]["clue"] = "template(0)"
    read = [
        read_explanation(text, "cnn", origin("cnn")) for text in (example("cnn"), json.dumps(other))
    ]
    duel = duel_explanations((read[0], read[1]), ("six", "zero"), cnn, cnn_parts[0], IMAGES[:1500])
    assert [side.right for side in duel.interventions] == ["six", "six"]
    assert duel.difference.low > 0.1
    lead = duel.interventions[0].lead
    assert lead is not None and lead.low > 0.1
    example_inputs = [one.input for one in duel.interventions[0].examples]
    assert all(name.startswith("image ") for name in example_inputs)


def test_the_page_s_example_can_be_read() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanations.md"
    (text,) = re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(read_explanation(text, "transformer", origin("transformer")).claims) == 2
