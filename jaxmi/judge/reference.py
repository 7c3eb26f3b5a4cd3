"""What submissions to a challenge are judged by: its labels, as far as known, and a network's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int, UInt8

from jaxmi.challenges.challenge import Challenge
from jaxmi.judge.regions import Region, digit_regions, pair_regions
from jaxmi.judge.score import Score


@dataclass(frozen=True, eq=False)
class Reference:
    """A challenge as a judge sees it."""

    challenge: Challenge
    """Its inputs and splits; of a sealed challenge, its labels are another program's."""

    truth: Int[np.ndarray, "n"] | None
    """The true labels; None while the challenge is sealed."""

    network: Int[np.ndarray, "n"] | None
    """The labels of the network that is judged; None if none is."""

    stated: Mapping[str, int] = field(default_factory=dict)
    """Of a sealed challenge: as in `Score`."""

    digits: UInt8[np.ndarray, "n"] | None = None
    """The digit that each image shows."""

    def score(self, submitted: Int[np.ndarray, "m"], rows: slice = slice(None)) -> Score:
        """Judges labels of the whole domain, or of some rows.

        Raises:
          InputError: as `Score`.
        """
        everything = np.arange(len(self.challenge.inputs))
        chosen = everything[rows]
        splits = {
            name: np.flatnonzero(np.isin(chosen, of)) if len(chosen) < len(everything) else of
            for name, of in self.challenge.splits.items()
        }
        whole = {name: len(splits[name]) == len(of) for name, of in self.challenge.splits.items()}
        whole["domain"] = len(chosen) == len(everything)
        return Score(
            submitted,
            None if self.truth is None else self.truth[rows],
            None if self.network is None else self.network[rows],
            splits,
            {name: count for name, count in self.stated.items() if whole[name]},
        )

    def differences(self, score: Score, rows: slice = slice(None)) -> dict[str, list[Region]]:
        """Says where submitted labels differ: from the "truth", and from the "network"."""
        found = {}
        for name, others in (("truth", score.truth), ("network", score.network)):
            if others is None:
                continue
            differs = score.submitted != others
            if self.digits is None:
                p = round(len(differs) ** 0.5)
                table = score.submitted.reshape(p, p)
                found[name] = pair_regions(differs.reshape(p, p), table)
            else:
                found[name] = digit_regions(differs, score.submitted, self.digits[rows])
        return found
