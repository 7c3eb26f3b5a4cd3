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
        """Reads, checks everything, writes."""
        from jaxmi.storage.checkpoints import check_vacant, save_checkpoint
        from jaxmi.storage.foreign import import_network

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
            files = self._export(self.to)
        return {"format": self.to, "files": [str(self.out / file) for file in files]}

    def show(self, result: Result) -> None:
        """Names the files, or says how many there are."""
        files = result["files"]
        print("\n".join(files if len(files) <= 10 else [f"{len(files)} files in {self.out}"]))

    def _export(self, format_name: str) -> list[str]:
        """Returns the files by their paths in `out`; "" is `out` itself."""
        from jaxmi.storage import foreign
        from jaxmi.storage.atomic import check_files, whole_files
        from jaxmi.storage.checkpoints import load_checkpoint
        from jaxmi.workflows.networks import find_networks
        from jaxmi.workflows.progress import track

        networks = find_networks(self.checkpoint)
        single = set(networks) == {""}
        suffixes = foreign.FORMATS[format_name].suffixes
        if self.stack and single:
            raise InputError(f"{self.checkpoint} is one network; --stack is for a run folder")
        if self.stack and ".safetensors" not in suffixes:
            raise InputError(f"--stack writes a .safetensors file, which --to {format_name} is not")
        if self.stack and self.out.suffix != ".safetensors":
            raise InputError(f"{self.out}: a stack of networks is a .safetensors file")
        if single or self.stack:
            foreign.check_suffix(self.out, format_name)
            folder, names = self.out.parent, [self.out.name]
        else:
            folder, names = self.out, [f"{name}{suffixes[0]}" for name in networks]
            if self.out.suffix in suffixes:
                raise InputError(f"{self.checkpoint} is a run; {self.out} would be a folder")
        check_files(folder, names, self.force)
        loaded = track((load_checkpoint(path) for path in networks.values()), len(networks))
        with whole_files(folder) as temporary:
            if self.stack:
                foreign.export_stack(list(loaded), format_name, temporary / names[0])
            else:
                for checkpoint, name in zip(loaded, names, strict=True):
                    foreign.export_network(checkpoint, format_name, temporary / name)
        return [""] if single or self.stack else names
