"""`jaxmi predict`: a network's logits and labels, as a NumPy archive."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from jaxmi.cli.verb import Result, Verb


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

        from jaxmi.cli.network import load_network
        from jaxmi.weights.archive import check_archive, write_archive

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
