"""What a recovery says of its programs is counted from their labels and the network's."""

import numpy as np
import pytest

from jaxmi.programs.domain import ImageDomain, PairDomain
from jaxmi.programs.parse import parse
from jaxmi.recovery import recover as recover_module
from jaxmi.recovery.evidence import Candidate, Evidence, gather_evidence
from jaxmi.recovery.images.search import ImageFindings
from jaxmi.recovery.recover import (
    CLOSE,
    HALFWAY,
    RUNNERS_UP,
    SHORT,
    Judgement,
    Recovery,
    judge,
    recover,
)

N_JUDGED = 4000
KINDS = ("pairs", "image")


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
def test_confidence_falls_with_cost_and_is_even_at_the_halfway_cost(kind, known) -> None:
    evidence = evidence_of(known)
    half, _ = HALFWAY[kind, known]
    costs = np.array([0.0, 0.5, 1, 2, 10]) * half * N_JUDGED
    values = [confidence(evidence, judged_candidate(evidence.labels, c), kind=kind) for c in costs]
    assert falls(values)
    assert values[0] == 1 and values[2] == pytest.approx(0.5) and values[-1] < 0.01


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_confidence_falls_with_contradicted_sure_answers_only(kind, known) -> None:
    evidence = evidence_of(known)
    _, half = HALFWAY[kind, known]
    sure = np.flatnonzero(evidence.sure)
    values = [
        confidence(
            evidence,
            judged_candidate(
                flipped(evidence.labels, sure[: round(share * half * len(sure))]), 0.0
            ),
            kind=kind,
        )
        for share in (0, 0.5, 1, 2, 10)
    ]
    assert falls(values)
    assert values[2] == pytest.approx(0.5) and values[-1] < 0.01
    unsure = np.flatnonzero(~evidence.sure)
    if known:
        assert len(unsure) == N_JUDGED / 2
        contradicted = judged_candidate(flipped(evidence.labels, unsure), 0.0)
        assert confidence(evidence, contradicted, kind=kind) == 1


def test_confidence_falls_with_a_close_rival_that_says_something_else() -> None:
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


def test_a_close_rival_that_says_the_same_takes_nothing_away() -> None:
    evidence = evidence_of()
    best = judged_candidate(evidence.labels, 20.0)
    alone = confidence(evidence, best)
    for share, same in ((0.0, True), (0.9, True), (1.1, False)):
        says = flipped(evidence.labels, np.arange(round(share * CLOSE * N_JUDGED)))
        assert (confidence(evidence, best, judged_candidate(says, 20.0)) == alone) is same


def test_confidence_falls_as_free_conditions_agree_better() -> None:
    evidence = evidence_of()
    best = judged_candidate(evidence.labels, 20.0)
    alone = confidence(evidence, best, kind="image")
    free = [0.5, 1.0, 1.0 + SHORT, 1.1]
    values = [confidence(evidence, best, kind="image", free=one) for one in free]
    assert falls(values) and values[0] == pytest.approx(alone)
    assert values[2] == pytest.approx(alone / 2)


def test_each_factor_has_a_reason_with_its_figures() -> None:
    evidence = evidence_of()
    best = judged_candidate(flipped(evidence.labels, np.flatnonzero(evidence.sure)[:20]), 321.0)
    rival = judged_candidate(~evidence.labels, 328.0)
    cost, unexplained, other = judge([best, rival], evidence, "pairs").reasons
    assert "321 nats" in cost and "1.00% of the surest answers" in unexplained
    assert "costs 7 nats more" in other
    assert "was not found" in judge([best], evidence, "pairs").reasons[2]
    assert len(judge([best], evidence, "image", 0.98).reasons) == 4
    assert "surest" not in judge([best], evidence_of(False), "pairs").reasons[1]


N = 100
ANSWERS = gather_evidence(np.arange(N) < 50)


def candidate(ones: int, cost: float, text: str = "return 1") -> Candidate:
    return Candidate(parse(text, "pairs"), np.arange(N) < ones, cost)


def recovered(confidence: float) -> Recovery:
    candidates = (candidate(53, 20.04, "return x > 3"), candidate(40, 31.0))
    return Recovery(ANSWERS, candidates, Judgement(confidence, ("so",)), 2.0, 5000)


def test_figures_compare_each_program_with_the_network_and_runners_up_with_the_best() -> None:
    figures = recovered(0.91234).figures()
    assert figures["agreement_network"] == 0.97
    assert (figures["program"].strip(), figures["nats"]) == ("return x > 3", 20)
    assert (figures["confidence"], figures["why"]) == (0.912, ["so"])
    assert (figures["candidates"], figures["candidates_per_second"]) == (5000, 2500)
    (runner_up,) = figures["runners_up"]
    assert (runner_up["program"].strip(), runner_up["nats"]) == ("return 1", 31)
    assert (runner_up["agreement_network"], runner_up["differs"]) == (0.9, 13)
    assert runner_up["description_length"] < figures["description_length"]


@pytest.mark.parametrize("confidence", [0.0, 0.5, 0.51, 1.0])
def test_a_program_is_found_if_it_is_more_likely_than_not(confidence) -> None:
    assert recovered(confidence).found is (confidence > 0.5)
    assert recovered(confidence).figures()["found"] is (confidence > 0.5)


def test_the_best_and_three_runners_up_are_kept(monkeypatch) -> None:
    found = tuple(candidate(ones, 20.0 + ones) for ones in range(50, 60))
    monkeypatch.setattr(recover_module, "find_pair_programs", lambda evidence: (found, 7))
    result = recover(PairDomain(10), ANSWERS)
    assert result.candidates == found[: 1 + RUNNERS_UP] and result.best is found[0]
    assert (result.scored, result.evidence) == (7, ANSWERS)
    assert len(result.judgement.reasons) == 3


def test_of_images_free_conditions_that_agree_better_speak_against_a_program(monkeypatch) -> None:
    domain = ImageDomain(*np.zeros((2, N, 1, 1), np.uint8))

    def result_beside(free: float) -> Recovery:
        findings = ImageFindings((candidate(48, 2.0),), 7, free)
        monkeypatch.setattr(recover_module, "find_image_programs", lambda *_: findings)
        return recover(domain, ANSWERS)

    likely, unlikely = result_beside(0.9), result_beside(1.0)
    assert likely.found and not unlikely.found
    assert len(likely.judgement.reasons) == 4 and likely.scored == 7
