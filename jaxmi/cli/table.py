"""Tables of accuracies: networks beside the published one."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from jaxmi.challenges.registry import CHALLENGES
from jaxmi.cli.console import plain_console, print_table

_COLUMNS = {
    "train": "train_accuracy",
    "test": "test_accuracy",
    "domain": "domain_accuracy",
    "1-2*error": "casper_figure",
}


def print_comparison(networks: Sequence[Mapping[str, Any]]) -> None:
    """Print a table per challenge on stdout.

    Args:
      networks: For each network "name", "challenge", and the metrics of `Challenge.metrics`; after
        training also "steps" and "train_seconds".
    """
    for challenge in dict.fromkeys(network["challenge"] for network in networks):
        chosen = [network for network in networks if network["challenge"] == challenge]
        entry = CHALLENGES.get(challenge)
        published = None if entry is None else entry.published
        table = Table(title=challenge, title_justify="left")
        quoted = published is not None and published.casper_figure is not None
        columns = {k: v for k, v in _COLUMNS.items() if quoted or k != "1-2*error"}
        table.add_column("network")
        trained = ("steps", "train time") if "train_seconds" in chosen[0] else ()
        for heading in (*columns, *trained):
            table.add_column(heading, justify="right")
        if published is not None:
            cells = [_percent(getattr(published, key)) for key in columns.values()]
            table.add_row("published", *cells, *("" for _ in trained), end_section=True)
        for network in chosen:
            cells = [_percent(network[key]) for key in columns.values()]
            if trained:
                cells += [str(network["steps"]), f"{network['train_seconds']:.1f} s"]
            table.add_row(network["name"], *cells)
        if published is not None and len(chosen) > 1:
            reached = sum(n["test_accuracy"] >= round(published.test_accuracy, 4) for n in chosen)
            table.caption = f"{reached} of {len(chosen)} reach the published test accuracy"
        print_table(table)
        if "1-2*error" in columns:
            plain_console().print(
                "1-2*error, with the share of errors on the whole domain, is what the post "
                "quotes as 97.27 % test accuracy.",
                style="dim",
            )


def print_stated(name: str, stated: Mapping[str, Mapping[str, Any]]) -> None:
    """Print how often a sealed challenge's network is right, as its folder states it.

    Args:
      name: The challenge's folder, or its network's.
      stated: Split, or "domain" -> "right", "inputs" and "share".
    """
    table = Table(title=f"{name}: stated, not recomputed", title_justify="left")
    for heading in ("inputs", "the network is right on", "share"):
        table.add_column(heading, justify="left" if heading == "inputs" else "right")
    for split, count in stated.items():
        right = f"{count['right']:,} of {count['inputs']:,}"
        table.add_row(split, right, _percent(count["share"]))
    print_table(table)
    plain_console().print(
        "The true labels are sealed. Whoever posed the challenge states these counts; they can be "
        "checked once its key is published: `jaxmi challenge reveal`.",
        style="dim",
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
