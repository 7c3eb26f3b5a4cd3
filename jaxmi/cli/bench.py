"""`jaxmi bench`: throughput beside PyTorch and beside the machine's own matrix products."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxmi.cli.subcommand import DataSubcommand, OptionalText, Result
from jaxmi.training.recipe import RECIPES

logger = logging.getLogger(__name__)

TARGETS = {
    "transformer.step_ratio_vs_torch": (">=", 8),
    "transformer.share_of_matmul_peak": (">=", 0.60),
    "transformer.seconds_to_published": ("<=", 5),
    "cnn.image_ratio_vs_torch": (">=", 3),
    "cnn.seconds_to_published": ("<=", 30),
    "seeds.cost_ratio_16_vs_2": ("<=", 1.05),
    "seeds.compilations": ("<=", 1),
    "programs.cost_ratio": ("<=", 1.05),
    "cold_start_seconds": ("<=", 20),
    "warm_start_seconds": ("<=", 4),
    "help_seconds": ("<=", 0.7),
    "peak_rss_gb": ("<=", 1.5),
}
"""Metric -> what a machine with 2 cores should reach with the published challenges."""

OF_A_CHALLENGE = (
    "step_seconds",
    "step_ratio_vs_torch",
    "share_of_matmul_peak",
    "images_per_second",
    "image_ratio_vs_torch",
    "seconds_to_converged",
)
"""Metrics of a user's challenge, which are printed in the place of the published challenges'."""


@dataclass(frozen=True, kw_only=True)
class Bench(DataSubcommand):
    """Measure speed, beside PyTorch on the same machine."""

    example = "jaxmi bench --quick"

    challenge: OptionalText = None
    """transformer, cnn, or the folder of your own challenge: measures the training of that one. In
    the result the metrics of your own are under its kind. Default: both published challenges."""

    quick: bool = False
    """Fewer rounds, and no training to the end: shows that it runs."""

    def run(self) -> Result:
        """Measure everything, in about ten minutes."""
        from jaxmi.bench.measure import measure_all

        return measure_all(
            lambda what: logger.info(f"bench: {what}"), self.quick, self.challenge, self.data_dir
        )

    def show(self, result: Result) -> None:
        """Print the main metrics with their spread; with targets, if the challenge has some."""
        from rich.table import Table

        from jaxmi.cli.console import print_table

        where = f"{result['devices']} x {result['device']}, {result['cores']} cores"
        named = result.get("challenge")
        targets = targets_of(named)
        headings = [
            "metric",
            "measured",
            "spread",
            *(["target, 2 cores"] if any(targets.values()) else []),
        ]
        table = Table(title=where, title_justify="left")
        for heading in headings:
            left = heading == "metric"
            table.add_column(heading, justify="left" if left else "right", no_wrap=left)
        for name, target in targets.items():
            value, spread = _value(result, name)
            if named is None or value is not None:
                table.add_row(*(name, _show(value), spread, target)[: len(headings)])
        print_table(table)
        for name, rates in result.get("programs", {}).items():
            if "exact_per_second" not in rates:
                continue
            exact, compiled = (
                rates[f"{way}_per_second"]["median"] for way in ("exact", "compiled")
            )
            print(f"{name}: {exact:,.0f} programs per second, {compiled:,.0f} compiled")
        for name, rate in result.get("seeds_per_hour", {}).items():
            print(f"{name}: {rate:,.0f} seeds per hour")


def targets_of(named: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the metrics to print, each with its target; of a user's challenge none has one.

    Args:
      named: The challenge that was measured, as the result has it; None: both published ones.
    """
    targets = {name: f"{relation} {target}" for name, (relation, target) in TARGETS.items()}
    if named is None or named["definition_sha256"] is None:
        return targets
    shared = (name for name in TARGETS if name.partition(".")[0] not in RECIPES)
    return {
        **{f"{named['kind']}.{name}": "" for name in OF_A_CHALLENGE},
        **dict.fromkeys(shared, ""),
    }


def _value(result: Mapping[str, Any], name: str) -> tuple[float | None, str]:
    value: Any = result
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping):
        return value, ""
    if "each" in value:
        return value["median"], ", ".join(map(_show, value["each"]))
    if "low" in value:
        return value["median"], f"{_show(value['low'])} - {_show(value['high'])}"
    return max(value.values()), ", ".join(f"{key} {_show(one)}" for key, one in value.items())


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
