"""`jaxmi labels`, `evaluate`, `predict`: true labels, accuracies, logits."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from jaxmi.cli.subcommand import DataSubcommand, Result


@dataclass(frozen=True, kw_only=True)
class Labels(DataSubcommand):
    """Write a challenge's true labels over its whole domain."""

    example = "jaxmi labels transformer --out labels.npz"

    challenge: Positional[str]
    """transformer, cnn, or the folder of a challenge that `jaxmi challenge make` made."""

    out: Path
    """The .npz file to write. Pairs: labels (p, p) and is_train (p, p), row = x; p is 113 of
    transformer. Images: the labels of each split, of cnn train (50000,), validation (10000,), test
    (10000,)."""

    force: bool = False
    """Replace the file if it exists."""

    def run(self) -> Result:
        """Compute the labels and write them."""
        from jaxmi.workflows.networks import write_labels

        return write_labels(self.challenge, self.out, self.force, self.data_dir)


@dataclass(frozen=True, kw_only=True)
class Predict(DataSubcommand):
    """Write a network's logits and predicted labels."""

    example = "jaxmi predict runs/transformer-fast/seed-00000 --out predictions.npz"

    checkpoint: Positional[Path]
    """A checkpoint folder."""

    out: Path
    """The .npz file to write. Pairs: logits (p, p, p + 1) and labels (p, p) over the whole domain,
    row = x. Images: logits (n, 2) and labels (n,) on the test images."""

    force: bool = False
    """Replace the file if it exists."""

    def run(self) -> Result:
        """Run the network and write what it predicts."""
        from jaxmi.workflows.networks import write_predictions

        return write_predictions(self.checkpoint, self.out, self.force, self.data_dir)


@dataclass(frozen=True, kw_only=True)
class Evaluate(DataSubcommand):
    """Recompute a network's accuracies from its weights."""

    example = "jaxmi evaluate runs/transformer-fast/seed-00000"

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
