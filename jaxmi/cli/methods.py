"""`jaxmi methods`: explanation methods marked on planted networks."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from jaxmi.cli.subcommand import OptionalPath, OptionalText, Result, Subcommand

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Methods(Subcommand):
    """Mark explanation methods on networks whose mechanism is known."""

    example = "jaxmi methods --method mine.py:score --out marked"

    out: Path
    """The folder to write: methods.json, the figure as PNG and SVG, and each answer under measured.
    An existing one is resumed: what was asked is not asked again."""

    method: Annotated[tuple[str, ...], arg(metavar="FILE.py:FUNCTION")] = ()
    """Methods of yours, each a function (network, question) -> score; docs/methods.md has an
    example. The file is run."""

    only: OptionalText = None
    """Names of jaxmi's own methods to mark, with commas, or none. Default: all of them."""

    plants: int = 150
    """Number of compiled networks: three of each program, rounded up."""

    seed: int = 100
    """Seed of the first program, at least 10. Thresholds are chosen on programs 0 to 9, or on fewer
    if fewer are asked about: as many as these, at least two."""

    trained: OptionalPath = None
    """A folder of trained plants, which are marked, too: checkpoints with a mechanism.json.
    Default: compiled plants only."""

    force: bool = False
    """Ask again what was asked, and replace an existing result."""

    def run(self) -> Result:
        """Make the plants, ask every method, write the marks."""
        from jaxmi.workflows.methods import write_marks

        only = None if self.only is None else [n for n in self.only.split(",") if n != "none"]
        return write_marks(
            self.out,
            self.method,
            only,
            self.plants,
            self.seed,
            self.trained,
            self.force,
            lambda line: logger.info(f"methods: {line}"),
        )

    @property
    def resumes(self) -> bool:
        """True unless it was to start over."""
        return not self.force

    def show(self, result: Result) -> None:
        """Print the marks, the best method first."""
        from rich.table import Table

        from jaxmi.cli.console import print_table
        from jaxmi.methods.result import table

        settings = result["settings"]
        headings, *rows = table(result)
        first, last = settings["seeds"]
        marked = Table(
            title=f"AUROC on {settings['plants']} compiled and {settings['trained']} trained "
            f"plants, programs {first} to {last}",
            title_justify="left",
        )
        for heading in headings:
            is_name = heading == "method"
            marked.add_column(heading, justify="left" if is_name else "right", no_wrap=is_name)
        for row in rows:
            marked.add_row(*(cell.replace(" (", "\n(") for cell in row))
        print_table(marked)
        print("controls: random, labels (no look inside), network (no look at the question)")
        print(f"{result['folder']}/: methods.json, methods.png, methods.svg")
