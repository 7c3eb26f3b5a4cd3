"""How sure a recovery is: the chance that its labels agree with the true ones on 99.5 % or more.

Three things speak against a program: what it costs, which is much if it memorises or leaves answers
unexplained; that it contradicts answers of which the network is sure; and others that cost hardly
more and say something else. Each gives a factor.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxmi.programs.language import Kind
from jaxmi.recover.candidates import Candidate
from jaxmi.recover.evidence import Evidence

CLOSE = 0.005
"""Programs that differ on no larger share of the inputs count as one."""

HALFWAY = {
    ("pairs", True): (0.045, 0.01),
    ("pairs", False): (0.06, 0.03),
    ("image", True): (0.06, 0.03),
    ("image", False): (0.1, 0.06),
}
"""By kind, and by whether logits are known: at how many nats an input, and at what share of sure
answers contradicted, a program is as likely wrong as right."""

STEEPNESS = 5


class Judgement(NamedTuple):
    """How sure a recovery is, and why."""

    confidence: float
    """In 0..1."""

    reasons: tuple[str, ...]
    """One sentence for each factor."""


def judge(candidates: Sequence[Candidate], evidence: Evidence, kind: Kind) -> Judgement:
    """Says how likely it is that the first candidate is what a network was trained on.

    Args:
      candidates: The best first, at least one.
      evidence: The network's answers.
      kind: What the programs label.
    """
    best, n = candidates[0], len(evidence.labels)
    cost_half, unexplained_half = HALFWAY[kind, evidence.margins_known]
    cost, unexplained = best.cost / n, evidence.unexplained(best.labels)
    rivals = [one for one in candidates[1:] if (one.labels != best.labels).mean() > CLOSE]
    odds = sum(float(np.exp(best.cost - one.cost)) for one in rivals)
    factors = (_below(cost, cost_half), _below(unexplained, unexplained_half), 1 / (1 + odds))
    sure = "of the answers of which the network is surest" if evidence.margins_known else "of all"
    rival = (
        f"costs {min(one.cost for one in rivals) - best.cost:,.0f} more" if rivals else "is none"
    )
    return Judgement(
        float(np.prod(factors)),
        (
            f"program and mistakes cost {best.cost:,.0f} nats, {cost:.3f} an input "
            f"(half as sure at {cost_half})",
            f"it contradicts {unexplained:.2%} {sure} (half as sure at {unexplained_half:.1%})",
            f"the next program that differs on more than {CLOSE:.1%} of the inputs {rival}",
        ),
    )


def _below(value: float, half: float) -> float:
    return 1 / (1 + (value / half) ** STEEPNESS)
