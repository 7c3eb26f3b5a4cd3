"""`jaxmi export`, `jaxmi import`: files of PyTorch, TransformerLens and the published notebooks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxmi.cli.subcommand import DataSubcommand, OptionalText, Result, Subcommand
from jaxmi.errors import InputError

Format = Literal["casper", "transformer-lens", "transformer-lens-4", "safetensors"]


@dataclass(frozen=True, kw_only=True)
class Export(DataSubcommand):
    """Write networks as files for PyTorch and TransformerLens."""

    example = "jaxmi export runs/cnn-fast/seed-00000 --to casper --out mnist_model.pt"

    checkpoint: Positional[Path]
    """A checkpoint folder; or a run folder, to export every seed. With --to bundle also a folder
    with a checkpoint or run per challenge, such as `checkpoints`."""

    to: Format | Literal["bundle"]
    """casper: the published .pt layout. transformer-lens: HookedTransformer.state_dict().
    transformer-lens-4: TransformerBridge.state_dict(). safetensors: the published tensors without
    pickle. bundle: the published repository's files, for these networks."""

    out: Path
    """The file to write; for a run or a bundle, the folder."""

    stack: bool = False
    """Write a run as one .safetensors file: each tensor gets an axis of seeds before its own."""

    force: bool = False
    """Replace files that exist."""

    def run(self) -> Result:
        """Check what can be checked, then write everything or nothing."""
        if self.to == "bundle":
            from jaxmi.workflows.bundle import write_bundles

            if self.stack:
                raise InputError("--stack cannot be combined with --to bundle")
            files = write_bundles(self.checkpoint, self.out, self.force, self.data_dir)
        else:
            from jaxmi.workflows.export import export_networks

            files = export_networks(self.checkpoint, self.to, self.out, self.stack, self.force)
        return {"format": self.to, "files": [str(self.out / file) for file in files]}

    def show(self, result: Result) -> None:
        """Print the files' names, or how many there are."""
        files = result["files"]
        print("\n".join(files if len(files) <= 10 else [f"{len(files)} files in {self.out}"]))


@dataclass(frozen=True, kw_only=True)
class Import(Subcommand):
    """Turn a PyTorch or safetensors file into a checkpoint."""

    example = "jaxmi import mnist_model.pt --out casper-cnn"

    file: Positional[Path]
    """The file: .pt, .pth, .ckpt, .pkl, .npz, .safetensors or the index of several; also what a
    training script saved. No code in it is run."""

    out: Path
    """The checkpoint folder to make."""

    format_name: Annotated[Format | None, arg(name="from", metavar="FORMAT")] = None
    """The file's format, as in `jaxmi export --to`. Default: detected from its tensors."""

    challenge: Annotated[str | None, arg(metavar="CHALLENGE")] = None
    """The challenge whose network it is: transformer, cnn, or the folder of your own challenge.
    Default: as `jaxmi export` recorded in the file, else detected from its tensors."""

    key: OptionalText = None
    """The place of the state dict in the file, such as ema.state_dict. Default: the only dictionary
    that fits a layout."""

    force: bool = False
    """Replace a checkpoint that exists."""

    def run(self) -> Result:
        """Read the file, check everything, write the checkpoint."""
        from jaxmi.workflows.export import import_file

        return import_file(
            self.file, self.out, self.format_name, self.challenge, self.force, self.key
        )
