"""`jaxmi study`: a question asked of many seeds, answered with intervals and a figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxmi.cli.regenerate import parse_seeds
from jaxmi.cli.subcommand import DataSubcommand, OptionalText, Result

Name = Literal[
    "boundary",
    "periodic",
    "interpolation",
    "universality-cnn",
    "universality-transformer",
    "decay",
    "agreement",
    "mechanism",
    "variables",
    "solutions",
    "duel",
]


@dataclass(frozen=True, kw_only=True)
class Study(DataSubcommand):
    """Answer a question about many seeds, with intervals and controls."""

    example = "jaxmi study boundary --out study --quick"

    name: Positional[Literal[Name, "universality"]]
    """boundary, periodic, interpolation, universality-cnn, universality-transformer, decay,
    agreement, mechanism, variables, solutions or duel; docs/findings.md says what each asks and
    found. universality: with --challenge, the one that fits its kind."""

    challenge: OptionalText = None
    """transformer, cnn, or the folder of your own challenge: asks the question of that one. A study
    whose question has no meaning for it says why. Default: the published challenges that the study
    is about."""

    out: Path
    """The folder to write: result.json, the figure as PNG and SVG, and each network's measurements.
    An existing study is resumed."""

    seeds: Annotated[str | None, arg(metavar="SEEDS")] = None
    """first:end (100:132 is 32 seeds), one number, or several with commas. Default: as many as
    the study needs, starting at 100; the recipes were chosen on seeds below 100."""

    quick: bool = False
    """Two seeds and few steps, in less than a minute: shows that the study runs, answers
    nothing."""

    runs: Path = Path("runs")
    """Folder of run folders, as `jaxmi regenerate` writes them: networks are taken from there, and
    trained into it where they are missing; those of your own challenge into NAME@CHECKSUM-fast."""

    force: bool = False
    """Measure again what was measured, and replace an existing result; networks are kept."""

    def run(self) -> Result:
        """Train what is missing, measure, conclude, and write everything at once."""
        seeds = None if self.seeds is None else parse_seeds(self.seeds)

        from jaxmi.workflows.study import write_study

        return write_study(
            self.name,
            self.out,
            seeds,
            self.quick,
            self.runs,
            self.force,
            self.data_dir,
            self.challenge,
        )

    @property
    def resumes(self) -> bool:
        """True unless it was to start over."""
        return not self.force

    def show(self, result: Result) -> None:
        """Print the question and the findings that answer it."""
        from rich.table import Table

        from jaxmi.cli.console import plain_console, print_table
        from jaxmi.report.studies.intervals import interval
        from jaxmi.studies.registry import load_study
        from jaxmi.workflows.study import FIGURES, RESULT

        console = plain_console()
        console.print(result["question"])
        if (about := result["provenance"].get("challenge")) is not None:
            console.print(f"asked of {about['name']}")
        table = Table(
            "finding", "value", "95 % interval", "meaning", show_lines=console.width < 120
        )
        table.columns[1].justify = "right"
        main = [name for name in load_study(result["study"]).main if name in result["findings"]]
        for name in main:
            finding = result["findings"][name]
            table.add_row(name, *interval(finding), finding["words"])
        print_table(table)
        more = len(result["findings"]) - len(main)
        console.print(f"{more} more findings are in {RESULT}")
        if result["provenance"]["quick"]:
            console.print("--quick barely trains the networks: these numbers answer nothing")
        console.print(f"{result['folder']}/: {RESULT}, {', '.join(FIGURES)}", soft_wrap=True)
