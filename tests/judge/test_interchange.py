"""The judge on mechanisms: a true one is shown, a wrong one with the same labels is not."""

import json
from dataclasses import replace

import numpy as np
import pytest
from judge.planted import BOTH, LABEL, RESID, at, sums

import jaxmi
from jaxmi.challenges.registry import Origin
from jaxmi.judge.explanation_score import ExplanationScore
from jaxmi.judge.judge_explanation import judge_explanation
from jaxmi.judge.key_explanation import claims_of
from jaxmi.judge.mechanism_score import MechanismScore, VariableScore
from jaxmi.judge.submission import read_explanation
from jaxmi.judge.wrong_explanations import (
    FINER,
    Submitted,
    learned_subspaces,
    true_explanations,
    variables_that_matter,
    wrong_explanations,
)

P, SIZES = 13, {"d_model": 32, "n_heads": 4, "d_head": 8, "d_mlp": 48}
PROGRAM = """\
z = 0
if y < x + 3:
    z += 2
if y ** 2 > 9 * x:
    z += 1
z += int(x ** 1.5) % 4 - 3
return z >= 0
"""
TRUE = {
    "conditions": (
        "directions",
        "neurons",
        "directions and neurons",
        "directions, two variables as one",
    ),
    "rows": ("directions", "neurons", "directions and neurons"),
}
WRONG = {
    "conditions": (
        "each other's directions",
        "each other's neurons",
        "a constant moved, directions",
        "a constant moved, neurons",
        "one operand at each direction",
        "true, and wrong of x's own position",
        "true, and wrong of a head",
        "true, and wrong of half of the neurons",
    ),
    "rows": (
        "conditions at probes",
        "conditions at probes, the rest jointly",
        "conditions at the places",
        "conditions in learned subspaces",
        "the whole site, all variables jointly",
        "the label at the last site",
        "the label before the neurons",
        "many parts of the site, one feature",
        "inputs, and the whole site jointly",
    ),
}


QUICK = (
    "directions",
    "directions, two variables as one",
    "each other's directions",
    "a constant moved, directions",
    "true, and wrong of x's own position",
    "conditions at probes, the rest jointly",
    "the label at the last site",
    "inputs, and the whole site jointly",
)
"""Kinds that are tested every time."""


def cases(kinds: dict[str, tuple[str, ...]]) -> list:
    return [
        pytest.param(mechanism, kind, marks=() if kind in QUICK else pytest.mark.slow)
        for mechanism, several in kinds.items()
        for kind in several
    ]


@pytest.fixture(scope="module")
def plants() -> dict[str, tuple[jaxmi.Network, dict[str, Submitted], dict[str, Submitted]]]:
    """Return of each mechanism a network, its true explanations, and wrong ones."""
    found = {}
    for mechanism in TRUE:
        network = jaxmi.compile(PROGRAM, mechanism, p=P, network=SIZES, disguise=3)
        about = network.key, network.challenge, network.params
        variables = variables_that_matter(network.challenge.program, network.challenge)
        wrong = wrong_explanations(*about, variables, 0)
        found[mechanism] = network, true_explanations(*about), wrong
    return found


def judged(network: jaxmi.Network, submitted: Submitted) -> ExplanationScore:
    challenge = network.challenge
    known = Origin(challenge.kind, challenge.model)
    explanation = read_explanation(json.dumps(submitted.explanation), challenge.name, known)
    return judge_explanation(explanation, challenge, network.params)


@pytest.mark.parametrize(("mechanism", "kind"), cases(TRUE))
def test_a_true_explanation_is_shown(plants, mechanism: str, kind: str) -> None:
    network, true, _ = plants[mechanism]
    score = judged(network, true[kind])
    assert score.mechanism.verdict == "shown", score.mechanism.reason
    assert score.verdict.startswith("complete, mechanism shown: 100.0% of labels kept")
    for variable in score.mechanism.variables:
        assert variable.strict == 1.0
        assert variable.alike in (None, 0.0)


@pytest.mark.parametrize(("mechanism", "kind"), cases(WRONG))
def test_a_wrong_explanation_is_not(plants, mechanism: str, kind: str) -> None:
    network, _, wrong = plants[mechanism]
    score = judged(network, wrong[kind])
    empty = {i for i, claim in enumerate(score.claims) if claim.empty}
    named = empty | set(score.mechanism.idle)
    assert not score.shows_mechanism or named >= set(wrong[kind].wrong), score.verdict


@pytest.mark.slow
def test_learned_subspaces_are_directions_of_the_stream(plants) -> None:
    """On the network that holds the variables they contain what the key names."""
    network = plants["conditions"][0]
    program, challenge = network.challenge.program, network.challenge
    variables = variables_that_matter(program, challenge)
    rng = np.random.default_rng(0)
    found = learned_subspaces(challenge, network.params, variables, rng)
    held = {
        claim.variable: claim.directions
        for claim in claims_of(network.key, challenge, network.params).claims
        if claim.directions is not None
    }
    for one, subspace in zip(variables, found, strict=True):
        np.testing.assert_allclose(subspace @ subspace.T, np.eye(len(subspace)), atol=1e-5)
        turned = subspace @ np.linalg.qr(rng.normal(size=(32, 32)))[0]  # the control
        inside, chance = (
            np.linalg.norm(held[one.variable.name] @ span.T) ** 2 for span in (subspace, turned)
        )
        assert inside > 0.8 > chance


def test_every_kind_is_tested(plants) -> None:
    for mechanism, (_, true, wrong) in plants.items():
        assert set(true) == set(TRUE[mechanism])
        assert set(wrong) - {FINER} == set(WRONG[mechanism])


# What is said, on a network of two sums.


PRE = "blocks.0.hook_resid_pre"


def operand(position: int, feature: str) -> dict:
    return {"site": PRE, "components": {"pos": position}, "feature": feature}


def test_variables_at_two_positions_are_shown_and_wrong_ones_are_not(judge) -> None:
    score = judge(operand(0, "x % 10 < 7"), operand(1, "y % 10 < 7"))
    assert score.shows_mechanism
    assert score.mechanism.determined == {PRE: 1.0}
    assert [v.claims for v in score.mechanism.variables] == [(0,), (1,)]
    wrong = judge(operand(0, "x % 10 < 7"), operand(1, "y % 10 < 6"))
    assert wrong.mechanism.verdict != "shown"


def test_one_claim_tests_labels_only(judge) -> None:
    score = judge(sums([4], BOTH))
    assert (score.grade, score.mechanism.verdict) == ("complete", "not tested")
    assert score.verdict.startswith("complete of labels: 100.0% of labels kept")
    assert "mechanism: not tested claims[0] (one variable alone" in score.verdict


def test_claims_with_one_feature_are_one_variable(judge) -> None:
    score = judge(operand(0, LABEL), operand(1, LABEL))
    assert [v.claims for v in score.mechanism.variables] == [(0, 1)]
    assert score.mechanism.verdict == "not tested"


def test_features_that_do_not_give_the_label_are_not_tested(judge) -> None:
    score = judge(operand(0, "x >= 56"), operand(1, "y >= 56"))
    assert score.mechanism.verdict == "not tested"
    assert "of the inputs only" in score.mechanism.reason


def test_an_idle_claim_is_named_and_does_not_count(judge) -> None:
    true = operand(0, "x % 10 < 7"), operand(1, "y % 10 < 7")
    score = judge(*true, sums([5], "x % 10 < 7"))
    assert score.mechanism.idle == (2,)
    assert score.mechanism.verdict == "shown"
    assert score.mechanism.reason == "shown claims[0, 1], idle claims[2]"


def test_conditions_that_split_the_inputs_are_one_feature(judge) -> None:
    """Nothing matters where the label is 1, and nothing where it is 0: that is the label."""
    halves = [sums("0:128", "0", where=where) for where in (LABEL, f"not ({LABEL})")]
    score = judge(*halves)
    assert [v.claims for v in score.mechanism.variables] == [(0, 1)]
    assert score.mechanism.variables[0].values == 2
    assert score.mechanism.verdict == "not tested"


def test_nearly_equal_values_are_one(judge) -> None:
    readouts = {"first": {"site": RESID, "pos": 2, "d_model": [float(i == 4) for i in range(128)]}}
    score = judge(
        at({"readouts": ["first"]}, "first + x / 1000", match={"near": 0.2}), readouts=readouts
    )
    assert score.mechanism.variables[0].values <= 4


def test_the_metrics_are_json_and_the_table_has_rows(judge) -> None:
    score = judge(operand(0, "x % 10 < 7"), operand(1, "y % 10 < 7"))
    metrics = score.metrics()
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["mechanism_verdict"] == "shown"
    assert [one["verdict"] for one in metrics["variables"]] == ["shown", "shown"]
    assert [row[0] for row in score.rows()[-2:]] == ["exchange claims[0]", "exchange claims[1]"]
    assert judge(operand(0, "x % 10 < 7"), operand(1, "y % 10 < 7")).metrics() == metrics


def test_the_verdict_follows_from_the_printed_rule() -> None:
    right = VariableScore("s", (0,), 2, "", 30, 0.90, 0.90, 1.0, 0.0, 0.5, 0.0)
    assert right.verdict == "shown"
    assert replace(right, strict=0.89).verdict == "not shown"
    assert replace(right, keep=0.89).verdict == "not shown"
    assert replace(right, alike=0.4).verdict == "not shown"
    assert replace(right, random=0.7).verdict == "not shown"
    assert replace(right, random=0.7, random_alike=0.7).verdict == "shown"
    assert replace(right, keep=None, alike=None, random=None, random_alike=None).verdict == "shown"
    untested = VariableScore("s", (1,), 2, "one variable alone")
    wrong = replace(right, strict=0.5)
    for variables, verdict in (
        ((right, right), "shown"),
        ((right, untested), "in part"),
        ((right, untested, wrong), "not shown"),
        ((untested,), "not tested"),
        ((), "not tested"),
    ):
        assert MechanismScore(variables, (), {}).verdict == verdict
