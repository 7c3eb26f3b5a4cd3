"""Network -> program on images: a band, two distances compared, or conditions joined.

Nothing is known of the templates but that they are among the domain's. Bands are found by trying
all templates. For the other forms, free linear conditions are fitted first; then each of them in
turn is replaced by the best condition of the language, given the others. What is found is measured
exactly, and the cheapest program comes first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import label
from jaxmi.recovery.evidence import Candidate, Evidence
from jaxmi.recovery.images.conditions import find_bands
from jaxmi.recovery.images.formula import (
    ALTERNATIVES,
    Formula,
    Task,
    holds_exactly,
    labels_of,
    measure,
    replace_free,
    shortened,
)
from jaxmi.recovery.images.scores import Metric, make_metrics
from jaxmi.recovery.images.soft import Soft, fit_soft_forms

FITS = 3
"""Forms whose conditions are looked for, unless one is found before."""

SIMPLER = 0.03
"""By how much a form with three free conditions has to agree better than any with fewer, to be
tried first."""

BETTER = 0.002
"""A formula is found if it agrees with so much more of the answers than any free conditions do: the
language's have far fewer numbers to choose, and only a true one agrees better for it."""

FEATURES = 100
"""Principal components of the pixels that free linear conditions see."""

SHOWN = 6
"""How many programs are returned."""


@dataclass(frozen=True, eq=False)
class ImageFindings:
    """What was found in a network on images."""

    candidates: tuple[Candidate, ...]
    """The cheapest first."""

    scored: int
    """How many conditions were scored, all images' scores with a template as one at least."""

    free_agreement: float
    """With the network, of the best form with free linear conditions: a yardstick. A true program
    agrees better."""


def find_image_programs(
    domain: ImageDomain,
    evidence: Evidence,
    watch: Callable[[str], None] = lambda line: None,
    metrics: Sequence[Metric] | None = None,
) -> ImageFindings:
    """Finds the programs that explain a network's answers best.

    Args:
      domain: The images, and all that may be templates.
      evidence: The network's answers.
      watch: Is told how far it is.
      metrics: `make_metrics(domain)`, if that is known already.
    """
    metrics = metrics or make_metrics(domain)
    task = Task(domain, metrics, evidence, evidence.worth(np.zeros(len(evidence.labels), bool)))
    formulas = _bands(task)
    agreement = task.agreement(label(formulas[0].program(), domain).astype(bool))
    watch(f"the best band agrees on {agreement:.2%}")
    fits = fit_soft_forms(image_features(metrics), evidence.labels)
    free = max(fit.agreement for fit in fits)
    watch(f"free conditions agree on {free:.2%}")
    scored = len(metrics) * len(domain.templates)
    for fit in _likely(fits):
        if agreement >= free + BETTER:
            break
        known = labels_of(fit.form, fit.holds) != evidence.labels
        task = replace(task, worth=evidence.worth(known))
        form: tuple[str, Bool[np.ndarray, "conditions n"]] | None = (fit.form, fit.holds)
        while form is not None:
            scored += len(form[1]) * len(metrics) * len(domain.templates)
            found = replace_free(task, *form, watch)
            if found is None:
                break
            measured = measure(task, form[0], found)
            formulas += measured
            holds = np.array([holds_exactly(domain, c) for c in measured[0].conditions])
            agreement = max(agreement, task.agreement(labels_of(form[0], holds)))
            form = shortened(form[0], holds)
    return ImageFindings(_cheapest(formulas, domain, evidence), scored, free)


def image_features(metrics: Sequence[Metric]) -> Float[np.ndarray, "n d"]:
    """Returns what free linear conditions see: leading components, lengths and sums."""
    l1, l2 = metrics[0].images, metrics[1].images
    columns = [l2[:, 2 : 2 + FEATURES], l2[:, 0], np.sqrt(l2[:, 0]), l1[:, 0]]
    features = np.column_stack(columns)
    features -= features.mean(axis=0)
    spread = features.std(axis=0)
    return features / (spread + 0.1 * spread.max())


def _bands(task: Task) -> list[Formula]:
    gain = np.where(task.evidence.labels, task.worth, -task.worth)
    found = [band for metric in task.metrics for band in find_bands(metric, gain, ALTERNATIVES)]
    found.sort(key=lambda f: -f.value)
    return measure(task, "one", [found[:ALTERNATIVES]])


def _likely(fits: Sequence[Soft]) -> list[Soft]:
    """The best fit of each form: first a short one, if it is not much worse, then by agreement."""
    best = {fit.form: fit for fit in reversed(fits)}  # the best comes last
    order = sorted(best.values(), key=lambda fit: -fit.agreement)
    short = next(fit for fit in order if len(fit.holds) < 3)
    if short.agreement >= order[0].agreement - SIMPLER:
        order = [short, *(fit for fit in order if fit is not short)]
    return order[:FITS]


def _cheapest(
    formulas: Sequence[Formula], domain: ImageDomain, evidence: Evidence
) -> tuple[Candidate, ...]:
    """Weighs all by the same trust in the answers: that of the one that agrees best."""
    programs = [formula.program() for formula in formulas]
    labels = [label(program, domain).astype(bool) for program in programs]
    wrong = [own != evidence.labels for own in labels]
    worth = evidence.worth(min(wrong, key=lambda w: int(w.sum())))
    costs = [f.nats + float(worth[w].sum()) for f, w in zip(formulas, wrong, strict=True)]
    found: dict[object, Candidate] = {}
    for i in np.argsort(costs, kind="stable"):
        found.setdefault(programs[i], Candidate(programs[i], labels[i], costs[i]))
    return tuple(found.values())[:SHOWN]
