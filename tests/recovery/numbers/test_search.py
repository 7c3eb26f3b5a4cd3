"""A program is recovered from predictions with errors along boundaries, as a network makes them."""

import numpy as np
import pytest

from jaxmi.programs.domain import NumberDomain, PairDomain, TripleDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.programs.published_labels import label_table
from jaxmi.programs.show import show
from jaxmi.recovery.evidence import gather_evidence
from jaxmi.recovery.numbers import table_search
from jaxmi.recovery.numbers.boundaries import families
from jaxmi.recovery.numbers.program import best_condition
from jaxmi.recovery.numbers.search import find_number_programs
from jaxmi.recovery.numbers.tables import best_boundaries
from jaxmi.recovery.recover import judge

SHARE = 0.015


def smooth_field(p: int, seed: int) -> np.ndarray:
    field = np.random.default_rng(seed).normal(size=(p, p))
    for _ in range(6):
        for axis in (0, 1):
            field = (np.roll(field, 1, axis) + field + np.roll(field, -1, axis)) / 3
    return field


def is_next_to_other_label(labels: np.ndarray) -> np.ndarray:
    """Return the pairs that have a neighbour with the other label."""
    near = np.zeros_like(labels)
    for axis in (0, 1):
        differs = np.diff(labels, axis=axis)
        ahead, behind = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        ahead[axis], behind[axis] = (1, 0), (0, 1)
        near |= np.pad(differs, ahead) | np.pad(differs, behind)
    return near


def errors_along_boundaries(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return pairs where a network might err: next to other labels, in clusters."""
    field = np.where(is_next_to_other_label(labels), smooth_field(len(labels), seed), -np.inf)
    return field >= np.sort(field, axis=None)[-round(SHARE * labels.size)]


@pytest.mark.parametrize(
    ("p", "margins_known"),
    [
        pytest.param(113, True, marks=pytest.mark.slow),
        pytest.param(71, False, marks=pytest.mark.long),
    ],
)
def test_challenge_2_s_program_is_recovered_exactly_despite_errors(p, margins_known) -> None:
    truth = np.asarray(label_table(p)).astype(bool)
    wrong = errors_along_boundaries(truth, int(margins_known))
    assert wrong.mean() == pytest.approx(SHARE, rel=0.01)
    sizes = np.random.default_rng(2).exponential(size=truth.shape) * np.where(wrong, 0.2, 1)
    margins = sizes.reshape(-1) if margins_known else None
    evidence = gather_evidence((truth ^ wrong).reshape(-1), margins)
    findings = find_number_programs(PairDomain(p), evidence)
    candidates = findings.candidates
    best = candidates[0]
    np.testing.assert_array_equal(best.labels, truth.reshape(-1))
    for line in ("if x ** 2 < 200 * sqrt(y):", "if y ** 2 < 600 * sqrt(x):", "and z < -3:"):
        assert line in show(best.program)
    costs = [candidate.cost for candidate in candidates]
    assert costs == sorted(costs)
    assert len({candidate.labels.tobytes() for candidate in candidates}) == len(candidates)
    assert judge(candidates, evidence, "pairs").confidence > 0.5
    assert findings.scored > 1_000_000


TRIPLES = """
z = 0
z += (x + 2 * w) // 4 % 3 - 1
if x + y < w + 2:
    z -= 3
if y ** 2 > 10 * w:
    z += 2
return z >= 0
"""


@pytest.mark.slow
def test_a_program_on_triples_is_recovered_exactly_despite_errors() -> None:
    domain = TripleDomain(17)
    truth = label(parse(TRIPLES, "triples"), domain).astype(bool)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(truth)) < SHARE
    evidence = gather_evidence(truth ^ wrong, rng.exponential(size=len(truth)))
    best, *_ = find_number_programs(domain, evidence).candidates
    np.testing.assert_array_equal(best.labels, truth)
    assert best.program.kind == "triples"
    for condition in ("x + y < w + 2", "(x + 2 * w) // 4 % 3", "y ** 2"):
        assert condition in show(best.program)


@pytest.mark.parametrize("p", [197, 33])
def test_domains_of_more_inputs_than_16_bits_count_are_searched(p: int) -> None:
    """The order of inputs is kept in as many bits as their number needs."""
    domain: NumberDomain = PairDomain(p) if p > 100 else TripleDomain(p)
    first, second, *_ = domain.columns().values()
    labels = first**2 < 3 * p * second
    boundary = best_boundaries(
        np.zeros(len(labels), int), np.where(labels, 1.0, -1.0), families(domain)
    )[0].boundary
    gains = np.where(labels, 1.0, -1.0)
    _, condition = best_condition(boundary, True, gains, domain)
    np.testing.assert_array_equal(condition.holds, labels)


def test_permuted_labels_get_no_confidence(monkeypatch) -> None:
    monkeypatch.setattr(table_search, "MAX_SCORED", 3_000_000)  # noise would use all of more
    p = 41
    rng = np.random.default_rng(0)
    x, y = np.indices((p, p)).reshape(2, -1)
    planted = x**2 < 9 * y
    confidences = []
    for labels in (planted, rng.permutation(planted)):
        evidence = gather_evidence(labels, rng.exponential(size=p * p))
        candidates = find_number_programs(PairDomain(p), evidence).candidates
        confidences.append(judge(candidates, evidence, "pairs").confidence)
    ordered, permuted = confidences
    assert ordered > 0.9 and permuted < 0.01
