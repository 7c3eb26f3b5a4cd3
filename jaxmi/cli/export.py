"""`jaxmi export`: checkpoints as files for PyTorch, TransformerLens and the published notebooks.

`jaxmi import`: another tool's file as a checkpoint.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxmi.cli.subcommand import Result, Verb
from jaxmi.errors import InputError


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
        """Read, check everything, write."""
        from jaxmi.workflows.export import import_file

        return import_file(self.file, self.out, self.format_name, self.challenge, self.force)


@dataclass(frozen=True, kw_only=True)
class Export(Verb):
    """Write networks as files for PyTorch and TransformerLens."""

    checkpoint: Positional[Path]
    """A checkpoint folder, or a run folder: all of its seeds. For a bundle also a folder of both
    challenges, such as `checkpoints`, or what `regenerate all` wrote."""

    to: Literal["casper", "transformer-lens", "transformer-lens-4", "safetensors", "bundle"]
    """casper: the published .pt files' layout. transformer-lens: HookedTransformer.state_dict().
    transformer-lens-4: TransformerBridge.state_dict(). safetensors: the published tensors without
    pickle. bundle: what the published repository holds."""

    out: Path
    """The file to write; of a run, or for a bundle, the folder."""

    stack: bool = False
    """Of a run: one .safetensors file, with an axis of seeds before each tensor's own."""

    force: bool = False
    """Replace files that are there."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for a bundle with the cnn."""

    def run(self) -> Result:
        """Checks what it can, then writes everything or nothing."""
        if self.to == "bundle":
            from jaxmi.workflows.bundle import write_bundles

            if self.stack:
                raise InputError("--stack is for a format, not for a bundle")
            files = write_bundles(self.checkpoint, self.out, self.force, self.data_dir)
        else:
            from jaxmi.workflows.export import export_networks

            files = export_networks(self.checkpoint, self.to, self.out, self.stack, self.force)
        return {"format": self.to, "files": [str(self.out / file) for file in files]}

    def show(self, result: Result) -> None:
        """Names the files, or says how many there are."""
        files = result["files"]
        print("\n".join(files if len(files) <= 10 else [f"{len(files)} files in {self.out}"]))
