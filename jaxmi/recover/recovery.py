"""From a network's answers to a program, with runners-up and a statement of how sure it is."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxmi.programs.domain import Domain, PairDomain
from jaxmi.programs.show import show
from jaxmi.recover.candidates import Candidate
from jaxmi.recover.confidence import Judgement, judge
from jaxmi.recover.evidence import Evidence
from jaxmi.recover.images.search import find_image_programs
from jaxmi.recover.pairs.search import find_pair_programs

RUNNERS_UP = 3


@dataclass(frozen=True, eq=False)
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
