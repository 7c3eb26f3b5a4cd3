"""Replaces a form's free conditions, one after the other, by the best of the language."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.programs.domain import ImageDomain
from jaxmi.recover.evidence import Evidence
from jaxmi.recover.images.conditions import (
    Band,
    Condition,
    Found,
    Nearer,
    Threshold,
    find_nearer,
    find_thresholds,
    sweep,
)
from jaxmi.recover.images.exact import holds_exactly, rounded
from jaxmi.recover.images.formula import Formula, labels_of, turned
from jaxmi.recover.images.scores import Metric

ROWS = 8_000
"""Images on which conditions are looked for; the best are measured on all."""

ALTERNATIVES = 6
"""Conditions that are kept for each place; so many, too, are measured exactly."""

TURNS = 3
"""How often all conditions are looked for, given the others."""

GROWTH = 0.0005
"""A turn that adds less to the agreement is the last."""

FEWEST = 100
"""Images that a condition has to decide about: below, it is idle."""


@dataclass(frozen=True, eq=False)
class Task:
    """Labels to be explained, and with what."""

    domain: ImageDomain
    metrics: Sequence[Metric]
    evidence: Evidence
    worth: Float[np.ndarray, "n"]
    """What it costs to contradict each answer, in nats."""

    def gain(
        self, form: str, holds: Bool[np.ndarray, "conditions n"], i: int
    ) -> Float[np.ndarray, "n"]:
        """Says what condition i gains where it holds, given the others."""
        sign = np.where(self.evidence.labels, 1.0, -1.0)
        return sign * self.worth * turned(form, holds, i)

    def agreement(self, labels: Bool[np.ndarray, "n"]) -> float:
        """Returns the share of answers that labels agree with."""
        return float((labels == self.evidence.labels).mean())


def replace_free(
    task: Task,
    form: str,
    free: Bool[np.ndarray, "conditions n"],
    watch: Callable[[str], None],
) -> list[list[Found]] | None:
    """Looks for the conditions of a form.

    Args:
      task: The labels.
      form: One of `FORMS`.
      free: Where each of its free conditions holds.
      watch: Is told how far it is.

    Returns:
      For each place its likeliest conditions, the best first; None if some place is idle.
    """
    holds = free.copy()
    found: list[list[Found]] = [[] for _ in holds]
    agreement = 0.0
    for turn in range(TURNS):
        before = [place[:1] for place in found]
        for i in range(len(holds)):
            gain = task.gain(form, holds, i)
            kept = [Found(float(gain[holds[i]].sum()), place.condition) for place in found[i][:1]]
            found[i] = sorted(best_conditions(task, gain) + kept, key=lambda f: -f.value)
            if not found[i]:
                return None
            holds[i] = holds_nearly(task.metrics, found[i][0].condition)
        last, agreement = agreement, task.agreement(labels_of(form, holds))
        watch(f"{form}, turn {turn + 1}: agrees on {agreement:.2%}")
        same = [p[0].condition for p in before if p] == [p[0].condition for p in found]
        if same or agreement < last + GROWTH or len(holds) == 1:
            break
    return found


def best_conditions(task: Task, gain: Float[np.ndarray, "n"]) -> list[Found]:
    """Finds the conditions that gain most, of any kind but bands."""
    deciding = np.flatnonzero(gain)
    if len(deciding) < FEWEST:
        return []
    rows = np.random.default_rng(len(deciding)).permutation(deciding)[:ROWS]
    few = gain[rows].astype(np.float32)
    found = find_nearer(task.metrics, rows, few, ALTERNATIVES)
    for metric in task.metrics:
        found += find_thresholds(metric, rows, few, ALTERNATIVES // 2)
    values, below, bounds = sweep(task.metrics[0].images[rows, 0][None], few)
    mean = Threshold("mean", None, bool(below[0]), float(bounds[0]))
    found.append(Found(float(values[0]), mean))
    found = sorted(found, key=lambda f: -f.value)[: 2 * ALTERNATIVES]
    again = [Found(_value(task.metrics, f.condition, gain), f.condition) for f in found]
    return sorted(again, key=lambda f: -f.value)[:ALTERNATIVES]


def _value(metrics: Sequence[Metric], condition: Condition, gain: Float[np.ndarray, "n"]) -> float:
    return float(gain[holds_nearly(metrics, condition)].sum())


def holds_nearly(metrics: Sequence[Metric], condition: Condition) -> Bool[np.ndarray, "n"]:
    """Says where a condition holds, by products of principal components."""
    if condition.metric == "mean":  # l1 keeps each image's sum
        assert isinstance(condition, Threshold)
        return _on_side(metrics[0].images[:, 0], condition)
    metric = next(metric for metric in metrics if metric.name == condition.metric)
    match condition:
        case Nearer(_, one, other):
            scores = metric.score(slice(None), np.array([one, other]))
            return scores[0] < scores[1]
        case Band(_, template, inside, low, high):
            scores = metric.score(slice(None), np.array([template]))[0]
            return ((low <= scores) & (scores < high)) == inside
    return _on_side(metric.score(slice(None), np.array([condition.template]))[0], condition)


def _on_side(scores: Float[np.ndarray, "n"], threshold: Threshold) -> Bool[np.ndarray, "n"]:
    return scores < threshold.bound if threshold.below else scores > threshold.bound


def measure(task: Task, form: str, found: Sequence[Sequence[Found]]) -> list[Formula]:
    """Measures the likeliest conditions exactly, and rounds their bounds.

    Returns:
      The best formula, then the best of those that differ from it in one condition.
    """
    chosen = [place[0].condition for place in found]
    holds = np.array([holds_nearly(task.metrics, condition) for condition in chosen])
    options: list[list[tuple[float, Condition]]] = [[] for _ in found]
    for _ in range(2):
        for i, place in enumerate(found):
            gain = task.gain(form, holds, i)
            several = [rounded(task.domain, f.condition, gain) for f in place[:ALTERNATIVES]]
            options[i] = sorted(several, key=lambda option: -option[0])
            chosen[i] = options[i][0][1]
            holds[i] = holds_exactly(task.domain, chosen[i])
    formulas = [Formula(form, tuple(chosen))]
    for i, place in enumerate(options):
        others = [condition for _, condition in place[1:2] if condition != chosen[i]]
        formulas += [Formula(form, (*chosen[:i], o, *chosen[i + 1 :])) for o in others]
    return formulas
