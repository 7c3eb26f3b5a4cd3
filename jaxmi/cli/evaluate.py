"""`jaxmi evaluate`: recompute a checkpoint's metrics from its weights.

`jaxmi labels`: a challenge's exact labels over its whole domain, as a NumPy archive.

`jaxmi predict`: a network's logits and labels, as a NumPy archive.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxmi.cli.subcommand import Result, Verb


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
        from jaxmi.storage.atomic import check_archive, write_archive

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


@dataclass(frozen=True, kw_only=True)
class Predict(Verb):
    """Write a network's answers: logits and labels."""

    checkpoint: Positional[Path]
    """A checkpoint folder."""

    out: Path
    """The .npz file to write. transformer: logits (113, 113, 114) and labels (113, 113) over the
    whole domain, row = x. cnn: logits (10000, 2) and labels (10000,) on the test images."""

    force: bool = False
    """Replace the file if it exists."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for cnn."""

    def run(self) -> Result:
        """Loads, runs, writes."""
        import numpy as np

        from jaxmi.storage.atomic import check_archive, write_archive
        from jaxmi.workflows.networks import load_network

        check_archive(self.out, self.force)
        challenge, params = load_network(self.checkpoint, self.data_dir)
        if challenge.name == "transformer":
            logits = challenge.logits(params)
            p = round(len(logits) ** 0.5)
            logits = logits.reshape(p, p, -1)
        else:
            logits = challenge.logits(params, challenge.splits["test"])
        labels = logits.argmax(axis=-1).astype(np.int32)
        write_archive(self.out, {"logits": logits, "labels": labels})
        return {
            "challenge": challenge.name,
            "checkpoint": str(self.checkpoint),
            "label1_share": float((labels == 1).mean()),
            "out": str(self.out),
        }


@dataclass(frozen=True, kw_only=True)
class Evaluate(Verb):
    """Recompute a network's accuracies from its weights."""

    checkpoint: Positional[Path]
    """A checkpoint folder."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for cnn."""

    def run(self) -> Result:
        """Loads, runs over the whole domain, compares with the true labels."""
        from jaxmi.challenges.registry import load_challenge
        from jaxmi.workflows.networks import load_labelled

        checkpoint = load_labelled(self.checkpoint)
        challenge = load_challenge(checkpoint.challenge, self.data_dir)
        predictions = challenge.logits(checkpoint.params).argmax(axis=-1)
        return {
            "challenge": challenge.name,
            "checkpoint": str(self.checkpoint),
            **challenge.metrics(predictions),
        }

    def show(self, result: Result) -> None:
        """Prints a table, ours against published."""
        from jaxmi.cli.table import print_comparison

        print_comparison([{**result, "name": Path(result["checkpoint"]).name}])
