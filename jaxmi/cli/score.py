"""`jaxmi score`: judge programs, tables of labels, and explanations; compare two explanations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from jaxmi.cli.subcommand import DataSubcommand, OptionalPath, Result
from jaxmi.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = {
    "agreement_truth": "true labels",
    "agreement_train": "  train",
    "agreement_validation": "  validation",
    "agreement_test": "  test",
    "agreement_network": "the network's labels",
    "agreement_network_train": "  train",
    "agreement_network_validation": "  validation",
    "agreement_network_test": "  test",
    "agreement_mistakes": "  where the network is wrong",
    "network_truth": "the network's own accuracy",
}
"""Metric -> what a person reads."""

LARGEST = 5
"""How many of the regions where labels differ are printed."""


@dataclass(frozen=True, kw_only=True)
class Score(DataSubcommand):
    """Judge a submission, or a folder of them."""

    example = "jaxmi score recovered/program.txt --challenge transformer"

    submission: Positional[Path]
    """A program (.py or .txt), a table of labels (.npz, as `jaxmi predict` writes, .npy, .csv,
    .pkl), an explanation (.json), or a folder of programs and tables, which are ranked; with the
    key of a mechanism, a folder of explanations."""

    challenge: Annotated[str, arg(metavar="CHALLENGE")]
    """transformer, cnn, or the folder of your own or a sealed challenge."""

    checkpoint: OptionalPath = None
    """A network to compare with; an explanation needs one. A sealed challenge has its own."""

    against: OptionalPath = None
    """Another explanation (.json) of the same network: what each keeps per bit of feature, and who
    is right where only one permits an exchange. The submission is an explanation, too."""

    answer: OptionalPath = None
    """The key of a sealed challenge, FOLDER.answer.json: with it the true labels are known. Of a
    mechanism: explanations, or a folder of them, are scored against it."""

    out: OptionalPath = None
    """A folder to write: the metrics as JSON (duel.json with --against), and where labels differ as
    PNG; for a folder of submissions, the ranking as Markdown and JSON. Default: nothing is
    written."""

    force: bool = False
    """Replace files that exist."""

    def run(self) -> Result:
        """Read the submission first: most mistakes in one are found at once."""
        from jaxmi.workflows.score import rank_folder, score_duel, score_explanation, score_file
        from jaxmi.workflows.submissions import Against, find_task

        against = Against(self.challenge, self.checkpoint, self.answer, self.data_dir)
        if self.answer is not None and find_task(self.challenge) == "mechanism":
            from jaxmi.workflows.key_scores import rank_by_key, score_by_key

            if self.against is not None:
                raise InputError(f"--against {self.against}: a key scores one explanation")
            by_key = rank_by_key if self.submission.is_dir() else score_by_key
            return by_key(self.submission, against, self.out, self.force)
        if self.against is not None:
            return score_duel(self.submission, self.against, against, self.out, self.force)
        if self.submission.is_dir():
            judge = rank_folder
        else:
            judge = score_explanation if self.submission.suffix == ".json" else score_file
        return judge(self.submission, against, self.out, self.force)

    def show(self, result: Result) -> None:
        """Print the verdict and the metrics, or the ranking."""
        from jaxmi.cli.console import plain_console

        console = plain_console(soft_wrap=True)
        if "ranking" in result:
            _print_ranking(result)
        elif "interventions" in result:
            _print_duel(result)
        elif "key_claims" in result:
            print_key_score(result)
        elif "claims" in result:
            _print_explanation(result)
        else:
            print_score(result)
        for file in result.get("files", ()):
            console.print(file)


def print_score(result: Mapping[str, Any]) -> None:
    """Print one submission's score."""
    from rich.table import Table

    from jaxmi.cli.console import plain_console, print_table

    console = plain_console(soft_wrap=True)
    table = Table(title=result["submission"], title_justify="left", show_header=False)
    table.add_column("metric")
    table.add_column("value", justify="right")
    for key, words in SHOWN.items():
        if result.get(key) is not None:
            table.add_row(words, f"{result[key]:.2%}")
    if result["description_length"] is not None:
        table.add_row("description length", f"{result['description_length']:,}")
    print_table(table)
    for name, found in result["differences"].items():
        _print_regions(console, f"differs from the {name}", found)
    console.print(result["verdict"])


def _print_regions(console: "Console", what: str, found: Mapping[str, Any]) -> None:
    if not found["inputs"]:
        return
    largest = found["largest"][:LARGEST]
    more = f", the largest {len(largest)} of {found['regions']}" if len(largest) > 1 else ""
    console.print(f"{what} on {found['inputs']:,} of the inputs{more}:")
    for region in largest:
        of = f"{region['differing']:,}, {region['label1']:,} of them labelled 1"
        console.print(f"  {region['name']}: {of}")


def _print_ranking(result: Mapping[str, Any]) -> None:
    from rich.table import Table

    from jaxmi.cli.console import print_table
    from jaxmi.report.scores import ranking_rows

    headings, *rows = ranking_rows(result)
    table = Table(title=result["challenge"], title_justify="left")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i == 1 else "right")
    for row in rows:
        table.add_row(*row)
    print_table(table)


def _print_explanation(result: Mapping[str, Any]) -> None:
    from jaxmi.cli.console import plain_console

    _print_rows(result["title"], result["table"])
    plain_console(soft_wrap=True).print(f"{result['verdict']}\n({result['rule']})")


def print_key_score(result: Mapping[str, Any]) -> None:
    """Print an explanation's score against a key."""
    from jaxmi.cli.console import plain_console

    _print_rows(result["title"], result["table"])
    plain_console(soft_wrap=True).print(f"{result['verdict']}\n({result['rule']})")


def _print_duel(result: Mapping[str, Any]) -> None:
    from jaxmi.cli.console import plain_console

    console = plain_console(soft_wrap=True)
    _print_rows(" against ".join(one["title"] for one in result["explanations"]), result["table"])
    _print_rows("exchanges, by who permits them", result["exchange_table"])
    for line in result["verdict"].split("; "):
        console.print(line)
    console.print(f"({result['rule']})")


def _print_rows(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first row has the headings, and whose first column has the names."""
    from rich.table import Table

    from jaxmi.cli.console import print_table

    (_, *headings), *rest = rows
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for row in rest:
        table.add_row(*row)
    print_table(table)
