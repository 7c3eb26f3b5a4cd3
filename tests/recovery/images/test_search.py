"""Programs on images are recovered from noisy predictions; labels outside the language are not."""

import numpy as np
import pytest

from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.recovery.evidence import gather_evidence
from jaxmi.recovery.images import search, soft
from jaxmi.recovery.images.conditions import Comparison, ScoredCondition, Threshold
from jaxmi.recovery.images.formula import FORMS, Formula, Task, condition_count, form_labels
from jaxmi.recovery.images.scores import make_metrics
from jaxmi.recovery.images.search import BETTER, SIMPLER, find_image_programs
from jaxmi.recovery.images.soft import Fit, fit_forms

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


def noisy_evidence(truth, share=0.03, seed=0):
    """Return evidence in which some labels are wrong, with smaller margins."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(truth)) < share
    margins = rng.exponential(np.where(wrong, 0.5, 3.0))
    return gather_evidence(truth ^ wrong, margins)


def truth_of(text, domain):
    return label(parse(text, "image"), domain).astype(bool)


@pytest.mark.parametrize("form", PLANTED)
def test_a_planted_program_comes_first_despite_errors(domain, metrics, form) -> None:
    truth = truth_of(PLANTED[form], domain)
    evidence = noisy_evidence(truth)
    findings = find_image_programs(domain, evidence, metrics=metrics)
    best = findings.candidates[0]
    assert set(best.program.templates) == set(parse(PLANTED[form], "image").templates)
    assert (best.labels == truth).mean() > 0.99
    assert (best.labels == truth).mean() > (evidence.labels == truth).mean()
    assert (best.labels == label(best.program, domain)).all()
    assert (best.labels == evidence.labels).mean() > findings.free_agreement + BETTER
    band_conditions = len(metrics) * TEMPLATES
    assert (findings.scored == band_conditions) == (form == "band")  # bands suffice
    costs = [candidate.cost for candidate in findings.candidates]
    assert costs == sorted(costs)
    assert len({candidate.program for candidate in findings.candidates}) == len(costs)


def fit(form: str, agreement: float, labels: np.ndarray) -> Fit:
    """Return a fit whose conditions all hold where the label is 1."""
    return Fit(form, np.tile(labels, (condition_count(form), 1)), agreement)


@pytest.mark.parametrize(
    ("less", "order"), [(0.01, ["and", "most", "all"]), (-0.01, ["most", "and", "all"])]
)
def test_a_short_form_is_tried_first_unless_it_agrees_much_less(
    domain, metrics, monkeypatch, mnist_data, less, order
) -> None:
    evidence = gather_evidence(mnist_data.digits[:N] % 2 == 1)
    own = evidence.labels ^ (np.arange(N) < 200)
    agreements = {"most": 0.99, "and": 0.99 - SIMPLER + less, "all": 0.9, "any": 0.8, "one": 0.5}
    fits = [fit(form, agreement, own) for form, agreement in agreements.items()]
    fits.append(fit("most", 0.4, ~own))
    tried = []

    def no_places(task: Task, form: str, holds: np.ndarray, report: object) -> None:
        tried.append(form)
        np.testing.assert_array_equal(task.costs, evidence.costs(own != evidence.labels))

    monkeypatch.setattr(search, "fit_forms", lambda *_: fits)
    monkeypatch.setattr(search, "replace_free", no_places)
    findings = find_image_programs(domain, evidence, metrics=metrics)
    assert tried == order and findings.free_agreement == 0.99


def test_an_idle_condition_is_dropped_and_all_programs_have_equal_prices(
    domain, metrics, monkeypatch
) -> None:
    comparison = Comparison("cosine", 125, 385)
    evidence = gather_evidence(truth_of(PLANTED["pair"], domain))
    places = [
        [ScoredCondition(2.0, comparison)],
        [ScoredCondition(1.0, Threshold("mean", None, False, 1.0))],
    ]
    tried = []

    def replace_free(task: Task, form: str, holds: np.ndarray, report: object) -> list:
        tried.append(form)
        return places[: len(holds)]

    monkeypatch.setattr(search, "fit_forms", lambda *_: [fit("and", 1.0, evidence.labels)])
    monkeypatch.setattr(search, "replace_free", replace_free)
    best, *others = find_image_programs(domain, evidence, metrics=metrics).candidates
    assert tried == ["and", "one"]
    assert (best.labels == evidence.labels).all()
    assert best.cost == Formula("one", (comparison,)).nats
    prices = evidence.costs(best.labels != evidence.labels)
    for other in others:
        assert 10 < other.cost - prices[other.labels != evidence.labels].sum() < 100


def test_fits_have_the_conditions_and_agreement_of_their_form(monkeypatch) -> None:
    monkeypatch.setattr(soft, "STARTS", 1)
    monkeypatch.setattr(soft, "BATCH", 300)
    x = np.random.default_rng(0).normal(size=(2000, 4))
    labels = (x[:, 0] > 0.3) & (x[:, 1] + x[:, 2] > 0)
    fits = fit_forms(x, labels)
    assert sorted(fit.form for fit in fits) == sorted(FORMS)
    for each in fits:
        assert len(FORMS[each.form]) == 2 ** len(each.holds)
        assert each.agreement == (form_labels(each.form, each.holds) == labels).mean()
    agreements = [each.agreement for each in fits]
    assert agreements == sorted(agreements, reverse=True) and agreements[0] > 0.97


@pytest.mark.slow
def test_labels_outside_the_language_agree_with_no_program(mnist_data) -> None:
    few = ImageDomain(mnist_data.images[:1500], mnist_data.images[:200])
    parity = mnist_data.digits[:1500] % 2 == 1
    evidence = noisy_evidence(parity)
    findings = find_image_programs(few, evidence)
    best = findings.candidates[0]
    assert (best.labels == parity).mean() < 0.93
    assert (best.labels == evidence.labels).mean() < findings.free_agreement
