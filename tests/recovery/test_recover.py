"""Confidence falls with each thing that counts against a program; JSON reports a recovery."""

import numpy as np
import pytest

from jaxmi.programs import language as lang
from jaxmi.programs.domain import ImageDomain, PairDomain
from jaxmi.programs.language import Kind
from jaxmi.programs.parse import parse
from jaxmi.recovery.evidence import Candidate, Evidence, Findings, gather_evidence
from jaxmi.recovery.recover import (
    CLOSE,
    FREE_MIDPOINT,
    METHODS,
    RUNNERS_UP,
    Judgement,
    Recovery,
    judge,
    recover,
)

N_JUDGED = 4000
KINDS = tuple(METHODS)


def evidence_of(known: bool = True) -> Evidence:
    rng = np.random.default_rng(0)
    return gather_evidence(rng.random(N_JUDGED) < 0.5, rng.normal(size=N_JUDGED) if known else None)


def judged_candidate(labels: np.ndarray, cost: float) -> Candidate:
    return Candidate(parse("return 1", "pairs"), labels, cost)


def flipped(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    other = labels.copy()
    other[places] ^= True
    return other


def confidence(evidence: Evidence, *candidates: Candidate, kind="pairs", free=None) -> float:
    judged = judge(candidates, evidence, kind, free)
    assert isinstance(judged, Judgement) and 0 <= judged.confidence <= 1
    return judged.confidence


def falls(confidences: list[float]) -> bool:
    return bool((np.diff(confidences) < 0).all())


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_confidence_falls_with_cost_and_is_half_at_even_odds(kind, known) -> None:
    evidence = evidence_of(known)
    half = METHODS[kind].even_odds(evidence).cost
    costs = np.array([0.0, 0.5, 1, 2, 10]) * half * N_JUDGED
    values = [confidence(evidence, judged_candidate(evidence.labels, c), kind=kind) for c in costs]
    assert falls(values)
    assert values[0] == 1 and values[2] == pytest.approx(0.5) and values[-1] < 0.01


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_confidence_falls_with_contradicted_confident_predictions_only(kind, known) -> None:
    evidence = evidence_of(known)
    half = METHODS[kind].even_odds(evidence).contradiction_rate
    confident = np.flatnonzero(evidence.confident)
    values = [
        confidence(
            evidence,
            judged_candidate(
                flipped(evidence.labels, confident[: round(share * half * len(confident))]), 0.0
            ),
            kind=kind,
        )
        for share in (0, 0.5, 1, 2, 10)
    ]
    assert falls(values)
    assert values[2] == pytest.approx(0.5) and values[-1] < 0.01
    others = np.flatnonzero(~evidence.confident)
    if known:
        assert len(others) == N_JUDGED / 2
        contradicted = judged_candidate(flipped(evidence.labels, others), 0.0)
        assert confidence(evidence, contradicted, kind=kind) == 1


def test_confidence_falls_with_a_rival_with_other_labels_and_similar_cost() -> None:
    evidence = evidence_of()
    best = judged_candidate(evidence.labels, 20.0)
    differs = flipped(evidence.labels, np.arange(round(2 * CLOSE * N_JUDGED)))
    alone = confidence(evidence, best)
    gaps = (30, 5, 2, 1, 0)
    values = [confidence(evidence, best, judged_candidate(differs, 20.0 + gap)) for gap in gaps]
    assert falls([alone, *values])
    assert values[-1] == pytest.approx(alone / 2)
    assert values[0] == pytest.approx(alone, rel=1e-9)
    two = confidence(
        evidence, best, judged_candidate(differs, 20.0), judged_candidate(~differs, 20.0)
    )
    assert two == pytest.approx(alone / 3)


def test_a_rival_with_nearly_the_same_labels_does_not_lower_confidence() -> None:
    evidence = evidence_of()
    best = judged_candidate(evidence.labels, 20.0)
    alone = confidence(evidence, best)
    for share, same in ((0.0, True), (0.9, True), (1.1, False)):
        labels = flipped(evidence.labels, np.arange(round(share * CLOSE * N_JUDGED)))
        assert (confidence(evidence, best, judged_candidate(labels, 20.0)) == alone) is same


def test_confidence_falls_as_free_conditions_agree_better() -> None:
    evidence = evidence_of()
    best = judged_candidate(evidence.labels, 20.0)
    alone = confidence(evidence, best, kind="image")
    agreements = [0.5, 1.0, 1.0 + FREE_MIDPOINT, 1.1]
    values = [confidence(evidence, best, kind="image", free=free) for free in agreements]
    assert falls(values) and values[0] == pytest.approx(alone)
    assert values[2] == pytest.approx(alone / 2)


def test_each_factor_has_a_reason_with_its_numbers() -> None:
    evidence = evidence_of()
    best = judged_candidate(
        flipped(evidence.labels, np.flatnonzero(evidence.confident)[:20]), 321.0
    )
    rival = judged_candidate(~evidence.labels, 328.0)
    cost, contradictions, other = judge([best, rival], evidence, "pairs").reasons
    assert (
        "321 nats" in cost and "1.00% of the predictions with the largest margins" in contradictions
    )
    assert "costs 7 nats more" in other
    assert "found no program" in judge([best], evidence, "pairs").reasons[2]
    assert len(judge([best], evidence, "image", 0.98).reasons) == 4
    assert "margins" not in judge([best], evidence_of(False), "pairs").reasons[1]


N = 100
EVIDENCE = gather_evidence(np.arange(N) < 50)


def candidate(ones: int, cost: float, text: str = "return 1") -> Candidate:
    return Candidate(parse(text, "pairs"), np.arange(N) < ones, cost)


def recovered(confidence: float) -> Recovery:
    candidates = (candidate(53, 20.04, "return x > 3"), candidate(40, 31.0))
    return Recovery(EVIDENCE, candidates, Judgement(confidence, ("so",)), 2.0, 5000)


def test_json_compares_each_program_with_the_network_and_runners_up_with_the_best() -> None:
    result = recovered(0.91234).to_json()
    assert result["agreement_network"] == 0.97
    assert (result["program"].strip(), result["nats"]) == ("return x > 3", 20)
    assert (result["confidence"], result["why"]) == (0.912, ["so"])
    assert (result["candidates"], result["candidates_per_second"]) == (5000, 2500)
    (runner_up,) = result["runners_up"]
    assert (runner_up["program"].strip(), runner_up["nats"]) == ("return 1", 31)
    assert (runner_up["agreement_network"], runner_up["differs"]) == (0.9, 13)
    assert runner_up["description_length"] < result["description_length"]


@pytest.mark.parametrize("confidence", [0.0, 0.5, 0.51, 1.0])
def test_a_program_is_found_if_it_is_more_likely_right_than_wrong(confidence) -> None:
    assert recovered(confidence).found is (confidence > 0.5)
    assert recovered(confidence).to_json()["found"] is (confidence > 0.5)


def search_returns(monkeypatch: pytest.MonkeyPatch, kind: Kind, findings: Findings) -> None:
    method = METHODS[kind]._replace(search=lambda domain, evidence: findings)
    monkeypatch.setitem(METHODS, kind, method)


def test_every_kind_has_a_method() -> None:
    assert set(METHODS) == set(lang.SIGNATURES) >= {PairDomain.kind, ImageDomain.kind}


def test_the_best_and_three_runners_up_are_kept(monkeypatch) -> None:
    candidates = tuple(candidate(ones, 20.0 + ones) for ones in range(50, 60))
    search_returns(monkeypatch, "pairs", Findings(candidates, 7))
    result = recover(PairDomain(10), EVIDENCE)
    assert result.candidates == candidates[: 1 + RUNNERS_UP] and result.best is candidates[0]
    assert (result.scored, result.evidence) == (7, EVIDENCE)
    assert len(result.judgement.reasons) == 3


def test_free_conditions_that_agree_better_count_against_a_program(monkeypatch) -> None:
    domain = ImageDomain(*np.zeros((2, N, 1, 1), np.uint8))

    def recovery_beside(free: float) -> Recovery:
        search_returns(monkeypatch, "image", Findings((candidate(48, 2.0),), 7, free))
        return recover(domain, EVIDENCE)

    likely, unlikely = recovery_beside(0.9), recovery_beside(1.0)
    assert likely.found and not unlikely.found
    assert len(likely.judgement.reasons) == 4 and likely.scored == 7
