"""`jaxmi import`: another tool's file as a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxmi.cli.verb import Result, Verb


@dataclass(frozen=True, kw_only=True)
class Import(Verb):
    """Turn a PyTorch or safetensors file into a checkpoint."""

    file: Positional[Path]
    """A published .pt file, or what `jaxmi export` wrote. Nothing in it is run."""

    out: Path
    """The checkpoint folder to make."""

    format_name: Annotated[
        Literal["casper", "transformer-lens", "transformer-lens-4", "safetensors"] | None,
        arg(name="from"),
    ] = None
    """What the file is, if its tensors leave that open; as in `jaxmi export --to`."""

    challenge: Literal["transformer", "cnn"] | None = None
    """Whose network it is, if its tensors leave that open."""

    force: bool = False
    """Replace a checkpoint that is there."""

    def run(self) -> Result:
        """Reads, checks everything, writes."""
        from jaxmi.weights.foreign import import_network
        from jaxmi.weights.native import check_vacant, save_checkpoint

        check_vacant(self.out, self.force)
        network = import_network(self.file, self.format_name, self.challenge)
        save_checkpoint(self.out, network.params, network.config, network.metrics, self.force)
        imported = network.config["imported"]
        return {
            "challenge": network.challenge,
            "layout": imported["layout"],
            "has_checksums": imported["has_checksums"],
            "checkpoint": str(self.out),
        }
