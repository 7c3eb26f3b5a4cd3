"""`jaxmi compile`: a program's labels by a known mechanism, without training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxmi.cli.challenge import Sizes, parse_sizes
from jaxmi.cli.subcommand import OptionalNumber, Result, Subcommand


@dataclass(frozen=True, kw_only=True)
class Compile(Subcommand):
    """Write a network whose mechanism is known: a program as weights, without training."""

    example = "jaxmi compile transformer --mechanism conditions --out planted"

    source: Positional[str]
    """The program, .txt or .py, in the language of docs/programs.md; or transformer, or the folder
    of a challenge on pairs; or a table of labels (.npz, .npy, .csv, .pkl), for rows and columns."""

    mechanism: Literal["conditions", "rows", "columns"]
    """conditions: computes the program's conditions and adds them up. rows: looks up, for each x,
    the places along y where the label changes. columns: the same for each y along x."""

    out: Path
    """The checkpoint folder to make: a network that every subcommand takes, and mechanism.json,
    which says what its directions, neurons and heads hold."""

    p: OptionalNumber = None
    """Number of values of x and of y, at least 5. Default: 113 for a program, the shape's for a
    table."""

    network: Sizes = ()
    """Sizes of the network, where they differ from the challenge's or the published one's:
    `d_model=64 n_heads=4 d_mlp=256 n_layers=2`. With two blocks or more, conditions writes each
    truth value into a direction of its own, and computes conditions on the sum so far."""

    disguise: OptionalNumber = None
    """Seed of a disguise that changes no label: rotations of the residual stream and of the heads'
    insides, another order of heads and neurons, scaled neurons. Default: no disguise."""

    cancelling: int = 0
    """Pairs of neurons to add whose outputs cancel; needs --disguise."""

    idle_heads: int = 0
    """Heads to add that write only where nothing reads; needs --disguise."""

    noise: float = 0.0
    """Standard deviation of normal noise that is added to every weight, such as 1e-4; refused if it
    changes a label. Needs --disguise."""

    force: bool = False
    """Replace a checkpoint that exists."""

    def run(self) -> Result:
        """Build the weights, check every input, write the checkpoint."""
        sizes = parse_sizes(self.network)
        from jaxmi.workflows.plants import write_network

        return write_network(
            self.source,
            self.mechanism,
            self.out,
            self.p,
            sizes,
            self.disguise,
            self.force,
            cancelling=self.cancelling,
            idle_heads=self.idle_heads,
            noise=self.noise,
        )

    def show(self, result: Result) -> None:
        """Print what was compiled, and what holds which variable."""
        from rich.table import Table

        from jaxmi.cli.console import print_table

        used = ", ".join(
            f"{n} of {result['network'][name]} {words}"
            for name, words in _SIZES.items()
            for n in [result["used"][name]]
        )
        print(f"all {result['inputs']:,} labels are the program's; smallest margin", end=" ")
        print(f"{result['margin']:.3g} (logit 1 minus logit 0)")
        print(f"used: {used}\n")
        table = Table(title="what the network holds (mechanism.json)", title_justify="left")
        for heading in ("variable", "role", "held as", ""):
            table.add_column(heading)
        for one in result["variables"]:
            table.add_row(one["name"], one["role"], one["form"], one["words"])
        print_table(table)
        print(result["checkpoint"])


_SIZES = {"d_model": "dimensions", "n_heads": "heads", "d_mlp": "neurons"}
