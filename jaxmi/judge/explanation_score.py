"""The score of an explanation: labels kept, beside controls, and the verdict that follows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxmi import notebook
from jaxmi.explanation import verdicts
from jaxmi.explanation.scrub import Outcome
from jaxmi.explanation.verdicts import ENOUGH, HOLDS, MARGIN, NOT_SHOWN
from jaxmi.judge.mechanism_score import SHOWN, MechanismScore

LEAST = 0.01
"""A claim is empty if fewer inputs are resampled; and so is a claim that nothing matters, if its
component has less of the variance."""

RULE = (
    f"holds: at least {ENOUGH:.0%} of labels are kept, and {100 * MARGIN:.0f} points more than "
    "under any control. complete: the same also with everything else at these sites resampled. "
    f"in part: {100 * MARGIN:.0f} points more than any control, but less than {ENOUGH:.0%}. "
    "not shown: less than that. Labels are counted over the resampled inputs; empty claims do not "
    "count."
)
"""The rule from which the verdict follows, for people who read the score."""

COMPLETE, EMPTY = "complete", "empty"
"""Grades that submitted explanations have beside the verdicts of `explanation.verdicts`."""


class Trial(NamedTuple):
    """The same claims, carried out with the rest of their sites as it is, and resampled."""

    as_is: Outcome
    """Everything that no claim is about stays as it is: are the claims right?"""
    resampled: Outcome
    """Everything else at the claims' sites comes from any other input: are the claims all that
    matters there?"""

    def kept(self, rest: bool) -> float:
        """Return the share of labels kept, over all inputs, with the rest resampled or as it is."""
        return (self.resampled if rest else self.as_is).kept


@dataclass(frozen=True)
class ClaimScore:
    """The score of one claim alone. Shares are in 0..1."""

    site: str
    feature: str
    constant: bool
    """Whether the claim says that nothing matters: a constant feature, without a condition."""
    kept: float
    """Share of labels kept, of all inputs."""
    moved: float
    """Share of inputs that are resampled: those with a donor."""
    donors: float
    """Number of donors of an input that the claim is about; median."""
    bits: float
    """Mean information about such an input in the feature, in bits."""
    all_bits: float
    """Bits that identify an input: log2 of the number of the challenge's inputs."""
    activity: float
    """The component's share of the variance at its positions."""
    readouts: tuple[str, ...]
    """Readouts of the network that the feature or the condition uses."""

    @property
    def empty(self) -> str:
        """Why the claim says nothing; "" if it says something."""
        if self.moved < LEAST:
            return f"{self.moved:.1%} of inputs have a donor"
        if self.bits > self.all_bits / 2 + 1e-6:  # x alone has half of a pair's bits
            return f"the feature has {self.bits:.1f} of {self.all_bits:.1f} bits of the input"
        if self.constant and self.activity < LEAST:
            return f"the component has {self.activity:.2%} of the variance"
        return ""

    @property
    def remarks(self) -> str:
        """A line that describes the claim, for the table."""
        if self.empty:
            return f"empty: {self.empty}"
        uses = f", uses readouts {', '.join(self.readouts)}" if self.readouts else ""
        return (
            f"{self.moved:.0%} of inputs resampled, {self.bits:.1f} of {self.all_bits:.1f} bits, "
            f"{self.activity:.1%} of variance{uses}"
        )


@dataclass(frozen=True, repr=False)
class ExplanationScore:
    """The score of an explanation, with its controls. Shares are in 0..1."""

    title: str
    challenge: str
    inputs: int
    """Number of inputs on which the explanation was tested."""
    chance: float
    """Share of labels kept if labels are drawn by the network's own class shares."""
    claims: tuple[ClaimScore, ...]
    together: Trial
    """All claims. With the rest resampled, components of empty claims belong to the rest."""
    constant: Trial
    """Control: no feature matters in these components."""
    similar: Trial
    """Control: in place of each feature, a partition into similar inputs of equal granularity."""
    random: tuple[Trial, ...]
    """Control: the same features in random components of the same size. Empty if the claims are
    about all components, so that there are no others."""
    identity: Trial
    """Ceiling: every input is its own donor."""
    covered: Mapping[str, float]
    """Site -> the claimed components' share of the variance at their positions."""
    mechanism: MechanismScore
    """Verdicts on the features as variables, by exchanges between inputs with different values."""

    @property
    def counted(self) -> tuple[ClaimScore, ...]:
        """The claims that are not empty."""
        return tuple(claim for claim in self.claims if not claim.empty)

    def controls(self, rest: bool) -> dict[str, float]:
        """Return the share of labels kept, of all inputs, under each control that counts.

        A true feature keeps as many labels in any components while the rest stays as it is. So
        random components are a control only with the rest resampled, or without a feature.

        Args:
          rest: With the rest resampled.
        """
        controls = {"chance": self.chance}
        featureless = all(claim.constant for claim in self.counted)
        if not featureless:
            controls["constant feature"] = self.constant.kept(rest)
            controls["similar inputs"] = self.similar.kept(rest)
        if self.random and (rest or featureless):
            controls["random components"] = max(trial.kept(rest) for trial in self.random)
        return controls

    @property
    def grade(self) -> str:
        """`COMPLETE`, `EMPTY`, or a verdict of `explanation.verdicts`, by `RULE`."""
        if not self.counted:
            return EMPTY
        best, best_resampled = (max(self.controls(rest).values()) for rest in (False, True))
        grade = verdicts.verdict(self.together.as_is.kept_of_moved, best)
        resampled = verdicts.verdict(self.together.resampled.kept_of_moved, best_resampled)
        return COMPLETE if grade == resampled == HOLDS else grade

    @property
    def shows_mechanism(self) -> bool:
        """True if the explanation is complete and its mechanism is shown, not its labels only."""
        return self.grade == COMPLETE and self.mechanism.verdict == SHOWN

    @property
    def readouts(self) -> tuple[str, ...]:
        """Readouts of the network that the claims use."""
        return tuple(dict.fromkeys(name for claim in self.counted for name in claim.readouts))

    @property
    def verdict(self) -> str:
        """The grade and its reasons, in a line."""
        if not self.counted:
            return f"{EMPTY}: {'; '.join(dict.fromkeys(claim.empty for claim in self.claims))}"
        given = " given readouts" if self.readouts and self.grade != NOT_SHOWN else ""
        moved = self.together.as_is.moved
        among = "" if moved > 0.9995 else f" among the {moved:.1%} of inputs that are resampled"
        grade = self.grade
        if grade == COMPLETE:
            grade = "complete, mechanism shown" if self.shows_mechanism else "complete of labels"
        parts = [
            f"{grade}{given}: {self.together.as_is.kept_of_moved:.1%} of labels kept{among}"
            f" (best control: {_best(self.controls(rest=False))})",
            f"with everything else resampled {self.together.resampled.kept_of_moved:.1%}"
            f" (best control: {_best(self.controls(rest=True))})",
        ]
        if grade != NOT_SHOWN and (self.mechanism.idle or not self.shows_mechanism):
            parts.append(f"mechanism: {self.mechanism.reason}")
        if self.readouts:
            parts.append(
                f"the features use the network's own {', '.join(self.readouts)}: the claims say "
                "what matters about these, not how they depend on the input"
            )
        if empty := [f"claims[{i}]" for i, claim in enumerate(self.claims) if claim.empty]:
            parts.append(f"empty: {', '.join(empty)}")
        return "; ".join(parts)

    def __repr__(self) -> str:
        """Return the verdict."""
        return f"ExplanationScore({self.verdict!r})"

    def _repr_html_(self) -> str:
        _, *rows = self.rows()
        cells = {name: f"{as_is} / {rest}" if rest else as_is for name, as_is, rest, _ in rows}
        return notebook.table(f"{self.verdict} (labels kept / with the rest resampled)", cells)

    def metrics(self) -> dict[str, Any]:
        """Return everything as JSON types; `..._rest` is with everything else resampled."""
        names = ("title", "challenge", "inputs", "chance")
        metrics: dict[str, Any] = {name: getattr(self, name) for name in names}
        as_is, resampled = self.together
        metrics |= {"kept": as_is.kept, "kept_std": as_is.kept_std, "moved": as_is.moved}
        metrics |= {"logit_error": as_is.logit_error, "kept_rest": resampled.kept}
        metrics["kept_of_moved"] = as_is.kept_of_moved
        metrics["kept_of_moved_rest"] = resampled.kept_of_moved
        endings = ((False, ""), (True, "_rest"))
        trials = {"constant": self.constant, "resembling": self.similar, "identity": self.identity}
        for name, trial in trials.items():
            metrics |= {name + ending: trial.kept(rest) for rest, ending in endings}
        for rest, ending in endings:
            kept = [trial.kept(rest) for trial in self.random]
            metrics[f"random_mean{ending}"] = float(np.mean(kept)) if kept else None
            metrics[f"random_best{ending}"] = max(kept, default=None)
        metrics["covered"] = dict(self.covered)
        metrics["claims"] = [
            {**asdict(claim), "readouts": list(claim.readouts), "empty": claim.empty}
            for claim in self.claims
        ]
        metrics["readouts"] = list(self.readouts)
        metrics |= {"grade": self.grade, "verdict": self.verdict, "rule": RULE}
        return metrics | self.mechanism.metrics()

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return a table to print: name, labels kept, the same with the rest resampled, remarks."""
        rows = [("", "labels kept", "rest resampled", "")]
        for i, claim in enumerate(self.claims):
            rows.append((f"claims[{i}] alone", f"{claim.kept:.1%}", "", claim.remarks))
        moved = f"{self.together.as_is.moved:.1%} of inputs resampled"
        partition = "control: a partition of equal granularity"
        for name, trial, remark in (
            ("all claims", self.together, moved),
            ("constant feature", self.constant, "control"),
            ("similar inputs", self.similar, partition),
            ("own activations", self.identity, "ceiling"),
        ):
            rows.append((name, f"{trial.kept(False):.1%}", f"{trial.kept(True):.1%}", remark))
        for name, reduce in (("mean", np.mean), ("best", np.max)) if self.random else ():
            as_is, rest = (f"{reduce([t.kept(r) for t in self.random]):.1%}" for r in (False, True))
            drawn = f"control, {len(self.random)} drawn"
            rows.append((f"random components, {name}", as_is, rest, drawn))
        rows.append(("chance", f"{self.chance:.1%}", f"{self.chance:.1%}", ""))
        return rows + self.mechanism.rows()


def _best(controls: Mapping[str, float]) -> str:
    name = max(controls, key=lambda name: controls[name])
    return f"{name} {controls[name]:.1%}"
