"""The figure of the study `periodic`: rows that networks never saw."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.report.studies.intervals import BLUE, GREEN, GREY, RED, bar_heights, bars, grouped_bars

RULES = {
    "published": "published\nlabels",
    "residues": "residues\npermuted",
    "shuffled": "rows in\nrandom order",
    "constant": "one residue\neverywhere",
}

RULES_READ = ("published", "residues")


def draw_periodic(result: Mapping[str, Any]) -> Figure:
    """Draw the result of the study `periodic`."""
    findings, data = result["findings"], result["data"]
    figure = Figure(figsize=(16, 9.5), layout="constrained")
    (true, predicted, accuracy), (residues, read, probes) = figure.subplots(2, 3)
    _draw_rows(true, np.array(data["labels"])[data["rows"]], data, "the program's labels")
    _draw_rows(predicted, np.array(data["answers"]), data, "share of networks that predict 1")
    rules = [rule for rule in RULES if f"seen_{rule}" in findings]
    grouped_bars(
        accuracy,
        [RULES[rule] for rule in rules],
        {
            "test pairs of rows that were seen": [findings[f"seen_{rule}"] for rule in rules],
            "rows that were not": [findings[f"unseen_{rule}"] for rule in rules],
        },
        (BLUE, RED),
        scale=100,
    )
    for name, style, label in (
        ("one_label", ":", "unseen rows: always one label"),
        ("guessed", "-", "unseen rows: residue, or row, guessed"),
        ("nearest_row", "--", "unseen rows: nearest row copied"),
    ):
        levels = [findings.get(f"unseen_{rule}_{name}", {}).get("value") for rule in rules]
        _draw_levels(accuracy, levels, style, label)
    accuracy.legend(fontsize="x-small", loc="upper center", ncols=2)
    accuracy.set_ylim(0, 130)
    accuracy.set_ylabel("accuracy, %")
    accuracy.set_title("seen and unseen rows")
    learned = {str(r): findings[f"accuracy_residue_{r}"] for r in range(8)} | {
        "bars": findings["accuracy_bars"],
        "bars,\npermuted": findings["accuracy_bars_dealt"],
    }
    value, reach = bar_heights(list(learned.values()), 100)
    for x, colour in enumerate([BLUE] * 8 + [GREEN, GREY]):
        residues.errorbar(x, value[x], reach[:, [x]], fmt="o", color=colour, capsize=4)
    residues.set_xticks(range(len(learned)), list(learned), fontsize="small")
    residues.grid(axis="y", alpha=0.3)
    residues.set_xlabel("residue of the row; bars: away from curves and line")
    residues.set_ylabel("accuracy on test pairs, %")
    residues.set_title("nothing held out")
    bars(
        read,
        {RULES[rule]: findings[f"residue_read_{rule}_over_rows"] for rule in RULES_READ},
        [RED, GREY],
        scale=100,
    )
    read.set_title("unseen rows whose residue fits the predictions best;\ninterval over rows")
    bars(
        probes,
        {
            "seen rows": findings["probe_seen"],
            "seen,\nrandom\nresidues": findings["probe_random"],
            "seen,\npermuted": findings["probe_seen_dealt"],
            "unseen rows": findings["probe_unseen"],
            "unseen,\npermuted": findings["probe_unseen_dealt"],
        },
        [BLUE, GREY, GREEN, RED, GREY],
        scale=100,
    )
    probes.set_title("rows whose residue a linear probe of the embedding reads")
    by_chance = [findings[f"residue_read_{rule}_by_chance"]["value"] for rule in RULES_READ]
    _draw_levels(read, by_chance, "--", "by chance")
    for axes in (read, probes):
        axes.set_ylim(0, 40)
        axes.set_ylabel("rows, %")
    read.legend(fontsize="small")
    return figure


def _draw_levels(axes: Axes, levels: Sequence[float | None], style: str, label: str) -> None:
    """Draw a line across each bar, or group of bars, at the level to compare it with."""
    known = [(x, 100 * level) for x, level in enumerate(levels) if level is not None]
    for x, level in known:
        axes.plot([x - 0.45, x + 0.45], [level] * 2, color="#222222", linestyle=style)
    if known:
        axes.plot([], [], color="#222222", linestyle=style, label=label)


def _draw_rows(axes: Axes, rows: np.ndarray, data: Mapping[str, Any], title: str) -> None:
    order = np.argsort(data["rows"])
    axes.imshow(rows[order], cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(order)), [str(data["rows"][i]) for i in order], fontsize=5)
    axes.set_title(f"rows held out: {title}")
    axes.set_xlabel("y")
    axes.set_ylabel("x")
