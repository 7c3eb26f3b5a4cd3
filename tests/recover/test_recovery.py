"""What a recovery says of its programs is counted from their labels and the network's."""

import numpy as np
import pytest

from jaxmi.programs.domain import ImageDomain, PairDomain
from jaxmi.programs.parse import parse
from jaxmi.recover import recovery
from jaxmi.recover.candidates import Candidate
from jaxmi.recover.confidence import Judgement
from jaxmi.recover.evidence import gather_evidence
from jaxmi.recover.images.search import ImageFindings
from jaxmi.recover.recovery import RUNNERS_UP, Recovery, recover

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
    monkeypatch.setattr(recovery, "find_pair_programs", lambda evidence: (found, 7))
    result = recover(PairDomain(10), ANSWERS)
    assert result.candidates == found[: 1 + RUNNERS_UP] and result.best is found[0]
    assert (result.scored, result.evidence) == (7, ANSWERS)
    assert len(result.judgement.reasons) == 3


def test_of_images_free_conditions_that_agree_better_speak_against_a_program(monkeypatch) -> None:
    domain = ImageDomain(*np.zeros((2, N, 1, 1), np.uint8))

    def result_beside(free: float) -> Recovery:
        findings = ImageFindings((candidate(48, 2.0),), 7, free)
        monkeypatch.setattr(recovery, "find_image_programs", lambda *_: findings)
        return recover(domain, ANSWERS)

    likely, unlikely = result_beside(0.9), result_beside(1.0)
    assert likely.found and not unlikely.found
    assert len(likely.judgement.reasons) == 4 and likely.scored == 7
