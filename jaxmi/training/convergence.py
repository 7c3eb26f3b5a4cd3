"""Whether a network has converged, by its learning curve."""

from collections.abc import Mapping, Sequence

from jaxmi.programs.language import SIGNATURES, Kind
from jaxmi.training.seeds import Point

FITTED = 0.99
"""Training accuracy that a converged network on numbers has. Networks on images stay below it: the
published recipes end between 94 % and 97 %."""

GAIN = 0.01
"""An accuracy still rises if its last value exceeds all earlier ones by more than this."""

LAST = 0.2
"""Share of the steps, at the end, whose points are not counted as earlier."""


def has_converged(curve: Sequence[Point], kind: Kind) -> bool:
    """Tell whether a network has converged.

    It has not if its training accuracy is below 99 % (not on images), or if its last accuracy on
    any split is more than one percentage point above all those of the first four fifths of the
    steps. A curve without points in the first four fifths shows no rise.

    Args:
      curve: The learning curve, with at least one point.
      kind: What the network labels.
    """
    last = curve[-1]
    if SIGNATURES[kind].image is None and last["train_accuracy"] < FITTED:
        return False
    earlier = [point for point in curve if point["step"] <= (1 - LAST) * last["step"]]
    splits = [key for key in last if key.endswith("_accuracy")]
    return not earlier or all(
        last[key] - max(point[key] for point in earlier) <= GAIN for key in splits
    )


def not_converged(curves: Mapping[int, Sequence[Point]], kind: Kind) -> list[int]:
    """Return the seeds whose networks have not converged.

    Args:
      curves: Seed -> its learning curve.
      kind: What the networks label.
    """
    return [seed for seed, curve in curves.items() if not has_converged(curve, kind)]
