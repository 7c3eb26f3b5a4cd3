"""Search on images: bands, comparisons, and forms of up to three conditions.

Templates may be any of the domain's. Bands are found by trying all templates. For the other forms,
free linear conditions are fitted first; then each is replaced by the best condition of the
language, given the others. The results are measured exactly, and the cheapest program comes first.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import label
from jaxmi.recovery.evidence import Candidate, Evidence, Findings
from jaxmi.recovery.images.conditions import find_bands
from jaxmi.recovery.images.formula import (
    ALTERNATIVES,
    Formula,
    Task,
    drop_idle,
    form_labels,
    holds_exactly,
    measure,
    replace_free,
)
from jaxmi.recovery.images.scores import Metric, make_metrics
from jaxmi.recovery.images.soft import Fit, fit_forms

MAX_FORMS = 3
"""Number of forms whose conditions are searched, unless an earlier one suffices."""

SIMPLER = 0.03
"""A form with three free conditions is tried first only if it agrees better by more than this than
every form with fewer."""

BETTER = 0.002
"""A formula suffices if it agrees better by this than any free conditions. The language's
conditions have far fewer parameters, so only a true formula agrees better."""

FEATURES = 100
"""Number of principal components of the pixels that free linear conditions see."""

MAX_CANDIDATES = 6
"""Number of programs returned."""


def find_image_programs(
    domain: ImageDomain,
    evidence: Evidence,
    report: Callable[[str], None] = lambda line: None,
    metrics: Sequence[Metric] | None = None,
) -> Findings:
    """Search for the programs on images that explain a network's predictions best.

    Args:
      domain: The images, and all possible templates.
      evidence: The network's predictions.
      report: Receives lines of progress.
      metrics: `make_metrics(domain)`, if it is already computed.

    Returns:
      The findings; scoring all images with one template counts as one condition.
    """
    metrics = metrics or make_metrics(domain)
    task = Task(domain, metrics, evidence, evidence.costs(np.zeros(len(evidence.labels), bool)))
    formulas = _find_bands(task)
    agreement = task.agreement(label(formulas[0].program(), domain).astype(bool))
    report(f"the best band agrees on {agreement:.2%}")
    fits = fit_forms(image_features(metrics), evidence.labels)
    free = max(fit.agreement for fit in fits)
    report(f"free conditions agree on {free:.2%}")
    per_condition = len(metrics) * len(domain.templates)
    scored = per_condition
    for fit in _forms_to_try(fits):
        if agreement >= free + BETTER:
            break
        measured, best_agreement, conditions = _search_form(task, fit, report)
        formulas += measured
        agreement = max(agreement, best_agreement)
        scored += conditions * per_condition
    return Findings(_cheapest(formulas, domain, evidence), scored, free)


def image_features(metrics: Sequence[Metric]) -> Float[np.ndarray, "n d"]:
    """Return the inputs of free linear conditions: leading components, lengths and sums."""
    l1, l2 = metrics[0].images, metrics[1].images
    columns = [l2[:, 2 : 2 + FEATURES], l2[:, 0], np.sqrt(l2[:, 0]), l1[:, 0]]
    features = np.column_stack(columns)
    features -= features.mean(axis=0)
    spread = features.std(axis=0)
    return features / (spread + 0.1 * spread.max())


def _find_bands(task: Task) -> list[Formula]:
    gain = np.where(task.evidence.labels, task.costs, -task.costs)
    bands = [band for metric in task.metrics for band in find_bands(metric, gain, ALTERNATIVES)]
    bands.sort(key=lambda band: -band.gain)
    return measure(task, "one", [bands[:ALTERNATIVES]])


def _forms_to_try(fits: Sequence[Fit]) -> list[Fit]:
    """Return the best fit of each form: a short one first unless it is much worse, then the best.

    Args:
      fits: Fits, the best first.
    """
    best = {fit.form: fit for fit in reversed(fits)}  # the best of each form comes last
    order = sorted(best.values(), key=lambda fit: -fit.agreement)
    short = next(fit for fit in order if len(fit.holds) < 3)
    if short.agreement >= order[0].agreement - SIMPLER:
        order = [short, *(fit for fit in order if fit is not short)]
    return order[:MAX_FORMS]


def _search_form(
    task: Task, fit: Fit, report: Callable[[str], None]
) -> tuple[list[Formula], float, int]:
    """Replace a form's free conditions; drop idle conditions and replace again.

    Returns:
      The formulas, the agreement of the best of them, and how many conditions were searched.
    """
    mistakes = form_labels(fit.form, fit.holds) != task.evidence.labels
    task = replace(task, costs=task.evidence.costs(mistakes))
    formulas: list[Formula] = []
    agreement, searched = 0.0, 0
    form: tuple[str, Bool[np.ndarray, "conditions n"]] | None = (fit.form, fit.holds)
    while form is not None:
        name, holds = form
        searched += len(holds)
        places = replace_free(task, name, holds, report)
        if places is None:
            break
        measured = measure(task, name, places)
        formulas += measured
        holds = np.array([holds_exactly(task.domain, c) for c in measured[0].conditions])
        agreement = max(agreement, task.agreement(form_labels(name, holds)))
        form = drop_idle(name, holds)
    return formulas, agreement, searched


def _cheapest(
    formulas: Sequence[Formula], domain: ImageDomain, evidence: Evidence
) -> tuple[Candidate, ...]:
    """Return distinct candidates by cost.

    All are judged by the same costs of contradictions: those by the mistakes of the formula that
    agrees best.
    """
    programs = [formula.program() for formula in formulas]
    labels = [label(program, domain).astype(bool) for program in programs]
    wrong = [own != evidence.labels for own in labels]
    prices = evidence.costs(min(wrong, key=lambda mask: int(mask.sum())))
    costs = [f.nats + float(prices[w].sum()) for f, w in zip(formulas, wrong, strict=True)]
    distinct: dict[object, Candidate] = {}
    for i in np.argsort(costs, kind="stable"):
        distinct.setdefault(programs[i], Candidate(programs[i], labels[i], costs[i]))
    return tuple(distinct.values())[:MAX_CANDIDATES]
