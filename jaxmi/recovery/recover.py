"""From a network's predictions to a program, with runners-up and a calibrated confidence.

`recover` runs the search for the domain's kind and judges what it found. A new kind of domain needs
one entry in `METHODS`.

Confidence is the probability that the program agrees with at least 99.5 % of the true labels. It is
a product of factors, one for each thing that counts against a program:

- It is expensive, because it memorises or leaves predictions unexplained.
- It contradicts confident predictions.
- A program with other labels costs hardly more.
- On images, free linear conditions agree better.

The constants were fitted on challenges with even seeds (docs/recover.md). Those that apply without
logits are guesses.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxmi import notebook
from jaxmi.programs.domain import Domain
from jaxmi.programs.language import Kind
from jaxmi.programs.show import show
from jaxmi.recovery.evidence import Candidate, Evidence, Findings
from jaxmi.recovery.images.search import find_image_programs
from jaxmi.recovery.numbers.search import find_number_programs
from jaxmi.settings import with_fixed_settings


class EvenOdds(NamedTuple):
    """Values at which a program is as likely wrong as right."""

    cost: float
    """Cost in nats per input."""

    contradiction_rate: float
    """Share of the confident predictions that the program contradicts."""


class Method(NamedTuple):
    """The search and the even odds for one kind of domain."""

    search: Callable[[Any, Evidence], Findings]
    """Searches the programs on a domain of this kind."""

    with_margins: EvenOdds
    without_margins: EvenOdds

    def even_odds(self, evidence: Evidence) -> EvenOdds:
        """Return the values that apply to evidence with or without logits."""
        return self.with_margins if evidence.margins_known else self.without_margins


_OF_NUMBERS = EvenOdds(0.04, 0.01), EvenOdds(0.055, 0.03)

METHODS: dict[Kind, Method] = {
    "pairs": Method(find_number_programs, *_OF_NUMBERS),
    "triples": Method(find_number_programs, *_OF_NUMBERS),
    "image": Method(find_image_programs, EvenOdds(0.06, 0.01), EvenOdds(0.09, 0.08)),
}
"""Kind of domain -> how its programs are searched and judged."""

CLOSE = 0.005
"""Programs whose labels differ on at most this share of the inputs count as one."""

STEEPNESS = 5
"""Odds fall with this power of the cost and of the contradiction rate."""

FREE_MIDPOINT, FREE_SCALE = 0.012, 0.003
"""Midpoint and scale of the logistic penalty on the agreement gap to free linear conditions."""

RUNNERS_UP = 3
"""Number of further candidates that a recovery keeps."""


class Judgement(NamedTuple):
    """The confidence in a recovered program, and the reasons for it."""

    confidence: float
    """Probability that the program agrees with at least 99.5 % of the true labels."""

    reasons: tuple[str, ...]
    """One sentence per factor."""


@dataclass(frozen=True, eq=False, repr=False)
class Recovery:
    """A recovered program, with runners-up and the confidence in it."""

    evidence: Evidence
    candidates: tuple[Candidate, ...]
    """Candidate programs, the best first."""

    judgement: Judgement
    """The confidence in the first candidate."""

    seconds: float
    """Duration of the search."""

    scored: int
    """Number of features, thresholds or conditions that the search scored."""

    @property
    def best(self) -> Candidate:
        """The recovered program."""
        return self.candidates[0]

    @property
    def found(self) -> bool:
        """True if the recovered program is more likely right than wrong."""
        return self.confidence > 0.5

    @property
    def program(self) -> str:
        """The text of the recovered program."""
        return show(self.best.program)

    @property
    def confidence(self) -> float:
        """Probability that the program agrees with at least 99.5 % of the true labels."""
        return self.judgement.confidence

    @property
    def runners_up(self) -> tuple[Candidate, ...]:
        """The next best programs, the best first."""
        return self.candidates[1:]

    def __repr__(self) -> str:
        """Show the program and its confidence."""
        return f"Recovery({self._summary()}):\n{self.program}"

    def _repr_html_(self) -> str:
        others = {f"runner-up {i}": show(c.program) for i, c in enumerate(self.runners_up, 1)}
        return (
            notebook.table(self._summary(), {})
            + notebook.code(self.program)
            + "".join(
                f"<details><summary>{name}</summary>{notebook.code(text)}</details>"
                for name, text in others.items()
            )
        )

    def _summary(self) -> str:
        found = "found" if self.found else "not found"
        agreement = self.agreement(self.evidence.labels)
        return f"{found}, confidence {self.confidence:.2f}, {agreement:.2%} of the network's labels"

    def agreement(self, labels: Bool[np.ndarray, "n"]) -> float:
        """Return the share of inputs on which the program agrees with labels."""
        return float((self.best.labels == labels).mean())

    def to_json(self) -> dict[str, Any]:
        """Return what `recovery.json` holds, as JSON types."""
        return {
            "program": self.program,
            "found": self.found,
            "confidence": round(self.confidence, 3),
            "why": list(self.judgement.reasons),
            "agreement_network": self.agreement(self.evidence.labels),
            "description_length": self.best.program.size,
            "nats": round(self.best.cost, 1),
            "seconds": round(self.seconds, 1),
            "candidates": self.scored,
            "candidates_per_second": round(self.scored / self.seconds),
            "runners_up": [self._runner_up(candidate) for candidate in self.runners_up],
        }

    def _runner_up(self, candidate: Candidate) -> dict[str, Any]:
        return {
            "program": show(candidate.program),
            "agreement_network": float((candidate.labels == self.evidence.labels).mean()),
            "differs": int((candidate.labels != self.best.labels).sum()),
            "description_length": candidate.program.size,
            "nats": round(candidate.cost, 1),
        }


@with_fixed_settings
def recover(domain: Domain, evidence: Evidence) -> Recovery:
    """Recover the program that a network was trained on from its predictions.

    Args:
      domain: The inputs that programs label.
      evidence: The network's predictions on them.
    """
    start = time.perf_counter()
    findings = METHODS[domain.kind].search(domain, evidence)
    candidates = tuple(findings.candidates[: 1 + RUNNERS_UP])
    return Recovery(
        evidence,
        candidates,
        judge(candidates, evidence, domain.kind, findings.free_agreement),
        time.perf_counter() - start,
        findings.scored,
    )


def judge(
    candidates: Sequence[Candidate],
    evidence: Evidence,
    kind: Kind,
    free_agreement: float | None = None,
) -> Judgement:
    """Return the confidence in the first candidate, and the reasons for it.

    Args:
      candidates: At least one, the best first.
      evidence: The network's predictions.
      kind: The kind of domain that the programs label.
      free_agreement: Agreement with the network of the best form with free linear conditions; None
        if there is none.
    """
    best = candidates[0]
    even_odds = METHODS[kind].even_odds(evidence)
    factors = [
        _cost_factor(best, even_odds.cost),
        _contradiction_factor(best, evidence, even_odds.contradiction_rate),
        _rival_factor(candidates),
    ]
    if free_agreement is not None:
        factors.append(_free_factor(best, evidence, free_agreement))
    probabilities, reasons = zip(*factors, strict=True)
    return Judgement(float(np.prod(probabilities)), tuple(reasons))


class _Factor(NamedTuple):
    probability: float
    reason: str


def _cost_factor(best: Candidate, even_odds: float) -> _Factor:
    cost = best.cost / len(best.labels)
    return _Factor(
        _power_law(cost, even_odds),
        f"the program and the predictions that it contradicts cost {best.cost:,.0f} nats, "
        f"{cost:.3f} per input (even odds at {even_odds})",
    )


def _contradiction_factor(best: Candidate, evidence: Evidence, even_odds: float) -> _Factor:
    rate = evidence.contradiction_rate(best.labels)
    margins = " with the largest margins" if evidence.margins_known else ""
    return _Factor(
        _power_law(rate, even_odds),
        f"the program contradicts {rate:.2%} of the predictions{margins} "
        f"(even odds at {even_odds:.1%})",
    )


def _rival_factor(candidates: Sequence[Candidate]) -> _Factor:
    """Compare the best candidate with those whose labels differ from its own."""
    best, *others = candidates
    rivals = [other for other in others if (other.labels != best.labels).mean() > CLOSE]
    odds = sum(float(np.exp(best.cost - rival.cost)) for rival in rivals)
    differing = f"whose labels differ on more than {CLOSE:.1%} of the inputs"
    if not rivals:
        return _Factor(1.0, f"the search found no program {differing}")
    gap = min(rival.cost for rival in rivals) - best.cost
    return _Factor(1 / (1 + odds), f"the best program {differing} costs {gap:,.0f} nats more")


def _free_factor(best: Candidate, evidence: Evidence, free_agreement: float) -> _Factor:
    agreement = float((best.labels == evidence.labels).mean())
    return _Factor(
        float(1 / (1 + np.exp((free_agreement - FREE_MIDPOINT - agreement) / FREE_SCALE))),
        f"the program agrees with {agreement:.2%} of the predictions, free linear conditions with "
        f"{free_agreement:.2%} (even odds where the program's share is {100 * FREE_MIDPOINT:.1f} "
        "percentage points lower)",
    )


def _power_law(value: float, even_odds: float) -> float:
    return 1 / (1 + (value / even_odds) ** STEEPNESS)
