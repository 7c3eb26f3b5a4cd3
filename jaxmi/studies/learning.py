"""What a learning curve says of grokking."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

FITTED = 0.01
"""Training accuracy so near its maximum over the run counts as fitted."""


@dataclass(frozen=True)
class Learning:
    """One network's learning curve, summed up."""

    fit_step: int
    """The first step at which training accuracy is within `FITTED` of its maximum."""

    final: float
    """Test accuracy after the last step."""

    train_final: float
    """Training accuracy after the last step."""

    gain: float
    """How far test accuracy rises after `fit_step`, at most: near 1 where there is grokking, near 0
    where both are learned together."""


def learn(
    steps: Int[np.ndarray, "points"],
    train: Float[np.ndarray, "points"],
    test: Float[np.ndarray, "points"],
) -> Learning:
    """Sums up a learning curve."""
    fitted = int(np.argmax(train >= train.max() - FITTED))
    return Learning(
        fit_step=int(steps[fitted]),
        final=float(test[-1]),
        train_final=float(train[-1]),
        gain=float(test[fitted:].max() - test[fitted]),
    )
