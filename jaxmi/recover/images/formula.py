"""Formulas: a form such as "first and (second or third)" with a condition in each place."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from jaxmi.programs import language as lang
from jaxmi.programs.parse import parse
from jaxmi.recover.images.conditions import Band, Condition, Nearer, Threshold

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
