"""Confidence falls with what speaks against a program, and with nothing else."""

import numpy as np
import pytest

from jaxmi.programs.parse import parse
from jaxmi.recover.candidates import Candidate
from jaxmi.recover.confidence import CLOSE, HALFWAY, SHORT, Judgement, judge
from jaxmi.recover.evidence import Evidence, gather_evidence

N = 4000
KINDS = ("pairs", "image")


def evidence_of(known: bool = True) -> Evidence:
    rng = np.random.default_rng(0)
    return gather_evidence(rng.random(N) < 0.5, rng.normal(size=N) if known else None)


def candidate(labels: np.ndarray, cost: float) -> Candidate:
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
    costs = np.array([0.0, 0.5, 1, 2, 10]) * half * N
    values = [confidence(evidence, candidate(evidence.labels, c), kind=kind) for c in costs]
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
            candidate(flipped(evidence.labels, sure[: round(share * half * len(sure))]), 0.0),
            kind=kind,
        )
        for share in (0, 0.5, 1, 2, 10)
    ]
    assert falls(values)
    assert values[2] == pytest.approx(0.5) and values[-1] < 0.01
    unsure = np.flatnonzero(~evidence.sure)
    if known:
        assert len(unsure) == N / 2
        contradicted = candidate(flipped(evidence.labels, unsure), 0.0)
        assert confidence(evidence, contradicted, kind=kind) == 1


def test_confidence_falls_with_a_close_rival_that_says_something_else() -> None:
    evidence = evidence_of()
    best = candidate(evidence.labels, 20.0)
    differs = flipped(evidence.labels, np.arange(round(2 * CLOSE * N)))
    alone = confidence(evidence, best)
    gaps = (30, 5, 2, 1, 0)
    values = [confidence(evidence, best, candidate(differs, 20.0 + gap)) for gap in gaps]
    assert falls([alone, *values])
    assert values[-1] == pytest.approx(alone / 2)
    assert values[0] == pytest.approx(alone, rel=1e-9)
    two = confidence(evidence, best, candidate(differs, 20.0), candidate(~differs, 20.0))
    assert two == pytest.approx(alone / 3)


def test_a_close_rival_that_says_the_same_takes_nothing_away() -> None:
    evidence = evidence_of()
    best = candidate(evidence.labels, 20.0)
    alone = confidence(evidence, best)
    for share, same in ((0.0, True), (0.9, True), (1.1, False)):
        says = flipped(evidence.labels, np.arange(round(share * CLOSE * N)))
        assert (confidence(evidence, best, candidate(says, 20.0)) == alone) is same


def test_confidence_falls_as_free_conditions_agree_better() -> None:
    evidence = evidence_of()
    best = candidate(evidence.labels, 20.0)
    alone = confidence(evidence, best, kind="image")
    free = [0.5, 1.0, 1.0 + SHORT, 1.1]
    values = [confidence(evidence, best, kind="image", free=one) for one in free]
    assert falls(values) and values[0] == pytest.approx(alone)
    assert values[2] == pytest.approx(alone / 2)


def test_each_factor_has_a_reason_with_its_figures() -> None:
    evidence = evidence_of()
    best = candidate(flipped(evidence.labels, np.flatnonzero(evidence.sure)[:20]), 321.0)
    rival = candidate(~evidence.labels, 328.0)
    cost, unexplained, other = judge([best, rival], evidence, "pairs").reasons
    assert "321 nats" in cost and "1.00% of the surest answers" in unexplained
    assert "costs 7 nats more" in other
    assert "was not found" in judge([best], evidence, "pairs").reasons[2]
    assert len(judge([best], evidence, "image", 0.98).reasons) == 4
    assert "surest" not in judge([best], evidence_of(False), "pairs").reasons[1]
