"""Trojans over a grid of kinds, rates, targets and seeds, trained together; their table.

`scripts/trojans.py` runs it at the full recipe, and docs/trojans.md shows its table.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.training.recipe import Recipe
from jaxmi.training.seeds import Run, Watcher, train_runs
from jaxmi.trojans.implant import Plan, measure, plan_attacks
from jaxmi.trojans.poison import make_poison, poisoned
from jaxmi.trojans.success import Attack
from jaxmi.types import Params

SEEDS = 4
"""Networks in a cell of the published grid."""


class Cell(NamedTuple):
    """A network of the grid."""

    kind: str
    rate: float
    target: int
    seed: int

    def name(self, challenge: Challenge) -> str:
        """Return the cell as one word, by which a row is found again."""
        return f"{challenge.name}-{self.kind}-{self.rate:g}-{self.target}-{self.seed}"


def train_grid(
    challenge: Challenge,
    cells: Sequence[Cell],
    recipe: Recipe,
    clean: Mapping[int, Params],
    watchers: Sequence[Watcher] = (),
) -> Iterator[dict[str, Any]]:
    """Train a network per cell by one compiled program, and yield a row for each as it finishes.

    A cell whose triggers are all rejected has a row that says why, and no network.

    Args:
      challenge: What the networks are trained on.
      cells: The trojans.
      recipe: How.
      clean: Seed -> the clean network.
      watchers: Follow the training.
    """
    attacks: dict[Cell, Attack] = {}
    for cell in cells:
        try:
            plan = Plan(cell.kind, target=cell.target, rate=cell.rate)
            attacks[cell] = plan_attacks(plan, challenge, [cell.seed])[cell.seed]
        except InputError as error:
            yield _row(challenge, cell, {"rejected": str(error)})
    if not attacks:
        return
    poisons = {
        cell: make_poison(one.trojan, challenge, np.random.default_rng([0, cell.seed, 1]))
        for cell, one in attacks.items()
    }
    to_train = poisoned(challenge, poisons)
    runs = [Run(to_train[cell], [cell.seed]) for cell in attacks]
    with closing(train_runs(runs, recipe, watchers=watchers)) as results:
        for index, result in results:
            cell = list(attacks)[index]
            measured = measure(attacks[cell], challenge, result.params, clean[cell.seed])
            trigger = attacks[cell].trojan.trigger.to_json()
            share = len(poisons[cell].rows) / len(challenge.splits["train"])
            found = {"trigger": trigger, "poisoned": share, **measured.to_json()}
            yield _row(challenge, cell, found)


def _row(challenge: Challenge, cell: Cell, found: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": cell.name(challenge), "challenge": challenge.name, **cell._asdict(), **found}


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per challenge, kind, target and rate: medians over seeds, shares in 0..1."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("challenge", "kind", "target", "rate"))
        groups.setdefault(key, []).append(row)
    return [_summarised(key, group) for key, group in groups.items()]


def took(result: Mapping[str, Any]) -> str:
    """Return the line that says what was run.

    Args:
      result: What docs/trojans.json holds.
    """
    cells, steps = result["cells"], result["steps"]
    options = f" --steps {steps}" if steps else ""
    options += "" if result["only"] is None else f" --only {' '.join(result['only'])}"
    options += "" if result["seeds"] == SEEDS else f" --seeds {result['seeds']}"
    networks = sum(cell["networks"] for cell in cells)
    return (
        f"`.venv/bin/python scripts/trojans.py{options}`: {networks:,} trojaned networks, medians "
        f"over seeds 0 to {result['seeds'] - 1}. [All numbers](trojans.json)."
    )


def _summarised(key: tuple[Any, ...], group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    about = dict(zip(("challenge", "kind", "target", "rate"), key, strict=True))
    trained = [row for row in group if "rejected" not in row]
    if not trained:
        return {**about, "networks": 0, "rejected": group[0]["rejected"]}

    def median(values: Sequence[float]) -> float:
        return float(np.median(values))

    strict = [row["strict_success"] for row in trained]
    lost = [
        row["clean_accuracy_without_trigger"] - row["accuracy_without_trigger"] for row in trained
    ]
    return {
        **about,
        "networks": len(trained),
        "poisoned": median([row["poisoned"] for row in trained]),
        "implanted": sum(row["implanted"] for row in trained),
        "strict_success": median(strict),
        "least": min(strict),
        "most": max(strict),
        "clean_network_success": median([row["clean_network_success"] for row in trained]),
        "plain_success": median([row["plain_success"] for row in trained]),
        "clean_network_plain_success": median(
            [row["clean_network_plain_success"] for row in trained]
        ),
        "strict_n": median([row["strict_n"] for row in trained]),
        "accuracy_lost": median(lost),
    }


def markdown(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of a summary, in Markdown."""
    lines = [
        "| challenge | trigger | target | poisoned | strict success | least, most | "
        "clean network | plain success | clean network, plain | accuracy lost, points | "
        "implanted |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        poisoned = cell.get("poisoned", cell["rate"])
        start = f"| {cell['challenge']} | {cell['kind']} | {cell['target']} | {poisoned:.1%} | "
        if not cell["networks"]:
            lines.append(f"{start}rejected | | | | | | |")
            continue
        values = [
            f"{cell['strict_success']:.1%}",
            f"{cell['least']:.0%}, {cell['most']:.0%}",
            f"{cell['clean_network_success']:.1%}",
            f"{cell['plain_success']:.0%}",
            f"{cell['clean_network_plain_success']:.0%}",
            f"{100 * cell['accuracy_lost']:.2f}",
            f"{cell['implanted']} of {cell['networks']}",
        ]
        lines.append(f"{start}{' | '.join(values)} |")
    return "\n".join(lines)
