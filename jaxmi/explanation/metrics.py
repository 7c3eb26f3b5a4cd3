"""Metrics of explanations as data: key, label, unit, published value and control of each.

A challenge has one table of metrics: `cnn_metrics.TABLE` or `transformer_metrics.TABLE`. The
solution's code computes the values; everything that shows or summarises them (pages, `--json`, the
printed table, the table of seeds, the studies) reads from the table what they are.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from jaxmi.explanation.scrub import Outcome
from jaxmi.types import Metrics


class Unit(Enum):
    """The unit of a metric, which decides how its values are written and summarised."""

    SHARE = "share"
    """In 0..1; written in per cent."""
    SHARE_DIFFERENCE = "difference of two shares"
    """In -1..1."""
    CORRELATION = "correlation"
    """In -1..1; also a difference of two correlations."""
    PART = "part of a variance"
    """Parts sum to 1; one that works against the others is below 0. Written in per cent."""
    R2 = "R2"
    """A coefficient of determination: at most 1, below 0 for a prediction worse than none."""
    LOGIT = "logit"
    """A logit, or a difference of two."""
    DISTANCE = "distance"
    """A sum over pixels in 0..255."""
    COUNT = "count"
    RANK = "rank"
    """A place in a ranking, from 1."""
    INDEX = "index"
    """The number of an image: it names something, so values have no median."""

    def format(self, value: int | float | None, share_digits: str = ".1f") -> str:
        """Write a value for a person; "-" for a value that is missing or infinite.

        Args:
          value: A value in this unit.
          share_digits: The format of a share in per cent.
        """
        if value is None or not math.isfinite(value):
            return "-"
        match self:
            case Unit.SHARE:
                return f"{100 * value:{share_digits}}%"
            case Unit.PART:
                return f"{100 * value:z{share_digits}}%"  # z: no minus sign before 0.0
            case Unit.SHARE_DIFFERENCE | Unit.LOGIT | Unit.R2:
                return f"{value:.2f}"
            case Unit.CORRELATION:
                return f"{value:.4f}"
            case Unit.DISTANCE:
                return f"{value:,.0f}"
            case Unit.COUNT | Unit.RANK | Unit.INDEX:
                return f"{value:,.6g}"  # the median of an even number of counts may be a half


class Control(NamedTuple):
    """The control that a metric is compared with."""

    metric: "Metric"
    label: str
    """Its name beside the metric that it controls."""


@dataclass(frozen=True)
class Metric:
    """A number that an explanation measures."""

    key: str
    """Its name in JSON: a contract."""
    label: str
    """Its name for people, in plain words."""
    unit: Unit
    published: int | float | None = None
    """Its value on the published network, if there is one."""
    control: Control | None = None
    needs_truth: bool = False
    """Whether it compares with the true labels; without these a network does not have it."""

    @property
    def is_control(self) -> bool:
        """Whether it measures another feature, plane or network in place of the claimed one."""
        return self.key.startswith("control_")

    def format(self, metrics: Mapping[str, int | float | None]) -> str:
        """Write this metric's value, out of those of one network.

        Returns:
          "-" if the network does not have it, "not known" if that takes the true labels.
        """
        value = metrics.get(self.key)
        return "not known" if self.needs_truth and value is None else self.unit.format(value)

    def format_published(self) -> str:
        """Write the published value, with as many digits as were published."""
        return self.unit.format(self.published, ".4g")


class ScrubMetrics(NamedTuple):
    """The three metrics of one scrub."""

    kept: Metric
    std: Metric
    logit_error: Metric

    def values(self, outcome: Outcome) -> Metrics:
        """Return the three values of an outcome, by key."""
        return {
            self.kept.key: outcome.kept,
            self.std.key: outcome.kept_std,
            self.logit_error.key: outcome.logit_error,
        }


class MetricTable(Mapping[str, Metric]):
    """Every metric of a challenge's explanations, by key."""

    def __init__(self) -> None:
        """Start an empty table."""
        self._metrics: dict[str, Metric] = {}

    @classmethod
    def union(cls, *tables: "MetricTable") -> "MetricTable":
        """Return a table with the metrics of several.

        Raises:
          ValueError: if two have a key in common.
        """
        joined = cls()
        for table in tables:
            for metric in table.values():
                joined.include(metric)
        return joined

    def add(
        self,
        key: str,
        label: str,
        unit: Unit = Unit.SHARE,
        published: int | float | None = None,
        control: Control | None = None,
        needs_truth: bool = False,
    ) -> Metric:
        """Add a metric and return it.

        Raises:
          ValueError: if the table has the key already.
        """
        return self.include(Metric(key, label, unit, published, control, needs_truth))

    def include(self, metric: Metric) -> Metric:
        """Add a metric that was made elsewhere, and return it.

        Raises:
          ValueError: if the table has the key already.
        """
        if metric.key in self._metrics:
            raise ValueError(f"the table has two metrics with the key {metric.key!r}")
        self._metrics[metric.key] = metric
        return metric

    def add_scrub(
        self,
        key: str,
        label: str,
        published: int | float | None = None,
        control: Control | None = None,
    ) -> ScrubMetrics:
        """Add the metrics of a scrub: labels kept, their spread, and the error of the logits."""
        return ScrubMetrics(
            self.add(key, label, Unit.SHARE, published, control),
            self.add(f"{key}_std", f"{label}, standard deviation over draws"),
            self.add(f"{key}_logit_error", f"{label}, mean error of the logits", Unit.LOGIT),
        )

    @property
    def published(self) -> dict[str, int | float]:
        """The published values, by key."""
        return {key: m.published for key, m in self.items() if m.published is not None}

    def summarise(self, networks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Summarise metrics over networks.

        Args:
          networks: Of each network, key -> value; a value that is missing or None is left out.

        Returns:
          The median of each metric, of an index or a text the most frequent value; None where no
          network has a value.
        """
        summary: dict[str, Any] = {}
        for key in dict.fromkeys(key for metrics in networks for key in metrics):
            values = [metrics[key] for metrics in networks if metrics.get(key) is not None]
            is_index = key in self and self[key].unit is Unit.INDEX
            is_name = is_index or any(isinstance(value, str) for value in values)
            summarise = statistics.mode if is_name else statistics.median
            summary[key] = summarise(values) if values else None
        return summary

    def __getitem__(self, key: str) -> Metric:
        return self._metrics[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)
