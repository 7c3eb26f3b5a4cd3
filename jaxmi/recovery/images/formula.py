"""Replaces a form's free conditions, one after the other, by the best of the language.

Formulas: a form such as "first and (second or third)" with a condition in each place.

Conditions measured exactly, and their constants rounded: to as few digits as will do.
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
    Condition,
    Found,
    Nearer,
    Threshold,
    find_nearer,
    find_thresholds,
    sweep,
)
from jaxmi.recovery.images.scores import Metric

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
"""Form -> its label by which conditions hold; the first condition is the highest bit. These are all
that sums of one to three conditions come to."""

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
"""A condition is idle if its being left out changes less than this share of the labels; fair
challenges have none."""

TEMPLATE_NATS = float(np.log(60_000))
DIGIT_NATS = float(np.log(10))
NODE_NATS = 2.5
"""What an operator, a metric or a direction costs."""


@dataclass(frozen=True)
class Formula:
    """A form, and its conditions."""

    form: str
    conditions: tuple[Condition, ...]

    @property
    def nats(self) -> float:
        """What it costs as a description: templates, digits, operators."""
        own = sum(map(_nats, self.conditions))
        return own + NODE_NATS * (len(self.conditions) - 1 + (self.form == "most"))

    def program(self) -> lang.Program:
        """Writes it down."""
        texts = [_text(condition) for condition in self.conditions]
        if self.form == "most":
            adds = "".join(f"if {text}:\n    z += 1\n" for text in texts)
            return parse(f"z = 0\n{adds}return z >= 2", "image")
        return parse(f"return {_TEXTS[self.form].format(*texts)}", "image")


def labels_of(form: str, holds: Bool[np.ndarray, "conditions n"]) -> Bool[np.ndarray, "n"]:
    """Computes labels from where each condition holds."""
    return np.array(FORMS[form], bool)[_places(holds)]


def turned(form: str, holds: Bool[np.ndarray, "conditions n"], i: int) -> Int[np.ndarray, "n"]:
    """Says what condition i does to each label: 1 where its holding makes it 1."""
    table = np.array(FORMS[form])
    bit = 1 << (len(holds) - 1 - i)
    places = _places(holds)
    return table[places | bit] - table[places & ~bit]


def shortened(
    form: str, holds: Bool[np.ndarray, "conditions n"]
) -> tuple[str, Bool[np.ndarray, "fewer n"]] | None:
    """Leaves out the condition that matters least; None if all of them matter."""
    names = {table: name for name, table in FORMS.items()}
    cube = np.array(FORMS[form]).reshape((2,) * len(holds))
    best: tuple[float, str, Bool[np.ndarray, "fewer n"]] | None = None
    for i in range(len(holds) if len(holds) > 1 else 0):
        for value in (0, 1):
            name = names.get(tuple(cube.take(value, axis=i).reshape(-1).tolist()))
            if name is not None:
                others = np.delete(holds, i, axis=0)
                changed = float((labels_of(name, others) != labels_of(form, holds)).mean())
                if best is None or changed < best[0]:
                    best = changed, name, others
    return best[1:] if best is not None and best[0] < IDLE else None


def _places(holds: Bool[np.ndarray, "conditions n"]) -> Int[np.ndarray, "n"]:
    weights = 1 << np.arange(len(holds))[::-1]
    return (holds * weights[:, None]).sum(axis=0)


def _nats(condition: Condition) -> float:
    match condition:
        case Nearer():
            return 2 * TEMPLATE_NATS + 2 * NODE_NATS
        case Band(low=low, high=high):
            return TEMPLATE_NATS + 3 * NODE_NATS + DIGIT_NATS * (_digits(low) + _digits(high))
    template = 0.0 if condition.template is None else TEMPLATE_NATS
    return template + 2 * NODE_NATS + DIGIT_NATS * _digits(condition.bound)


def _digits(value: float) -> int:
    """How many significant digits a number has."""
    return len(f"{value:.12e}".split("e")[0].replace(".", "").strip("-").rstrip("0")) or 1


def _text(condition: Condition) -> str:
    match condition:
        case Nearer(metric, one, other):
            return f"{_score(metric, one)} < {_score(metric, other)}"
        case Band(metric, template, inside, low, high):
            band = f"{_number(low)} <= {_score(metric, template)} < {_number(high)}"
            return band if inside else f"not {band}"
        case Threshold(metric, template, below, bound):
            return f"{_score(metric, template)} {'<' if below else '>'} {_number(bound)}"


def _score(metric: str, template: int | None) -> str:
    return f"{metric}(image)" if template is None else f"{metric}(image, template({template}))"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.12g}"


DIGITS = 3
"""The most digits that a bound may have."""

MARGIN = 0.01
"""Bounds lie between these quantiles, counted from both ends."""


def exact_scores(domain: ImageDomain, metric: str, template: int | None) -> Float[np.ndarray, "n"]:
    """Computes a metric between all images and a template."""
    arguments = (None,) if template is None else (None, template)
    return domain.call(metric, arguments).astype(np.float64)


def holds_exactly(domain: ImageDomain, condition: Condition) -> Bool[np.ndarray, "n"]:
    """Says where a condition holds."""
    match condition:
        case Nearer(metric, one, other):
            return exact_scores(domain, metric, one) < exact_scores(domain, metric, other)
        case Band(metric, template, inside, low, high):
            scores = exact_scores(domain, metric, template)
            return ((low <= scores) & (scores < high)) == inside
        case Threshold(metric, template, below, bound):
            scores = exact_scores(domain, metric, template)
            return scores < bound if below else scores > bound


def rounded(
    domain: ImageDomain, condition: Condition, gain: Float[np.ndarray, "n"]
) -> tuple[float, Condition]:
    """Chooses a condition's bounds again, exactly and with few digits.

    Args:
      domain: The images.
      condition: Its own bounds are forgotten.
      gain: In nats, what it gains if the condition holds, of each image.

    Returns:
      What it gains, less what its digits cost; and the condition.
    """
    if isinstance(condition, Nearer):
        return float(gain[holds_exactly(domain, condition)].sum()), condition
    scores = exact_scores(domain, condition.metric, condition.template)
    order = np.argsort(scores, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(gain[order])])
    bounds, digits = _round_numbers(*np.quantile(scores, (MARGIN, 1 - MARGIN)).tolist())
    above = isinstance(condition, Threshold) and not condition.below
    side = "right" if above else "left"  # at a bound, neither `<` nor `>` holds
    below = sums[np.searchsorted(scores[order], bounds, side)]
    cost = DIGIT_NATS * digits
    if isinstance(condition, Threshold):
        values = (sums[-1] - below if above else below) - cost
        best = int(values.argmax())
        return float(values[best]), condition._replace(bound=float(bounds[best]))
    sign = 1 if condition.inside else -1
    low = np.maximum.accumulate(-sign * below - cost)
    values = low + sign * below - cost
    end = int(values.argmax())
    start = int((-sign * below - cost)[: end + 1].argmax())
    whole = 0.0 if condition.inside else float(sums[-1])
    ends = {"low": float(bounds[start]), "high": float(bounds[end])}
    return whole + float(values[end]), condition._replace(**ends)


def _round_numbers(
    low: float, high: float
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """All numbers of up to three digits within bounds, sorted, and how many digits each has."""
    largest = max(abs(low), abs(high), 1e-9)
    found: dict[float, int] = {}
    for exponent in range(int(np.floor(np.log10(largest))), -5, -1):
        for digits in range(1, DIGITS + 1):
            places = digits - 1 - exponent
            first, last = 10 ** (digits - 1), 10**digits
            for whole in range(first, last):
                value = float(f"{whole}e{-places}")
                if low <= value <= high:
                    found.setdefault(value, digits)
    values = np.array(sorted(found) or [low])
    return values, np.array([found.get(value, DIGITS) for value in values], float)


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
