"""From a network's answers to a program, with runners-up and a statement of how sure it is.

How sure a recovery is: the chance that its labels agree with the true ones on 99.5 % or more.

What speaks against a program: that it costs much, because it memorises or leaves answers
unexplained; that it contradicts answers of which the network is sure; that others cost hardly more
and say something else; of images, that free conditions agree better. Each gives a factor. The
numbers are from challenges with even seeds, see docs/recover.md; without logits they are guesses.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxmi import notebook
from jaxmi.programs.domain import Domain, PairDomain
from jaxmi.programs.language import Kind
from jaxmi.programs.show import show
from jaxmi.recovery.evidence import Candidate, Evidence
from jaxmi.recovery.images.search import find_image_programs
from jaxmi.recovery.pairs.search import find_pair_programs

CLOSE = 0.005
"""Programs that differ on no larger share of the inputs count as one."""

HALFWAY = {
    ("pairs", True): (0.04, 0.01),
    ("pairs", False): (0.055, 0.03),
    ("image", True): (0.06, 0.01),
    ("image", False): (0.09, 0.08),
}
"""By kind, and by whether logits are known: at how many nats an input, and at what share of
contradicted sure answers, a program is as likely wrong as right."""

STEEPNESS = 5
"""The power of the odds in either figure."""

SHORT, SCALE = 0.012, 0.003
"""At how much less agreement than free conditions have a program is as likely wrong as right; and
within how much that changes."""


class Judgement(NamedTuple):
    """How sure a recovery is, and why."""

    confidence: float
    """In 0..1."""

    reasons: tuple[str, ...]
    """One sentence for each factor."""


def judge(
    candidates: Sequence[Candidate],
    evidence: Evidence,
    kind: Kind,
    free_agreement: float | None = None,
) -> Judgement:
    """Says how likely it is that the first candidate is what a network was trained on.

    Args:
      candidates: The best first, at least one.
      evidence: The network's answers.
      kind: What the programs label.
      free_agreement: Of images, the share of the answers that free conditions give.
    """
    best, n = candidates[0], len(evidence.labels)
    cost_half, unexplained_half = HALFWAY[kind, evidence.margins_known]
    cost, unexplained = best.cost / n, evidence.unexplained(best.labels)
    rivals = [one for one in candidates[1:] if (one.labels != best.labels).mean() > CLOSE]
    odds = sum(float(np.exp(best.cost - one.cost)) for one in rivals)
    sure = "the surest answers" if evidence.margins_known else "the answers"
    more = min((one.cost for one in rivals), default=np.inf) - best.cost
    rival = f"costs {more:,.0f} nats more" if rivals else "was not found"
    judged = [
        (
            _below(cost, cost_half),
            f"program and mistakes cost {best.cost:,.0f} nats, {cost:.3f} an input; "
            f"even odds at {cost_half}",
        ),
        (
            _below(unexplained, unexplained_half),
            f"it contradicts {unexplained:.2%} of {sure}; even odds at {unexplained_half:.1%}",
        ),
        (1 / (1 + odds), f"a program that differs on more than {CLOSE:.1%} of the inputs {rival}"),
    ]
    if free_agreement is not None:
        agreement = float((best.labels == evidence.labels).mean())
        judged.append(
            (
                float(1 / (1 + np.exp((free_agreement - SHORT - agreement) / SCALE))),
                f"it agrees with {agreement:.2%} of the answers, free conditions with "
                f"{free_agreement:.2%}; even odds at {SHORT:.1%} less than they",
            )
        )
    factors, reasons = zip(*judged, strict=True)
    return Judgement(float(np.prod(factors)), tuple(reasons))


def _below(value: float, half: float) -> float:
    return 1 / (1 + (value / half) ** STEEPNESS)


RUNNERS_UP = 3


@dataclass(frozen=True, eq=False, repr=False)
class Recovery:
    """What was recovered from a network's answers."""

    evidence: Evidence
    candidates: tuple[Candidate, ...]
    """Programs, the best first."""

    judgement: Judgement
    """Whether the first is what the network was trained on."""

    seconds: float
    scored: int
    """How many features and thresholds were scored."""

    @property
    def best(self) -> Candidate:
        """The program that was recovered."""
        return self.candidates[0]

    @property
    def found(self) -> bool:
        """Says whether it is more likely than not."""
        return self.judgement.confidence > 0.5

    @property
    def program(self) -> str:
        """The text of the recovered program."""
        return show(self.best.program)

    @property
    def confidence(self) -> float:
        """How likely it is, in 0..1, that the network was trained on this program."""
        return self.judgement.confidence

    @property
    def runners_up(self) -> tuple[Candidate, ...]:
        """The next best programs, the best first."""
        return self.candidates[1:]

    def __repr__(self) -> str:
        """Show the program, and how sure it is."""
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
        """Returns the share of inputs to which the program gives such labels."""
        return float((self.best.labels == labels).mean())

    def figures(self) -> dict[str, Any]:
        """Returns everything as JSON types."""
        return {
            "program": show(self.best.program),
            "found": self.found,
            "confidence": round(self.judgement.confidence, 3),
            "why": list(self.judgement.reasons),
            "agreement_network": self.agreement(self.evidence.labels),
            "description_length": self.best.program.size,
            "nats": round(self.best.cost, 1),
            "seconds": round(self.seconds, 1),
            "candidates": self.scored,
            "candidates_per_second": round(self.scored / self.seconds),
            "runners_up": [self._runner_up(one) for one in self.candidates[1:]],
        }

    def _runner_up(self, candidate: Candidate) -> dict[str, Any]:
        return {
            "program": show(candidate.program),
            "agreement_network": float((candidate.labels == self.evidence.labels).mean()),
            "differs": int((candidate.labels != self.best.labels).sum()),
            "description_length": candidate.program.size,
            "nats": round(candidate.cost, 1),
        }


def recover(domain: Domain, evidence: Evidence) -> Recovery:
    """Recovers the program that a network was trained on, from its answers.

    Args:
      domain: What programs label.
      evidence: The network's answers on it.
    """
    began = time.perf_counter()
    free = None
    if isinstance(domain, PairDomain):
        candidates, scored = find_pair_programs(evidence)
    else:
        findings = find_image_programs(domain, evidence)
        candidates, scored = findings.candidates, findings.scored
        free = findings.free_agreement
    candidates = candidates[: 1 + RUNNERS_UP]
    return Recovery(
        evidence,
        tuple(candidates),
        judge(candidates, evidence, domain.kind, free),
        time.perf_counter() - began,
        scored,
    )
