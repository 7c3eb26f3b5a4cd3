"""What an explanation is worth: labels kept, beside the controls, and one rule for the verdict."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxmi.explanation.scrub import Outcome

ENOUGH = 0.90
"""An explanation holds if at least this share of labels stays."""

MARGIN = 0.05
"""By so much a share must exceed those of the controls to say anything."""

LEAST = 0.01
"""A claim that moves fewer inputs is empty; so is one that nothing matters in less activity."""

RULE = (
    f"holds: {ENOUGH:.0%} of the labels are kept, and {100 * MARGIN:.0f} points more than under "
    "any control. complete: that, and the same with everything else at these sites resampled. "
    "in part: the points, not the share. not shown: less. Labels are counted over the inputs that "
    "took something; empty claims do not count."
)
"""From which the verdict follows."""

COMPLETE, HOLDS, IN_PART, NOT_SHOWN, EMPTY = "complete", "holds", "in part", "not shown", "empty"


class Trial(NamedTuple):
    """What some claims did when they were carried out."""

    outcome: Outcome
    """Over all inputs."""
    of_moved: float
    """Share of labels kept among the inputs that took something; 1 if none did."""


class Twice(NamedTuple):
    """The same claims carried out in two surroundings."""

    alone: Trial
    """What no claim is about stays as it is: are the claims right?"""
    rest: Trial
    """All else at these sites comes from any other input: are they all that matters there?"""


@dataclass(frozen=True)
class ClaimScore:
    """One claim alone. Shares are in 0..1."""

    site: str
    feature: str
    constant: bool
    """Whether it says that nothing matters: one value for all inputs, without a condition."""
    kept: float
    """Share of labels kept, of all inputs."""
    moved: float
    """Share of inputs that took something from another."""
    donors: float
    """From how many others an input that it is about may take; median."""
    bits: float
    """How much of such an input the feature tells, on average."""
    all_bits: float
    """How much would be all of it: log2 of the number of the challenge's inputs."""
    activity: float
    """The component's share of the variance at the positions that it touches."""
    readouts: tuple[str, ...]
    """The network's own readouts on which the feature or the condition rests."""

    @property
    def empty(self) -> str:
        """Why the claim says nothing; "" if it does not."""
        if self.moved < LEAST:
            return f"{self.moved:.1%} of inputs have a donor"
        if self.bits > self.all_bits / 2 + 1e-6:  # half is what x tells of a pair
            return f"the feature tells {self.bits:.1f} of {self.all_bits:.1f} bits of the input"
        if self.constant and self.activity < LEAST:
            return f"the component holds {self.activity:.2%} of the activity"
        return ""

    @property
    def remarks(self) -> str:
        """What to know beside the labels kept."""
        if self.empty:
            return f"empty: {self.empty}"
        by = f", by readouts {', '.join(self.readouts)}" if self.readouts else ""
        return (
            f"{self.moved:.0%} moved, {self.bits:.1f} of {self.all_bits:.1f} bits told, "
            f"{self.activity:.1%} of activity{by}"
        )


@dataclass(frozen=True)
class ExplanationScore:
    """An explanation beside its controls. Shares are in 0..1."""

    title: str
    challenge: str
    inputs: int
    """How many inputs were looked at."""
    chance: float
    """How often two labels agree that are drawn by the network's own class shares."""
    claims: tuple[ClaimScore, ...]
    together: Twice
    """All claims; with the rest resampled, the components of empty claims are among the rest."""
    constant: Twice
    """Control: no feature matters in these components."""
    resembling: Twice
    """Control: in each feature's place, cells of inputs that resemble each other, as fine as it."""
    random: tuple[Twice, ...]
    """Control: the same features in random components of the same size; none if there are no others
    than those claimed."""
    identity: Twice
    """Ceiling: every input is its own donor."""
    covered: Mapping[str, float]
    """Site -> share of the variance that claims are about, at the positions that they touch."""

    @property
    def counted(self) -> tuple[ClaimScore, ...]:
        """The claims that are not empty."""
        return tuple(claim for claim in self.claims if not claim.empty)

    def controls(self, rest: bool) -> dict[str, float]:
        """Returns what must be exceeded, by name: labels kept, of all inputs.

        A true feature does as well in any components while the rest stays as it is. So random
        components are a control where the rest is resampled, or where no feature is claimed.

        Args:
          rest: With the rest resampled.
        """
        found = {"chance": self.chance}
        featureless = all(claim.constant for claim in self.counted)
        if not featureless:
            found["constant feature"] = _kept(self.constant, rest)
            found["resemblance"] = _kept(self.resembling, rest)
        if self.random and (rest or featureless):
            found["random components"] = max(_kept(twice, rest) for twice in self.random)
        return found

    @property
    def grade(self) -> str:
        """`COMPLETE`, `HOLDS`, `IN_PART`, `NOT_SHOWN` or `EMPTY`, by `RULE`."""
        if not self.counted:
            return EMPTY
        grade = _grade(self.together.alone.of_moved, self.controls(rest=False))
        rest = _grade(self.together.rest.of_moved, self.controls(rest=True))
        return COMPLETE if grade == rest == HOLDS else grade

    @property
    def readouts(self) -> tuple[str, ...]:
        """The network's own readouts on which the claims rest."""
        return tuple(dict.fromkeys(name for claim in self.counted for name in claim.readouts))

    @property
    def verdict(self) -> str:
        """What this says of the explanation, in a line."""
        if not self.counted:
            return f"{EMPTY}: {'; '.join(dict.fromkeys(claim.empty for claim in self.claims))}"
        given = " given readouts" if self.readouts and self.grade != NOT_SHOWN else ""
        moved = self.together.alone.outcome.moved
        of = "" if moved > 0.9995 else f" of the {moved:.1%} of inputs that took something"
        said = [
            f"{self.grade}{given}: {self.together.alone.of_moved:.1%} of labels kept{of}"
            f" (best control: {_best(self.controls(rest=False))})",
            f"with everything else resampled {self.together.rest.of_moved:.1%}"
            f" (best control: {_best(self.controls(rest=True))})",
        ]
        if self.readouts:
            said.append(
                f"the features rest on the network's own {', '.join(self.readouts)}: they say what "
                "of these matters, not what they are of the input"
            )
        if empty := [f"claims[{i}]" for i, claim in enumerate(self.claims) if claim.empty]:
            said.append(f"empty: {', '.join(empty)}")
        return "; ".join(said)

    def figures(self) -> dict[str, Any]:
        """Returns everything as JSON has it; `..._rest` is with everything else resampled."""
        names = ("title", "challenge", "inputs", "chance")
        found: dict[str, Any] = {name: getattr(self, name) for name in names}
        outcome = self.together.alone.outcome
        found |= {"kept": outcome.kept, "kept_std": outcome.kept_std, "moved": outcome.moved}
        found |= {"logit_error": outcome.logit_error, "kept_rest": _kept(self.together, True)}
        found["kept_of_moved"] = self.together.alone.of_moved
        found["kept_of_moved_rest"] = self.together.rest.of_moved
        for name in ("constant", "resembling", "identity"):
            for rest, ending in ((False, ""), (True, "_rest")):
                found[name + ending] = _kept(getattr(self, name), rest)
        for rest, ending in ((False, ""), (True, "_rest")):
            kept = [_kept(twice, rest) for twice in self.random]
            found[f"random_mean{ending}"] = float(np.mean(kept)) if kept else None
            found[f"random_best{ending}"] = max(kept, default=None)
        found["covered"] = dict(self.covered)
        found["claims"] = [
            {**asdict(claim), "readouts": list(claim.readouts), "empty": claim.empty}
            for claim in self.claims
        ]
        found["readouts"] = list(self.readouts)
        return {**found, "grade": self.grade, "verdict": self.verdict, "rule": RULE}

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Returns a table to print: what, labels kept, with the rest resampled, remarks."""
        rows = [("", "labels kept", "rest resampled", "")]
        for i, claim in enumerate(self.claims):
            rows.append((f"claims[{i}] alone", f"{claim.kept:.1%}", "", claim.remarks))
        moved = f"{self.together.alone.outcome.moved:.1%} of inputs took something"
        twice = [
            ("all claims", self.together, moved),
            ("constant feature", self.constant, "control"),
            ("resembling inputs", self.resembling, "control: a feature as fine, of no meaning"),
            ("own activations", self.identity, "ceiling"),
        ]
        for what, trials, remark in twice:
            kept, rest = (f"{_kept(trials, rest):.1%}" for rest in (False, True))
            rows.append((what, kept, rest, remark))
        for what, of in (("mean", np.mean), ("best", np.max)) if self.random else ():
            kept, rest = (f"{of([_kept(t, r) for t in self.random]):.1%}" for r in (False, True))
            drawn = f"control, {len(self.random)} drawn"
            rows.append((f"random components, {what}", kept, rest, drawn))
        rows.append(("chance", f"{self.chance:.1%}", f"{self.chance:.1%}", ""))
        return rows


def _kept(twice: Twice, rest: bool) -> float:
    return (twice.rest if rest else twice.alone).outcome.kept


def _grade(value: float, controls: Mapping[str, float]) -> str:
    if value - max(controls.values()) < MARGIN:
        return NOT_SHOWN
    return HOLDS if value >= ENOUGH else IN_PART


def _best(controls: Mapping[str, float]) -> str:
    name = max(controls, key=lambda name: controls[name])
    return f"{name} {controls[name]:.1%}"
