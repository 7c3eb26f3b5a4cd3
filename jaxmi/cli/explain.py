"""`jaxmi explain`: the published solution's evidence on a network, with controls, as a report."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from jaxmi.cli.subcommand import DataSubcommand, Result


@dataclass(frozen=True, kw_only=True)
class Explain(DataSubcommand):
    """Explain a network: evidence, controls, a report."""

    checkpoint: Positional[Path]
    """A checkpoint folder, or a run folder: then all its seeds, and a table of them."""

    out: Path
    """The folder to write: report.html, figures.json, PNG figures; of a run, a folder per seed."""

    force: bool = False
    """Replace an explanation that is there."""

    def run(self) -> Result:
        """Explains every network, then writes everything at once."""
        from jaxmi.workflows.explain import write_explanations

        return write_explanations(self.checkpoint, self.out, self.force, self.data_dir)

    def show(self, result: Result) -> None:
        """Prints the verdicts and the main figures."""
        from jaxmi.workflows.explain import print_explanations

        print_explanations(result)
