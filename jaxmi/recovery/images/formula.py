"""Formulas on images: a form such as "first and (second or third)" with a condition in each place.

`replace_free` takes a form with free linear conditions and replaces them, one after the other, by
the conditions of the language that gain most given the others. `measure` then scores the best of
these exactly and rounds their bounds to as few digits as pay.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.programs import language as lang
from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.parse import parse
from jaxmi.recovery.evidence import Evidence
from jaxmi.recovery.images.conditions import (
    Band,
    Comparison,
    Condition,
    ScoredCondition,
    Threshold,
    find_comparisons,
    find_thresholds,
    sweep,
    where_holds,
)
from jaxmi.recovery.images.scores import Metric

# Forms.

FORMS = {
    "one": (0, 1),
    "and": (0, 0, 0, 1),
    "or": (0, 1, 1, 1),
    "all": (0, 0, 0, 0, 0, 0, 0, 1),
    "any": (0, 1, 1, 1, 1, 1, 1, 1),
    "most": (0, 0, 0, 1, 0, 1, 1, 1),
    "first and": (0, 0, 0, 0, 0, 1, 1, 1),
    "first or": (0, 0, 0, 1, 1, 1, 1, 1),
}
"""Form -> its label for each combination of conditions, the first condition being the highest bit.
Up to the order of conditions these are all thresholds on sums of one to three conditions."""

_TEXTS = {
    "one": "{}",
    "and": "{} and {}",
    "or": "{} or {}",
    "all": "{} and {} and {}",
    "any": "{} or {} or {}",
    "first and": "{} and ({} or {})",
    "first or": "{} or {} and {}",
}

IDLE = 0.02
"""A condition is idle if dropping it changes less than this share of the labels. Fair challenges
have no idle condition."""


def condition_count(form: str) -> int:
    """Return the number of conditions of a form."""
    return int(np.log2(len(FORMS[form])))


def form_labels(form: str, holds: Bool[np.ndarray, "conditions n"]) -> Bool[np.ndarray, "n"]:
    """Return a form's labels, given where each condition holds."""
    return np.array(FORMS[form], bool)[_combinations(holds)]


def label_changes(
    form: str, holds: Bool[np.ndarray, "conditions n"], i: int
) -> Int[np.ndarray, "n"]:
    """Return 1 where the label is 1 just if condition i holds, 0 where it does not depend on it."""
    table = np.array(FORMS[form])
    bit = 1 << (len(holds) - 1 - i)
    combinations = _combinations(holds)
    return table[combinations | bit] - table[combinations & ~bit]


def drop_idle(
    form: str, holds: Bool[np.ndarray, "conditions n"]
) -> tuple[str, Bool[np.ndarray, "fewer n"]] | None:
    """Drop the condition that changes the fewest labels; None if no condition is idle.

    Returns:
      The form of the other conditions, and where they hold.
    """
    names = {table: name for name, table in FORMS.items()}
    cube = np.array(FORMS[form]).reshape((2,) * len(holds))
    best: tuple[float, str, Bool[np.ndarray, "fewer n"]] | None = None
    for i in range(len(holds) if len(holds) > 1 else 0):
        for value in (0, 1):
            name = names.get(tuple(cube.take(value, axis=i).reshape(-1).tolist()))
            if name is not None:
                others = np.delete(holds, i, axis=0)
                changed = float((form_labels(name, others) != form_labels(form, holds)).mean())
                if best is None or changed < best[0]:
                    best = changed, name, others
    return best[1:] if best is not None and best[0] < IDLE else None


def _combinations(holds: Bool[np.ndarray, "conditions n"]) -> Int[np.ndarray, "n"]:
    """Return each image's index into a form's table."""
    weights = 1 << np.arange(len(holds))[::-1]
    return (holds * weights[:, None]).sum(axis=0)


# Formulas.

TEMPLATE_NATS = float(np.log(60_000))
DIGIT_NATS = float(np.log(10))
NODE_NATS = 2.5
"""Cost of an operator, a metric or a direction in nats."""


@dataclass(frozen=True)
class Formula:
    """A form and its conditions."""

    form: str
    conditions: tuple[Condition, ...]

    @property
    def nats(self) -> float:
        """Cost of templates, digits and operators in nats."""
        own = sum(map(_condition_nats, self.conditions))
        return own + NODE_NATS * (len(self.conditions) - 1 + (self.form == "most"))

    def program(self) -> lang.Program:
        """Return the formula as a program."""
        texts = [_condition_text(condition) for condition in self.conditions]
        if self.form == "most":
            adds = "".join(f"if {text}:\n    z += 1\n" for text in texts)
            return parse(f"z = 0\n{adds}return z >= 2", "image")
        return parse(f"return {_TEXTS[self.form].format(*texts)}", "image")


def _condition_nats(condition: Condition) -> float:
    match condition:
        case Comparison():
            return 2 * TEMPLATE_NATS + 2 * NODE_NATS
        case Band(low=low, high=high):
            digits = _digit_count(low) + _digit_count(high)
            return TEMPLATE_NATS + 3 * NODE_NATS + DIGIT_NATS * digits
    template = 0.0 if condition.template is None else TEMPLATE_NATS
    return template + 2 * NODE_NATS + DIGIT_NATS * _digit_count(condition.bound)


def _digit_count(value: float) -> int:
    """Return the number of significant digits."""
    return len(f"{value:.12e}".split("e")[0].replace(".", "").strip("-").rstrip("0")) or 1


def _condition_text(condition: Condition) -> str:
    match condition:
        case Comparison(metric, first, second):
            return f"{_score_text(metric, first)} < {_score_text(metric, second)}"
        case Band(metric, template, inside, low, high):
            score = _score_text(metric, template)
            band = f"{_number_text(low)} <= {score} < {_number_text(high)}"
            return band if inside else f"not {band}"
        case Threshold(metric, template, below, bound):
            sign = "<" if below else ">"
            return f"{_score_text(metric, template)} {sign} {_number_text(bound)}"


def _score_text(metric: str, template: int | None) -> str:
    return f"{metric}(image)" if template is None else f"{metric}(image, template({template}))"


def _number_text(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.12g}"


# Exact scores, and bounds with few digits.

MAX_DIGITS = 3
"""Largest number of digits of a bound."""

TAIL = 0.01
"""Bounds lie between this quantile of the scores and 1 minus it."""


def holds_exactly(domain: ImageDomain, condition: Condition) -> Bool[np.ndarray, "n"]:
    """Return the images where a condition holds by exact scores."""

    def score(metric: str, templates: Sequence[int | None]) -> Float[np.ndarray, "t n"]:
        return np.stack([_exact_scores(domain, metric, template) for template in templates])

    return where_holds(condition, score)


def _exact_scores(domain: ImageDomain, metric: str, template: int | None) -> Float[np.ndarray, "n"]:
    arguments = (None,) if template is None else (None, template)
    return domain.call(metric, arguments).astype(np.float64)


def round_bounds(
    domain: ImageDomain, condition: Condition, gain: Float[np.ndarray, "n"]
) -> ScoredCondition:
    """Choose a condition's bounds again, by exact scores and with few digits.

    Args:
      domain: The images.
      condition: A condition whose bounds are ignored; a comparison has none.
      gain: What each image gains in nats if the condition holds.

    Returns:
      The condition and its gain less the cost of its digits.
    """
    if isinstance(condition, Comparison):
        return ScoredCondition(float(gain[holds_exactly(domain, condition)].sum()), condition)
    scores = _exact_scores(domain, condition.metric, condition.template)
    order = np.argsort(scores, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(gain[order])])
    bounds, digits = _short_numbers(*np.quantile(scores, (TAIL, 1 - TAIL)).tolist())
    holds_above = isinstance(condition, Threshold) and not condition.below
    side = "right" if holds_above else "left"  # at a bound, neither `<` nor `>` holds
    below = sums[np.searchsorted(scores[order], bounds, side)]
    cost = DIGIT_NATS * digits
    if isinstance(condition, Threshold):
        values = (sums[-1] - below if holds_above else below) - cost
        best = int(values.argmax())
        return ScoredCondition(float(values[best]), condition._replace(bound=float(bounds[best])))
    sign = 1 if condition.inside else -1
    starts = -sign * below - cost
    values = np.maximum.accumulate(starts) + sign * below - cost
    end = int(values.argmax())
    start = int(starts[: end + 1].argmax())
    base = 0.0 if condition.inside else float(sums[-1])
    band = condition._replace(low=float(bounds[start]), high=float(bounds[end]))
    return ScoredCondition(base + float(values[end]), band)


def _short_numbers(
    low: float, high: float
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Return all numbers of few digits between two bounds, sorted, and their numbers of digits."""
    largest = max(abs(low), abs(high), 1e-9)
    digit_counts: dict[float, int] = {}
    for exponent in range(int(np.floor(np.log10(largest))), -5, -1):
        for digits in range(1, MAX_DIGITS + 1):
            decimals = digits - 1 - exponent
            for mantissa in range(10 ** (digits - 1), 10**digits):
                value = float(f"{mantissa}e{-decimals}")
                if low <= value <= high:
                    digit_counts.setdefault(value, digits)
    values = np.array(sorted(digit_counts) or [low])
    return values, np.array([digit_counts.get(value, MAX_DIGITS) for value in values], float)


# Conditions for a form.

ROWS = 8_000
"""Images on which conditions are searched; the best are scored on all images."""

ALTERNATIVES = 6
"""Conditions kept, and measured exactly, for each place."""

TURNS = 3
"""Largest number of times that all conditions are searched, given the others."""

LEAST_GROWTH = 0.0005
"""A turn that adds less to the agreement is the last."""

LEAST_DECIDED = 100
"""A place is idle if its condition decides the label of fewer images."""


@dataclass(frozen=True, eq=False)
class Task:
    """The input of a search for conditions."""

    domain: ImageDomain
    metrics: Sequence[Metric]
    evidence: Evidence

    costs: Float[np.ndarray, "n"]
    """Cost of contradicting each prediction, in nats."""

    def gain(
        self, form: str, holds: Bool[np.ndarray, "conditions n"], i: int
    ) -> Float[np.ndarray, "n"]:
        """Return what each image gains in nats if condition i holds, given the others."""
        sign = np.where(self.evidence.labels, 1.0, -1.0)
        return sign * self.costs * label_changes(form, holds, i)

    def agreement(self, labels: Bool[np.ndarray, "n"]) -> float:
        """Return the share of predictions that agree with labels."""
        return float((labels == self.evidence.labels).mean())


def replace_free(
    task: Task,
    form: str,
    free: Bool[np.ndarray, "conditions n"],
    report: Callable[[str], None],
) -> list[list[ScoredCondition]] | None:
    """Replace a form's free conditions, one after the other, by the best of the language.

    Args:
      task: The predictions to explain.
      form: One of `FORMS`.
      free: Where each of its free conditions holds.
      report: Receives a line of progress after each turn.

    Returns:
      The best conditions for each place, the best first; None if a place is idle.
    """
    holds = free.copy()
    places: list[list[ScoredCondition]] = [[] for _ in holds]
    agreement = 0.0
    for turn in range(TURNS):
        before = [place[0].condition for place in places if place]
        for i, place in enumerate(places):
            gain = task.gain(form, holds, i)
            current = [
                ScoredCondition(float(gain[holds[i]].sum()), scored.condition)
                for scored in place[:1]
            ]
            places[i] = _by_gain(best_conditions(task, gain) + current)
            if not places[i]:
                return None
            holds[i] = holds_approximately(task.metrics, places[i][0].condition)
        last, agreement = agreement, task.agreement(form_labels(form, holds))
        report(f"{form}, turn {turn + 1}: agrees on {agreement:.2%}")
        is_unchanged = before == [place[0].condition for place in places]
        if is_unchanged or agreement < last + LEAST_GROWTH or len(holds) == 1:
            break
    return places


def best_conditions(task: Task, gain: Float[np.ndarray, "n"]) -> list[ScoredCondition]:
    """Return the thresholds and comparisons that gain most, best first; none if a place is idle.

    Args:
      task: The predictions to explain.
      gain: What each image gains in nats if the condition holds.
    """
    decided = np.flatnonzero(gain)
    if len(decided) < LEAST_DECIDED:
        return []
    rows = np.random.default_rng(len(decided)).permutation(decided)[:ROWS]
    row_gain = gain[rows].astype(np.float32)
    scored = find_comparisons(task.metrics, rows, row_gain, ALTERNATIVES)
    for metric in task.metrics:
        scored += find_thresholds(metric, rows, row_gain, ALTERNATIVES // 2)
    values, below, bounds = sweep(task.metrics[0].images[rows, 0][None], row_gain)
    mean = Threshold("mean", None, bool(below[0]), float(bounds[0]))
    scored.append(ScoredCondition(float(values[0]), mean))
    conditions = [candidate.condition for candidate in _by_gain(scored)[: 2 * ALTERNATIVES]]
    masks = [holds_approximately(task.metrics, condition) for condition in conditions]
    gains = [float(gain[mask].sum()) for mask in masks]
    return _by_gain(list(map(ScoredCondition, gains, conditions)))[:ALTERNATIVES]


def _by_gain(scored: list[ScoredCondition]) -> list[ScoredCondition]:
    return sorted(scored, key=lambda candidate: -candidate.gain)


def holds_approximately(metrics: Sequence[Metric], condition: Condition) -> Bool[np.ndarray, "n"]:
    """Return the images where a condition holds by products of principal components."""

    def score(name: str, templates: Sequence[int | None]) -> Float[np.ndarray, "t n"]:
        if name == "mean":  # l1 keeps each image's sum
            return metrics[0].images[:, 0][None]
        metric = next(metric for metric in metrics if metric.name == name)
        return metric.score(slice(None), np.array(templates))

    return where_holds(condition, score)


def measure(task: Task, form: str, places: Sequence[Sequence[ScoredCondition]]) -> list[Formula]:
    """Score the best conditions for each place exactly, and round their bounds.

    Args:
      task: The predictions to explain.
      form: One of `FORMS`.
      places: Conditions for each of its places, the best first.

    Returns:
      The best formula, then the best of those that differ from it in one condition.
    """
    chosen = [place[0].condition for place in places]
    holds = np.array([holds_approximately(task.metrics, condition) for condition in chosen])
    options: list[list[ScoredCondition]] = [[] for _ in places]
    for _ in range(2):
        for i, place in enumerate(places):
            gain = task.gain(form, holds, i)
            conditions = [scored.condition for scored in place[:ALTERNATIVES]]
            options[i] = _by_gain([round_bounds(task.domain, c, gain) for c in conditions])
            chosen[i] = options[i][0].condition
            holds[i] = holds_exactly(task.domain, chosen[i])
    formulas = [Formula(form, tuple(chosen))]
    for i, place in enumerate(options):
        others = [scored.condition for scored in place[1:2] if scored.condition != chosen[i]]
        formulas += [Formula(form, (*chosen[:i], other, *chosen[i + 1 :])) for other in others]
    return formulas
