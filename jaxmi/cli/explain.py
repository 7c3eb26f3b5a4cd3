"""`jaxmi explain`: the published solution's evidence on a network, with controls, as a report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from jaxmi.cli.subcommand import DataSubcommand, Result

MAX_COLUMNS = 5
"""Up to this many seeds have a column each; more are summarised."""


@dataclass(frozen=True, kw_only=True)
class Explain(DataSubcommand):
    """Explain a network: evidence, controls, a report."""

    example = "jaxmi explain runs/cnn-fast/seed-00000 --out explained"

    checkpoint: Positional[Path]
    """A checkpoint folder, or a sealed challenge's; or a run folder, to explain every seed and
    tabulate them."""

    out: Path
    """The folder to write: report.html, figures.json, figures as PNG, of a transformer also
    replacement.npz, a smaller network; for a run, a folder per seed."""

    variables: bool = False
    """Ask which values of a program a transformer computes inside."""

    program: Path | None = None
    """With --variables: the program, .txt or .py. Default: the one that is recovered from the
    network."""

    force: bool = False
    """Replace an existing explanation."""

    def run(self) -> Result:
        """Explain every network and write the reports."""
        from jaxmi.workflows.explain import write_explanations
        from jaxmi.workflows.variables import ask_of

        question = ask_of(self.checkpoint, self.program, self.variables)
        return write_explanations(self.checkpoint, self.out, self.force, self.data_dir, question)

    @property
    def resumes(self) -> bool:
        """True for a run: the seeds that are explained are not explained again."""
        return not self.force and (self.checkpoint / "run.json").is_file()

    def show(self, result: Result) -> None:
        """Print the main metrics, the verdicts, and the report's path."""
        print_explanations(result)


def print_explanations(result: Mapping[str, Any]) -> None:
    """Print what `jaxmi explain` prints without `--json`.

    Args:
      result: A result of `write_explanations`.
    """
    from rich.table import Table

    from jaxmi.cli.console import plain_console, print_table
    from jaxmi.workflows.explain import explainer_of_metrics

    console = plain_console()
    seeds = result.get("seeds", {"": result})
    columns = seeds if len(seeds) <= MAX_COLUMNS else {"typical": result}
    has_published = len(seeds) == 1 and any(one["published"] for one in seeds.values())
    table = Table(title=result["challenge"], title_justify="left")
    table.add_column("metric")
    for name in columns:
        table.add_column(name or "this network", justify="right")
    if has_published:
        table.add_column("published", justify="right")
    figures = next(iter(columns.values()))["figures"]
    for metric in explainer_of_metrics(figures).main:
        cells = [metric.format(column["figures"]) for column in columns.values()]
        published = [metric.format_published()] if has_published else []
        table.add_row(metric.label, *cells, *published)
    print_table(table)
    if len(seeds) == 1:
        (network,) = seeds.values()
        for title, verdict in network["verdicts"].items():
            console.print(f"{verdict:>9}  {title}")
        if network["program"]:
            program = f"\n{network['program']}\n"
            console.print(program, soft_wrap=True)
        if network["computes"]["model"] != "not asked":
            console.print(network["computes"]["words"], soft_wrap=True)
        for one in network["figures"].get("variables", ()):
            console.print(f"{one['verdict']:>14}  {one['name']} ({one['site']})", soft_wrap=True)
    console.print(f"{result['report']}", soft_wrap=True)
