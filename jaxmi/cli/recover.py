"""`jaxmi recover`: the labelling program, from a network's predictions alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from jaxmi.cli.subcommand import DataSubcommand, Result


@dataclass(frozen=True, kw_only=True)
class Recover(DataSubcommand):
    """Recover the labelling program from a network's predictions."""

    example = "jaxmi recover runs/transformer-fast/seed-00000 --out recovered"

    network: Positional[Path]
    """A checkpoint folder, a sealed challenge's, or a table of labels (.npz, as `jaxmi predict`
    writes, .npy, .csv, .pkl)."""

    out: Path
    """The folder to write: program.txt, recovery.json, recovery.png."""

    truth: bool = False
    """Compare with the true labels too, after the search; they play no part in it."""

    challenge: Annotated[str | None, arg(metavar="CHALLENGE")] = None
    """The challenge that a table labels, a name or a folder: it says which inputs were trained on.
    Default: told from the table's shape."""

    explain: bool = False
    """Explain the network too, in OUT/explained."""

    force: bool = False
    """Replace an existing recovery."""

    def run(self) -> Result:
        """Read the predictions, search, write."""
        from jaxmi.workflows.explain import check_explainable, write_explanations
        from jaxmi.workflows.recover import write_recovery

        inside = self.out / "explained"
        if self.explain:
            check_explainable(self.network, inside, self.force)
        result = write_recovery(
            self.network, self.out, self.truth, self.force, self.data_dir, self.challenge
        )
        if not self.explain:
            return result
        explanation = write_explanations(self.network, inside, self.force, self.data_dir)
        return {**result, "explanation": explanation}

    def show(self, result: Result) -> None:
        """Print the program, its confidence and why, and the runners-up."""
        print_recovery(result)
        if "explanation" in result:
            from jaxmi.cli.explain import print_explanations

            print_explanations(result["explanation"])
        for file in result["files"]:
            print(file)


def print_recovery(result: Mapping[str, Any]) -> None:
    """Print the recovered program beside the runners-up."""
    from rich.table import Table

    from jaxmi.cli.console import plain_console, print_table

    console = plain_console(soft_wrap=True)
    verdict = "found" if result["found"] else "not found; the best candidate is"
    console.print(f"{verdict}, confidence {result['confidence']:.2f}\n")
    print(result["program"])
    for reason in result["why"]:
        console.print(f"- {reason}")
    table = Table(title="agreement", title_justify="left")
    for column in ("program", "the network's labels", "true labels", "length", "differs on"):
        table.add_column(column, justify="left" if column == "program" else "right")
    rows = [{**result, "differs": 0}, *result["runners_up"]]
    for i, one in enumerate(rows):
        truth = one.get("agreement_truth")
        table.add_row(
            f"runner-up {i}" if i else "recovered",
            f"{one['agreement_network']:.2%}",
            "" if truth is None else f"{truth:.3%}",
            str(one["description_length"]),
            f"{one['differs']:,}" if i else "",
        )
    print_table(table)
    if result.get("network_truth") is not None:
        console.print(f"the network itself: {result['network_truth']:.3%} of the true labels")
    rate = result["candidates_per_second"]
    console.print(f"{result['seconds']} s, {rate:,} candidates per second")
