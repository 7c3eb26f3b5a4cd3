"""`jaxmi labels`, `evaluate`, `predict`: true labels, accuracies, logits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxmi.cli.subcommand import DataSubcommand, Result


@dataclass(frozen=True, kw_only=True)
class Labels(DataSubcommand):
    """Write a challenge's true labels over its whole domain."""

    challenge: Positional[Literal["transformer", "cnn"]]
    """The challenge."""

    out: Path
    """The .npz file to write. transformer: labels (113, 113) and is_train (113, 113), row = x. cnn:
    train (50000,), validation (10000,), test (10000,)."""

    force: bool = False
    """Replace the file if it exists."""

    def run(self) -> Result:
        """Compute the labels and write them."""
        from jaxmi.workflows.networks import write_labels

        return write_labels(self.challenge, self.out, self.force, self.data_dir)


@dataclass(frozen=True, kw_only=True)
class Predict(DataSubcommand):
    """Write a network's logits and predicted labels."""

    checkpoint: Positional[Path]
    """A checkpoint folder."""

    out: Path
    """The .npz file to write. transformer: logits (113, 113, 114) and labels (113, 113) over the
    whole domain, row = x. cnn: logits (10000, 2) and labels (10000,) on the test images."""

    force: bool = False
    """Replace the file if it exists."""

    def run(self) -> Result:
        """Run the network and write what it predicts."""
        from jaxmi.workflows.networks import write_predictions

        return write_predictions(self.checkpoint, self.out, self.force, self.data_dir)


@dataclass(frozen=True, kw_only=True)
class Evaluate(DataSubcommand):
    """Recompute a network's accuracies from its weights."""

    checkpoint: Positional[Path]
    """A checkpoint folder. Of a sealed challenge's folder the counts that it states are shown."""

    def run(self) -> Result:
        """Compare the network's labels with the true ones over the whole domain."""
        from jaxmi.workflows.networks import evaluate

        return evaluate(self.checkpoint, self.data_dir)

    def show(self, result: Result) -> None:
        """Print a table with the published network's accuracies beside; or the stated counts."""
        from jaxmi.cli.table import print_comparison, print_stated

        if "stated" in result:
            print_stated(result["checkpoint"], result["stated"])
            return
        print_comparison([{**result, "name": Path(result["checkpoint"]).name}])
