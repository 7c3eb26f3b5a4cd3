"""Print the scoreboard of docs/recover.md from the results of the other scripts of this folder.

Command:   .venv/bin/python scripts/recovery/table.py
Time:      a second
Expected:  tables of shares in per cent, and the calibration of the confidence
"""

from collections.abc import Callable, Iterable
from statistics import mean, median
from typing import Any

from kinds import KINDS
from recoveries import BASELINES, RESULTS, read_rows

Row = dict[str, Any]
HEAD = ("networks", "n", "100 %", "99.5 %", "99 %", "least", "better", "found", "s", "length, true")
TIERS: dict[str, Callable[[str], bool]] = {
    "one periodic term": lambda text: text.count("%") == 1,
    "two": lambda text: text.count("%") == 2,
    "no guard": lambda text: "and z" not in text,
    "one guard": lambda text: text.count("and z") == 1,
    "two guards": lambda text: text.count("and z") == 2,
}
STEPS = (0.5, 0.8, 0.9, 0.95, 0.98, 1.0)
"""Bounds between the classes of confidence."""


def main() -> None:
    """Print all tables."""
    rows = read_rows(RESULTS)
    fresh = [row for row in rows if row["kind"] == "pairs" and row["seed"] > 100]
    judged = [row for row in rows if row["seed"] % 2 or not KINDS[row["kind"]].tuned]
    print_table("seeds that the search was not tuned on", by_kind(judged))
    print_table("fresh pairs by tier", [(t, [r for r in fresh if has(r)]) for t, has in tiers()])
    print_table("seeds that it was tuned on", by_kind([row for row in rows if row not in judged]))
    for kind in ("challenge-2", "pairs", "image"):
        of_kind = [row for row in read_rows(BASELINES) if row["kind"] == kind]
        methods = dict.fromkeys(row["method"] for row in of_kind)
        by_method = [(m, [row for row in of_kind if row["method"] == m]) for m in methods]
        print_table(f"other learners, {kind}", by_method)
    print_confidence([row for row in judged if row["true_length"] is not None])
    images = [row for row in judged if row["kind"] == "image"]
    nulls = [row for row in judged if row["true_length"] is None]
    print(f"\nthe right templates: {sum(row['same_templates'] for row in images)} of {len(images)}")
    print(f"no program: confidence at most {max((r['confidence'] for r in nulls), default=0):.2f}")


def by_kind(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Group rows by kind; pairs with seeds over 100 were run once, with the final constants."""
    groups = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    pairs = groups.pop("pairs")
    fresh = {"pairs, seeds over 100": [row for row in pairs if row["seed"] > 100]}
    older = {"pairs, seeds below": [row for row in pairs if row["seed"] < 100]}
    return list((fresh | older | groups).items())


def tiers() -> Iterable[tuple[str, Callable[[Row], bool]]]:
    """Yield each tier's name, and a function that says whether a row belongs to it."""
    for name, has in TIERS.items():
        yield name, lambda row, has=has: has(row["true_program"])


def print_table(title: str, groups: Iterable[tuple[str, list[Row]]]) -> None:
    """Print one table in Markdown; times and lengths are medians."""
    groups = [(name, rows) for name, rows in groups if rows]
    if not groups:
        return
    print(f"\n{title}\n\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for name, rows in groups:
        print(f"| {' | '.join([name, str(len(rows)), *cells(rows)])} |")


def cells(rows: list[Row]) -> list[str]:
    """Return the cells of a table's row."""
    truth = [row["agreement_truth"] for row in rows]
    shares = [mean(t >= enough for t in truth) for enough in (1, 0.995, 0.99)]
    least = f"{min(truth):.2%}"
    better = mean(row["agreement_truth"] > row["network_truth"] for row in rows)
    found = f"{mean(row['found'] for row in rows):.0%}" if "found" in rows[0] else ""
    lengths = [[row[k] for row in rows if row[k]] for k in ("description_length", "true_length")]
    length = ", ".join(f"{median(known):g}" if known else "-" for known in lengths)
    seconds = f"{median(row['seconds'] for row in rows):.0f}"
    return [*(f"{share:.0%}" for share in shares), least, f"{better:.0%}", found, seconds, length]


def print_confidence(rows: list[Row]) -> None:
    """Print the mean confidence, and the share of right programs, per class of confidence."""
    print("\nconfidence: from, to, networks, mean, share at 99.5 % or more")
    for low, high in zip((0.0, *STEPS), (*STEPS, 1.01), strict=False):
        group = [row for row in rows if low <= row["confidence"] < high]
        if group:
            right = mean(row["agreement_truth"] >= 0.995 for row in group)
            average = mean(row["confidence"] for row in group)
            print(f"{low:.2f} {min(high, 1):.2f} {len(group)} {average:.2f} {right:.2f}")


if __name__ == "__main__":
    main()
