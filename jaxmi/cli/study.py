"""`jaxmi study`: a question asked of many seeds, answered with intervals and a figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxmi.cli.regenerate import parse_seeds
from jaxmi.cli.subcommand import Result, Verb

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
class StudyVerb(Verb):
    """Ask a question of many seeds."""

    name: Positional[Name]
    """Which study; docs/findings.md says what each found."""

    out: Path
    """The folder to write: result.json, the figure as PNG and SVG, and what was measured on each
    network. A study that is there already is gone on with."""

    seeds: str | None = None
    """first:end (100:132 is 32 seeds), one number, or several with commas. Default: as many from
    100 on as the study needs; the recipes were chosen on seeds below."""

    quick: bool = False
    """Two seeds and few steps, in less than a minute: shows that it works, answers nothing."""

    runs: Path = Path("runs")
    """Where networks are found, and put if they are missing: run folders like those of `jaxmi
    regenerate`."""

    force: bool = False
    """Measure anew what was measured, and replace a result that is there. Networks stay."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for studies of the CNN."""

    def run(self) -> Result:
        """Trains what is missing, measures, concludes, and writes everything at once."""
        seeds = None if self.seeds is None else parse_seeds(self.seeds)

        from jaxmi.workflows.study import write_study

        return write_study(
            self.name, self.out, seeds, self.quick, self.runs, self.force, self.data_dir
        )

    def show(self, result: Result) -> None:
        """Prints the findings."""
        from jaxmi.workflows.study import print_findings

        print_findings(result)
