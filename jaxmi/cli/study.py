"""`jaxmi study`: a question asked of many seeds, answered with intervals and a figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

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
]


@dataclass(frozen=True, kw_only=True)
class Study(DataSubcommand):
    """Answer a question about many seeds, with intervals and controls."""

    name: Positional[Name]
    """The study; docs/findings.md says what each asks and found."""

    out: Path
    """The folder to write: result.json, the figure as PNG and SVG, and each network's measurements.
    An existing study is resumed."""

    seeds: OptionalText = None
    """first:end (100:132 is 32 seeds), one number, or several with commas. Default: as many as
    the study needs, starting at 100; the recipes were chosen on seeds below 100."""

    quick: bool = False
    """Two seeds and few steps, in less than a minute: shows that the study runs, answers
    nothing."""

    runs: Path = Path("runs")
    """Folder of run folders, as `jaxmi regenerate` writes them: networks are taken from there, and
    trained into it where they are missing."""

    force: bool = False
    """Measure again what was measured, and replace an existing result; networks are kept."""

    def run(self) -> Result:
        """Train what is missing, measure, conclude, and write everything at once."""
        seeds = None if self.seeds is None else parse_seeds(self.seeds)

        from jaxmi.workflows.study import write_study

        return write_study(
            self.name, self.out, seeds, self.quick, self.runs, self.force, self.data_dir
        )

    def show(self, result: Result) -> None:
        """Print the question and the findings that answer it."""
        from rich.console import Console
        from rich.table import Table

        from jaxmi.report.studies.intervals import interval
        from jaxmi.studies.registry import load_study
        from jaxmi.workflows.study import FIGURES, RESULT

        console = Console()
        console.print(result["question"], highlight=False)
        table = Table(
            "finding", "value", "95 % interval", "meaning", show_lines=console.width < 120
        )
        table.columns[1].justify = "right"
        main = [name for name in load_study(result["study"]).main if name in result["findings"]]
        for name in main:
            finding = result["findings"][name]
            table.add_row(name, *interval(finding), finding["words"])
        console.print(table)
        more = len(result["findings"]) - len(main)
        console.print(f"{more} more findings are in {RESULT}", highlight=False)
        if result["provenance"]["quick"]:
            console.print("--quick barely trains the networks: these numbers answer nothing")
        console.print(
            f"{result['folder']}/: {RESULT}, {', '.join(FIGURES)}", highlight=False, soft_wrap=True
        )
