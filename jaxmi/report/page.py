"""Reports on explanations as HTML pages: one network's evidence, or the seeds of a run in a table.

A page is one file that loads nothing else; figures are embedded.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jaxmi.drawing import try_to_draw
from jaxmi.explanation.metrics import Metric, MetricTable
from jaxmi.explanation.verdicts import ENOUGH, MARGIN
from jaxmi.report import templates

if TYPE_CHECKING:
    from jaxmi.drawing import Drawing

DPI = 110
"""Resolution of figures, in pixels per inch."""

PUBLISHED_CLAIM = "The published claim, tested below."
"""The sentence before the claim, for networks of the published challenges."""


@dataclass(frozen=True)
class Section:
    """One piece of evidence."""

    title: str
    text: str
    """Paragraphs, separated by an empty line; other line breaks are ignored."""
    figures: Mapping[str, bytes] = field(default_factory=dict)
    """File name without ending -> PNG; the name is also the alternative text."""
    metrics: Sequence[Metric] = ()
    """The rows of the section's table; a metric that the network does not have is left out."""
    verdict: str | None = None
    """A verdict of `explanation.verdicts`; None if the section tests no claim."""
    reason: str = ""
    """The comparison from which the verdict follows."""
    code: str = ""
    """A program, shown verbatim."""
    comparison: Mapping[str, Sequence[Metric]] = field(default_factory=dict)
    """For a table that compares networks: column -> the metric of each row. Rows are labelled by
    the first column's metrics."""

    @property
    def comparison_rows(self) -> list[tuple[Metric, ...]]:
        """The rows of the comparison, each with a metric per column."""
        return list(zip(*self.comparison.values(), strict=True))


@dataclass(frozen=True)
class Page:
    """The report on one network."""

    title: str
    subtitle: str
    claim: str
    """The claim that is tested."""
    sections: Sequence[Section]
    not_shown: str
    """What the evidence does not show; paragraphs."""
    command: str
    """The command that made the page."""
    metrics: Mapping[str, int | float]
    """Key -> the network's value, for every metric."""
    claim_title: str = PUBLISHED_CLAIM
    """What the claim is, in a sentence before it."""
    summary: str = ""
    """What the network does and how sure that is, in one paragraph that opens the page."""
    beside_published: bool = True
    """Whether published values are of this network's challenge, and stand beside its own."""

    @property
    def has_published(self) -> bool:
        """Whether any metric on the page has a published value beside it."""
        return self.beside_published and any(
            m.published is not None for section in self.sections for m in section.metrics
        )


def render(page: Page) -> str:
    """Render a report on one network as HTML, with its figures embedded."""
    filters = {"data_url": _data_url, "paragraphs": _paragraphs}
    return templates.render("page.html.jinja", filters, page=page, enough=ENOUGH, margin=MARGIN)


def render_seeds(
    title: str,
    table: MetricTable,
    main: Sequence[Metric],
    seeds: Mapping[str, Mapping[str, int | float | None]],
    beside_published: bool = True,
) -> str:
    """Render the table of a run's seeds as HTML: a row per seed, linked to the seed's own report.

    Args:
      title: Title of the challenge.
      table: The challenge's metrics.
      main: The metrics to show, a column each.
      seeds: Name of a seed's folder -> key of a metric -> value.
      beside_published: Whether the published values have a row.
    """
    typical = table.summarise(list(seeds.values()))
    return templates.render(
        "seeds.html.jinja",
        title=f"{title}: {len(seeds)} seeds explained",
        columns=[metric.label for metric in main],
        published=[metric.format_published() for metric in main] if beside_published else [],
        typical=[metric.format(typical) for metric in main],
        seeds={name: [m.format(metrics) for m in main] for name, metrics in seeds.items()},
    )


def png(**drawings: "Drawing") -> dict[str, bytes]:
    """Render figures as PNG, under their names; one that cannot be drawn is left out.

    Args:
      **drawings: Name -> the figure, or what draws it.
    """
    rendered = {name: try_to_draw(name, drawing, dpi=DPI) for name, drawing in drawings.items()}
    return {name: picture for name, picture in rendered.items() if picture is not None}


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _data_url(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
