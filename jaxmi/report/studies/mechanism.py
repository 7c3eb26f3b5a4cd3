"""The figure of the study `mechanism`: few neurons, simpler attention, classes of values."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.mechanism import metrics as table
from jaxmi.report.mechanism_figures import STYLES
from jaxmi.report.studies.intervals import BLUE, GREY, RED, YELLOW, bar_heights, grouped_bars


def draw_mechanism(result: Mapping[str, Any]) -> Figure:
    """Draw the result of the study `mechanism`."""
    findings, data = result["findings"], result["data"]
    figure = Figure(figsize=(17, 9), layout="constrained")
    (labels, mistakes, simple), (spread, classes, rest) = figure.subplots(2, 3)
    _draw_few(labels, findings, "agreement")
    _draw_few(mistakes, findings, "mistakes")
    _draw_simple(simple, findings)
    _draw_spread(spread, data["values"])
    _draw_r2(classes, findings)
    _draw_best(rest, data["classes"])
    return figure


def _draw_few(axes: Axes, findings: Mapping[str, Any], what: str) -> None:
    for choice, (name, colour, line) in STYLES.items():
        shown = {
            k: findings[key]
            for k, kept in table.FEW[choice].items()
            if (key := getattr(kept, what).key) in findings
        }
        if shown:
            value, reach = bar_heights(list(shown.values()), 100)
            axes.errorbar(list(shown), value, reach, fmt=line, color=colour, marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(table.COUNTS, list(map(str, table.COUNTS)))
    axes.set_xlabel("neurons")
    axes.set_ylabel("%")
    axes.set_title(f"{'labels' if what == 'agreement' else 'mistakes'} that few neurons keep")
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(fontsize="small")


def _draw_simple(axes: Axes, findings: Mapping[str, Any]) -> None:
    forms = {
        "attention:\nmean": table.MEAN,
        "sum of\nf(x), g(y)": table.ADDITIVE,
        "product": table.RANK1,
        "stream:\nsum": table.RESID_ADDITIVE,
        "sum and 1\ndirection": table.RESID_INTERACTIONS[1],
        "4 com-\nponents": table.RESID_COMPONENTS[4],
    }
    kinds = {
        kind: {name: findings[kept.key] for name, kept in metrics.items() if kept.key in findings}
        for kind, metrics in (
            ("labels kept", {name: kept.agreement for name, kept in forms.items()}),
            ("mistakes kept", {name: kept.mistakes for name, kept in forms.items()}),
        )
    }
    names = list(kinds["labels kept"])
    series = {kind: [found[n] for n in names] for kind, found in kinds.items() if len(found)}
    if not series:
        axes.axis("off")
        return
    grouped_bars(axes, names, series, (BLUE, RED), scale=100)
    axes.set_ylabel("%")
    axes.set_title("what simpler attention, or a simpler stream, keeps")


def _draw_spread(axes: Axes, values: Mapping[str, list[float]]) -> None:
    few = table.FEW["own"][table.MAIN_COUNT]
    if few.agreement.key not in values:
        axes.axis("off")
        return
    agreement = 100 * np.array(values[few.agreement.key])
    mistakes = values.get(few.mistakes.key)
    if mistakes is None or len(mistakes) != len(agreement):
        axes.hist(agreement, color=BLUE)
        axes.set_ylabel("networks")
    else:
        axes.scatter(agreement, 100 * np.array(mistakes), color=BLUE)
        axes.set_ylabel("mistakes kept, %")
    axes.set_xlabel("labels kept, %")
    axes.set_title(f"each network's {table.MAIN_COUNT} neurons")


def _draw_r2(axes: Axes, findings: Mapping[str, Any]) -> None:
    operands = [operand for operand in table.R2 if table.R2[operand].key in findings]
    series = {
        name: [findings[by_operand[operand].key] for operand in operands]
        for name, by_operand in {
            "best class": table.R2,
            "second-best": table.NEXT_R2,
            "permuted": table.PERMUTED_R2,
            "untrained": table.UNTRAINED_R2,
        }.items()
    }
    grouped_bars(axes, operands, series, (BLUE, YELLOW, RED, GREY))
    axes.set_ylabel("R2")
    axes.set_title("classes of values in the weights")


def _draw_best(axes: Axes, classes: Mapping[str, Mapping[str, int]]) -> None:
    bars = [(name, n) for counts in classes.values() for name, n in list(counts.items())[:6]]
    places = np.arange(len(bars))
    axes.barh(places, [n for _, n in bars], color=BLUE)
    axes.set_yticks(places, [name for name, _ in bars], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("networks in which it is the best")
