"""What interchange interventions say of an explanation: which of its variables a network holds.

A variable is what claims about one site say in common: their components carry the same feature. One
is tested by exchanging these components between inputs with different values of it, and comparing
the network's label with the label that the explanation says for the recombined values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SHOWN, IN_PART, NOT_SHOWN, NOT_TESTED = "shown", "in part", "not shown", "not tested"

ENOUGH = 0.90
"""A variable is shown if at least this share of its exchanges give the label that is said."""

MARGIN = 0.30
"""What the source's value adds must exceed what it adds in random components by this much."""

LEAST_PAIRS = 20
"""With fewer strict exchanges than this a variable is not tested."""

DETERMINED = 0.95
"""The features at a site give the label if they do on this share of the inputs."""

IDLE = 0.005
"""A claim is idle if its component, taken from any other input, changes fewer labels."""

RULE = (
    "A variable is what claims about one site carry in common. Its components are taken from an "
    "input with another value, where the explanation says a label that neither input has (strict). "
    "shown: at least "
    f"{ENOUGH:.0%} of these exchanges give that label, and {ENOUGH:.0%} of those keep the label "
    "that should; and they give it more often than with sources of the same value, by "
    f"{100 * MARGIN:.0f} points more than in random components. not shown: less. not tested: under "
    f"{LEAST_PAIRS} strict exchanges, as of a variable that alone gives the label. The mechanism "
    "is shown if every variable is, not shown if one is not, in part if some are shown and others "
    f"not tested. Claims about components that change under {IDLE:.1%} of the labels are idle and "
    "do not count."
)
"""The rule from which the verdict on the mechanism follows, for people who read the score."""


@dataclass(frozen=True)
class VariableScore:
    """The exchanges of one variable. Shares are in 0..1, and None where there are too few."""

    site: str
    claims: tuple[int, ...]
    """The claims about it, by number."""
    values: int
    """How many values it takes."""
    reason: str
    """Why it cannot be tested; "" if it was."""
    strict_pairs: int = 0
    """Exchanges for which the explanation says a label that neither input has."""
    strict: float | None = None
    """Share of these that give that label."""
    keep: float | None = None
    """The same where the base's label should stay, and the source has another."""
    follow: float | None = None
    """The same where the source's label should come, and the base has another."""
    alike: float | None = None
    """Control: the strict exchanges from sources with the base's own value. Should be 0."""
    random: float | None = None
    """Control: the strict exchanges in random components of the same size, mean over several. None
    also if the components are all that there is."""
    random_alike: float | None = None
    """The same from sources with the base's own value."""
    together: int = 1
    """How many variables the strict exchanges are of, at most: more than one if there are too few
    of this one alone."""

    @property
    def verdict(self) -> str:
        """`SHOWN`, `NOT_SHOWN` or `NOT_TESTED`, by `RULE`."""
        if self.strict is None:
            return NOT_TESTED
        enough = min(share for share in (self.strict, self.keep) if share is not None) >= ENOUGH
        assert self.effect is not None  # as `strict`
        return SHOWN if enough and self.effect >= MARGIN else NOT_SHOWN

    @property
    def effect(self) -> float | None:
        """What another value adds to the strict share, beyond what it adds in random components."""
        if self.strict is None:
            return None
        control = (self.random or 0.0) - (self.random_alike or 0.0)
        return self.strict - (self.alike or 0.0) - max(control, 0.0)

    @property
    def remarks(self) -> str:
        """A line that describes the exchanges, for the table."""
        if self.strict is None:
            return f"{NOT_TESTED}: {self.reason}"
        others = "" if self.together == 1 else f" of up to {self.together} variables"
        parts = [f"strict {self.strict:.1%} of {self.strict_pairs}{others}"]
        for name in ("keep", "follow", "alike", "random", "random_alike"):
            if (share := getattr(self, name)) is not None:
                parts.append(f"{name.replace('_', ' ')} {share:.1%}")
        return f"{self.verdict}: {', '.join(parts)}"


@dataclass(frozen=True)
class MechanismScore:
    """What exchanges say of an explanation's variables."""

    variables: tuple[VariableScore, ...]
    idle: tuple[int, ...]
    """The claims, by number, whose components change next to no label: they do not count."""
    determined: Mapping[str, float]
    """Site -> share of the inputs whose label is that of most inputs with the same features."""

    @property
    def verdict(self) -> str:
        """`SHOWN`, `IN_PART`, `NOT_SHOWN` or `NOT_TESTED`, by `RULE`."""
        found = {variable.verdict for variable in self.variables}
        if NOT_SHOWN in found:
            return NOT_SHOWN
        if found == {SHOWN}:
            return SHOWN
        return IN_PART if SHOWN in found else NOT_TESTED

    @property
    def reason(self) -> str:
        """Say which claims the verdict rests on."""
        parts = []
        for word in (NOT_SHOWN, SHOWN, NOT_TESTED):
            which = [v for v in self.variables if v.verdict == word]
            if not which:
                continue
            text = f"{word} {_claims([i for v in which for i in v.claims])}"
            reasons = dict.fromkeys(v.reason for v in which if v.reason)
            parts.append(text + (f" ({'; '.join(reasons)})" if reasons else ""))
        if not self.variables:
            parts.append("no claim names a feature of the input that matters there")
        if self.idle:
            parts.append(f"idle {_claims(self.idle)}")
        return ", ".join(parts)

    def metrics(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "mechanism_verdict": self.verdict,
            "mechanism_reason": self.reason,
            "mechanism_rule": RULE,
            "determined": dict(self.determined),
            "idle": list(self.idle),
            "variables": [
                {**asdict(one), "claims": list(one.claims), "verdict": one.verdict}
                for one in self.variables
            ],
        }

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return rows for the score's table."""
        return [(f"exchange {_claims(one.claims)}", "", "", one.remarks) for one in self.variables]


def _claims(numbers: Sequence[int]) -> str:
    """Name claims by their numbers."""
    return f"claims[{', '.join(map(str, sorted(numbers)))}]"
