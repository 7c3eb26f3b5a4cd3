"""The verdict on one claim: a metric, often a share of labels, against what its control reaches."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxmi.explanation.metrics import Metric

ENOUGH = 0.90
"""A claim holds if at least this share of labels is kept, or is predicted."""

MARGIN = 0.05
"""A share must exceed its control's by at least this much to support a claim."""

HOLDS, IN_PART, NOT_SHOWN = "holds", "in part", "not shown"

NOT_SUPPORTED = "not supported"
"""The verdict on a claim that cannot apply: it is about something that the challenge lacks."""


def verdict(value: float, control: float, enough: float = ENOUGH, margin: float = MARGIN) -> str:
    """Return whether a metric supports a claim.

    Args:
      value: The metric; for most claims the share of labels that it keeps or predicts, in 0..1.
      control: What its control reaches; with several controls, the largest.
      enough: The claim holds from this value on.
      margin: The value must exceed the control's by at least this much.

    Returns:
      `NOT_SHOWN` if the control comes within `margin`; else `HOLDS` from `enough` upwards, and
      `IN_PART` below.
    """
    if value - control < margin:
        return NOT_SHOWN
    return HOLDS if value >= enough else IN_PART


@dataclass(frozen=True)
class Claim:
    """A claim of a published solution, and the rule by which it is judged on one network."""

    name: str
    """Part of the names of findings."""
    text: str
    metric: Metric
    controls: tuple[Metric, ...]
    """The metric must exceed each."""
    enough: float = ENOUGH
    """The claim holds from this value on."""
    margin: float = MARGIN
    """The metric must exceed the controls by this much, for the claim to hold in part."""

    def known(self, metrics: Mapping[str, object]) -> bool:
        """Return whether a network has the metric and its controls."""
        return all(metric.key in metrics for metric in (self.metric, *self.controls))

    def bar(self, metrics: Mapping[str, int | float]) -> float:
        """Return the largest control's value."""
        return max(float(metrics[metric.key]) for metric in self.controls)

    def verdict(self, metrics: Mapping[str, int | float]) -> str:
        """Return `HOLDS`, `IN_PART` or `NOT_SHOWN`, which a network without the metric gets too."""
        if not self.known(metrics):
            return NOT_SHOWN
        value = float(metrics[self.metric.key])
        return verdict(value, self.bar(metrics), self.enough, self.margin)
