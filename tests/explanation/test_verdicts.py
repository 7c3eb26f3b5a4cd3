"""The verdict on a claim depends on its share of labels and on its control's."""

import pytest

from jaxmi.explanation.verdicts import HOLDS, IN_PART, NOT_SHOWN, verdict


@pytest.mark.parametrize(
    ("value", "control", "expected"),
    [(0.95, 0.5, HOLDS), (0.9, 0.85, HOLDS), (0.89, 0.5, IN_PART), (0.95, 0.91, NOT_SHOWN),
     (0.5, 0.6, NOT_SHOWN)],
)  # fmt: skip
def test_a_verdict_needs_a_high_share_and_a_lower_control(value, control, expected) -> None:
    assert verdict(value, control) == expected
