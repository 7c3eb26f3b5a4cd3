"""`jaxmi labels`: a challenge's exact labels over its whole domain, as a NumPy archive."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxmi.cli.verb import Result, Verb


@dataclass(frozen=True, kw_only=True)
class Labels(Verb):
    """Write a challenge's labels over the whole domain."""

    challenge: Positional[Literal["transformer", "cnn"]]
    """Which challenge."""

    out: Path
    """The .npz file to write. transformer: labels (113, 113) and is_train (113, 113), row = x. cnn:
    train (50000,), validation (10000,), test (10000,)."""

    force: bool = False
    """Replace the file if it exists."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for cnn."""

    def run(self) -> Result:
        """Computes and writes."""
        from jaxmi.challenges.registry import load_challenge
        from jaxmi.data.pairs import is_train_table
        from jaxmi.weights.archive import check_archive, write_archive

        check_archive(self.out, self.force)
        challenge = load_challenge(self.challenge, self.data_dir)
        if self.challenge == "transformer":
            p = round(len(challenge.labels) ** 0.5)
            arrays = {
                "labels": challenge.labels.reshape(p, p),
                "is_train": is_train_table(p, challenge.splits["train"]),
            }
        else:
            arrays = {name: challenge.labels[rows] for name, rows in challenge.splits.items()}
        write_archive(self.out, arrays)
        return {
            "challenge": self.challenge,
            "label1_share": float(challenge.labels.mean()),
            "out": str(self.out),
        }
