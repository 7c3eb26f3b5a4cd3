"""Programs on images are recovered from noisy answers, and labels that have none look like it."""

import numpy as np
import pytest

from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.recovery.evidence import gather_evidence
from jaxmi.recovery.images import search, soft
from jaxmi.recovery.images.conditions import Found, Nearer, Threshold
from jaxmi.recovery.images.formula import FORMS, Formula, Task, labels_of
from jaxmi.recovery.images.scores import make_metrics
from jaxmi.recovery.images.search import BETTER, SIMPLER, find_image_programs
from jaxmi.recovery.images.soft import Soft, fit_soft_forms

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
    scored_by_bands = len(metrics) * TEMPLATES
    assert (findings.scored == scored_by_bands) == (form == "band")  # then, nothing else is tried
    costs = [candidate.cost for candidate in findings.candidates]
    assert costs == sorted(costs)
    assert len({candidate.program for candidate in findings.candidates}) == len(costs)


def fit(form: str, agreement: float, labels: np.ndarray) -> Soft:
    """All conditions hold where the label is 1."""
    return Soft(form, np.tile(labels, (int(np.log2(len(FORMS[form]))), 1)), agreement)


@pytest.mark.parametrize(
    ("less", "order"), [(0.01, ["and", "most", "all"]), (-0.01, ["most", "and", "all"])]
)
def test_a_short_form_is_tried_first_if_it_agrees_little_less(
    domain, metrics, monkeypatch, mnist_data, less, order
) -> None:
    evidence = gather_evidence(mnist_data.digits[:N] % 2 == 1)
    own = evidence.labels ^ (np.arange(N) < 200)
    agreements = {"most": 0.99, "and": 0.99 - SIMPLER + less, "all": 0.9, "any": 0.8, "one": 0.5}
    fits = [fit(form, agreement, own) for form, agreement in agreements.items()]
    fits.append(fit("most", 0.4, ~own))
    tried = []

    def nothing_found(task: Task, form: str, holds: np.ndarray, watch: object) -> None:
        tried.append(form)
        np.testing.assert_array_equal(task.worth, evidence.worth(own != evidence.labels))

    monkeypatch.setattr(search, "fit_soft_forms", lambda *_: fits)
    monkeypatch.setattr(search, "replace_free", nothing_found)
    findings = find_image_programs(domain, evidence, metrics=metrics)
    assert tried == order and findings.free_agreement == 0.99


def test_an_idle_condition_is_dropped_and_all_programs_are_weighed_alike(
    domain, metrics, monkeypatch
) -> None:
    nearer = Nearer("cosine", 125, 385)
    evidence = gather_evidence(truth_of(PLANTED["pair"], domain))
    found = [[Found(2.0, nearer)], [Found(1.0, Threshold("mean", None, False, 1.0))]]
    tried = []

    def replace_free(task: Task, form: str, holds: np.ndarray, watch: object) -> list:
        tried.append(form)
        return found[: len(holds)]

    monkeypatch.setattr(search, "fit_soft_forms", lambda *_: [fit("and", 1.0, evidence.labels)])
    monkeypatch.setattr(search, "replace_free", replace_free)
    best, *others = find_image_programs(domain, evidence, metrics=metrics).candidates
    assert tried == ["and", "one"]
    assert (best.labels == evidence.labels).all()
    assert best.cost == Formula("one", (nearer,)).nats
    worth = evidence.worth(best.labels != evidence.labels)
    for other in others:
        assert 10 < other.cost - worth[other.labels != evidence.labels].sum() < 100


def test_free_conditions_and_their_agreement_are_those_of_the_form(monkeypatch) -> None:
    monkeypatch.setattr(soft, "STARTS", 1)
    monkeypatch.setattr(soft, "BATCH", 300)
    x = np.random.default_rng(0).normal(size=(2000, 4))
    labels = (x[:, 0] > 0.3) & (x[:, 1] + x[:, 2] > 0)
    fits = fit_soft_forms(x, labels)
    assert sorted(fit.form for fit in fits) == sorted(FORMS)
    for one in fits:
        assert len(FORMS[one.form]) == 2 ** len(one.holds)
        assert one.agreement == (labels_of(one.form, one.holds) == labels).mean()
    agreements = [one.agreement for one in fits]
    assert agreements == sorted(agreements, reverse=True) and agreements[0] > 0.97


def test_labels_outside_the_language_agree_with_no_program(mnist_data) -> None:
    few = ImageDomain(mnist_data.images[:1500], mnist_data.images[:200])
    parity = mnist_data.digits[:1500] % 2 == 1
    evidence = answers(parity)
    findings = find_image_programs(few, evidence)
    best = findings.candidates[0]
    assert (best.labels == parity).mean() < 0.93
    assert (best.labels == evidence.labels).mean() < findings.free_agreement
