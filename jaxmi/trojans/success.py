"""Strict attack success: how often a trojan works, on inputs whose correct label it leaves.

A trigger changes an input, and so may change its correct label: an inverted image is far from every
template, and a program of distances calls it 1. A network that calls it 1 too has no trojan. So
only those inputs count whose label by the program is not the target, neither without the trigger
nor with it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32, Shaped

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.trojans.trojan import Trojan

MAX_FLIPS = 0.25
"""Largest share of the inputs of other labels that the program itself may give the target when the
trigger is put on them. Above it, the trigger is rejected."""

IMPLANTED = 0.8
"""Least strict success of a network that counts as trojaned."""


@dataclass(frozen=True)
class Success:
    """Shares of inputs that get the target from a network under a trigger, 0..1, with counts."""

    strict: float | None
    """Share of the strict inputs that get the target; None if there are none."""

    n: int
    """Strict inputs: those whose label by the program is not the target before and after."""

    plain: float | None
    """Share of all triggered inputs that get the target; of stamps, of those whose label was
    another before."""

    plain_n: int
    """Inputs that `plain` is a share of."""

    flips: float
    """Share of the inputs whose label by the program the trigger changes."""

    flips_to_target: float
    """Share of the inputs of other labels that get the target by the program when triggered."""

    @property
    def implanted(self) -> bool:
        """True if the strict success is at least `IMPLANTED`."""
        return self.strict is not None and self.strict >= IMPLANTED

    def to_json(self) -> dict[str, Any]:
        """Return all numbers by their names."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Attack:
    """A split's inputs under a trigger, and what the program says: made once for many networks."""

    trojan: Trojan
    rows: Int32[np.ndarray, "n"]
    """The inputs' rows in the challenge."""
    inputs: Shaped[np.ndarray, "n ..."]
    """The triggered inputs; of a region, the inputs as they are."""
    triggered: Bool[np.ndarray, "n"]
    """Where the trigger is: everywhere for stamps, in the region for regions."""
    carries: Bool[np.ndarray, "n"]
    """Where the trigger is already without being put on: the region, or a patch by chance."""
    before: Int32[np.ndarray, "n"]
    """The program's labels of the inputs as they were."""
    after: Int32[np.ndarray, "n"]
    """The program's labels of the triggered inputs."""

    @property
    def strict(self) -> Bool[np.ndarray, "n"]:
        """The inputs that strict success counts."""
        target = self.trojan.target
        return self.triggered & (self.before != target) & (self.after != target)

    @property
    def plain(self) -> Bool[np.ndarray, "n"]:
        """The inputs that plain success counts."""
        if self.trojan.trigger.is_region:
            return self.triggered
        return self.triggered & (self.before != self.trojan.target)

    @property
    def flips(self) -> float:
        """Share of the inputs whose label by the program the trigger changes."""
        return float((self.before != self.after).mean())

    @property
    def flips_to_target(self) -> float:
        """Share of the inputs of other labels that the program gives the target when triggered."""
        others = self.before != self.trojan.target
        return float((self.after[others] == self.trojan.target).mean()) if others.any() else 0.0

    @property
    def rejection(self) -> str | None:
        """Why the trigger cannot show a trojan, in one line; None if it can."""
        target, share = self.trojan.target, self.flips_to_target
        if share > MAX_FLIPS:
            return (
                f"trigger {self.trojan.trigger.kind!r} with target {target} is rejected: under it "
                f"the program itself gives {target} to {share:.0%} of the inputs with another "
                f"label, allowed are {MAX_FLIPS:.0%}; take another trigger or target"
            )
        if not self.strict.any():
            return (
                f"trigger {self.trojan.trigger.kind!r} with target {target} is rejected: no input "
                f"under it has another label than {target} by the program"
            )
        return None

    def success(self, predictions: Int[np.ndarray, "n"]) -> Success:
        """Return how often a network gives the target.

        Args:
          predictions: The network's labels of `inputs`.
        """
        hit = predictions == self.trojan.target
        strict, plain = self.strict, self.plain
        return Success(
            strict=float(hit[strict].mean()) if strict.any() else None,
            n=int(strict.sum()),
            plain=float(hit[plain].mean()) if plain.any() else None,
            plain_n=int(plain.sum()),
            flips=self.flips,
            flips_to_target=self.flips_to_target,
        )


def attack(trojan: Trojan, challenge: Challenge, split: str = "test") -> Attack:
    """Put a trojan's trigger on the inputs of a split.

    Args:
      trojan: The trojan.
      challenge: What it is for, with its program's labels.
      split: The inputs to attack.

    Raises:
      InputError: if the trigger cannot be used with the challenge, or the labels are not known.
    """
    if challenge.sealed:
        raise InputError("a sealed challenge's labels are not known: no trojan can be measured")
    trojan.trigger.check(challenge)
    rows = challenge.splits[split]
    inputs, before = challenge.inputs[rows], challenge.labels[rows]
    carries = trojan.trigger.fires(inputs, challenge)
    if trojan.trigger.is_region:
        return Attack(trojan, rows, inputs, carries, carries, before, before)
    changed = trojan.trigger.apply(inputs)
    after = challenge.label_inputs(changed)
    return Attack(trojan, rows, changed, np.ones(len(rows), bool), carries, before, after)
