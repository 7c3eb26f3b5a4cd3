"""`jaxmi evaluate`: recompute a checkpoint's metrics from its weights."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from jaxmi.cli.verb import Result, Verb


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
        from jaxmi.cli.network import load_labelled

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
