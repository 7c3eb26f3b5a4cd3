"""`jaxmi compile`: a network that gives a program's labels by a known mechanism."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxmi.cli.challenge import OptionalShare, Sizes, parse_sizes
from jaxmi.cli.subcommand import OptionalNumber, Result, Subcommand


@dataclass(frozen=True, kw_only=True)
class Compile(Subcommand):
    """Write a network whose mechanism is known: a program as weights, or trained to hold it."""

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
    """Least share of labels that must be right if no image is singled out; for images only.
    Default: images are singled out until every label is right."""

    p: OptionalNumber = None
    """Number of values of x and of y, at least 5. Default: 113 for a program, the shape's for a
    table."""

    network: Sizes = ()
    """Sizes of the network, where they differ from the challenge's or the published one's:
    `d_model=64 n_heads=4 d_mlp=256 n_layers=2`; of images `channels=8,32 neurons=400`. With two
    blocks or more, conditions writes each truth value into a direction of its own, and computes
    conditions on the sum so far."""

    disguise: OptionalNumber = None
    """Seed of a disguise that changes no label: rotations of the residual stream and of the heads'
    insides, another order of heads, channels and neurons, scaled channels and neurons. Default: no
    disguise."""

    cancelling: int = 0
    """Pairs of neurons to add whose outputs cancel; needs --disguise."""

    idle_heads: int = 0
    """Heads to add that write only where nothing reads; needs --disguise."""

    noise: float = 0.0
    """Standard deviation of normal noise that is added to every weight, such as 1e-5; refused if it
    changes a label. Needs --disguise."""

    train: bool = False
    """Train the network from random weights until stated directions and neurons hold the
    mechanism's variables, instead of writing the weights. Programs without conditions on the sum;
    takes about a minute at `--p 31 --network d_model=64 n_heads=4 d_mlp=128`."""

    seed: OptionalNumber = None
    """Seed of the training; with --train only. Default: 0."""

    force: bool = False
    """Replace a checkpoint that exists."""

    def run(self) -> Result:
        """Build the weights, check every input, write the checkpoint."""
        sizes = parse_sizes(self.network)
        from jaxmi.workflows.plants import training_seed, write_network

        return write_network(
            self.source,
            self.mechanism,
            self.out,
            self.p,
            sizes,
            self.disguise,
            self.force,
            least_agreement=self.least_agreement,
            cancelling=self.cancelling,
            idle_heads=self.idle_heads,
            noise=self.noise,
            train_seed=training_seed(self.train, self.seed),
        )

    def show(self, result: Result) -> None:
        """Print what was compiled, and what holds which variable."""
        from jaxmi.cli.console import print_held

        used = ", ".join(
            f"{n} of {result['network'][name]} {words}"
            for name, n in result["used"].items()
            for words in [_SIZES[name]]
        )
        given = "the given ones" if result["program"] is None else "the program's"
        if result["agreement"] == 1:
            print(f"all {result['inputs']:,} labels are {given}; smallest margin", end=" ")
            print(f"{result['margin']:.3g} (logit 1 minus logit 0)")
        else:
            right = round(result["agreement"] * result["inputs"])
            print(f"{right:,} of {result['inputs']:,} labels are {given}")
        if "interchange" in result:
            shares = result["interchange"]
            print(f"least interchange accuracy: {shares['random']:.2%} on random pairs", end="")
            has_strict = shares["strict"] is not None
            print(f", {shares['strict']:.2%} on strict ones" if has_strict else "")
        print(f"used: {used}")
        if "exceptions" in result:
            print(f"computed: {result['computed']:.4f} of the labels; ", end="")
            print(f"exceptions: {result['exceptions']:,} images")
        print()
        print_held(result["variables"], "what the network holds (mechanism.json)")
        print(result["checkpoint"])


_SIZES = {"d_model": "dimensions", "n_heads": "heads", "d_mlp": "neurons", "neurons": "neurons"}
