"""Programs on images are recovered from noisy answers, and labels that have none look like it."""

import numpy as np
import pytest

from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.recover.evidence import gather_evidence
from jaxmi.recover.images.scores import make_metrics
from jaxmi.recover.images.search import BETTER, find_image_programs

N, TEMPLATES = 4000, 600
PLANTED = {
    "band": "return not 27400 <= l1(image, template(265)) < 33300",
    "pair": "return cosine(image, template(125)) < cosine(image, template(385))",
    "joined": "return l1(image, template(540)) > l1(image, template(438)) "
    "and dot(image, template(471)) > 1660000",
}


@pytest.fixture(scope="module")
def domain(mnist_data):
    return ImageDomain(mnist_data.images[:N], mnist_data.images[:TEMPLATES])


@pytest.fixture(scope="module")
def metrics(domain):
    return make_metrics(domain)


def answers(truth, share=0.03, seed=0):
    """A network's: some labels wrong, with smaller margins."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(truth)) < share
    margins = rng.exponential(np.where(wrong, 0.5, 3.0))
    return gather_evidence(truth ^ wrong, margins)


def truth_of(text, domain):
    return label(parse(text, "image"), domain).astype(bool)


@pytest.mark.parametrize("form", PLANTED)
def test_a_planted_program_comes_first_despite_wrong_answers(domain, metrics, form) -> None:
    truth = truth_of(PLANTED[form], domain)
    evidence = answers(truth)
    findings = find_image_programs(domain, evidence, metrics=metrics)
    best = findings.candidates[0]
    assert set(best.program.templates) == set(parse(PLANTED[form], "image").templates)
    assert (best.labels == truth).mean() > 0.99
    assert (best.labels == truth).mean() > (evidence.labels == truth).mean()
    assert (best.labels == label(best.program, domain)).all()
    assert (best.labels == evidence.labels).mean() > findings.free_agreement + BETTER
    costs = [candidate.cost for candidate in findings.candidates]
    assert costs == sorted(costs)
    assert len({candidate.program for candidate in findings.candidates}) == len(costs)


def test_labels_outside_the_language_agree_with_no_program(mnist_data) -> None:
    few = ImageDomain(mnist_data.images[:1500], mnist_data.images[:200])
    parity = mnist_data.digits[:1500] % 2 == 1
    evidence = answers(parity)
    findings = find_image_programs(few, evidence)
    best = findings.candidates[0]
    assert (best.labels == parity).mean() < 0.93
    assert (best.labels == evidence.labels).mean() < findings.free_agreement
