"""`jaxmi compile`: a program's labels by a known mechanism, without training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxmi.cli.challenge import OptionalShare, Sizes, parse_sizes
from jaxmi.cli.subcommand import OptionalNumber, Result, Subcommand


@dataclass(frozen=True, kw_only=True)
class Compile(Subcommand):
    """Write a network whose mechanism is known: a program as weights, without training."""

    example = "jaxmi compile transformer --mechanism conditions --out planted"

    source: Positional[str]
    """The program, .txt or .py, in the language of docs/programs.md; or transformer, cnn, or the
    folder of a challenge on pairs or images; or a table of labels (.npz, .npy, .csv, .pkl), for
    rows, columns and look-up."""

    mechanism: Literal["conditions", "rows", "columns", "look-up"]
    """conditions: computes the program's conditions and adds them up. Of pairs, rows: looks up, for
    each x, the places along y where the label changes; columns: the same for each y along x. Of
    images, look-up: a linear fit of the labels, and the images about which it is wrong."""

    out: Path
    """The checkpoint folder to make: a network that every subcommand takes, and mechanism.json,
    which says what its directions, neurons and heads hold."""

    least_agreement: OptionalShare = None
    """Of images: leave wrong the images that cannot be told without singling them out, and write
    the network if at least this share of the labels is right. Default: every label is right."""

    p: OptionalNumber = None
    """Number of values of x and of y, at least 5, for a program or a table. Default: 113."""

    network: Sizes = ()
    """Sizes of the network, where they differ from the challenge's or the published one's:
    `d_model=64 n_heads=4 d_mlp=256 n_layers=2`; of images `channels=8,32 neurons=400`."""

    disguise: OptionalNumber = None
    """Seed of a disguise that changes no label: rotations of the residual stream and of the heads'
    insides, another order of heads, channels and neurons, scaled channels and neurons. Default: no
    disguise."""

    force: bool = False
    """Replace a checkpoint that exists."""

    def run(self) -> Result:
        """Build the weights, check every input, write the checkpoint."""
        sizes = parse_sizes(self.network)
        from jaxmi.workflows.plants import write_network

        return write_network(
            self.source, self.mechanism, self.out, self.p, sizes, self.disguise, self.force,
            self.least_agreement,
        )  # fmt: skip

    def show(self, result: Result) -> None:
        """Print what was compiled, and what holds which variable."""
        from rich.table import Table

        from jaxmi.cli.console import print_table

        used = ", ".join(
            f"{n} of {result['network'][name]} {words}"
            for name, n in result["used"].items()
            for words in [_SIZES[name]]
        )
        n, share = result["inputs"], result.get("agreement", 1)
        some = "all" if share == 1 else f"{share:.4f} of the"
        print(f"{some} {n:,} labels are the program's; smallest margin", end=" ")
        print(f"{result['margin']:.3g} (logit 1 minus logit 0)")
        print(f"used: {used}")
        if "exceptions" in result:
            print(f"computed: {result['computed']:.4f} of the labels; ", end="")
            print(f"exceptions: {result['exceptions']:,} images")
        print()
        table = Table(title="what the network holds (mechanism.json)", title_justify="left")
        for heading in ("variable", "role", "held as", ""):
            table.add_column(heading)
        for one in result["variables"]:
            table.add_row(one["name"], one["role"], one["form"], one["words"])
        print_table(table)
        print(result["checkpoint"])


_SIZES = {"d_model": "dimensions", "n_heads": "heads", "d_mlp": "neurons", "neurons": "neurons"}
