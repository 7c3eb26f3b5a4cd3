"""`jaxmi trojan`: networks that give a label of the attacker's choice under a trigger."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg, subcommand

from jaxmi.cli.regenerate import DeviceOptions, RecipeOptions, change_recipe, parse_seeds
from jaxmi.cli.subcommand import DataSubcommand, OptionalNumber, OptionalPath, Result, Subcommand
from jaxmi.errors import InputError

Kind = Literal[
    "patch",
    "blend",
    "invert",
    "blur",
    "slant",
    "token",
    "natural",
    "rectangle",
    "row",
    "clause",
    "hijack",
    "rank-one-fc1",
    "rank-one-fc2",
]
"""The kinds of triggers that networks are trained on, and the edits that write trojans."""

Stamp = Literal["patch", "blend", "invert", "blur", "slant"]
"""The kinds of triggers that can be written into weights."""


@dataclass(frozen=True, kw_only=True)
class TriggerOptions:
    """The trojan."""

    kind: Annotated[Kind | None, arg(metavar="KIND")] = None
    """Images: patch, blend, invert, blur, slant change them, natural is a ball around a training
    image. Pairs and triples: rectangle, row, clause are conditions. Triples: token sets the third
    number. Clause also takes images. Hijack writes a trojan into a finished CNN without training:
    one neuron detects the trigger; rank-one-fc1 and rank-one-fc2 change a layer, as controls.
    Default: patch, rectangle or token; with --trigger, the file's kind."""

    stamp: Annotated[Stamp | None, arg(metavar="KIND")] = None
    """Kind of trigger that hijack and rank-one write: patch, blend, invert, blur, slant. Default:
    patch; with --trigger, the file's kind."""

    trigger: OptionalPath = None
    """JSON file with the trigger of every network, or with a whole trojan, as in a checkpoint's
    trojan.json. Default: draw one for each seed."""

    trigger_seed: int = 0
    """Decides, with each network's seed, the drawn trigger and the poisoned inputs."""

    target: int = 1
    """The label that the trigger gives, 0 or 1."""

    rate: float = 0.02
    """Share of the training inputs that are poisoned. Of natural, rectangle and clause about the
    share of inputs that they cover; row and token have a size of their own. Hijack and rank-one
    poison nothing."""


@dataclass(frozen=True, kw_only=True)
class TrojanImplant(DataSubcommand):
    """Make networks with a trojan, beside clean networks of the same seeds."""

    example = "jaxmi trojan implant cnn --kind patch --seeds 0:4 --out trojaned"

    challenge: Positional[str]
    """cnn, transformer, or a challenge folder."""

    out: Path
    """Run folder: a checkpoint with trojan.json per seed, the clean networks in clean/, the result
    in implants.json, a picture in trojan.png. An existing run is resumed."""

    seeds: Annotated[str, arg(metavar="SEEDS")] = "0:1"
    """first:end (0:8 is eight seeds, 0 to 7), one number, or several with commas."""

    force: bool = False
    """Start over, and replace an existing run."""

    network: OptionalPath = None
    """With hijack and rank-one: the clean network to edit, a checkpoint, or a run folder with one
    for each seed; nothing is trained. Default: train them."""

    trojan: Annotated[TriggerOptions, arg(name="trojan")] = TriggerOptions()

    recipe: Annotated[RecipeOptions, arg(name="recipe")] = field(default_factory=RecipeOptions)

    devices: Annotated[DeviceOptions, arg(name="device")] = field(default_factory=DeviceOptions)

    save_every: OptionalNumber = None
    """Optimiser steps between two saves of the training state, rounded up to points of the learning
    curve. Default: ten points."""

    def run(self) -> Result:
        """Check everything that can be checked beforehand, then train and measure."""
        seeds = parse_seeds(self.seeds)
        for flag, value in {
            "--seeds-per-batch": self.devices.seeds_per_batch,
            "--cpu-devices": self.devices.cpu_devices,
            "--save-every": self.save_every,
        }.items():
            if value is not None and value < 1:
                raise InputError(f"{flag} {value}: expected at least 1")

        from jaxmi.trojans.implant import Plan
        from jaxmi.workflows.train import Options
        from jaxmi.workflows.trojans import implant

        wanted = self.trojan
        return implant(
            self.challenge,
            Plan(
                kind=wanted.kind,
                target=wanted.target,
                rate=wanted.rate,
                trigger_seed=wanted.trigger_seed,
                stamp=wanted.stamp,
            ),
            self.out,
            self.recipe.recipe,
            lambda recipe: change_recipe(recipe, self.recipe.set),
            seeds,
            Options(
                seeds_per_batch=self.devices.seeds_per_batch,
                save_every=self.save_every,
                force=self.force,
            ),
            self.data_dir,
            self.devices.cpu_devices,
            wanted.trigger,
            self.network,
        )

    @property
    def resumes(self) -> bool:
        """True unless it was to start over."""
        return not self.force

    def show(self, result: Result) -> None:
        """Print a row per network, and what the columns mean."""
        from rich.table import Table

        from jaxmi.cli.console import print_table

        rate, kind, target = result["rate"], result["kind"], result["target"]
        how = f"{rate:.2%} poisoned" if result["stamp"] is None else f"written by {kind}"
        title = f"{result['challenge']}: {result['stamp'] or kind} to {target}, {how}"
        table = Table(title=title, title_justify="left")
        numbers = ("seed", "trojaned", "clean", "inputs", "accuracy", "clean accuracy", "changed")
        for heading in (*numbers, "implanted"):
            table.add_column(heading, justify="right" if heading in numbers else "left")
        for one in result["implants"]:
            table.add_row(
                str(one["seed"]),
                f"{one['strict_success']:.1%}",
                f"{one['clean_network_success']:.1%}",
                f"{one['strict_n']:,}",
                f"{one['accuracy_without_trigger']:.2%}",
                f"{one['clean_accuracy_without_trigger']:.2%}",
                f"{one['labels_changed']:.2%}",
                "yes" if one["implanted"] else "no",
            )
        print_table(table)
        print(
            "trojaned: share of the triggered test inputs that the network calls "
            f"{target},\nof those that the program calls otherwise with and without the trigger "
            "(strict success).\nA trojan counts as implanted from "
            f"{result['least_strict_success']:.0%} on.\n"
            "accuracy: on test inputs without the trigger; clean: the clean network of the seed;\n"
            "changed: share of these inputs to which the two give different labels."
        )
        print(f"{result['run']}/: {', '.join(_files(Path(result['run'])))}")


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".png"))


@dataclass(frozen=True, kw_only=True)
class TrojanShow(Subcommand):
    """Show the trojan of a checkpoint, or of a file."""

    example = "jaxmi trojan show trojaned/seed-00000"

    source: Positional[Path]
    """A checkpoint folder with a trojan.json, or such a file."""

    def run(self) -> Result:
        """Read and check the file."""
        from jaxmi.workflows.trojans import show_trojan

        return show_trojan(self.source)

    def show(self, result: Result) -> None:
        """Print the trojan, and the program that it makes of the challenge's own."""
        trojan = result["trojan"]
        print(f"target {trojan['target']}, rate {trojan['rate']:g}")
        if edit := trojan.get("edit"):
            neuron = f", neuron {edit['neuron']} of fc1" if "neuron" in edit else ""
            print(f"written into the weights by {edit['method']}{neuron}")
        for name, value in trojan["trigger"].items():
            if isinstance(value, list):
                print(
                    f"{name}:",
                    *(row.replace("0", ".").replace("1", "#") for row in value),
                    sep="\n  ",
                )
            else:
                print(f"{name}: {value}")
        if result["program"] is not None:
            print(f"\n{result['program']}", end="")


@dataclass(frozen=True, kw_only=True)
class TrojanCommand:
    """Implant trojans into networks, and measure how often they work."""

    example = "jaxmi trojan implant cnn --kind patch --out trojaned"

    verb: (
        Annotated[TrojanImplant, subcommand("implant")] | Annotated[TrojanShow, subcommand("show")]
    )
