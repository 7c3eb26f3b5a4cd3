"""The verdict on one claim: a share of labels against what its control reaches."""

ENOUGH = 0.90
"""A claim holds if at least this share of labels is kept, or is predicted."""

MARGIN = 0.05
"""A share must exceed its control's by at least this much to support a claim."""

HOLDS, IN_PART, NOT_SHOWN = "holds", "in part", "not shown"

NOT_SUPPORTED = "not supported"
"""The verdict on a claim that cannot apply: it is about something that the challenge lacks."""


def verdict(value: float, control: float, enough: float = ENOUGH, margin: float = MARGIN) -> str:
    """Return whether a share of labels supports a claim.

    Args:
      value: The share of labels that the claim keeps or predicts, in 0..1.
      control: The share that its control reaches; with several controls, the largest.
      enough: The share from which the claim holds.
      margin: The share by which the control must be exceeded.

    Returns:
      `NOT_SHOWN` if the control comes within `margin`; else `HOLDS` from `enough` upwards, and
      `IN_PART` below.
    """
    if value - control < margin:
        return NOT_SHOWN
    return HOLDS if value >= enough else IN_PART
