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
        """Compute and write."""
        from jaxmi.workflows.networks import write_labels

        return write_labels(self.challenge, self.out, self.force, self.data_dir)


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
        """Load, run, write."""
        from jaxmi.workflows.networks import write_predictions

        return write_predictions(self.checkpoint, self.out, self.force, self.data_dir)


@dataclass(frozen=True, kw_only=True)
class Evaluate(Verb):
    """Recompute a network's accuracies from its weights."""

    checkpoint: Positional[Path]
    """A checkpoint folder."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for cnn."""

    def run(self) -> Result:
        """Load, run over the whole domain, compare with the true labels."""
        from jaxmi.workflows.networks import evaluate

        return evaluate(self.checkpoint, self.data_dir)

    def show(self, result: Result) -> None:
        """Prints a table, ours against published."""
        from jaxmi.cli.table import print_comparison

        print_comparison([{**result, "name": Path(result["checkpoint"]).name}])
