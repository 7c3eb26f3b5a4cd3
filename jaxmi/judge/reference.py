"""What submissions to a challenge are judged by: its labels, as far as known, and a network's."""

from dataclasses import dataclass

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

    stated: float | None = None
    """Share of the domain on which a sealed challenge's network is said to be right."""

    digits: UInt8[np.ndarray, "n"] | None = None
    """The digit that each image shows."""

    def score(self, submitted: Int[np.ndarray, "m"], rows: slice = slice(None)) -> Score:
        """Judges labels of the whole domain, or of some rows.

        Raises:
          InputError: as `Score`.
        """
        chosen = np.arange(len(self.challenge.inputs))[rows]
        whole = len(chosen) == len(self.challenge.inputs)
        splits = self.challenge.splits
        if not whole:
            inside = {name: np.isin(chosen, split) for name, split in splits.items()}
            splits = {name: np.flatnonzero(where) for name, where in inside.items()}
        return Score(
            submitted,
            None if self.truth is None else self.truth[rows],
            None if self.network is None else self.network[rows],
            splits,
            self.stated if whole else None,
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
